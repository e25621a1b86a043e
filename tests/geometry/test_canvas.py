"""The canvas: its place in an image, reading an image on it, preparing one."""

from pathlib import Path

import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE, save, volume, world

from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import canvas_grid, prepare, resample
from fire_tf.geometry.images import Image, read_image
from fire_tf.intensities.grey_values import normalise


def test_resampling_an_oblique_ramp_gives_the_ramp_at_the_canvas_positions() -> None:
    slope = np.array([0.7, -0.4, 1.1])
    image = Image(
        (world(OBLIQUE, np.indices(SHAPE).transpose(1, 2, 3, 0)) @ slope).astype(np.float32), OBLIQUE, "ramp"
    )
    affine, shape = canvas_grid(image, (1.7, 1.6, 1.9), (8, 12, 8))
    assert shape == (8, 12, 8)
    values = resample(image, affine, shape)
    index = np.indices(shape).transpose(1, 2, 3, 0)
    inside = world(np.linalg.inv(OBLIQUE) @ affine, index)
    inside = np.all((inside >= 0) & (inside <= np.array(SHAPE) - 1), axis=-1)
    assert inside.sum() > 200
    np.testing.assert_allclose(values[inside], (world(affine, index) @ slope)[inside], atol=1e-3)


def test_the_canvas_shares_the_centre_and_the_directions_of_the_field_of_view() -> None:
    image = Image(volume(), OBLIQUE, "image")
    affine, shape = canvas_grid(image, (1.28, 1.28, 2.0), (32, 24, 16))
    centres = [(np.array(size) - 1) / 2 for size in (SHAPE, shape)]
    np.testing.assert_allclose(world(affine, centres[1]), world(OBLIQUE, centres[0]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (1.28, 1.28, 2.0))


def test_at_the_right_spacing_voxels_are_copied_not_interpolated() -> None:
    image = Image(volume(), np.diag([1.28, 1.28, 1.28, 1]), "image")
    affine, shape = canvas_grid(image, (1.2801, 1.2799, 1.28), (13, 11, 8))
    values = resample(image, affine, shape)
    np.testing.assert_allclose(image.affine @ [-2, 0, 0, 1], affine @ [0, 0, 0, 1], atol=1e-9)
    np.testing.assert_array_equal(values[2:11, :, :7], image.data)
    assert np.all(values[:2] == image.data.min())


def test_an_image_larger_than_the_canvas_is_cut_around_its_foreground() -> None:
    data = np.zeros((40, 10, 8), dtype=np.float32)
    data[25:33, 3:6, 2:5] = volume((8, 3, 3))
    affine, shape = canvas_grid(Image(data, np.eye(4), "image"), (1, 1, 1), (12, 12, 8))
    values = resample(Image(data, np.eye(4), "image"), affine, shape)
    np.testing.assert_array_equal(values[2:10, 4:7, 2:5], data[25:33, 3:6, 2:5])


def test_downsampling_smooths_first() -> None:
    fine = np.indices((32, 32, 32)).sum(axis=0) % 2 * 100.0
    image = Image(fine.astype(np.float32), np.eye(4), "chequerboard")
    affine, shape = canvas_grid(image, (4, 4, 4), (8, 8, 8))
    np.testing.assert_allclose(resample(image, affine, shape)[2:6, 2:6, 2:6], 50, atol=3)


def test_labels_are_never_blended() -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:6, 4:8, 2:5] = 7
    image = Image(labels, OBLIQUE, "labels")
    affine, shape = canvas_grid(image, (1.3, 1.3, 1.3), (20, 24, 20))
    values = resample(image, affine, shape, nearest=True)
    assert values.dtype == np.uint8
    assert set(np.unique(values)) == {0, 7}


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1)])
def test_a_2d_file_is_prepared_on_a_2d_canvas(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = volume((9, 11))
    path = save(tmp_path / "slice.nii", data.reshape(shape), np.diag([1.28, 1.28, 1.28, 1]))
    prepared = prepare(read_image(path), (1.28, 1.28), (13, 15), 100)
    assert prepared.data.shape == (13, 15)
    assert prepared.spacing == pytest.approx((1.28, 1.28))
    np.testing.assert_array_equal(prepared.data[2:11, 2:13], normalise(data, 100))
    np.testing.assert_allclose(prepared.affine @ [2, 2, 0, 1], [0, 0, 0, 1], atol=1e-6)


def test_ranks_must_go_together(tmp_path: Path) -> None:
    flat = read_image(save(tmp_path / "flat.nii", volume((9, 11))))
    solid = read_image(save(tmp_path / "solid.nii", volume()))
    with pytest.raises(InputError, match=r"flat\.nii.*volume"):
        prepare(flat, (1, 1, 1), (12, 12, 12), 99)
    with pytest.raises(InputError, match=r"solid\.nii.*single slice"):
        prepare(solid, (1, 1), (12, 12), 99)
