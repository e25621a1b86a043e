"""How sure a mean is: intervals by resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEWEST_SUBJECTS = 3
"""Fewer are not resampled: two can only be drawn as they are or one of them twice."""

_RESAMPLES = 2000
_ENDS = (2.5, 97.5)  # percentiles, of a 95 % interval


class Means(NamedTuple):
    """Means of the columns of a table, last the mean of them all, and the ends of their 95 % intervals; (columns + 1,)
    each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrapped_means(table: np.ndarray, seed: int, subjects: Sequence[str] = ()) -> Means:
    """Means over the rows of ``table`` (rows, columns), NaN left out, with percentile intervals.

    Whole rows are resampled, so the interval of the mean of all columns respects that the values of a row go together.
    Where ``subjects`` (a name for each row) are three or more, they are drawn, each with all of its rows: rows of one
    subject are not independent.
    """
    names = subjects if resamples_subjects(subjects) else [str(row) for row in range(len(table))]
    _, unit = np.unique(names, return_inverse=True)
    units = int(unit.max()) + 1
    draws = np.random.default_rng(seed).integers(0, units, size=(_RESAMPLES, units))
    drawn = np.zeros((_RESAMPLES, units))
    np.add.at(drawn, (np.arange(_RESAMPLES)[:, np.newaxis], draws), 1)
    low, high = np.nanpercentile(_column_means(table, drawn[:, unit]), _ENDS, axis=0)
    return Means(_column_means(table, np.ones(len(table))), low, high)


def resamples_subjects(subjects: Sequence[str]) -> bool:
    """Whether rows of these subjects are resampled subject by subject."""
    return len(set(subjects)) >= FEWEST_SUBJECTS


def _column_means(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means over the rows of a table (rows, columns) that count as often as ``weights`` (..., rows) say, NaN where
    nothing is left, and last the mean of them: (..., columns + 1)."""
    known = np.isfinite(table)
    means = _ratio(weights @ np.where(known, table, 0), weights @ known)
    found = np.isfinite(means)
    whole = _ratio(np.where(found, means, 0).sum(axis=-1), found.sum(axis=-1))
    return np.concatenate([means, whole[..., np.newaxis]], axis=-1)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
