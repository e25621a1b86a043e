"""Every frame of a 4D image registered to one reference frame.

``P_Warped.nii.gz`` is the 4D image with every frame on the fixed grid, the time step kept. Each frame's images,
transforms and picture are written under ``P_frame000_``, ``P_frame001_``, ... as for a single pair; ``P_qc.json``
lists the numbers of all of them, and ``P_qc.png`` shows what still moves.

`follow_beat` does the same to a heart in memory and carries a label map of the reference frame to every other one;
`volume_curve` is what comes of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.applying.images import apply_transform
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_together
from fire_tf.geometry.grids import keep_time_step, read_grid
from fire_tf.geometry.nifti import (
    Source,
    check_memory,
    count_frames,
    name_of,
    open_image,
    read_data,
    split_frames,
    take_frame,
)
from fire_tf.geometry.placing import world_affine
from fire_tf.geometry.point_maps import AffineMap, Chain
from fire_tf.registration.pair import PairModel
from fire_tf.registration.results import RegisteredImages, write_files
from fire_tf.registration.user_images import Options, register_images
from fire_tf.transforms.fields import AffineTransform


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
            write_files(result, folder, f"frame{index:03d}_", chosen.warp_format, chosen.further_formats)
            warped[..., index] = _warped(result)
            numbers.append(result.quality)
        nib.save(_series(warped, fixed, series), folder / "Warped.nii.gz")
        content = {**(provenance or {}), "frames": numbers}
        (folder / "qc.json").write_text(json.dumps(content, indent=2) + "\n")
        before = apply_transform(AffineTransform(AffineMap.identity(3)), moving, grid)
        reference = read_data(take_frame(open_image(fixed), chosen.frame or 0))
        # matplotlib takes a while to load, which Python callers of register_frames need not wait for.
        from fire_tf.pictures.series import draw_series

        frames = before.get_fdata(dtype=np.float32), warped
        draw_series(reference.reshape(grid.shape), *frames, grid.affine, folder / "qc.png")

    return write_together(prefix, write, [name_of(series), name_of(open_image(fixed))])


def _warped(result: RegisteredImages) -> np.ndarray:
    """The moving frame on the fixed grid, (X, Y, Z) float32."""
    return result.warped.get_fdata(dtype=np.float32).reshape(result.fixed_grid.shape)


def _series(values: np.ndarray, grid_of: Source, timed_as: nib.spatialimages.SpatialImage) -> nib.Nifti1Image:
    """Values (X, Y, Z, frames) as an image on one's grid with another's time step."""
    series = read_grid(grid_of).image(values)
    keep_time_step(series, timed_as)
    return series


@dataclass(frozen=True)
class Beat:
    """A heart beat that was followed: 4D images on the grid of the beat, with its time step.

    still: every frame warped onto the reference frame, float32. labels: the reference frame's labels in every frame.
    """

    still: nib.Nifti1Image
    labels: nib.Nifti1Image


def follow_beat(
    model: PairModel, beat: Source, labels: Source, frame: int, options: Options | None = None
) -> Beat:
    """Register every frame of ``beat`` (4D) to its frame number ``frame`` (from 0), whose label map is given.

    Raises InputError as `register_frames` does, and for a label map on another grid.
    """
    image, label_map = open_image(beat), open_image(labels)
    places = world_affine(label_map), world_affine(image)
    if label_map.shape[:3] != image.shape[:3] or not np.allclose(*places, atol=1e-3):
        raise InputError(f"{name_of(label_map)}: lies on another grid than {name_of(image)}")
    chosen = replace(options or Options(), frame=frame)
    still = np.empty(image.shape, np.float32)
    stored, from_world = read_data(label_map).reshape(image.shape[:3]), read_grid(label_map).from_world()
    carried = np.empty(image.shape, label_map.get_data_dtype())
    for index, result in enumerate(register_frames(model, image, image, chosen)):
        still[..., index] = _warped(result)
        to_labels = Chain((result.registration.to_fixed, from_world))
        carried[..., index] = result.moving_grid.read_from(stored, to_labels, nearest=True)
    return Beat(_series(still, image, image), _series(carried, image, image))


def volume_curve(labels: Source, value: int) -> np.ndarray:
    """Volume in ml of the structure ``value`` in every frame of a label map: (frames,)."""
    image = open_image(labels)
    stored = read_data(image).reshape((*image.shape[:3], -1))
    voxel = abs(float(np.linalg.det(world_affine(image)[:3, :3]))) / 1000.0
    return voxel * np.count_nonzero(np.rint(stored) == value, axis=(0, 1, 2))


def ejection_fraction(volumes: np.ndarray) -> float:
    """The part in % of the largest volume of a beat that is gone at its smallest."""
    return 100.0 * (1.0 - float(volumes.min()) / float(volumes.max()))
