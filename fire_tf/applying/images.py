"""Further images and label maps resampled with a transform: in memory, and from files to files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.formats.images import NIFTI, check_output_name, save_image
from fire_tf.geometry.frames import frames_of, places, save_frames
from fire_tf.geometry.grids import PARALLEL, Grid, keep_time_step, read_grid
from fire_tf.geometry.interpolation import KEEPING_TYPE, PointReader, reader_of
from fire_tf.geometry.names import INTERPOLATIONS
from fire_tf.geometry.nifti import NO_GREY_VALUES, Source, check_memory, count_frames, name_of, open_image
from fire_tf.geometry.point_maps import PointMap
from fire_tf.transforms.fields import Transform

_ITK_VECTORS = 1007  # what ITK writes for channels of any kind
_ON_A_STEP = 1e-3  # of a step between stored numbers: scale and offset are float32
_NOWHERE = -1e6  # voxels
_ON_A_VOXEL = 1e-5  # of a voxel: what rounding leaves of a step from voxel to voxel


@dataclass(frozen=True)
class Resampled:
    """An image on another grid: its header, and its volumes (X, Y, Z) one at a time, in the order of the file."""

    header: nib.Nifti1Header
    frames: Iterator[np.ndarray]


def apply_transform(
    transform: Transform, source: Source, reference: Grid, interpolation: str = "linear", fill: float = 0.0
) -> nib.Nifti1Image:
    """`resample`, the whole image in memory."""
    return in_memory(resample(transform, source, reference, interpolation, fill), reference)


def in_memory(made: Resampled, reference: Grid) -> nib.Nifti1Image:
    """The whole of an image that was laid on the ``reference`` grid."""
    shape = made.header.get_data_shape()
    values = np.empty((*reference.shape, *shape[3:]), made.header.get_data_dtype())
    for place, frame in zip(places(shape), made.frames, strict=True):
        values[place] = frame
    kind = nib.Nifti2Image if isinstance(made.header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(values.reshape(shape), made.header.get_best_affine(), made.header)
    image.header.set_slope_inter(*made.header.get_slope_inter())  # nibabel forgets it
    return image


def resample(
    transform: Transform,
    source: Source,
    reference: Grid,
    interpolation: str = "linear",
    fill: float = 0.0,
    *,
    channels: bool = False,
) -> Resampled:
    """``source`` (a path or a nibabel image, 2D to 5D) pulled through a transform onto the ``reference`` grid.

    The result has the reference's header and the source's frames and channels, each resampled for itself.
    ``interpolation``: see `fire_tf.geometry.interpolation`; what keeps the type keeps the stored scaling too, the
    others give float32. Outside the source the value is ``fill``; where the stored type cannot hold it, the result is
    float32 too. A voxel that falls on one of the source keeps its value, NaN included.

    Raises InputError for an image that cannot be read, for slices whose planes are not parallel, and for voxels of two
    or three numbers, which may be vectors in space, unless ``channels`` says that they are not.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}")
    image = open_image(source, vectors=True, by_frames=True)
    _check_channels(image, channels=channels)
    grid, several = read_grid(image), count_frames(image) > 1
    to_source = _voxels_of(grid, reference, transform, name_of(image))
    check_memory((32 if several else 8) * math.prod(reference.shape), "resampling")
    # Grey values may be stored as whole numbers times a slope: a voxel's number and the slope are kept.
    stored_fill = _stored(fill, image) if interpolation in KEEPING_TYPE else None
    as_stored, outside = stored_fill is not None, fill if stored_fill is None else stored_fill
    volumes = (volume.reshape(grid.shape) for volume in frames_of(image, as_stored=as_stored))
    if not as_stored:
        volumes = (volume.astype(np.float32, copy=False) for volume in volumes)
    readers = (reader_of(volume, interpolation, outside) for volume in volumes)
    slabs = (to_source(points) for _, points in reference.world_slabs())
    header = _header(reference, image, as_stored=as_stored)
    # With several volumes, where to read is worked out once.
    return Resampled(header, _read_on(list(slabs) if several else slabs, readers))


