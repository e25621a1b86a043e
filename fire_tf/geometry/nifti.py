"""Image files opened and checked: what is no image of real numbers at a place in the world is refused by name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from fire_tf.compat.memory import free_memory
from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.formats.images import is_other, load_other
from fire_tf.geometry.placing import world_affine

# What nibabel lets through for a damaged file.
_UNREADABLE = (EOFError, OSError, OverflowError, ValueError, zlib.error)
_LONGER = 1e-4  # than 1: what rounding may make the square of a quaternion's length
_FLAT = 1e-6  # volume of the box of unit axes below which they count as lying in one plane
_VOXEL_SIZES = (1e-3, 100.0)  # mm
# NIfTI's: matrices, vectors, point sets, triangles, quaternions, colours, the warps of FNIRT and of topup.
NO_GREY_VALUES = {
    1004,
    1005,
    1006,
    1007,
    1008,
    1009,
    1010,
    2003,
    2004,
    *range(2006, 2010),
    *range(2016, 2019),
}

Source = str | Path | nib.spatialimages.SpatialImage
"""An image as a caller gives it: the path of a file, or a nibabel image."""


def open_image(
    source: Source, *, vectors: bool = False, by_frames: bool = False
) -> nib.spatialimages.SpatialImage:
    """The image with its header checked and its data not read yet; where it lies, `world_affine` says.

    Raises InputError for what is no image, has no voxels, no real numbers (one a voxel, unless ``vectors``), no place
    in the world, or would not fit into memory (if read ``by_frames``, one of them).
    """
    image = source if isinstance(source, nib.spatialimages.SpatialImage) else _load(source)
    name, dtype = name_of(image), image.get_data_dtype()
    if dtype.kind not in "biuf":
        raise InputError(f"{name}: holds complex or colour voxels ({dtype}), expected real numbers")
    if 0 in image.shape:
        raise InputError(f"{name}: has no voxels (shape {image.shape})")
    if len(image.shape) < 2:
        raise InputError(f"{name}: has shape {image.shape}, expected a 2D, 3D or 4D image")
    if not vectors and _holds_vectors(image):
        raise InputError(
            f"{name}: holds vectors or matrices (shape {image.shape}), expected one number a voxel"
        )
    check_affine(with_normal(world_affine(image), image.shape), image.shape, name)
    # As stored, as float64 where the header scales it, and as float32.
    check_memory(
        math.prod(image.shape[:3] if by_frames else image.shape) * (dtype.itemsize + 12), f"reading {name}"
    )
    return image


def _holds_vectors(image: nib.spatialimages.SpatialImage) -> bool:
    """The fifth axis of NIfTI counts the values of one voxel; frames lie along the fourth."""
    code = int(image.header["intent_code"]) if isinstance(image.header, nib.Nifti1Header) else 0
    return code in NO_GREY_VALUES or any(size != 1 for size in image.shape[4:])


def _load(path: str | Path) -> nib.spatialimages.SpatialImage:
    path = user_path(path)
    if is_other(path) and path.exists():
        return load_other(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with _without_nibabel_log(), np.errstate(all="ignore"):
            image = _load_with_quaternion(path)
    except (*_UNREADABLE, ImageFileError, nib.spatialimages.HeaderDataError) as error:
        cause = _first_line(error).replace("w2", "1 less the square of its quaternion")
        raise InputError(f"{path}: not an image that can be read as NIfTI ({cause})") from error
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


def _load_with_quaternion(path: Path) -> Any:
    """nibabel refuses a quaternion that rounding has made longer than 1; other tools read it."""
    kind = nib.Nifti1Header
    threshold = kind.quaternion_threshold
    try:
        image = nib.load(path)
    except ValueError as error:
        if "w2" not in str(error):
            raise
        kind.quaternion_threshold = np.float64(-_LONGER)
        image = nib.load(path)
    finally:
        kind.quaternion_threshold = threshold
    _shorten_quaternion(image.header)
    return image


def _shorten_quaternion(header: Any) -> None:
    """Make a quaternion that is longer than 1 one of length 1, as other tools read it."""
    if not isinstance(header, nib.Nifti1Header) or not header["qform_code"] > 0:
        return
    names = ("quatern_b", "quatern_c", "quatern_d")
    length = math.sqrt(sum(float(header[name]) ** 2 for name in names))
    if not length < math.inf:
        raise nib.spatialimages.HeaderDataError("its quaternion is not finite")
    if length > 1:
        for name in names:
            header[name] = float(header[name]) / length


def read_data(image: nib.spatialimages.SpatialImage, *, as_stored: bool = False) -> np.ndarray:
    """The voxels of an opened image, scaled as its header says (or not, ``as_stored``).

    Raises InputError where the file breaks off.
    """
    data: Any = image.dataobj
    unscaled = as_stored and hasattr(data, "get_unscaled")
    return read_with(image, data.get_unscaled if unscaled else lambda: data)


def read_with(image: nib.spatialimages.SpatialImage, read: Callable[[], Any]) -> np.ndarray:
    """What ``read`` reads of an image; raises InputError where the file breaks off."""
    try:
        with np.errstate(all="ignore"):
            return np.asanyarray(read())
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


def check_affine(affine: np.ndarray, shape: Sequence[int], name: str) -> None:
    """Raise InputError for an affine (4, 4) that gives voxels no place in the world, or an impossible one."""
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        volume = abs(np.linalg.det(affine[:3, :3] / sizes))
    if not np.all(np.isfinite(affine)) or not volume > _FLAT:
        raise InputError(f"{name}: its affine is singular, so its voxels have no place in the world")
    low, high = _VOXEL_SIZES
    if sizes.min() < low or sizes[np.array((*shape, 1, 1)[:3]) > 1].max(initial=0) > high:
        raise InputError(
            f"{name}: has voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm, expected {low:g} to {high:g} mm; "
            "is the unit of its header right?"
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


def take_frames(
    images: Sequence[nib.spatialimages.SpatialImage], frame: int | None
) -> list[nib.spatialimages.SpatialImage]:
    """`take_frame` of each image; a 3D image beside one of several frames is taken as it is."""
    several = any(count_frames(image) > 1 for image in images)
    return [image if several and count_frames(image) == 1 else take_frame(image, frame) for image in images]


def count_frames(image: nib.spatialimages.SpatialImage) -> int:
    """How many 3D images an image holds."""
    return math.prod(image.shape[3:])


def name_of(image: nib.spatialimages.SpatialImage) -> str:
    """What messages call an image: its file's name, where it has one."""
    return image.get_filename() or "the given image"
