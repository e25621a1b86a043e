"""Reading between voxels: what each way keeps, and what ANTs makes of the same image."""

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like
from scipy.ndimage import maximum_filter, minimum_filter

from fire_tf.applying.images import apply_transform
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.interpolation import reader_of
from fire_tf.geometry.names import INTERPOLATIONS
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.transforms.fields import AffineTransform

SHAPE = (7, 6, 5)
TURN = AffineMap(np.array([[0.95, -0.3, 0.05, 0.3], [0.28, 0.96, -0.1, -1.2], [0.02, 0.12, 0.99, 0.7]]))


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 9, shape).astype(np.float32)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_voxels_keep_their_values_and_the_rest_is_outside(interpolation: str) -> None:
    image, points = noise(), grid_points(SHAPE)
    image[2, 2, 2] = np.nan
    read = reader_of(image, interpolation, outside=-7.0)
    np.testing.assert_allclose(read(points), image, atol=1e-5)
    np.testing.assert_array_equal(read(np.array([[-1.6, 2, 2], [3, 7.6, 2]])), [-7, -7])
    assert read(points).dtype == np.float32


def test_cubic_follows_a_cubic() -> None:
    """x^2 between its samples, off the edge, where its mirror image would have to be one too; linear is 0.25 off."""
    image = np.broadcast_to(np.arange(24.0)[:, None] ** 2, (24, 3))
    points = np.stack([np.arange(8, 16) + 0.5, np.ones(8)], axis=-1)
    np.testing.assert_allclose(reader_of(image, "cubic")(points), points[:, 0] ** 2, atol=1e-3)
    np.testing.assert_allclose(reader_of(image, "linear")(points), points[:, 0] ** 2 + 0.25, atol=1e-3)


def test_holes_do_not_spread_in_a_spline() -> None:
    image = np.full((9, 9), 5, np.float32)
    image[4, 4] = np.nan
    found = reader_of(image, "cubic")(grid_points((9, 9)) + np.array([0.25, 0]))[:-1]
    assert np.isnan(found).sum() == 1
    np.testing.assert_allclose(found[np.isfinite(found)], 5, atol=1e-4)
    assert np.isnan(reader_of(np.full((3, 3), np.nan), "cubic")(np.ones((1, 2)))).all()


def test_votes() -> None:
    """Two voxels of label 7 outweigh a nearer one of 3; of two alike the smaller label wins."""
    pair = reader_of(np.array([[7, 3], [7, 3]], np.uint8), "label-gaussian")
    np.testing.assert_array_equal(pair(np.array([[0.3, 0.5], [0.3, 0.49]])), [3, 7])
    labels = np.array([[3, 7], [7, 0]], np.uint8)
    read = reader_of(labels, "label-gaussian")
    found = read(np.array([[0.45, 0.45], [0.1, 0.1], [0.9, 0.9], [0.5, 0.5], [1.2, 1.4], [1.6, 1]]))
    np.testing.assert_array_equal(found, [7, 3, 0, 7, 0, 0])
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("ours", "theirs", "agreeing"), [("label-gaussian", "genericLabel", 0.99), ("cubic", "bSpline", None)]
)
def test_ants_reads_as_we_do(ours: str, theirs: str, agreeing: float | None, tmp_path) -> None:
    """Labels in 99 % of the voxels at borders, at least; grey values to rounding."""
    ants = pytest.importorskip("ants")
    image = brain_like((40, 44, 36))
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -40
    if agreeing:
        image = np.digitize(image, np.quantile(image[image > 0], [0.2, 0.6])).astype(np.uint8) * 3
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "image.nii.gz")
    grid = read_grid(tmp_path / "image.nii.gz")
    found = np.asarray(apply_transform(AffineTransform(TURN), tmp_path / "image.nii.gz", grid, ours).dataobj)
    given = ants.image_read(str(tmp_path / "image.nii.gz"))
    lps = np.diag([-1, -1, 1])
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        matrix=lps @ TURN.matrix[:, :3] @ lps,
        translation=lps @ TURN.matrix[:, 3],
    )
    ants.write_transform(transform, str(tmp_path / "turn.mat"))
    answer = ants.apply_transforms(given, given, [str(tmp_path / "turn.mat")], interpolator=theirs).numpy()
    if agreeing:
        border = maximum_filter(answer, 3) != minimum_filter(answer, 3)
        assert border.sum() > 5000
        assert (found == answer)[border].mean() > agreeing
        assert set(np.unique(found)) == {0, 3, 6}
    else:
        inner = np.s_[2:-2, 2:-2, 2:-2]
        assert np.abs(found - answer)[inner].max() < 1e-4 * np.ptp(answer)
