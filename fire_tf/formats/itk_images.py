"""Images of ITK as images of nibabel, and back: voxels, vectors, frames and the place in the world.

ITK's world is LPS+ mm, NIfTI's RAS+. ITK keeps the components of a vector inside its voxels, NIfTI along a fifth axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813  # its own documentation calls it so

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def from_itk(image: sitk.Image) -> nib.Nifti1Image:
    """An image of two to four axes: ``(X, Y[, Z][, frames])``, vectors ``(X, Y, Z, 1, components)``.

    An image of two axes lies in an axial plane at z = 0.
    """
    import SimpleITK as sitk  # noqa: N813

    rank, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    values = sitk.GetArrayFromImage(image)
    axes = tuple(range(rank))[::-1]
    if components > 1:
        values = values.transpose((*axes, rank))
        values = values.reshape((*(*values.shape[:rank], 1, 1)[:4], components))
    else:
        values = values.transpose(axes)
    n = min(rank, 3)
    lps = np.eye(4)
    lps[:n, :n] = np.reshape(image.GetDirection(), (rank, rank))[:n, :n] * image.GetSpacing()[:n]
    lps[:n, 3] = image.GetOrigin()[:n]
    made = nib.Nifti1Image(values, _LPS @ lps)
    made.header.set_xyzt_units("mm", "sec")
    return made


def to_itk(image: nib.Nifti1Image) -> sitk.Image:
    """The image of ITK that `from_itk` would give back; two components make an image of two axes."""
    import SimpleITK as sitk  # noqa: N813

    values = np.asanyarray(image.dataobj)
    vectors = values.ndim == 5
    if vectors:
        values = values[:, :, :, 0] if values.shape[-1] > 2 else values[:, :, 0, 0]
    rank = values.ndim - vectors
    axes = tuple(range(rank))[::-1]
    made = sitk.GetImageFromArray(
        np.ascontiguousarray(values.transpose((*axes, rank) if vectors else axes)), isVector=vectors
    )
    n = min(rank, 3)
    lps = _LPS @ image.affine
    sizes, direction = np.linalg.norm(lps[:n, :n], axis=0), np.eye(rank)
    direction[:n, :n] = lps[:n, :n] / sizes
    time = [float(image.header.get_zooms()[3])] if rank == 4 else []
    made.SetSpacing([*sizes.tolist(), *time])
    made.SetOrigin([*lps[:n, 3].tolist(), *(0.0 for _ in time)])
    made.SetDirection(direction.ravel().tolist())
    return made
