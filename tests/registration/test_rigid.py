"""The rigid part of a registration, of maps whose turn is known."""

import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned

from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.registration.pair import Registration, register_pair
from fire_tf.registration.rigid import made_rigid

SHAPE = {2: (40, 36), 3: (24, 28, 20)}


def registered(ndim: int, scale: float) -> tuple[Registration, np.ndarray]:
    """A model's answer that turns by 12 degrees and scales, between single slices at different heights or volumes."""
    matrix = turned(12, (2.0, -1.0, 1.5)[:ndim])
    turn = matrix[:, :ndim].copy()
    matrix[:, :ndim] *= scale
    still = np.zeros((*SHAPE[ndim], ndim))
    model = KnownModel(
        SHAPE[ndim], (2.0,) * ndim, a_to_b=(matrix, still), b_to_a=(inverse_affine(matrix), still)
    )
    data = brain_like(SHAPE[ndim]).reshape((*SHAPE[ndim], 1)[:3])
    images = []
    for height in (5.0, 40.0):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[2, 3] = height
        images.append(Image(data, affine, "made up"))
    return register_pair(model, *images), turn


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_turn_is_found_and_the_scale_is_removed(ndim: int) -> None:
    found, turn = registered(ndim, 1.1)
    rigid, removed = made_rigid(found)
    np.testing.assert_allclose(rigid.affine_to_moving.matrix[:ndim, :ndim], turn, atol=1e-6)
    both = rigid.affine_to_fixed.after(rigid.affine_to_moving)
    np.testing.assert_allclose(both.matrix, AffineMap.identity(3).matrix, atol=1e-9)
    assert rigid.to_moving is rigid.affine_to_moving
    assert removed["volume_ratio"] == pytest.approx(1.1**ndim, abs=1e-3)
    assert 0.5 < removed["mean_mm"] < removed["percentile_95_mm"] < 4
    corner = rigid.to_moving(np.array([[10.0, 20.0, 40.0]]))
    assert corner[0, 2] == pytest.approx(5.0) or ndim == 3  # from plane to plane


def test_of_a_rigid_map_nothing_is_removed() -> None:
    found, _ = registered(3, 1.0)
    rigid, removed = made_rigid(found)
    assert removed == {"mean_mm": 0.0, "percentile_95_mm": 0.0, "volume_ratio": 1.0}
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    np.testing.assert_allclose(rigid.to_moving(points), found.to_moving(points), atol=1e-6)
