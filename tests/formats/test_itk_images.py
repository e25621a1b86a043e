"""Images of ITK and of nibabel: the same voxels at the same places."""

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE, volume

from fire_tf.formats.itk_images import from_itk, to_itk

sitk = pytest.importorskip("SimpleITK")


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[:2], (*SHAPE, 4), (*SHAPE, 1, 3), (*SHAPE[:2], 1, 1, 2)])
def test_there_and_back(shape: tuple[int, ...]) -> None:
    image = nib.Nifti1Image(
        volume(shape), OBLIQUE if len(shape) > 2 and shape[2] > 1 else np.diag([-2.0, 3, 1, 1])
    )
    made = to_itk(image)
    again = from_itk(made)
    np.testing.assert_array_equal(np.asarray(again.dataobj), image.get_fdata())
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-12)


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1, 3), SHAPE[:2]])
def test_a_nifti_file_is_what_itk_reads_of_it(shape: tuple[int, ...], tmp_path) -> None:
    affine = np.diag([-2.0, 3, 1, 1])
    affine[:2, 3] = 5, -7
    if len(shape) > 2:
        affine[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] @ np.diag([1.9, 2.1, 2.4])
    image = nib.Nifti1Image(volume(shape), affine)
    if len(shape) == 5:
        image.header.set_intent("vector")
    nib.save(image, tmp_path / "image.nii")
    theirs, ours = sitk.ReadImage(str(tmp_path / "image.nii")), to_itk(image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(ours))
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, name)(), getattr(theirs, name)(), atol=1e-5)
