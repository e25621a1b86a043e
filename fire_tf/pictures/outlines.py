"""Pictures of labels that were warped onto an image, beside the image's own labels.

They belong with the run: the licence of a label map may forbid to pass it on. No other picture shows labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fire_tf.geometry.point_maps import PointMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.pictures.panels import Plane, entitle, save, show_slice

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
_MARGIN = 0.1  # of the image's size, around the structures
_BRIGHTEST = 99.5  # percentile of the grey values that is shown in white


class Labelled(NamedTuple):
    """An image (*shape) with its label map (*shape) and its voxel size in mm per axis."""

    image: np.ndarray
    labels: np.ndarray
    spacing: Sequence[float]


class Warped(NamedTuple):
    """What was found for a pair: ``pull_back`` maps the voxels of ``target`` to those of ``source``."""

    title: str
    source: Labelled
    target: Labelled
    pull_back: PointMap


def draw_outlines(rows: Sequence[Sequence[Warped]], structures: Mapping[int, str], path: Path) -> None:
    """Outlines of the labels over the image that they were warped onto, like the paper's Figures 4 to 6.

    A panel for each of ``rows``' results, which are as many in every row: the target image, the warped labels in
    colour, the target's own in white. In 3D the axial slice on which most structures are seen. ``structures``: label
    value -> name.
    """
    figure = Figure(figsize=(2.8 * len(rows[0]), 3 * len(rows)), layout="constrained")
    lines = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for panels, row in zip(lines, rows, strict=True):
        for panel, shown in zip(panels, row, strict=True):
            _show_outlines(panel, shown, structures)
            entitle(panel, shown.title)
    colours = zip(structures.values(), _COLOURS, strict=False)
    figure.legend(
        handles=[Line2D([], [], color=colour, label=f"{structure}, warped") for structure, colour in colours],
        loc="outside lower center",
        ncols=len(structures),
        fontsize=9,
    )
    save(figure, path)


def draw_progress(looks: Sequence[Warped], structures: Mapping[int, str], path: Path) -> None:
    """A column for each of several results for one pair, and one for the target image.

    Above the source image on the target's grid, below the target image with outlines, in the slice that `draw_outlines`
    shows.
    """
    source, target = looks[0].source, looks[0].target
    plane = _plane(target.labels, structures)
    points = plane.cut(grid_points(target.image.shape))
    figure = Figure(figsize=(1.9 * (len(looks) + 1), 4.6), layout="constrained")
    panels = figure.subplots(2, len(looks) + 1)
    moving, fixed = _shown(source.image), plane.cut(_shown(target.image))
    for column, look in zip(panels.T, looks, strict=False):
        show_slice(column[0], pull(moving, look.pull_back(points), outside=-1.0), look.title)
        _show_outlines(column[1], look, structures, brightness=0.5)
    show_slice(panels[0, -1], fixed, "the fixed image")
    panels[1, -1].set_axis_off()
    save(figure, path)


def _plane(labels: np.ndarray, structures: Mapping[int, str]) -> Plane:
    return Plane((0, 1)) if labels.ndim == 2 else Plane((0, 1), 2, _fullest(labels, list(structures)))


def _shown(image: np.ndarray) -> np.ndarray:
    """Grey values on [-1, 1], from black to white."""
    low = float(image.min())
    white = float(np.percentile(image, _BRIGHTEST)) - low
    return (image - low) * (2.0 / white if white else 0.0) - 1.0


def _show_outlines(
    panel: Axes, shown: Warped, structures: Mapping[int, str], brightness: float = 1.0
) -> None:
    """One panel; ``brightness`` below 1 darkens the image, so that white lines are seen on bright tissue."""
    own, spacing = shown.target.labels, shown.target.spacing
    plane = _plane(own, structures)
    image, labels = plane.cut(shown.target.image), plane.cut(own)
    positions = shown.pull_back(plane.cut(grid_points(own.shape)))
    warped = pull(shown.source.labels, positions, nearest=True)
    low = float(image.min())
    panel.imshow(
        image.T,
        cmap="gray",
        vmin=low,
        vmax=low + (float(np.percentile(image, _BRIGHTEST)) - low) / brightness,
        origin="lower",
        interpolation="nearest",
        aspect=spacing[1] / spacing[0],
    )
    for value, colour in zip(structures, _COLOURS, strict=False):
        for mask, drawn, width in ((labels == value, "white", 0.6), (warped == value, colour, 1.2)):
            if mask.any():
                panel.contour(mask.T.astype(float), [0.5], colors=[drawn], linewidths=width)
    _zoom(panel, np.isin(labels, list(structures)))
    panel.set_axis_off()


def _zoom(panel: Axes, mask: np.ndarray) -> None:
    """Show the surroundings of the structures alone: hearts are a small part of their images."""
    inside = np.argwhere(mask)
    if len(inside):
        margin = np.array(mask.shape) * _MARGIN
        low, high = inside.min(axis=0) - margin, inside.max(axis=0) + margin
        panel.set_xlim(max(low[0], -0.5), min(high[0], mask.shape[0] - 0.5))
        panel.set_ylim(max(low[1], -0.5), min(high[1], mask.shape[1] - 0.5))


def _fullest(labels: np.ndarray, values: Sequence[int]) -> int:
    """The slice along the third axis that shows most structures; of several the one with most of them."""
    counts = np.stack([(labels == value).sum(axis=(0, 1)) for value in values])
    return max(
        range(labels.shape[2]), key=lambda place: ((counts[:, place] > 0).sum(), counts[:, place].sum())
    )
