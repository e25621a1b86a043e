"""Further images and label maps resampled with a transform: in memory, and from files to files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable
from fire_tf.geometry.grids import Grid, check_output_name, keep_time_step, read_grid, write_image
from fire_tf.geometry.names import INTERPOLATIONS
from fire_tf.geometry.nifti import Source, check_memory, count_frames, open_image, read_data
from fire_tf.geometry.point_maps import PointMap
from fire_tf.geometry.reading import pull
from fire_tf.geometry.transform_files.fields import Transform, read_transform


def apply_transform(
    transform: Transform, source: Source, reference: Grid, interpolation: str = "linear"
) -> nib.Nifti1Image:
    """``source`` (a path or a nibabel image, 2D to 4D) pulled through a transform onto the ``reference`` grid.

    The result has the reference's header and the source's frames. "nearest" keeps the source's stored type and
    scaling, "linear" gives float32.

    Raises InputError for an image that cannot be read.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}")
    image, grid = open_image(source), read_grid(source)
    nearest = interpolation == "nearest"
    frames = count_frames(image)
    dtype = image.get_data_dtype() if nearest else np.dtype(np.float32)
    check_memory(8 * math.prod(reference.shape) * frames, "resampling")
    # Grey values may be stored as whole numbers times a slope: the nearest one's number and the slope are kept.
    stored = read_data(image, as_stored=nearest).reshape((*grid.shape, frames))
    values = np.empty((*reference.shape, frames), stored.dtype if nearest else np.float32)
    to_source = _voxels_of(grid, reference, transform)
    for part, points in reference.world_slabs():
        positions = to_source(points)
        for frame in range(frames):
            values[part][..., frame] = pull(stored[..., frame], positions, nearest=nearest)
    result = reference.image(values if frames > 1 else values[..., 0], dtype)
    keep_time_step(result, image)
    proxy: Any = image.dataobj
    if nearest and hasattr(proxy, "get_unscaled"):
        result.header.set_slope_inter(proxy.slope, proxy.inter)
    return result


def _voxels_of(grid: Grid, reference: Grid, transform: Transform) -> PointMap:
    """World points of the reference to voxels of the source's grid.

    Two single slices are taken to lie in one plane, as when they are registered: files of two axes do not tell
    where theirs is.
    """
    world_map, to_voxels = transform.world_map(grid), grid.from_world()
    flat = np.asarray(grid.shape) == 1 if reference.single_slice else np.zeros(3, dtype=bool)

    def to_source(points: np.ndarray) -> np.ndarray:
        return np.where(flat, 0.0, to_voxels(world_map(points)))

    return to_source


def apply_to_files(
    transform: Path,
    reference: Path,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    interpolation: str = "linear",
    kind: str | None = None,
) -> Iterator[Path]:
    """Resample files with a transform file and yield what was written; ``kind``: see `read_transform`.

    Raises InputError for files that cannot be read or written, before anything is written.
    """
    if len(inputs) != len(outputs):
        raise InputError(f"{len(inputs)} inputs and {len(outputs)} outputs: expected as many")
    if len(set(outputs)) != len(outputs):
        raise InputError("two outputs have the same name")
    for path in outputs:
        check_output_name(path)
        check_writable(path.parent)
    grid = read_grid(reference)
    read = read_transform(transform, kind)
    for path in inputs:
        open_image(path)
    for source, target in zip(inputs, outputs, strict=True):
        write_image(apply_transform(read, source, grid, interpolation), target)
        yield target
