"""A picture of a registration at a glance."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fire_tf.geometry.reading import pull
from fire_tf.measures.metrics import brain_mask, jacobian_determinant
from fire_tf.pictures.panels import Plane, entitle, save, show_slice

_BACKGROUND = -1.0
_GRID_LINES = 24
_TILES = 8
_LETTERS, _LINE = 14, 0.16  # of the title, in an inch of width, and inches of height


class RegistrationPicture(NamedTuple):
    """What is drawn of a registration; images are canvases in [-1, 1].

    moving, fixed: the images; names: their modalities. from_moving, from_fixed: each in the other one's modality, in
    its own place. positions: (*fixed canvas, n), the voxels of ``moving`` that those of ``fixed`` are read from.
    spacing: of ``fixed``, in mm per axis. warnings: what is doubtful, which becomes the title.
    """

    moving: np.ndarray
    fixed: np.ndarray
    from_moving: np.ndarray
    from_fixed: np.ndarray
    positions: np.ndarray
    spacing: Sequence[float]
    names: tuple[str, str]
    warnings: Sequence[str] = ()


def draw_registration(shown: RegistrationPicture, path: Path) -> None:
    """Moving, fixed and warped image, both mixed, both synthesised images, the deformation and its log
    Jacobian.

    In 3D a row of pictures for each of the three planes through the middle of the fixed brain.
    """
    fixed = shown.fixed
    warped = pull(shown.moving, shown.positions, outside=_BACKGROUND)
    brain = brain_mask(fixed, _BACKGROUND)
    determinant = jacobian_determinant(shown.positions)
    planes = _planes(brain, shown.spacing)
    figure = Figure(figsize=(13, 7) if fixed.ndim == 2 else (26, 10))
    figure.subplots_adjust(0.01, 0.01, 0.955, 0.95, 0.06, 0.12)
    _show_warnings(figure, shown.warnings)
    # In 2D there is one plane: its eight pictures stand in two rows.
    rows = figure.subplots(*((2, 4) if fixed.ndim == 2 else (3, 8))).reshape(len(planes), 8)
    for panels, plane in zip(rows, planes, strict=True):
        for panel, (title, image) in zip(panels, _images(shown, warped).items(), strict=False):
            show_slice(panel, plane.cut(image), title, plane.aspect)
        turns = _checkerboard(plane.cut(warped), plane.cut(fixed))
        show_slice(panels[5], turns, "warped and fixed in turns", plane.aspect)
        show_slice(panels[6], plane.cut(shown.moving), "the fixed grid in the moving image", plane.aspect)
        _draw_grid(panels[6], plane.cut(shown.positions)[..., list(plane.axes)])
        _show_jacobian(figure, panels[7], plane.cut(determinant), plane.cut(brain), plane.aspect)
    save(figure, path)


def _show_warnings(figure: Figure, warnings: Sequence[str]) -> None:
    """The title, above everything else: the figure grows by as much as it needs."""
    if not warnings:
        return
    width, height = figure.get_size_inches()
    lines = [
        line for warning in warnings for line in textwrap.wrap(f"warning: {warning}", int(width * _LETTERS))
    ]
    added = _LINE * (len(lines) + 1)
    figure.set_size_inches(width, height + added)
    figure.subplots_adjust(top=0.95 * height / (height + added), bottom=0.01)
    figure.suptitle(
        "\n".join(lines), color="tab:red", fontsize=9, y=1 - 0.5 * _LINE / (height + added), va="top"
    )


def draw_pairs(pairs: Sequence[RegistrationPicture], title: str, path: Path) -> None:
    """A row for each pair of 2D images, three for volumes, cut as in `draw_registration`: moving, fixed and warped
    image, both synthesised images, and warped and fixed mixed."""
    cuts = [(pair, _planes(brain_mask(pair.fixed, _BACKGROUND), pair.spacing)) for pair in pairs]
    count = sum(len(planes) for _, planes in cuts)
    figure = Figure(figsize=(15, 2.7 * count + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=10)
    rows = iter(figure.subplots(count, 6, squeeze=False))
    for pair, planes in cuts:
        warped = pull(pair.moving, pair.positions, outside=_BACKGROUND)
        for plane in planes:
            panels = next(rows)
            for panel, (name, image) in zip(panels, _images(pair, warped).items(), strict=False):
                show_slice(panel, plane.cut(image), name, plane.aspect)
            turns = _checkerboard(plane.cut(warped), plane.cut(pair.fixed))
            show_slice(panels[5], turns, "warped and fixed in turns", plane.aspect)
    save(figure, path)


def _images(shown: RegistrationPicture, warped: np.ndarray) -> dict[str, np.ndarray]:
    moving, fixed = shown.names
    return {
        f"moving {moving}": shown.moving,
        f"fixed {fixed}": shown.fixed,
        f"{moving} warped onto {fixed}": warped,
        f"{fixed} synthesised from moving": shown.from_moving,
        f"{moving} synthesised from fixed": shown.from_fixed,
    }


def _planes(brain: np.ndarray, spacing: Sequence[float]) -> list[Plane]:
    """The plane of a 2D canvas; the axial, coronal and sagittal one through the middle of the brain in 3D."""
    if brain.ndim == 2:
        return [Plane((0, 1), aspect=spacing[1] / spacing[0])]
    middle = [int(np.median(indices)) for indices in np.nonzero(brain if brain.any() else ~brain)]
    return [
        Plane((first, second), normal, middle[normal], spacing[second] / spacing[first])
        for first, second, normal in ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    ]


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
    entitle(panel, "log2 Jacobian (green: folded)")
    panel.set_axis_off()
    # Beside the panel and not out of it, which would shrink the picture against the others.
    figure.colorbar(shown, cax=panel.inset_axes((1.03, 0.15, 0.04, 0.7)))
