"""How much images and features differ from one pair to the next: nothing is left of it where a training has collapsed."""

from __future__ import annotations

import numpy as np


class Contrast:
    """How much the images of several pairs differ from their mean image, where each of them shows tissue.

    The mean at a voxel is over the pairs that have tissue there: so a flat silhouette has no contrast, nor has an image
    that is the same whatever the network is shown. A single image is compared with its own mean grey value.
    """

    def __init__(self) -> None:
        self._images = 0
        self._count: np.ndarray | float = 0.0
        self._sum: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, image: np.ndarray, tissue: np.ndarray) -> None:
        """One more image (*canvas) and the mask of its tissue."""
        values = np.where(tissue, image, 0).astype(np.float64)
        self._images += 1
        self._count = self._count + tissue
        self._sum = self._sum + values
        self._squares = self._squares + values**2

    def value(self) -> float:
        """Root of the mean squared difference over the tissue of all images, in grey values; NaN without any tissue."""
        count, total, squares = map(np.asarray, (self._count, self._sum, self._squares))
        if not count.sum():
            return float("nan")
        if self._images == 1:
            count, total = count.sum(), total.sum()
        left = squares.sum() - (total**2 / np.maximum(count, 1)).sum()
        return float(np.sqrt(max(left, 0.0) / count.sum()))


def outside_percent(positions: np.ndarray, shape: tuple[int, ...]) -> float:
    """Share in % of ``positions`` (..., n), in voxels, that lie more than half a voxel off a canvas of ``shape``."""
    last = np.asarray(shape) - 0.5
    return 100.0 * float(np.mean(((positions < -0.5) | (positions > last)).any(axis=-1)))


def dead_percent(features: np.ndarray, least: float) -> float:
    """Share in % of the channels of ``features`` (images, *grid, channels) that tell no image from another.

    That is, whose standard deviation over the images at a place has a root mean square below ``least``. A channel
    that differs from place to place alone, as at the border of the grid, says nothing about an image.
    """
    spread = np.sqrt(features.astype(np.float64).var(axis=0).reshape(-1, features.shape[-1]).mean(axis=0))
    return 100.0 * float(np.mean(spread < least))