def _header(reference: Grid, image: nib.spatialimages.SpatialImage, *, as_stored: bool) -> nib.Nifti1Header:
    """The header of an image on another grid, with its type and scaling, or of float32."""
    dtype = image.get_data_dtype() if as_stored else np.dtype(np.float32)
    nothing = np.broadcast_to(dtype.type(0), (*reference.shape, *image.shape[3:]))
    template = reference.image(nothing, dtype)
    keep_time_step(template, image)
    template.header.set_slope_inter(*(_scaling(image) if as_stored else (1, 0)))
    return template.header


def _read_on(slabs: Iterable[np.ndarray], readers: Iterable[PointReader]) -> Iterator[np.ndarray]:
    """The volume of each reader, whose parts along the first axis ``slabs`` say where to read."""
    for read in readers:
        yield np.concatenate([read(positions) for positions in slabs])


def _check_channels(image: nib.spatialimages.SpatialImage, *, channels: bool) -> None:
    """Vectors and tensors in space turn with it, which resampling does not."""
    name, shape = name_of(image), image.shape
    code = int(image.header["intent_code"]) if isinstance(image.header, nib.Nifti1Header) else 0
    if code in NO_GREY_VALUES - {_ITK_VECTORS}:
        raise InputError(f"{name}: holds vectors or matrices (shape {shape}), which would have to turn")
    if not channels and (shape[-1] if code == _ITK_VECTORS else math.prod(shape[4:])) in (2, 3):
        raise InputError(
            f"{name}: holds vectors or matrices (shape {shape}), which would have to turn; if these are channels, say "
            "--channels"
        )


def _scaling(image: nib.spatialimages.SpatialImage) -> tuple[float, float]:
    """What stored numbers are multiplied by, and what is added then."""
    proxy: Any = image.dataobj
    return (proxy.slope, proxy.inter) if hasattr(proxy, "get_unscaled") else (1.0, 0.0)


def _stored(fill: float, image: nib.spatialimages.SpatialImage) -> float | None:
    """The number that an image would store for ``fill``; None where its type has none."""
    slope, inter = _scaling(image)
    number, dtype = (fill - inter) / slope, image.get_data_dtype()
    if dtype.kind == "f":
        return number
    if not np.isfinite(number) or abs(number - round(number)) > _ON_A_STEP:
        return None
    limits = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
    return round(number) if limits.min <= round(number) <= limits.max else None


def _voxels_of(grid: Grid, reference: Grid, transform: Transform, name: str) -> PointMap:
    """World points of the reference to voxels of the source's grid, the file ``name``.

    Two single slices are taken to lie in one plane, as when they are registered: files of two axes do not tell
    where theirs is. Points that rounding has put beside a voxel are put back.
    """
    angle = reference.angle_to(grid)
    if angle > PARALLEL:
        raise InputError(f"{name}: its plane is at an angle of {angle:.0f} degrees to the reference's")
    world_map, to_voxels = transform.world_map(grid, reference), grid.from_world()
    flat = np.asarray(grid.shape) == 1 if reference.single_slice else np.zeros(3, dtype=bool)

    def to_source(points: np.ndarray) -> np.ndarray:
        # What has no place under an inverse is read beyond every image.
        voxels = np.nan_to_num(to_voxels(world_map(points)), nan=_NOWHERE)
        whole = np.rint(voxels)
        return np.where(flat, 0.0, np.where(np.abs(voxels - whole) < _ON_A_VOXEL, whole, voxels))

    return to_source


def writers_of_images(
    transform: Transform,
    reference: Grid,
    files: Mapping[Path, Path],
    interpolation: str = "linear",
    fill: float = 0.0,
    *,
    channels: bool = False,
) -> dict[Path, Callable[[Path], None]]:
    """By each output of ``files`` what writes it from its input (`resample`), one volume in memory at a time."""

    def writer(source: Path) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            made = resample(transform, source, reference, interpolation, fill, channels=channels)
            if path.name.endswith(NIFTI):
                save_frames(made.header, made.frames, path)
            else:
                save_image(in_memory(made, reference), path)

        return write

    for path in files:
        check_output_name(path)
    return {output: writer(source) for output, source in files.items()}
