"""A callback for `fit` that shows a registration improving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import in_voxels
from fire_tf.geometry.reading import pull
from fire_tf.measures.metrics import dice_per_structure, map_positions
from fire_tf.pictures.outlines import Labelled, Warped, draw_progress
from fire_tf.registration.pair import register_pair


class WatchRegistration(tf.keras.callbacks.Callback):
    """Registers one pair before the training and after every epoch, and draws all of it into one picture.

    A column for each time: above, the moving image on the fixed grid, below, the fixed image with the outlines of its
    own labels in white and of the moving image's, warped, in colour. The last column has the fixed image.

    Args:
        images: the moving one, of the model's modality A, and the fixed one: single slices or volumes.
        labels: their label maps, (X, Y) or (X, Y, Z).
        structures: label value -> name.
        path: the PNG, written anew after every epoch.
        show: called with ``path`` whenever it was written; in a notebook what brings the picture up to date.

    ``dice`` holds the mean Dice over the structures, 0 to 1, before the training and after each epoch.
    """

    def __init__(
        self,
        images: tuple[Image, Image],
        labels: tuple[np.ndarray, np.ndarray],
        structures: Mapping[int, str],
        path: str | Path,
        show: Callable[[Path], Any] = lambda path: None,
    ):
        super().__init__()
        self.images, self.structures, self.path, self.show = images, structures, Path(path), show
        self.dice: list[float] = []
        self._moving, self._fixed = (
            Labelled(image.data.reshape(own.shape), own, tuple(image.spacing[: own.ndim]))
            for image, own in zip(images, labels, strict=True)
        )
        self._looks: list[Warped] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.dice, self._looks = [], []
        self._look("before")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look(f"epoch {epoch + 1}")

    def _look(self, when: str) -> None:
        moving, fixed = self.images
        found = register_pair(self.model, moving, fixed)
        to_moving = in_voxels(found.to_moving, fixed.affine, moving.affine, self._fixed.labels.ndim)
        own = self._fixed.labels
        moved = pull(self._moving.labels, map_positions(to_moving, own.shape), nearest=True)
        self.dice.append(float(np.nanmean(list(dice_per_structure(moved, own, self.structures).values()))))
        title = f"{when}: Dice {100 * self.dice[-1]:.0f} %"
        self._looks.append(Warped(title, self._moving, self._fixed, to_moving))
        draw_progress(self._looks, self.structures, self.path)
        self.show(self.path)
