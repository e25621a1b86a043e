"""The same anatomy, however it is stored, is registered in the same way, and results keep the file's own header."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from orientations import ORIENTATIONS, stored_as

from fire_tf.files.doubts import Doubt
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.registration.user_images import register_images

SIZE = (14, 18, 12)
OBLIQUE = np.array(
    [[1.9, 0.3, -0.2, -20], [-0.35, 2.1, 0.25, 5], [0.2, -0.3, 2.4, 11], [0, 0, 0, 1]], dtype=float
)


def known_model(size: tuple[int, ...]) -> KnownModel:
    """A turn, a shift and a smooth displacement, on a canvas of 2 mm."""
    there = turned(6, (1.0, -0.7, 0.4)[: len(size)])
    field = 0.8 * np.sin(grid_points(size) / 4)
    return KnownModel(size, (2.0,) * len(size), (there, field), (inverse_affine(there), -field))


@pytest.fixture(scope="module")
def pair() -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Two anisotropic, oblique volumes that share neither axes nor voxel sizes."""
    moving = nib.Nifti1Image(brain_like(SIZE, 0), OBLIQUE)
    other = OBLIQUE @ np.diag([1.1, 0.9, 1.3, 1.0])
    other[:3, 3] += (2, -3, 1)
    return moving, nib.Nifti1Image(brain_like(SIZE, 1), other)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_give_one_registration(codes: str, pair) -> None:
    model = known_model((16, 20, 16))
    reference = register_images(model, *pair)
    moving, fixed = stored_as(pair[0], codes), stored_as(pair[1], codes[1:] + codes[0])
    result = register_images(model, moving, fixed)
    points = AffineMap(pair[1].affine)(grid_points(SIZE))[::3, ::3, ::3]
    for name in ("to_moving", "to_fixed"):
        there, here = (getattr(found.registration, name)(points) for found in (reference, result))
        np.testing.assert_allclose(here, there, atol=1e-4)
    for image, stored, expected in (
        (result.warped, fixed, reference.warped),
        (result.inverse_warped, moving, reference.inverse_warped),
        (result.from_moving, moving, reference.from_moving),
    ):
        assert image.shape == stored.shape
        np.testing.assert_allclose(image.affine, stored.affine, atol=1e-5)
        back = stored_as(image, "".join(nib.aff2axcodes(expected.affine)))
        np.testing.assert_allclose(back.get_fdata(), expected.get_fdata(), atol=0.05)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("kind", ["two axes", "one slice"])
def test_slices_of_every_plane_are_registered_in_their_place(plane: str, kind: str) -> None:
    """A slice keeps its plane in the world; both ways of storing it give the same picture."""
    size = (14, 18)
    columns = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[plane]
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.eye(3)[:, columns]
    affine[:3, 3] = (5, -7, 9)
    shape = size if kind == "two axes" else (*size, 1)
    images = [nib.Nifti1Image(brain_like(size, seed).reshape(shape), affine) for seed in (0, 1)]
    model = known_model(size)
    result = register_images(model, *images)
    assert result.warped.shape == shape
    np.testing.assert_allclose(result.warped.affine, affine)
    plain = [nib.Nifti1Image(brain_like(size, seed), np.diag([2.0, 2, 2, 1])) for seed in (0, 1)]
    expected = register_images(model, *plain).warped.get_fdata()
    np.testing.assert_allclose(result.warped.get_fdata().reshape(size), expected, atol=0.05)
    points = AffineMap(affine)(grid_points((*size, 1)))
    normal = columns[2]
    np.testing.assert_allclose(
        result.registration.to_moving(points)[..., normal], affine[normal, 3], atol=1e-9
    )


def test_a_slice_across_the_first_axis_of_a_volume_is_a_slice() -> None:
    """One voxel along x, stored first: (1, Y, Z)."""
    affine = np.diag([3.0, 2.0, 2.0, 1.0])
    images = [nib.Nifti1Image(brain_like((14, 18), seed)[None], affine) for seed in (0, 1)]
    result = register_images(known_model((14, 18)), *images)
    assert result.warped.shape == (1, 14, 18)


def _header(kind: type) -> nib.Nifti1Image:
    image = kind(brain_like(SIZE, 0), None)
    image.header.set_qform(OBLIQUE, code=1, strip_shears=True)
    image.header.set_sform(OBLIQUE, code=4)
    image.header.set_xyzt_units("mm", "msec")
    image.header["descrip"] = b"scanner 7, echo 2"
    image.header["cal_max"] = 900
    return image


@pytest.mark.parametrize(
    ("kind", "name"),
    [(nib.Nifti1Image, "a.nii.gz"), (nib.Nifti1Pair, "a.img"), (nib.Nifti2Image, "a.nii")],
)
def test_codes_units_and_description_are_kept(kind: type, name: str, tmp_path: Path) -> None:
    nib.save(_header(kind), tmp_path / name)
    # The sform is sheared, which a qform cannot be.
    with pytest.warns(Doubt, match="read by the qform"):
        result = register_images(known_model((16, 20, 16)), tmp_path / name, tmp_path / name)
    nib.save(result.warped, tmp_path / "warped.nii.gz")
    header, original = nib.load(tmp_path / "warped.nii.gz").header, nib.load(tmp_path / name).header
    assert int(header["sform_code"]) == 4
    assert int(header["qform_code"]) == 1
    assert header.get_xyzt_units() == ("mm", "msec")
    assert bytes(header["descrip"]).startswith(b"scanner 7, echo 2")
    np.testing.assert_allclose(header.get_sform(), original.get_sform(), atol=1e-6)
    np.testing.assert_allclose(header.get_qform(), original.get_qform(), atol=1e-5)
    assert float(header["cal_max"]) == 0  # the display range belongs to the old grey values
    assert header.get_data_dtype() == np.float32


def test_a_byte_swapped_file_with_a_qform_alone_stays_so(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_shape(SIZE)
    header.set_data_dtype(np.float32)
    header.set_qform(np.diag([-2.0, 2, 2, 1]), code=1)
    nib.save(nib.Nifti1Image(brain_like(SIZE), None, header), tmp_path / "swapped.nii")
    grid = read_grid(tmp_path / "swapped.nii")
    image = grid.image(np.zeros(SIZE, np.float32))
    assert int(image.header["sform_code"]) == 0
    assert int(image.header["qform_code"]) == 1
    np.testing.assert_allclose(image.affine, np.diag([-2.0, 2, 2, 1]))


def test_other_formats_give_their_affine(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(brain_like(SIZE), OBLIQUE.astype(np.float32)), tmp_path / "brain.mgz")
    result = register_images(known_model((16, 20, 16)), tmp_path / "brain.mgz", tmp_path / "brain.mgz")
    np.testing.assert_allclose(result.warped.affine, OBLIQUE, atol=1e-4)
    assert result.warped.header.get_xyzt_units()[0] == "mm"
