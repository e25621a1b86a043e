"""Pictures: a registration at a glance, synthesised images, training curves, warped outlines of labels.

Labels are drawn by `draw_outlines` alone, whose pictures belong with the run: the licence of a label map may forbid
to pass it on.

Arrays are in RAS order and are turned so that a slice shows with its first axis to the right and its second
upwards.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fire_tf.geometry.point_maps import AffineMap, Chain, InPlane, PointMap, grid_points, pull
from fire_tf.measures.metrics import brain_mask, jacobian_determinant, map_positions
from fire_tf.registration.pair import Alignment

if TYPE_CHECKING:  # they bring the data's readers and scipy's optimisers with them, which takes a while
    from fire_tf.evaluation.methods import Result
    from fire_tf.evaluation.pairs import Pair

_GRID_LINES = 24
_TILES = 8
_COLUMNS = 4
_OUTLINES = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
_MARGIN = 0.1  # of the image's size, around the structures


def draw_registration(found: Alignment, path: Path, names: tuple[str, str] = ("moving", "fixed")) -> None:
    """Moving, fixed and warped image, both mixed, both synthesised images, the deformation and its log
    Jacobian.

    Everything is on the model's canvases; in 3D a row of pictures for each of the three planes through the middle
    of the fixed brain. ``names`` are the modalities of moving and fixed image.
    """
    moving, fixed = found.moving.data, found.fixed.data
    to_moving = InPlane(
        Chain((AffineMap(found.fixed.affine), found.to_moving, AffineMap(found.moving.affine).inverse())),
        fixed.ndim,
    )
    positions = map_positions(to_moving, fixed.shape)
    warped = pull(moving, positions, outside=-1.0)
    brain = brain_mask(fixed, -1.0)
    determinant = jacobian_determinant(positions)
    images = {
        f"moving {names[0]}": moving,
        f"fixed {names[1]}": fixed,
        f"{names[0]} warped onto {names[1]}": warped,
        f"{found.from_moving.modality} synthesised from moving": found.from_moving.data,
        f"{found.from_fixed.modality} synthesised from fixed": found.from_fixed.data,
    }
    planes = _planes(brain, found.fixed.spacing)
    figure = Figure(figsize=(13, 7) if fixed.ndim == 2 else (26, 10))
    figure.subplots_adjust(0.01, 0.01, 0.955, 0.95, 0.06, 0.12)
    # In 2D there is one plane: its eight pictures stand in two rows.
    rows = figure.subplots(*((2, 4) if fixed.ndim == 2 else (3, 8))).reshape(len(planes), 8)
    for panels, plane in zip(rows, planes, strict=True):
        for panel, (title, image) in zip(panels, images.items(), strict=False):
            show_slice(panel, plane.cut(image), title, plane.aspect)
        turns = _checkerboard(plane.cut(warped), plane.cut(fixed))
        show_slice(panels[5], turns, "warped and fixed in turns", plane.aspect)
        show_slice(panels[6], plane.cut(moving), "the fixed grid in the moving image", plane.aspect)
        _draw_grid(panels[6], plane.cut(positions)[..., list(plane.axes)])
        _show_jacobian(figure, panels[7], plane.cut(determinant), plane.cut(brain), plane.aspect)
    save(figure, path)


class _Plane(NamedTuple):
    """A plane of a canvas: its two axes, the axis and place where it cuts a volume, and how much longer a voxel is
    along its second axis than along its first."""

    axes: tuple[int, int]
    normal: int | None = None
    place: int = 0
    aspect: float = 1.0

    def cut(self, image: np.ndarray) -> np.ndarray:
        return image if self.normal is None else np.take(image, self.place, axis=self.normal)


def _planes(brain: np.ndarray, spacing: Sequence[float]) -> list[_Plane]:
    """The plane of a 2D canvas; the axial, coronal and sagittal one through the middle of the brain in 3D."""
    if brain.ndim == 2:
        return [_Plane((0, 1), aspect=spacing[1] / spacing[0])]
    middle = [int(np.median(indices)) for indices in np.nonzero(brain)]
    return [
        _Plane((first, second), normal, middle[normal], spacing[second] / spacing[first])
        for first, second, normal in ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    ]


def draw_synthesis(rows: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """A row of pictures per subject: ``rows[subject][title]`` is an image (*canvas) in [-1, 1]."""
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(3.2 * columns, 3.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (subject, images) in zip(panels, rows.items(), strict=True):
        for panel, (title, image) in zip(line, images.items(), strict=True):
            show_slice(panel, _slice(image), f"{subject}: {title}")
    save(figure, path)


def draw_outlines(
    pair: Pair,
    results: Sequence[Result],
    structures: Mapping[int, str],
    directions: tuple[str, str],
    path: Path,
) -> None:
    """Outlines of the labels over the image that they were warped onto, like the paper's Figures 4 to 6.

    A row for each direction (moving onto fixed, fixed onto moving), a panel for each method: the target image,
    the warped labels in colour, the target's own in white. In 3D the axial slice on which most structures are
    seen.
    """
    figure = Figure(figsize=(2.8 * len(results), 6), layout="constrained")
    panels = figure.subplots(2, len(results), squeeze=False)
    for line, name, source, target, maps in (
        (panels[0], directions[0], "moving", "fixed", [result.to_moving for result in results]),
        (panels[1], directions[1], "fixed", "moving", [result.to_fixed for result in results]),
    ):
        for panel, result, pull_back in zip(line, results, maps, strict=True):
            show_outlines(panel, pair, source, target, pull_back, structures)
            panel.set_title(f"{name}\n{result.method}", fontsize=9)
    colours = zip(structures.values(), _OUTLINES, strict=False)
    figure.legend(
        handles=[Line2D([], [], color=colour, label=f"{structure}, warped") for structure, colour in colours],
        loc="outside lower center",
        ncols=len(structures),
        fontsize=9,
    )
    save(figure, path)


def show_outlines(
    panel: Axes,
    pair: Pair,
    source: str,
    target: str,
    pull_back: PointMap,
    structures: Mapping[int, str],
    brightness: float = 1.0,
) -> None:
    """One panel of `draw_outlines`; ``source`` and ``target`` are "moving" and "fixed" or the other way round.

    ``brightness`` below 1 darkens the image, so that white lines are seen on bright tissue.
    """
    own: np.ndarray = getattr(pair, f"{target}_labels")
    plane = _Plane((0, 1)) if own.ndim == 2 else _Plane((0, 1), 2, _fullest(own, list(structures)))
    image, labels = plane.cut(pair.array(target)), plane.cut(own)
    moved: np.ndarray = getattr(pair, f"{source}_labels")
    warped = pull(moved, pull_back(plane.cut(grid_points(own.shape))), nearest=True)
    spacing = pair.spacing(target)
    panel.imshow(
        image.T,
        cmap="gray",
        vmin=(low := float(image.min())),
        vmax=low + (float(np.percentile(image, 99.5)) - low) / brightness,
        origin="lower",
        interpolation="nearest",
        aspect=spacing[1] / spacing[0],
    )
    for value, colour in zip(structures, _OUTLINES, strict=False):
        for mask, drawn, width in ((labels == value, "white", 0.6), (warped == value, colour, 1.2)):
            if mask.any():
                panel.contour(mask.T.astype(float), [0.5], colors=[drawn], linewidths=width)
    # The surroundings of the structures alone: hearts are a small part of their images.
    inside = np.argwhere(np.isin(labels, list(structures)))
    if len(inside):
        margin = np.array(labels.shape) * _MARGIN
        low, high = inside.min(axis=0) - margin, inside.max(axis=0) + margin
        panel.set_xlim(max(low[0], -0.5), min(high[0], labels.shape[0] - 0.5))
        panel.set_ylim(max(low[1], -0.5), min(high[1], labels.shape[1] - 0.5))
    panel.set_axis_off()


def _fullest(labels: np.ndarray, values: Sequence[int]) -> int:
    """The slice along the third axis that shows most structures; of several the one with most of them."""
    counts = np.stack([(labels == value).sum(axis=(0, 1)) for value in values])
    return max(
        range(labels.shape[2]), key=lambda place: ((counts[:, place] > 0).sum(), counts[:, place].sum())
    )


def draw_curves(metrics: Path, path: Path) -> None:
    """Every loss of a run's ``metrics.csv`` over the steps, a panel each, with its ``val_`` column.

    Stages have objectives of their own, so curves break where a stage ends, at a dotted line.
    """
    with open(metrics, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError(f"{metrics}: holds no row yet")
    steps, stages = np.array([float(row["step"]) for row in rows]), [row["stage"] for row in rows]
    curves = {
        name: np.array([float(row[name] or "nan") for row in rows])
        for name in rows[0]
        if name not in ("step", "stage", "seconds")
    }
    names = [name for name, values in curves.items() if name[:4] != "val_" and np.isfinite(values).any()]
    lines = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(3.5 * _COLUMNS, 2.7 * lines), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        _plot_stages(panel, steps, stages, curves[name], "training", "tab:blue")
        _plot_stages(panel, steps, stages, curves.get(f"val_{name}"), "validation", "tab:orange")
    panels[0].legend(fontsize=7)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    save(figure, path)


def _plot_stages(
    panel: Axes, steps: np.ndarray, stages: list[str], values: np.ndarray | None, label: str, colour: str
) -> None:
    """A curve, broken between stages; epochs that did not measure the value are bridged."""
    for number, stage in enumerate(dict.fromkeys(stages)):
        chosen = np.array([name == stage for name in stages])
        if number:
            panel.axvline(steps[chosen][0], color="gray", linestyle=":", linewidth=0.7)
        if values is not None and np.isfinite(values[chosen]).any():
            known = chosen & np.isfinite(values)
            panel.plot(
                steps[known], values[known], color=colour, linewidth=1, marker=".", markersize=2, label=label
            )
            label = "_" + label  # one entry in the legend


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; the file appears whole or not at all."""
    FigureCanvasAgg(figure)
    beside = path.with_name(f".{path.stem}.part.png")
    figure.savefig(beside, dpi=110)
    os.replace(beside, path)


