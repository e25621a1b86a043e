"""Free-form deformations on polynomials with known derivatives."""

import numpy as np
import pytest

from fire_tf.free_form.lattice import Lattice
from fire_tf.geometry.point_maps import grid_points


def test_bending_of_a_parabola() -> None:
    """u = c x^2 / 2 voxels along the first axis has the second derivative c / spacing in 1/mm."""
    lattice = Lattice((30, 20), (2.0, 3.0), 12.0)
    points = grid_points((30, 20))
    parabola = np.stack([0.04 * points[..., 0] ** 2 / 2, np.zeros((30, 20))], axis=-1)
    controls = lattice.fit(parabola)
    np.testing.assert_allclose(lattice.displacement(controls), parabola, atol=1e-9)
    assert lattice.bending(controls)[0] == pytest.approx((0.04 / 2) ** 2)
    twisted = np.stack([np.zeros((30, 20)), 0.05 * points[..., 0] * points[..., 1]], axis=-1)
    # d2 (3 v) / dx dy = 3 * 0.05 / (2 * 3), counted for xy and yx.
    assert lattice.bending(lattice.fit(twisted))[0] == pytest.approx(2 * 0.025**2)
    affine = points @ np.array([[0.1, 0.2], [-0.3, 0.1]]) + 4
    assert lattice.bending(lattice.fit(affine))[0] == pytest.approx(0, abs=1e-12)


def test_folding_counts_what_the_volume_falls_short_of() -> None:
    """u = -0.9 x along the first axis: a determinant of 0.1 everywhere, 0.1 below the least allowed."""
    lattice = Lattice((30, 20), (2.0, 3.0), 12.0)
    points = grid_points((30, 20))
    squeezed = np.stack([-0.9 * points[..., 0], np.zeros((30, 20))], axis=-1)
    assert lattice.folding(lattice.fit(squeezed))[0] == pytest.approx(0.1**2)
    assert lattice.folding(lattice.fit(squeezed / 2))[0] == 0
