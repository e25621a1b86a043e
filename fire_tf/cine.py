"""Every frame of a 4D image registered to one reference frame.

``P_Warped.nii.gz`` is the 4D image with every frame on the fixed grid, the time step kept. Each frame's images,
transforms and picture are written under ``P_frame000_``, ``P_frame001_``, ... as for a single pair, and ``P_qc.json``
lists the numbers of all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.errors import InputError
from fire_tf.grids import keep_time_step, read_grid
from fire_tf.images import Source, count_frames, name_of, open_image, split_frames, take_frame
from fire_tf.outputs import write_together
from fire_tf.register import Options, RegisteredImages, register_images, write_files
from fire_tf.registration import PairModel


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

    def write(folder: Path) -> None:
        warped, numbers = [], []
        for index, result in enumerate(register_frames(model, moving, fixed, chosen)):
            write_files(result, folder, f"frame{index:03d}_", chosen.warp_format)
            warped.append(result.warped.get_fdata(dtype=np.float32).reshape(result.fixed_grid.shape))
            numbers.append(result.quality)
        series = read_grid(fixed).image(np.stack(warped, axis=-1))
        keep_time_step(series, open_image(moving))
        nib.save(series, folder / "Warped.nii.gz")
        (folder / "qc.json").write_text(
            json.dumps({**(provenance or {}), "frames": numbers}, indent=2) + "\n"
        )

    return write_together(prefix, write)
