"""Measures against values worked out by hand and fields with known derivatives."""

import numpy as np
import pytest

from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.measures.metrics import (
    brain_mask,
    dice,
    dice_per_structure,
    distance_to_truth,
    folded_percent,
    hausdorff95,
    inverse_consistency,
    jacobian_determinant,
    map_positions,
)


def test_dice_counts_the_overlap_twice() -> None:
    first, second = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    first[0, :4] = True  # 4 voxels
    second[0, 2:5] = True  # 3 voxels, 2 of them shared
    assert dice(first, second) == pytest.approx(2 * 2 / (4 + 3))
    assert dice(first, first) == 1.0
    assert np.isnan(dice(np.zeros(3), np.zeros(3)))
    with pytest.raises(ValueError, match="shapes"):
        dice(first, first.T)


def test_dice_per_structure_keeps_the_structures_apart() -> None:
    first, second = np.array([1, 1, 2, 2, 0]), np.array([1, 2, 2, 2, 0])
    assert dice_per_structure(first, second, {1: "BS", 2: "CE"}) == pytest.approx({"BS": 2 / 3, "CE": 4 / 5})


def test_hausdorff_is_the_shift_in_mm_along_the_shifted_axis() -> None:
    first, second = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    first[2, 2:10] = True
    second[5, 2:10] = True
    assert hausdorff95(first, second, (1.0, 1.0)) == pytest.approx(3.0)
    assert hausdorff95(first, second, (0.5, 2.0)) == pytest.approx(1.5)
    assert hausdorff95(first.T, second.T, (0.5, 2.0)) == pytest.approx(6.0)
    assert np.isnan(hausdorff95(first, np.zeros_like(first), (1.0, 1.0)))


def test_hausdorff_takes_the_worse_direction_and_leaves_out_five_percent() -> None:
    line = np.zeros((60, 60), bool)
    line[5, :40] = True
    outlier = line.copy()
    outlier[50, 0] = True  # one of 41 surface voxels: beyond the 95th percentile
    assert hausdorff95(line, outlier, (1.0, 1.0)) == 0.0
    half = line.copy()
    half[5, 20:] = False  # the missing half lies up to 20 voxels away, seen from one direction only
    assert hausdorff95(half, line, (1.0, 1.0)) == pytest.approx(np.percentile(np.r_[np.zeros(20), 1:21], 95))


def test_hausdorff_measures_between_surfaces_not_volumes() -> None:
    outer, inner = np.zeros((11, 11, 11), bool), np.zeros((11, 11, 11), bool)
    outer[1:10, 1:10, 1:10] = True
    inner[3:8, 3:8, 3:8] = True  # concentric: inside the other one, but its surface is 2 voxels away
    assert hausdorff95(inner, outer, (1, 1, 1)) >= 2.0


@pytest.mark.parametrize("ndim", [2, 3])
def test_jacobian_of_an_affine_is_its_determinant_everywhere(ndim: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(ndim, ndim + 1))
    positions = map_positions(AffineMap(matrix), (5, 6, 7)[:ndim])
    np.testing.assert_allclose(jacobian_determinant(positions), np.linalg.det(matrix[:, :ndim]), rtol=1e-9)
    np.testing.assert_allclose(
        jacobian_determinant(positions, 2.0), np.linalg.det(matrix[:, :ndim]) / 2, rtol=1e-9
    )


def test_jacobian_of_a_quadratic_map_and_the_share_that_folds() -> None:
    points = grid_points((21, 8))
    positions = points.copy()
    positions[..., 0] = (points[..., 0] - 10.0) ** 2 / 2 + 0.25 * points[..., 1]  # d/dx = x - 10
    determinant = jacobian_determinant(positions)
    np.testing.assert_allclose(determinant[1:-1], (points[1:-1, :, 0] - 10.0), atol=1e-9)
    assert folded_percent(determinant[1:-1]) == pytest.approx(100 * 10 / 19)  # x = 1..10 of 1..19
    mask = np.zeros((21, 8), bool)
    mask[8:14, 2:5] = True  # x = 8, 9, 10 fold, 11, 12, 13 do not
    assert folded_percent(determinant, mask) == pytest.approx(50.0)


def test_jacobian_rejects_an_array_that_is_no_map() -> None:
    with pytest.raises(ValueError, match=r"\(5, 5, 3\)"):
        jacobian_determinant(np.zeros((5, 5, 3)))


def test_inverse_consistency_is_zero_for_inverses_and_the_rest_otherwise() -> None:
    turn = np.deg2rad(40)
    there = AffineMap(np.array([[np.cos(turn), -np.sin(turn), 30.0], [np.sin(turn), np.cos(turn), -20.0]]))
    mask = np.zeros((16, 16), bool)
    mask[3:12, 4:9] = True
    assert inverse_consistency(there, there.inverse(), mask, (1.28, 1.28)) == pytest.approx(0, abs=1e-9)
    shifted = AffineMap(np.array([[1, 0, 3.0], [0, 1, 4.0]])).after(there.inverse())
    assert inverse_consistency(there, shifted, mask, (1, 1)) == pytest.approx(5.0)
    assert inverse_consistency(there, shifted, mask, (2.0, 0.5)) == pytest.approx(np.hypot(6, 2))


def test_distance_to_truth_averages_over_the_mask() -> None:
    stretched, still = AffineMap(np.array([[2.0, 0, 0], [0, 1, 0]])), AffineMap.identity(2)
    mask = np.zeros((10, 4), bool)
    mask[[2, 6], 1] = True
    assert distance_to_truth(stretched, still, mask, (1.5, 1)) == pytest.approx(1.5 * (2 + 6) / 2)
    assert np.isnan(distance_to_truth(stretched, still, np.zeros_like(mask), (1, 1)))


def test_brain_mask_fills_ventricles_keeps_lobes_and_drops_specks() -> None:
    image = np.zeros((12, 12))
    image[2:9, 2:9] = 5.0
    image[2:5, 10] = 5.0
    image[4:6, 4:6] = 0.0
    image[11, 11] = 3.0
    mask = brain_mask(image)
    assert mask.sum() == 49 + 3
    assert mask[4, 4]
    assert not mask[11, 11]
