"""A DICOM series: a folder with a file for each slice, in any order and under any name.

The slices are laid in the order of their positions along their common normal. What is no stack of parallel slices at
right angles to it and equally far apart would be put elsewhere by ITK without a word: it is refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.formats.library import simple_itk

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813  # its own documentation calls it so

_POSITION, _ORIENTATION, _FRAMES, _DESCRIPTION = "0020|0032", "0020|0037", "0028|0008", "0008|103e"
_TILT = 0.2  # degrees between normal and the way from slice to slice
_UNEVEN = 0.02  # of the distance between slices
_TURNED = 1e-3  # between direction cosines of two slices


def read_series(folder: Path) -> tuple[sitk.Image, list[str]]:
    """The volume, and its files in order; values are scaled as the files say.

    Raises InputError for a folder without a series or with several, and for slices that are no even stack.
    """
    sitk = simple_itk(str(folder))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # of files that are no DICOM
    try:
        files = _only_series(sitk, folder)
        ordered = _in_order(sitk, files, str(folder))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(ordered)
        return reader.Execute(), ordered
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _only_series(sitk: Any, folder: Path) -> list[str]:
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    series = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name) for name in found]
    if len(series) == 1:
        return list(series[0])
    if not series:
        raise InputError(f"{folder}: is a folder without a DICOM series")
    described = ", ".join(
        f"{len(files)} files {_header(sitk, files[0], str(folder)).get(_DESCRIPTION, '').strip()!r}"
        for files in series
    )
    raise InputError(
        f"{folder}: holds {len(series)} DICOM series ({described}); keep one in a folder of its own"
    )


def _header(sitk: Any, file: str, name: str) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    tags = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    if int(tags.get(_FRAMES, "1")) > 1:
        raise InputError(
            f"{name}: {Path(file).name} holds many frames; convert it to NIfTI first, with dcm2niix say"
        )
    return tags


def _numbers(tags: dict[str, str], key: str, count: int) -> np.ndarray:
    try:
        return np.array([float(part) for part in tags.get(key, "").split("\\")]).reshape(count)
    except ValueError:
        return np.full(count, np.nan)


def _in_order(sitk: Any, files: list[str], name: str) -> list[str]:
    """The files by position along the normal of their planes."""
    tags = [_header(sitk, file, name) for file in files]
    places = np.array([_numbers(one, _POSITION, 3) for one in tags])
    axes = np.array([_numbers(one, _ORIENTATION, 6) for one in tags])
    if not (np.isfinite(places).all() and np.isfinite(axes).all()):
        raise InputError(
            f"{name}: not every slice says where it lies (Image Position and Orientation, Patient)"
        )
    if np.abs(axes - axes[0]).max() > _TURNED:
        raise InputError(f"{name}: its slices are not parallel to each other")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    heights = places @ normal
    order = np.argsort(heights)
    _check_even(places[order], heights[order], name)
    return [files[i] for i in order]


def _check_even(places: np.ndarray, heights: np.ndarray, name: str) -> None:
    """Raise InputError for slices (sorted) that no grid at right angles holds."""
    if len(places) < 2:
        return
    gaps, way = np.diff(heights), places[-1] - places[0]
    if gaps.min() < 1e-3:
        raise InputError(
            f"{name}: has several slices at one place; a series in time is not read here, use dcm2niix"
        )
    tilt = np.degrees(np.arccos(min(1.0, (heights[-1] - heights[0]) / np.linalg.norm(way))))
    if tilt > _TILT:
        raise InputError(
            f"{name}: its gantry was tilted by {tilt:.1f} degrees, or its slices are shifted; resample it with a tool "
            "that knows of this, dcm2niix say"
        )
    if np.ptp(gaps) > _UNEVEN * np.median(gaps):
        raise InputError(
            f"{name}: its slices are {gaps.min():.3g} to {gaps.max():.3g} mm apart: one may be missing, or it is no "
            "even stack"
        )
