"""A picture of a series whose frames were registered to one of them: what still moves afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy.ndimage import gaussian_filter

from fire_tf.geometry.stacks import slice_axis
from fire_tf.pictures.panels import entitle, save

_SMOOTH = 3.0  # voxels: motion is judged over such places, not at lone voxels


def draw_series(
    reference: np.ndarray, before: np.ndarray, after: np.ndarray, affine: np.ndarray, path: Path
) -> None:
    """The reference frame; how much grey values vary over time, and one line of voxels over time, before and after.

    ``reference`` is (X, Y, Z), ``before`` and ``after`` (X, Y, Z, frames): the frames on its grid, as they were and
    warped; ``affine`` (4, 4) takes its voxels to the world (RAS+ mm). Shown is the middle slice, in RAS order, and the
    line along its first axis through the place where most moves before.
    """
    orientation = io_orientation(affine)
    shape = apply_orientation(reference, orientation).shape
    spacing = np.linalg.norm((affine @ inv_ornt_aff(orientation, reference.shape))[:3, :3], axis=0)
    normal = slice_axis(shape, spacing)
    reference, before, after = (
        np.take(apply_orientation(image, orientation), shape[normal] // 2, axis=normal)
        for image in (reference, before, after)
    )
    size = np.delete(spacing, normal)
    _, column = np.unravel_index(np.argmax(gaussian_filter(before.std(axis=-1), _SMOOTH)), before.shape[:-1])
    figure = Figure(figsize=(17, 4), layout="constrained")
    panels = figure.subplots(1, 5, width_ratios=(1, 1, 1, 1, 1))
    grey = {"cmap": "gray", "vmin": float(reference.min()), "vmax": float(np.percentile(reference, 99.5))}
    panels[0].imshow(reference.T, origin="lower", aspect=size[1] / size[0], **grey)
    panels[0].axhline(column, color="tab:orange", linewidth=0.8)
    entitle(panels[0], "reference frame")
    panels[0].set_axis_off()
    _show_motion(figure, panels[1:3], (before, after), size[1] / size[0])
    for panel, frames, when in zip(panels[3:], (before, after), ("before", "after"), strict=True):
        _show_line(panel, frames[:, column], f"the line over time, {when}", grey)
    save(figure, path)


def _show_motion(
    figure: Figure, panels: Sequence[Axes], frames: tuple[np.ndarray, np.ndarray], aspect: float
) -> None:
    """Standard deviation over time of the frames (X, Y, frames) before and after, on one scale."""
    varies = [one.std(axis=-1) for one in frames]
    for panel, deviation, when in zip(panels, varies, ("before", "after"), strict=True):
        shown = panel.imshow(
            deviation.T, origin="lower", aspect=aspect, cmap="magma", vmin=0, vmax=varies[0].max()
        )
        entitle(panel, f"SD over time, {when}: mean {deviation.mean():.3g}")
        panel.set_axis_off()
    figure.colorbar(shown, ax=panels[-1], shrink=0.8)


def _show_line(panel: Axes, line: np.ndarray, title: str, grey: Mapping[str, Any]) -> None:
    """A line of voxels (X, frames) over time."""
    panel.imshow(line, aspect="auto", interpolation="nearest", **grey)
    entitle(panel, title)
    panel.set_xlabel("frame", fontsize=8)
    panel.set_yticks([])
