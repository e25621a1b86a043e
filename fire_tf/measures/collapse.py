"""What is left of images, features and fields of view where a training has collapsed."""

from __future__ import annotations

import numpy as np


class Contrast:
    """How much images vary inside their tissue, over space and over the pairs that they are of.

    Over space: about an image's own mean grey value, of which a flat silhouette has nothing. Over pairs: about the mean
    image, at each voxel that of the images with tissue there, of which nothing is left where the image is the same
    whatever a network is shown.
    """

    def __init__(self) -> None:
        self._images, self._voxels, self._within = 0, 0, 0.0
        self._count: np.ndarray | float = 0.0
        self._sum: np.ndarray | float = 0.0
        self._squares = 0.0

    def add(self, image: np.ndarray, tissue: np.ndarray) -> None:
        """One more image (*canvas) and the mask of its tissue, which may be empty."""
        values = np.where(tissue, image, 0).astype(np.float64)
        squares, voxels = float((values**2).sum()), int(tissue.sum())
        self._images += 1
        self._voxels += voxels
        self._within += squares - values.sum() ** 2 / max(voxels, 1)
        self._count = self._count + tissue
        self._sum = self._sum + values
        self._squares += squares

    def over_space(self) -> float:
        """Standard deviation in grey values over the tissue of all images; NaN without any."""
        return float(np.sqrt(max(self._within, 0.0) / self._voxels)) if self._voxels else float("nan")

    def over_pairs(self) -> float:
        """The same about the mean image; NaN without a second image."""
        if self._images < 2 or not self._voxels:
            return float("nan")
        common = (np.asarray(self._sum) ** 2 / np.maximum(self._count, 1)).sum()
        return float(np.sqrt(max(self._squares - common, 0.0) / self._voxels))


def relative_contrast(images: Contrast, real: Contrast) -> float:
    """That of ``images`` as a part of that of the real ones, over space or over pairs, whichever is less; NaN where the
    real ones have none."""
    parts = ((images.over_space(), real.over_space()), (images.over_pairs(), real.over_pairs()))
    return min((one / other for one, other in parts if other > 0), default=float("nan"))


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
