"""Image files opened and checked: what is no image of real numbers at a place in the world is refused by name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from fire_tf.compat.memory import free_memory
from fire_tf.files.errors import InputError

# What nibabel lets through for a damaged file.
_UNREADABLE = (EOFError, OSError, OverflowError, ValueError, zlib.error)
_FLAT = 1e-6  # volume of the box of unit axes below which they count as lying in one plane
_VOXEL_SIZES = (1e-3, 1e3)  # mm

Source = str | Path | nib.spatialimages.SpatialImage
"""An image as a caller gives it: the path of a file, or a nibabel image."""


def open_image(source: Source) -> nib.spatialimages.SpatialImage:
    """The image with its header checked and its data not read yet.

    Raises InputError for what is no image, has no voxels, no real numbers, no place in the world, or would not fit
    into memory.
    """
    image = source if isinstance(source, nib.spatialimages.SpatialImage) else _load(source)
    name, dtype = name_of(image), image.get_data_dtype()
    if dtype.kind not in "biuf":
        raise InputError(f"{name}: holds complex or colour voxels ({dtype}), expected real numbers")
    if 0 in image.shape:
        raise InputError(f"{name}: has no voxels (shape {image.shape})")
    if len(image.shape) < 2:
        raise InputError(f"{name}: has shape {image.shape}, expected a 2D, 3D or 4D image")
    check_affine(with_normal(np.asarray(image.affine, dtype=np.float64), image.shape), name)
    # As stored, as float64 where the header scales it, and as float32.
    check_memory(math.prod(image.shape) * (dtype.itemsize + 12), f"reading {name}")
    return image


def _load(path: str | Path) -> nib.spatialimages.SpatialImage:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with _without_nibabel_log(), np.errstate(all="ignore"):
            image = nib.load(path)
    except (*_UNREADABLE, ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise InputError(f"{path}: not an image that can be read as NIfTI ({_first_line(error)})") from error
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise InputError(f"{path}: holds a {type(image).__name__}, not an image on a voxel grid")
    return image


@contextmanager
def _without_nibabel_log() -> Iterator[None]:
    """nibabel logs what it repairs in a header; what it cannot repair is an exception, or found by us."""
    log = nib.imageglobals.logger
    was = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = was


def read_data(image: nib.spatialimages.SpatialImage, *, as_stored: bool = False) -> np.ndarray:
    """The voxels of an opened image, scaled as its header says (or not, ``as_stored``).

    Raises InputError where the file breaks off.
    """
    try:
        with np.errstate(all="ignore"):
            if as_stored and hasattr(image.dataobj, "get_unscaled"):
                return np.asanyarray(image.dataobj.get_unscaled())
            return np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise InputError(
            f"{name_of(image)}: its data cannot be read, it may be truncated ({_first_line(error)})"
        ) from error


def check_memory(needed: float, purpose: str) -> None:
    """Raise InputError if `needed` bytes are more than this process may still take."""
    free = free_memory()
    if needed > free:
        raise InputError(f"{purpose} takes about {_shown(needed)} of memory, and {_shown(free)} are free")


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def with_normal(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The affine of a single slice with a third direction, which some writers of 2D files leave empty."""
    if (*shape, 1, 1)[2] != 1 or np.any(affine[:3, 2]):
        return affine
    affine = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)  # any thickness will do
    return affine


def check_affine(affine: np.ndarray, name: str) -> None:
    """Raise InputError for an affine (4, 4) that gives voxels no place in the world, or an impossible one."""
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        volume = abs(np.linalg.det(affine[:3, :3] / sizes))
    if not np.all(np.isfinite(affine)) or not volume > _FLAT:
        raise InputError(f"{name}: its affine is singular, so its voxels have no place in the world")
    low, high = _VOXEL_SIZES
    if sizes.min() < low or sizes.max() > high:
        raise InputError(
            f"{name}: has voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm, expected {low:g} to {high:g} mm"
        )


def split_frames(image: nib.spatialimages.SpatialImage) -> list[nib.spatialimages.SpatialImage]:
    """The frames of an opened 4D image as 3D images in memory, which keep its name; a 3D image as it is."""
    if count_frames(image) == 1:
        return [image]
    data = read_data(image).reshape((*image.shape[:3], -1))
    frames = [type(image)(data[..., index], image.affine, image.header) for index in range(data.shape[3])]
    if image.get_filename():
        for frame in frames:
            frame.file_map = image.file_map
    return frames


def take_frame(image: nib.spatialimages.SpatialImage, frame: int | None) -> nib.spatialimages.SpatialImage:
    """One frame of an opened 4D image, counted from 0; without a number, and of a 3D image, the image itself."""
    count = count_frames(image)
    if frame is None or (count == 1 and frame == 0):
        return image
    if not 0 <= frame < count:
        raise InputError(f"{name_of(image)}: has frames 0 to {count - 1}, frame {frame} was asked for")
    return split_frames(image)[frame]


def count_frames(image: nib.spatialimages.SpatialImage) -> int:
    """How many 3D images an image holds."""
    return math.prod(image.shape[3:])


def name_of(image: nib.spatialimages.SpatialImage) -> str:
    """What messages call an image: its file's name, where it has one."""
    return image.get_filename() or "the given image"
