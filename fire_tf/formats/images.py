"""Images in files of ITK's formats, read as those of nibabel, and written again.

=======================  ===========================================================================================
``.nrrd``, ``.nhdr``     NRRD
``.mha``, ``.mhd``       MetaImage
a folder                 one DICOM series, a file for each slice (`fire_tf.formats.dicom`)
=======================  ===========================================================================================

Written are ``.nrrd`` and ``.mha``; of a DICOM series results are NIfTI, for they are none that a scanner made.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.formats.dicom import read_series
from fire_tf.formats.itk_images import from_itk, to_itk
from fire_tf.formats.library import cause_of, simple_itk

NIFTI = (".nii", ".nii.gz")
_READ = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}  # and how results are written
_SLICES = (".dcm", ".ima")


def is_other(path: Path) -> bool:
    """Whether `load_other` is for this file or folder."""
    return path.is_dir() or path.suffix.lower() in (*_READ, *_SLICES)


def load_other(path: Path) -> nib.Nifti1Image:
    """An image with its data, which carries the name of its file; see above.

    Raises InputError for what cannot be read so, and without SimpleITK.
    """
    sitk = simple_itk(f"{path}: is a folder, to be read as a DICOM series" if path.is_dir() else str(path))
    if path.suffix.lower() in _SLICES and not path.is_dir():
        raise InputError(f"{path}: is one file of a DICOM series; name the folder of the series")
    parts: Iterable[str | Path]
    try:
        if path.is_dir():
            read, parts = read_series(path)
        else:
            read, parts = sitk.ReadImage(str(path)), path.parent.glob(f"{glob.escape(path.stem)}.*")
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read ({cause_of(error)})") from None
    is_nrrd = _READ.get(path.suffix.lower()) == ".nrrd"
    if is_nrrd and read.GetDimension() == 3 and not read.HasMetaDataKey("NRRD_space"):
        cast_doubt(
            f"{path}: does not say which way its axes run (no space): taken for left-posterior-superior"
        )
    image = from_itk(read)
    # Besides the name that messages use, every file that it was read from.
    files = {f"part{number}": nib.FileHolder(part) for number, part in enumerate(sorted(map(str, parts)))}
    image.file_map = {"image": nib.FileHolder(str(path)), **files}
    return image


def suffix_of(image: nib.spatialimages.SpatialImage) -> str:
    """The end of names of results on the grid of an image that was read: its own format's, where that can hold them."""
    return _READ.get(Path(image.get_filename() or "").suffix.lower(), ".nii.gz")


def check_output_name(path: str | Path) -> None:
    """Raise InputError for a name that does not end as that of a file which `save_image` writes."""
    endings = (*NIFTI, *dict.fromkeys(_READ.values()))
    if not str(path).endswith(endings):
        raise InputError(f"{path}: an image is written as {', '.join(endings)}")
    if not str(path).endswith(NIFTI):
        simple_itk(str(path))


def save_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image that was made here, whose data are as they are stored, in the format that the name says.

    Raises InputError for frames of several channels in another format than NIfTI.
    """
    if str(path).endswith(NIFTI):
        nib.save(image, path)
        return
    if image.ndim > 4 and image.shape[3] > 1:
        raise InputError(f"{path.name}: frames of several channels are written as NIfTI alone")
    slope, inter = image.header.get_slope_inter()
    if (slope or 1, inter or 0) != (1, 0):
        values = np.asanyarray(image.dataobj) * np.float32(slope or 1) + np.float32(inter or 0)
        image = nib.Nifti1Image(values.astype(np.float32), image.affine, image.header)
    simple_itk(str(path)).WriteImage(to_itk(image), str(path), True)
