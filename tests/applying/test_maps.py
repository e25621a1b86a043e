"""The determinant of a transform's Jacobian: analytic cases, and what folds."""

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE

from fire_tf.applying.maps import determinants, log_determinant_image
from fire_tf.files.doubts import Doubt
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points


def grid(shape: tuple[int, ...], affine: np.ndarray = OBLIQUE) -> Grid:
    return read_grid(nib.Nifti1Image(np.zeros(shape, np.float32), affine))


@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 8, 1), (9, 1, 7)])
def test_an_affine_map_has_one_determinant(shape: tuple[int, int, int]) -> None:
    matrix = AffineMap(np.array([[1.1, 0.2, 0, 3], [0, -0.9, 0.1, 4], [0.3, 0, 1.2, 5]]))
    found = determinants(matrix, grid(shape))
    assert found.shape == shape
    np.testing.assert_allclose(found, np.linalg.det(matrix.matrix[:, :3]), rtol=1e-9)


def test_a_bend_has_that_of_its_derivative() -> None:
    """x -> x + 3 sin(x / 9) in world mm: 1 + cos(x / 9) / 3, wherever the grid's axes run."""

    def bend(points: np.ndarray) -> np.ndarray:
        return points + 3 * np.sin(points * [1, 0, 0] / 9)

    target = grid((16, 14, 12), OBLIQUE * [[0.5, 0.5, 0.5, 1]] * 1.0)
    expected = 1 + np.cos(AffineMap(target.affine)(grid_points(target.shape))[..., 0] / 9) / 3
    found = determinants(bend, target)
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=0.005)
    assert np.ptp(expected) > 0.3


def test_folds_have_no_logarithm_and_are_counted() -> None:
    values = np.full((4, 5, 6), np.e)
    values[1, 2, 3], values[0, 0, 0] = -0.5, 0
    with pytest.warns(Doubt, match=r"folds at 2 voxels \(1.67 %\)"):
        image = log_determinant_image(values, grid((4, 5, 6)))
    found = image.get_fdata()
    assert np.isnan(found).sum() == 2
    np.testing.assert_allclose(found[np.isfinite(found)], 1, rtol=1e-6)