def _slice(image: np.ndarray) -> np.ndarray:
    """The image itself in 2D, its middle axial slice in 3D."""
    return image if image.ndim == 2 else image[:, :, image.shape[2] // 2]


def show_slice(panel: Axes, image: np.ndarray, title: str, aspect: float = 1.0) -> None:
    """An image (*size) in [-1, 1] in grey; ``aspect``: of a voxel, second axis by first."""
    panel.imshow(
        image.T, cmap="gray", vmin=-1, vmax=1, origin="lower", interpolation="nearest", aspect=aspect
    )
    panel.set_title(title, fontsize=9)
    panel.set_axis_off()


def _checkerboard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    tiles = [np.arange(size) * _TILES // size for size in first.shape]
    return np.where((tiles[0][:, None] + tiles[1][None, :]) % 2 == 0, first, second)


def _draw_grid(panel: Axes, plane: np.ndarray) -> None:
    """Lines of a plane of the fixed grid, (*size, 2), where they lie in the moving image's plane."""
    step = max(1, max(plane.shape[:2]) // _GRID_LINES)
    for lines in (plane[::step], plane[:, ::step].swapaxes(0, 1)):
        panel.add_collection(LineCollection(list(lines), colors="tab:orange", linewidths=0.5))
    panel.set_xlim(-0.5, plane.shape[0] - 0.5)
    panel.set_ylim(-0.5, plane.shape[1] - 0.5)


def _show_jacobian(
    figure: Figure, panel: Axes, determinant: np.ndarray, mask: np.ndarray, aspect: float
) -> None:
    """Log2 of the Jacobian determinant inside the brain; folded voxels stand out in green."""
    values = np.full(determinant.shape, np.nan)
    values[mask & (determinant > 0)] = np.log2(determinant[mask & (determinant > 0)])
    shown = panel.imshow(
        values.T,
        cmap="RdBu_r",
        vmin=-1.5,
        vmax=1.5,
        origin="lower",
        interpolation="nearest",
        aspect=aspect,
    )
    folded = np.ma.masked_equal((mask & (determinant <= 0)).astype(float), 0.0)
    panel.imshow(folded.T, cmap="brg", vmin=0, vmax=1, origin="lower", interpolation="nearest", aspect=aspect)
    panel.set_title("log2 Jacobian (green: folded)", fontsize=9)
    panel.set_axis_off()
    # Beside the panel and not out of it, which would shrink the picture against the others.
    figure.colorbar(shown, cax=panel.inset_axes((1.03, 0.15, 0.04, 0.7)))
