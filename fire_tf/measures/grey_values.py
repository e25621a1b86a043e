"""How alike the grey values of two images are, as they are or through the best table between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 256


def correlation(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Pearson's correlation of two images over ``mask``, all (*shape)."""
    return float(np.corrcoef(first[mask], second[mask])[0, 1])


@dataclass(frozen=True)
class GreyValueTable:
    """From grey values in [-1, 1] to others: ``values[i]`` stands for the i-th of equal bins."""

    values: np.ndarray

    @classmethod
    def fit(cls, source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> GreyValueTable:
        """The mean of ``target`` per bin of ``source`` over ``mask``, than which no function of the grey value alone is
        closer to it; empty bins are interpolated. Raises ValueError for an empty mask."""
        bins = _bins(source[mask])
        counts = np.bincount(bins, minlength=_BINS)
        if not counts.any():
            raise ValueError("a grey value table needs at least one voxel in its mask")
        sums = np.bincount(bins, weights=target[mask], minlength=_BINS)
        known = np.flatnonzero(counts)
        return cls(np.interp(np.arange(_BINS), known, sums[known] / counts[known]))

    def __call__(self, source: np.ndarray) -> np.ndarray:
        return self.values[_bins(source)]


def _bins(image: np.ndarray) -> np.ndarray:
    return np.clip(((image + 1) / 2 * _BINS).astype(int), 0, _BINS - 1)
