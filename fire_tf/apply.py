"""Resample further images and label maps with a transform that ``fire_tf.register`` (or ANTs) wrote.

    python -m fire_tf.apply --transform P_CompositeWarp.nii.gz --reference FIXED.nii.gz \\
        --input seg.nii.gz --output seg_on_fixed.nii.gz --interpolation nearest

Several inputs take as many outputs. 4D images are resampled frame by frame. ``nearest`` is for label maps: it
keeps the stored type and makes no new value; ``linear`` writes float32. Outside an input the value is 0.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.errors import InputError, exit_cleanly
from fire_tf.grids import Grid, check_output_name, keep_time_step, read_grid, write_image
from fire_tf.images import Source, check_memory, count_frames, open_image, read_data
from fire_tf.outputs import check_writable
from fire_tf.pointmaps import PointMap, pull
from fire_tf.warp_formats import FORMATS, Transform, read_transform

INTERPOLATIONS = ("linear", "nearest")


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.apply", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--transform", type=Path, required=True, help="displacement field, or ITK's .mat")
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="images to resample")
    parser.add_argument("--reference", type=Path, required=True, help="image whose grid the results lie on")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="as many names as inputs")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, default="linear", help="(default: linear)")
    parser.add_argument(
        "--warp-format",
        choices=FORMATS,
        help="kind of a field that does not say so itself (default: its intent)",
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    if len(options.input) != len(options.output):
        raise InputError(f"{len(options.input)} inputs and {len(options.output)} outputs: expected as many")
    if len(set(options.output)) != len(options.output):
        raise InputError("two outputs have the same name")
    for path in options.output:
        check_output_name(path)
        check_writable(path.parent)
    reference = read_grid(options.reference)
    transform = read_transform(options.transform, options.warp_format)
    for path in options.input:
        open_image(path)
    for source, target in zip(options.input, options.output, strict=True):
        write_image(apply_transform(transform, source, reference, options.interpolation), target)
        print(target)


if __name__ == "__main__":
    main()
