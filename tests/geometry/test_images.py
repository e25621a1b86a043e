"""Reading images and bringing them to RAS order."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE, save, volume, world

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import read_image


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


def test_a_single_sagittal_slice_keeps_its_place_in_the_world(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 3, 7], [2, 0, 0, 1], [0, 2, 0, 4], [0, 0, 0, 1]], dtype=float)
    path = save(tmp_path / "sagittal.nii", volume((9, 11)), affine)
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], volume((9, 11)))
    np.testing.assert_allclose(
        world(image.affine, np.array([3, 5, 0])), world(affine, np.array([3, 5, 0])), atol=1e-5
    )


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
