"""Free-form deformations whose derivatives are known."""

import numpy as np
import pytest

from fire_tf.free_form.waves import Waves
from fire_tf.geometry.point_maps import grid_points

SIZE, VOXEL = np.array((30, 20)), np.array((2.0, 3.0))  # 60 mm either way


def wave(first: int, second: int) -> np.ndarray:
    """A displacement along the first axis, in voxels: so many half waves along either, 1 mm high."""
    phases = np.pi * (grid_points(tuple(SIZE)) + 0.5) / SIZE * (first, second)
    return np.stack([np.cos(phases).prod(axis=-1) / VOXEL[0], np.zeros(SIZE)], axis=-1)


def test_bending_of_a_wave() -> None:
    """cos(a x) cos(b y) of 1 mm: the mean squares of a^2, b^2 and twice a b times a quarter."""
    waves = Waves((30, 20), VOXEL, 12.0)
    assert waves.size == (6, 6)  # up to five half waves in 60 mm
    amplitudes = waves.fit(wave(3, 2))
    np.testing.assert_allclose(waves.displacement(amplitudes), wave(3, 2), atol=1e-12)
    a, b = 3 * np.pi / 60, 2 * np.pi / 60
    assert waves.bending(amplitudes)[0] == pytest.approx((a**4 + b**4 + 2 * a**2 * b**2) / 4)
    assert waves.bending(waves.fit(np.ones((30, 20, 2))))[0] == pytest.approx(0, abs=1e-20)


def test_waves_that_are_too_short_are_left_out() -> None:
    waves = Waves((30, 20), VOXEL, 12.0)
    np.testing.assert_allclose(waves.fit(wave(6, 1)), 0, atol=1e-12)


def test_folding_counts_what_the_volume_falls_short_of() -> None:
    """u = c cos(x pi / L): the volume falls to 1 - c pi / L in the middle, where x = L / 2."""
    waves = Waves((30, 20), VOXEL, 60.0)
    steepest = np.pi / 60
    places = np.pi * (np.arange(0, 30, 7.5) + 0.5) / 30  # where a derivative is looked at
    short = np.maximum(0.2 - (1 - 18 * steepest * np.sin(places)), 0)
    assert short.max() > 0.05
    assert waves.folding(waves.fit(18 * wave(1, 0)))[0] == pytest.approx(np.mean(short**2))
    assert waves.folding(waves.fit(9 * wave(1, 0)))[0] == 0
