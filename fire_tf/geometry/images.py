"""NIfTI images in, arrays on the model's canvas out.

Every image becomes a three-dimensional array in RAS order (first axis left to right, second back to front,
third foot to head, as near as the axes of the file allow) with the affine that maps its voxels to world
millimetres (RAS+). A two-dimensional image is a volume of one slice, its singleton axis last. The canvas is
the fixed grid that a model works on: the image's own axes, the configured spacing, a fixed number of voxels.

Nothing here needs TensorFlow.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from fire_tf.files.errors import InputError

BACKGROUND = -1.0
"""The normalised value of what lies outside the object and outside the image."""

_SAME_SPACING = 1e-3  # relative: spacings that differ by less are one spacing (headers are float32)
# What nibabel lets through for a damaged file.
_UNREADABLE = (EOFError, OSError, OverflowError, ValueError, zlib.error)
_FLAT = 1e-6  # volume of the box of unit axes below which they count as lying in one plane
_VOXEL_SIZES = (1e-3, 1e3)  # mm
_TISSUE = 0.05  # part of the range above the background below which a voxel counts as empty (noise)


@dataclass(frozen=True)
class Image:
    """An image as read: `data` (X, Y, Z) in RAS order, `affine` (4, 4) from its voxels to world mm (RAS+)."""

    data: np.ndarray
    affine: np.ndarray
    path: str

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along the three axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


@dataclass(frozen=True)
class Prepared:
    """An image on the canvas.

    data: `canvas` float32 in [-1, 1], background -1.
    affine: (4, 4), canvas voxel -> world mm (RAS+); for a canvas of rank 2 the third voxel index is 0.
    spacing: the canvas' voxel size in mm, one number per canvas axis.
    grey_range: (2,), the image's grey values that became -1 and 1; (2, slices) where each slice has its own.
    """

    data: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, ...]
    grey_range: np.ndarray


Source = str | Path | nib.spatialimages.SpatialImage
"""An image as a caller gives it: the path of a file, or a nibabel image."""


def read_image(source: Source, *, labels: bool = False) -> Image:
    """Read an image (or, with `labels`, a label map of whole numbers) and bring it to RAS order.

    Raises InputError, naming the file and the cause, for whatever cannot be registered.
    """
    image = open_image(source)
    data, affine = _as_volume(read_data(image), np.asarray(image.affine, dtype=np.float64), name_of(image))
    data = (_check_labels if labels else _check_intensities)(data, name_of(image))
    orientation = io_orientation(affine)
    affine = affine @ inv_ornt_aff(orientation, data.shape)
    data = np.ascontiguousarray(apply_orientation(data, orientation))
    return _slice_axis_last(Image(data, affine, name_of(image)))


def read_frames(source: Source) -> list[Image]:
    """Read every frame of a 4D image (x, y, z, frame), each as `read_image` gives it.

    Raises InputError, naming the file and the cause.
    """
    image = open_image(source)
    if count_frames(image) < 2:
        raise InputError(
            f"{name_of(image)}: has shape {image.shape}, expected a 4D image of two or more frames"
        )
    return [read_image(frame) for frame in split_frames(image)]


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
    """Raise InputError if `needed` bytes are more than the machine has free."""
    free = _free_memory()
    if needed > free:
        raise InputError(
            f"{purpose} takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
        )


def _free_memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return math.inf


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


def _as_volume(data: np.ndarray, affine: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Three axes: singleton ones are added to a 2D image and dropped from the end of a 4D one."""
    shape = data.shape
    if any(size != 1 for size in shape[3:]):
        raise InputError(
            f"{name}: has shape {shape}, expected one 2D or 3D image; a frame of a 4D image must be named"
        )
    data = data.reshape((*shape[:3], 1)[:3])
    return data, with_normal(affine, data.shape)


