"""Reading, reorienting, resampling and normalising images."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import canvas_grid, prepare, resample
from fire_tf.geometry.grey_values import BACKGROUND, foreground, normalise
from fire_tf.geometry.images import Image, read_image

SHAPE = (9, 11, 7)
OBLIQUE = np.array(
    [[1.9, 0.3, -0.2, -20], [-0.35, 2.1, 0.25, 5], [0.2, -0.3, 2.4, 11], [0, 0, 0, 1]], dtype=float
)


def volume(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 100, shape).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL"])
@pytest.mark.parametrize("affine", [np.diag([1.5, 2.0, 2.5, 1.0]), OBLIQUE])
def test_every_orientation_of_a_file_is_read_as_the_same_image(
    tmp_path: Path, codes: str, affine: np.ndarray
) -> None:
    original = nib.Nifti1Image(volume(), affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    turned = original.as_reoriented(turn)
    assert codes == "".join(nib.aff2axcodes(turned.affine))
    turned.to_filename(tmp_path / "turned.nii.gz")
    image = read_image(tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(image.data, volume())
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


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


def test_normalise_maps_background_to_minus_one_and_the_percentile_to_one() -> None:
    data = np.concatenate([np.full(1000, 10.0), np.arange(11, 111)]).astype(np.float32)
    result = normalise(data, 50)  # the median of 11 ... 110 is 60.5
    assert result[0] == BACKGROUND
    np.testing.assert_allclose(result[1000], 2 * (11 - 10) / 50.5 - 1, rtol=1e-6)
    assert result.max() == 1.0
    np.testing.assert_array_equal(result[500:], normalise(data[500:], 50))  # less background changes nothing
    assert np.all(normalise(np.zeros((3, 3), np.float32), 99) == BACKGROUND)


def test_foreground_leaves_out_weak_noise() -> None:
    data = np.random.default_rng(0).uniform(0, 2, (20, 20)).astype(np.float32)
    data[5:10, 5:10] = 100
    assert foreground(data).sum() == 25


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1)])
def test_a_2d_file_is_prepared_on_a_2d_canvas(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = volume((9, 11))
    path = save(tmp_path / "slice.nii", data.reshape(shape), np.diag([1.28, 1.28, 1.28, 1]))
    prepared = prepare(read_image(path), (1.28, 1.28), (13, 15), 100)
    assert prepared.data.shape == (13, 15)
    assert prepared.spacing == pytest.approx((1.28, 1.28))
    np.testing.assert_array_equal(prepared.data[2:11, 2:13], normalise(data, 100))
    np.testing.assert_allclose(prepared.affine @ [2, 2, 0, 1], [0, 0, 0, 1], atol=1e-6)


def test_a_single_sagittal_slice_keeps_its_place_in_the_world(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 3, 7], [2, 0, 0, 1], [0, 2, 0, 4], [0, 0, 0, 1]], dtype=float)
    path = save(tmp_path / "sagittal.nii", volume((9, 11)), affine)
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], volume((9, 11)))
    np.testing.assert_allclose(
        world(image.affine, np.array([3, 5, 0])), world(affine, np.array([3, 5, 0])), atol=1e-5
    )


def test_ranks_must_go_together(tmp_path: Path) -> None:
    flat = read_image(save(tmp_path / "flat.nii", volume((9, 11))))
    solid = read_image(save(tmp_path / "solid.nii", volume()))
    with pytest.raises(InputError, match=r"flat\.nii.*volume"):
        prepare(flat, (1, 1, 1), (12, 12, 12), 99)
    with pytest.raises(InputError, match=r"solid\.nii.*single slice"):
        prepare(solid, (1, 1), (12, 12), 99)


def _bad(tmp_path: Path, what: str) -> Path:
    path = tmp_path / f"{what}.nii.gz"
    data = volume()
    if what == "missing":
        return path
    if what == "text":
        path.write_text("not an image")
        return path
    if what == "nan":
        data[1, 2, 3] = np.nan
    if what == "inf":
        data[1, 2, 3] = np.inf
    data = {
        "constant": np.ones(SHAPE, np.float32),
        "complex": data.astype(np.complex64),
        "rgb": np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]),
        "vector": volume((*SHAPE, 3)),
        "line": volume((5,)),
        "empty": volume((5, 0, 3)),
    }.get(what, data)
    save(path, data)
    if what == "singular":
        header = nib.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape(SHAPE)
        header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
        with gzip.open(path, "wb") as file:
            file.write(header.binaryblock + bytes(4) + data.tobytes())
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:1500])
    return path


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("missing", "no such file"),
        ("text", "not an image"),
        ("truncated", "truncated"),
        ("nan", "1 voxels that are NaN or infinite"),
        ("inf", "1 voxels that are NaN or infinite"),
        ("constant", r"constant \(every voxel is 1\)"),
        ("complex", "complex or colour"),
        ("rgb", "complex or colour"),
        ("vector", r"shape \(9, 11, 7, 3\)"),
        ("line", r"shape \(5,"),
        ("empty", "no voxels"),
        ("singular", "singular"),
    ],
)
def test_bad_files_are_named_with_the_cause(tmp_path: Path, what: str, cause: str) -> None:
    with pytest.raises(InputError, match=rf"{what}\.nii\.gz: .*{cause}") as caught:
        read_image(_bad(tmp_path, what))
    assert "\n" not in str(caught.value)


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not labels"):
        read_image(save(tmp_path / "labels.nii", volume()), labels=True)
    constant = read_image(save(tmp_path / "none.nii", np.zeros(SHAPE, np.float32)), labels=True)
    assert constant.data.dtype == np.uint8
