"""Every frame of a 4D image registered to one reference frame.

``P_Warped.nii.gz`` is the 4D image with every frame on the fixed grid, the time step kept. Each frame's images,
transforms and picture are written under ``P_frame000_``, ``P_frame001_``, ... as for a single pair; ``P_qc.json``
lists the numbers of all of them, and ``P_qc.png`` shows what still moves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.apply import apply_transform
from fire_tf.errors import InputError
from fire_tf.grids import keep_time_step, read_grid
from fire_tf.images import (
    Source,
    check_memory,
    count_frames,
    name_of,
    open_image,
    read_data,
    split_frames,
    take_frame,
)
from fire_tf.outputs import write_together
from fire_tf.pointmaps import AffineMap
from fire_tf.register import Options, register_images
from fire_tf.registered import RegisteredImages, write_files
from fire_tf.registration import PairModel
from fire_tf.warp_formats import AffineTransform


def register_frames(
    model: PairModel, moving: Source, fixed: Source, options: Options | None = None
) -> Iterator[RegisteredImages]:
    """Register each frame of ``moving`` (4D) to one frame of ``fixed`` (4D, or 3D), in the order of time.

    ``options.frame`` is the fixed image's frame, 0 by default; it may be the very image that moves.

    Raises InputError as `register_images` does, and for a moving image of a single frame.
    """
    options = options or Options()
    stack = open_image(moving)
    if count_frames(stack) < 2:
        raise InputError(f"{name_of(stack)}: has shape {stack.shape}, expected a 4D image of several frames")
    reference = take_frame(open_image(fixed), options.frame or 0)
    for frame in split_frames(stack):
        yield register_images(model, frame, reference, replace(options, frame=None))


def write_frames(
    model: PairModel,
    moving: Source,
    fixed: Source,
    prefix: str,
    options: Options | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Register all frames and write what the module's docstring names, all at the end; see `register_frames`."""
    chosen = options or Options()
    series, grid = open_image(moving), read_grid(fixed)
    # On the fixed grid: every frame as it was and warped, and what is written of the latter.
    needed = 12 * math.prod(grid.shape) * count_frames(series)
    check_memory(needed, f"registering all frames of {name_of(series)}")

    def write(folder: Path) -> None:
        warped = np.empty((*grid.shape, count_frames(series)), np.float32)
        numbers = []
        for index, result in enumerate(register_frames(model, moving, fixed, chosen)):
            write_files(result, folder, f"frame{index:03d}_", chosen.warp_format)
            warped[..., index] = result.warped.get_fdata(dtype=np.float32).reshape(grid.shape)
            numbers.append(result.quality)
        image = grid.image(warped)
        keep_time_step(image, series)
        nib.save(image, folder / "Warped.nii.gz")
        content = {**(provenance or {}), "frames": numbers}
        (folder / "qc.json").write_text(json.dumps(content, indent=2) + "\n")
        before = apply_transform(AffineTransform(AffineMap.identity(3)), moving, grid)
        reference = read_data(take_frame(open_image(fixed), chosen.frame or 0))
        # matplotlib takes a while to load, which Python callers of register_frames need not wait for.
        from fire_tf.series_figure import draw_series

        frames = before.get_fdata(dtype=np.float32), warped
        draw_series(reference.reshape(grid.shape), *frames, grid.affine, folder / "qc.png")

    return write_together(prefix, write)
