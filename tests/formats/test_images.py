"""NRRD, MetaImage and DICOM series: the same image at the same place as in NIfTI, and results in the same format."""

import locale
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like
from volumes import SHAPE, volume

from fire_tf.applying.images import apply_transform
from fire_tf.files.doubts import Doubt
from fire_tf.files.errors import InputError
from fire_tf.formats.images import save_image
from fire_tf.formats.itk_images import to_itk
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.images import read_image
from fire_tf.geometry.nifti import open_image, read_data
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.registration.quality import file_hash
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import register_images
from fire_tf.transforms.fields import AffineTransform

sitk = pytest.importorskip("SimpleITK")
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr([[1.9, 0.3, -0.2], [-0.35, 2.1, 0.25], [0.2, -0.3, 2.4]])[0] @ np.diag(
    [1.9, 2.1, 2.4]
)
OBLIQUE[:3, 3] = -20, 5, 11


def write_series(
    folder: Path, image: nib.Nifti1Image, tilt: float = 0.0, leave_out: int | None = None
) -> Path:
    """A file for each slice, named against their order; ``tilt`` shifts each along its rows, in mm."""
    folder.mkdir()
    before = locale.setlocale(locale.LC_ALL)  # GDCM's writer changes it
    stack = sitk.Cast(to_itk(image), sitk.sitkInt16)
    direction = np.reshape(stack.GetDirection(), (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(stack.GetDepth()):
        if k == leave_out:
            continue
        place = np.array(stack.TransformIndexToPhysicalPoint((0, 0, k))) + tilt * k * direction[:, 1]
        part = stack[:, :, k]
        tags = {
            "0008|0060": "MR",
            "0008|103e": "T1",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{len(folder.name)}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.9.{k + 1}",
            "0020|0032": "\\".join(f"{x:.9f}" for x in place),
            "0020|0037": "\\".join(f"{x:.9f}" for x in (*direction[:, 0], *direction[:, 1])),
            "0018|0050": f"{stack.GetSpacing()[2]:.6f}",
            "0020|0013": str(k * 7 % 5),
        }
        for key, value in tags.items():
            part.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{(k * 5) % 11:02d}.dcm"))
        writer.Execute(part)
    locale.setlocale(locale.LC_ALL, before)
    return folder


def t1() -> nib.Nifti1Image:
    return nib.Nifti1Image(np.rint(volume((9, 12, 7)) * 9).astype(np.int16), OBLIQUE)


@pytest.mark.parametrize("name", ["t1.nrrd", "t1.nhdr", "t1.mha", "t1.mhd", "series"])
def test_an_image_lies_where_its_nifti_file_lies(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "series":
        write_series(path, t1())
    else:
        sitk.WriteImage(to_itk(t1()), str(path))
    ours, theirs = read_image(path), read_image(t1())
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert ours.path == str(path)
    assert file_hash(path)
    grid = read_grid(path)
    assert grid.suffix == {"nrrd": ".nrrd", "nhdr": ".nrrd"}.get(
        name[3:], ".mha" if "mh" in name else ".nii.gz"
    )


def test_other_ranks_of_nrrd(tmp_path: Path) -> None:
    for shape in (SHAPE[:2], (*SHAPE, 4), (*SHAPE, 1, 5)):
        image = nib.Nifti1Image(volume(shape), OBLIQUE if len(shape) > 2 else np.diag([2.0, 3, 1, 1]))
        save_image(image, tmp_path / "some.nrrd")
        found = open_image(tmp_path / "some.nrrd", vectors=True)
        np.testing.assert_array_equal(read_data(found), image.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-9)
    with pytest.raises(InputError, match="frames of several channels"):
        save_image(nib.Nifti1Image(volume((*SHAPE, 2, 2)), OBLIQUE), tmp_path / "some.nrrd")


def test_scaling_is_written_into_the_values(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), OBLIQUE)
    image.header.set_slope_inter(0.5, 7)
    nib.save(image, tmp_path / "scaled.nii")
    still = AffineTransform(AffineMap.identity(3))
    made = apply_transform(still, tmp_path / "scaled.nii", read_grid(tmp_path / "scaled.nii"), "nearest")
    save_image(made, tmp_path / "scaled.mha")
    found = read_data(open_image(tmp_path / "scaled.mha"))
    np.testing.assert_allclose(found, np.arange(60).reshape(3, 4, 5) * 0.5 + 7)


def test_results_come_back_in_the_format_of_the_image_that_they_lie_on(tmp_path: Path) -> None:
    shape = (20, 22, 18)
    for name, seed in (("moving.nrrd", 0), ("fixed.nii.gz", 1)):
        save_image(nib.Nifti1Image(brain_like(shape, seed), OBLIQUE), tmp_path / name)
    files = tmp_path / "moving.nrrd", tmp_path / "fixed.nii.gz"
    result = register_images(KnownModel(shape, (2.0,) * 3), *files)
    names = {path.name for path in write_registration(result, f"{tmp_path}/P_")}
    assert {"P_Warped.nii.gz", "P_InverseWarped.nrrd", "P_SynthesizedFLAIR.nrrd"} <= names
    assert "P_CompositeWarp.nii.gz" in names
    found = sitk.ReadImage(str(tmp_path / "P_InverseWarped.nrrd"))
    np.testing.assert_allclose(found.GetOrigin(), sitk.ReadImage(str(files[0])).GetOrigin())
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(found).T, result.inverse_warped.get_fdata(dtype=np.float32), atol=1e-6
    )


def test_a_series_that_is_no_stack_is_refused(tmp_path: Path) -> None:
    cases = {
        "tilted": ({"tilt": 0.3}, r"its gantry was tilted by 7.1 degrees"),
        "gap": ({"leave_out": 3}, r"its slices are 2.4 to 4.8 mm apart: one may be missing"),
    }
    for name, (fault, cause) in cases.items():
        with pytest.raises(InputError, match=rf"{name}: {cause}"):
            open_image(write_series(tmp_path / name, t1(), **fault))
    write_series(tmp_path / "two", t1())
    for path in write_series(tmp_path / "another", t1()).iterdir():
        path.rename(tmp_path / "two" / f"b{path.name}")
    with pytest.raises(InputError, match=r"two: holds 2 DICOM series \(7 files 'T1', 7 files 'T1'\)"):
        open_image(tmp_path / "two")
    with pytest.raises(InputError, match="another: is a folder without a DICOM series"):
        open_image(tmp_path / "another")
    with pytest.raises(InputError, match=r"00.dcm: is one file of a DICOM series; name the folder"):
        open_image(tmp_path / "gap" / "00.dcm")


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none.nrrd").write_text("no image")
    with pytest.raises(InputError, match=r"none.nrrd: cannot be read \(") as raised:
        open_image(tmp_path / "none.nrrd")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"absent.mha: no such file"):
        open_image(tmp_path / "absent.mha")
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"none.nrrd: needs SimpleITK; pip install 'fire_tf\[formats\]'"):
        open_image(tmp_path / "none.nrrd")


def test_a_space_that_is_not_named_is_a_doubt(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n"
    (tmp_path / "plain.nrrd").write_bytes(header.encode() + bytes(range(8)))
    with pytest.warns(Doubt, match=r"plain.nrrd: does not say which way its axes run"):
        open_image(tmp_path / "plain.nrrd")
