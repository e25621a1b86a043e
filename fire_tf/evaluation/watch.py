"""A callback for `fit` that shows a registration improving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.point_maps import pull
from fire_tf.measures.metrics import dice_per_structure, map_positions
from fire_tf.pictures.figures import save, show_outlines, show_slice
from fire_tf.registration.pair import register_pair


class WatchRegistration(tf.keras.callbacks.Callback):
    """Registers one pair before the training and after every epoch, and draws all of it into one picture.

    A column for each time: above, the moving image on the fixed grid, below, the fixed image with the outlines of its
    own labels in white and of the moving image's, warped, in colour. The last column has the fixed image.

    Args:
        pair: single slices in [-1, 1] with labels, as `fire_tf.evaluation.drawn_pairs` draws them; the moving image is of the
            model's modality A.
        structures: label value -> name.
        path: the PNG, written anew after every epoch.
        show: called with ``path`` whenever it was written; in a notebook what brings the picture up to date.

    ``dice`` holds the mean Dice over the structures, 0 to 1, before the training and after each epoch.
    """

    def __init__(
        self,
        pair: Pair,
        structures: Mapping[int, str],
        path: str | Path,
        show: Callable[[Path], Any] = lambda path: None,
    ):
        super().__init__()
        self.pair, self.structures, self.path, self.show = pair, structures, Path(path), show
        self.dice: list[float] = []
        self._results: list[Result] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.dice, self._results = [], []
        self._look("before")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look(f"epoch {epoch + 1}")

    def _look(self, when: str) -> None:
        pair = self.pair
        found = register_pair(self.model, pair.moving, pair.fixed)
        to_moving, to_fixed = pair.in_voxels(found.to_moving, found.to_fixed)
        positions = map_positions(to_moving, pair.fixed_labels.shape)
        moved = pull(pair.moving_labels, positions, nearest=True)
        overlap = dice_per_structure(moved, pair.fixed_labels, self.structures)
        self.dice.append(float(np.nanmean(list(overlap.values()))))
        title = f"{when}: Dice {100 * self.dice[-1]:.0f} %"
        self._results.append(Result(title, to_moving, to_fixed))
        draw_progress(self.pair, self._results, self.structures, self.path)
        self.show(self.path)


def draw_progress(pair: Pair, results: Sequence[Result], structures: Mapping[int, str], path: Path) -> None:
    """The picture of `WatchRegistration`: a column for each result, its ``method`` above it."""
    if pair.ndim != 2:
        raise ValueError(f"{pair.name}: has {pair.ndim} axes, expected a pair of single slices")
    figure = Figure(figsize=(1.9 * (len(results) + 1), 4.6), layout="constrained")
    panels = figure.subplots(2, len(results) + 1)
    moving, fixed = pair.array("moving"), pair.array("fixed")
    for column, result in zip(panels.T, results, strict=False):
        positions = map_positions(result.to_moving, fixed.shape)
        show_slice(column[0], pull(moving, positions, outside=float(moving.min())), result.method)
        show_outlines(column[1], pair, "moving", "fixed", result.to_moving, structures, brightness=0.5)
    show_slice(panels[0, -1], fixed, "the fixed image")
    panels[1, -1].set_axis_off()
    save(figure, path)
