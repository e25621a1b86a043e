"""Further images and label maps resampled with a transform: in memory, and from files to files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, write_files
from fire_tf.files.paths import check_apart
from fire_tf.geometry.grids import PARALLEL, Grid, check_output_name, keep_time_step, read_grid
from fire_tf.geometry.names import INTERPOLATIONS
from fire_tf.geometry.nifti import Source, check_memory, count_frames, name_of, open_image, read_data
from fire_tf.geometry.placing import warn_of_place
from fire_tf.geometry.point_maps import PointMap
from fire_tf.geometry.reading import pull, pull_around_holes
from fire_tf.transforms.chains import read_chain, split_name
from fire_tf.transforms.fields import Transform

_ON_A_STEP = 1e-3  # of a step between stored numbers: scale and offset are float32
_NOWHERE = -1e6  # voxels
_ON_A_VOXEL = 1e-5  # of a voxel: what rounding leaves of a step from voxel to voxel


def apply_transform(
    transform: Transform, source: Source, reference: Grid, interpolation: str = "linear", fill: float = 0.0
) -> nib.Nifti1Image:
    """``source`` (a path or a nibabel image, 2D to 4D) pulled through a transform onto the ``reference`` grid.

    The result has the reference's header and the source's frames. "nearest" keeps the source's stored type and scaling,
    "linear" gives float32. Outside the source the value is ``fill``; where the stored type of a "nearest" result cannot
    hold it, the result is float32 too. A voxel that falls on one of the source keeps its value, NaN included.

    Raises InputError for an image that cannot be read, and for slices whose planes are not parallel.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}")
    image = open_image(source)
    grid, frames = read_grid(image), count_frames(image)
    to_source = _voxels_of(grid, reference, transform, name_of(image))
    check_memory(8 * math.prod(reference.shape) * frames, "resampling")
    # Grey values may be stored as whole numbers times a slope: the nearest one's number and the slope are kept.
    stored_fill = _stored(fill, image) if interpolation == "nearest" else None
    as_stored, outside = stored_fill is not None, fill if stored_fill is None else stored_fill
    stored = read_data(image, as_stored=as_stored).reshape((*grid.shape, frames))
    if not as_stored:
        stored = stored.astype(np.float32, copy=False)
    values = np.empty((*reference.shape, frames), stored.dtype)
    for part, points in reference.world_slabs():
        positions = to_source(points)
        for frame in range(frames):
            values[part][..., frame] = (
                pull(stored[..., frame], positions, nearest=True, outside=outside)
                if interpolation == "nearest"
                else pull_around_holes(stored[..., frame], positions, fill)
            )
    dtype = image.get_data_dtype() if as_stored else np.dtype(np.float32)
    result = reference.image(values if frames > 1 else values[..., 0], dtype)
    keep_time_step(result, image)
    if as_stored:
        result.header.set_slope_inter(*_scaling(image))
    return result


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


def apply_to_files(
    transforms: Sequence[str | Path],
    reference: Path,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    interpolation: str = "linear",
    kind: str | None = None,
    fill: float = 0.0,
) -> Sequence[Path]:
    """Resample files with transform files; returns what was written. ``transforms``, ``kind``: see `read_chain`.

    All files appear together when the last one is made. Raises InputError for files that cannot be read or written,
    and for an output that is one of the inputs or another output; nothing is written then.
    """
    if len(inputs) != len(outputs):
        raise InputError(f"{len(inputs)} inputs and {len(outputs)} outputs: expected as many")
    check_apart(outputs, [*(split_name(named)[0] for named in transforms), reference, *inputs])
    for path in outputs:
        check_output_name(path)
        check_writable(path.parent)
    grid = read_grid(reference)
    read = read_chain(transforms, kind)

    def writer(source: Path) -> Callable[[Path], None]:
        return lambda beside: nib.save(apply_transform(read, source, grid, interpolation, fill), beside)

    write_files({target: writer(source) for source, target in zip(inputs, outputs, strict=True)})
    for path in dict.fromkeys([reference, *inputs]):
        warn_of_place(open_image(path, vectors=path == reference), str(path))
    return outputs