def _check_intensities(data: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        data = np.asarray(data, dtype=np.float32)
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        raise InputError(f"{name}: holds {bad} voxels that are NaN or infinite")
    if data.min() == data.max():
        raise InputError(f"{name}: is constant (every voxel is {data.flat[0]:g})")
    return data


def _check_labels(data: np.ndarray, name: str) -> np.ndarray:
    if not np.all(np.isfinite(data)):
        raise InputError(f"{name}: holds NaN or infinite labels")
    rounded = np.rint(data)
    if np.any(np.abs(rounded - data) > 1e-3) or rounded.min() < 0:
        raise InputError(f"{name}: holds values that are not labels (whole numbers from 0)")
    return rounded.astype(np.min_scalar_type(int(rounded.max())))


def _slice_axis_last(image: Image) -> Image:
    """A single coronal or sagittal slice becomes (X, Y, 1): its plane's two axes first."""
    singles = [axis for axis, size in enumerate(image.data.shape) if size == 1]
    if len(singles) != 1 or singles[0] == 2:
        return image
    order = [axis for axis in range(3) if axis != singles[0]] + singles
    affine = image.affine[:, [*order, 3]]
    return Image(np.ascontiguousarray(image.data.transpose(order)), affine, image.path)


def foreground(data: np.ndarray) -> np.ndarray:
    """Where there is tissue: voxels clearly above the background, which is the lowest value. Any shape."""
    low = data.min()
    above = data[data > low]
    if above.size == 0:
        return np.zeros(data.shape, dtype=bool)
    return data > low + _TISSUE * (np.percentile(above, 99.5) - low)


def normalise(data: np.ndarray, percentile: float) -> np.ndarray:
    """Map the background to -1 and a high percentile of the rest to +1; clip what is brighter. Any shape.

    The background is the lowest value, the rest every voxel above it: the share of the canvas that is
    empty has no influence. A blank slice comes back as background.
    """
    return _scale(data, *_grey_range(data, percentile))


def _grey_range(data: np.ndarray, percentile: float) -> tuple[float, float]:
    """The grey values that `normalise` maps to -1 and to 1; one value twice for a blank slice."""
    low = data.min()
    above = data[data > low]
    if above.size == 0:
        return low, low
    return low, max(float(np.percentile(above, percentile)), np.nextafter(low, np.float32(np.inf)))


def _scale(data: np.ndarray, low: float, high: float) -> np.ndarray:
    if low == high:
        return np.full(data.shape, BACKGROUND, dtype=np.float32)
    return np.clip(2.0 * (data - low) / (high - low) - 1.0, -1.0, 1.0).astype(np.float32)


def canvas_grid(
    image: Image, spacing: Sequence[float], canvas: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The canvas' place in an image: its affine (4, 4), canvas voxel -> world mm, and its shape in 3D.

    Along each axis the canvas is centred on the field of view if that fits, else on the bounding box of the
    foreground. Where the image has the wanted spacing already, canvas voxels fall on image voxels. A
    canvas of rank 2 keeps the image's slices as they are.
    """
    sizes = (*canvas, *image.data.shape[len(canvas) :])
    zooms = image.spacing
    ratio = np.ones(3)
    ratio[: len(canvas)] = np.asarray(spacing) / zooms[: len(canvas)]
    ratio[np.abs(ratio - 1) < _SAME_SPACING] = 1.0
    centre = (np.asarray(image.data.shape) - 1) / 2
    too_large = np.asarray(image.data.shape) > np.asarray(sizes) * ratio + 0.5
    if too_large.any():
        centre[too_large] = _bounding_box_centre(foreground(image.data))[too_large]
    origin = centre - (np.asarray(sizes) - 1) / 2 * ratio
    origin = np.where(ratio == 1, np.floor(origin + 0.5), origin)
    to_image = np.diag([*ratio, 1.0])
    to_image[:3, 3] = origin
    return image.affine @ to_image, (int(sizes[0]), int(sizes[1]), int(sizes[2]))


def _bounding_box_centre(mask: np.ndarray) -> np.ndarray:
    """Centre of the smallest box around a mask, in voxels."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return np.array([(part.start + part.stop - 1) / 2 for part in boxes[0]])


def resample(image: Image, affine: np.ndarray, shape: Sequence[int], *, nearest: bool = False) -> np.ndarray:
    """Read an image on another grid: `affine` (4, 4) maps that grid's voxels to world mm, `shape` is its
    size (3).

    Linear, or nearest for labels; outside the image its lowest value (0 for labels). A grid much coarser
    than the image is read from a smoothed copy, so that nothing is aliased. A grid that falls on the
    image's own voxels is cut out without interpolation.
    """
    matrix = np.linalg.inv(image.affine) @ affine
    if image.data.shape[2] == 1 and shape[2] == 1:
        # Two single slices: their planes are taken for the same one, whatever the third coordinate says.
        matrix[2] = (0, 0, 1, 0)
    outside = 0 if nearest else image.data.min()
    start = np.rint(matrix[:3, 3])
    if np.allclose(matrix[:3, :3], np.eye(3), atol=1e-4) and np.allclose(matrix[:3, 3], start, atol=1e-2):
        return _cut(image.data, start.astype(int), shape, outside)
    data = image.data
    if not nearest:
        step = np.linalg.norm(matrix[:3, :3], axis=1)
        data = ndimage.gaussian_filter(data, np.sqrt(np.maximum(step**2 - 1, 0)) / 2.355, mode="nearest")
    return ndimage.affine_transform(
        data,
        matrix[:3, :3],
        matrix[:3, 3],
        tuple(shape),
        order=0 if nearest else 1,
        mode="grid-constant",  # "constant" would lose a last voxel to rounding
        cval=outside,
    )


def _cut(data: np.ndarray, start: np.ndarray, shape: Sequence[int], outside: float) -> np.ndarray:
    """The box of `shape` that begins at voxel `start` (which may lie outside), filled up with `outside`."""
    result = np.full(tuple(shape), outside, dtype=data.dtype)
    first, stop = np.maximum(start, 0), np.minimum(start + np.asarray(shape), data.shape)
    if np.all(stop > first):
        source = tuple(slice(low, high) for low, high in zip(first, stop, strict=True))
        result[tuple(slice(low, high) for low, high in zip(first - start, stop - start, strict=True))] = data[
            source
        ]
    return result


def prepare(image: Image, spacing: Sequence[float], canvas: Sequence[int], percentile: float) -> Prepared:
    """Put one image on a canvas of rank 2 or 3 and normalise it.

    Raises InputError for a volume on a canvas of rank 2 and for a single slice on one of rank 3.
    """
    if len(canvas) == 2 and image.data.shape[2] != 1:
        shape = image.data.shape
        raise InputError(f"{image.path}: has shape {shape}, expected a single slice (the model is 2D)")
    if len(canvas) == 3 and image.data.shape[2] == 1:
        raise InputError(f"{image.path}: is a single slice, expected a volume (the model is 3D)")
    affine, shape = canvas_grid(image, spacing, canvas)
    values = resample(image, affine, shape).reshape(tuple(canvas))
    low, high = _grey_range(values, percentile)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)[: len(canvas)]
    return Prepared(
        data=_scale(values, low, high),
        affine=affine,
        spacing=tuple(float(size) for size in sizes),
        grey_range=np.array([low, high], np.float64),
    )
