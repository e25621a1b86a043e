"""How sure a mean is: intervals by resampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_RESAMPLES = 2000
_ENDS = (2.5, 97.5)  # percentiles, of a 95 % interval


class Means(NamedTuple):
    """Means of the columns of a table, last the mean of them all, and the ends of their 95 % intervals; (columns + 1,)
    each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrapped_means(table: np.ndarray, seed: int) -> Means:
    """Means over the rows of ``table`` (rows, columns), NaN left out, with percentile intervals.

    Whole rows are resampled, so the interval of the mean of all columns respects that the values of a row go together.
    """
    draws = np.random.default_rng(seed).integers(0, len(table), size=(_RESAMPLES, len(table)))
    low, high = np.nanpercentile(_column_means(table[draws]), _ENDS, axis=0)
    return Means(_column_means(table), low, high)


def _column_means(tables: np.ndarray) -> np.ndarray:
    """Means over the rows of tables (..., rows, columns), NaN where nothing is left, and last the mean of them:
    (..., columns + 1)."""
    known = np.isfinite(tables)
    count = known.sum(axis=-2)
    sums = np.where(known, tables, 0).sum(axis=-2)
    means = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return np.concatenate([means, np.nanmean(means, axis=-1, keepdims=True)], axis=-1)
