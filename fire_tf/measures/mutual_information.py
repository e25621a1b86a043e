"""Mutual information of grey values (Viola and Wells 1997, Mattes et al. 2003), with its slope."""

from __future__ import annotations

import numpy as np

_BINS = 32


class MutualInformation:
    """I(x, fixed) of the joint histogram of two sets of grey values in [-1, 1], in nats.

    Every pair of values is shared between four bins (linear Parzen windows) and the histogram then smoothed
    with a Gaussian of one bin, which leaves I differentiable and the empty bins a little filled.
    """

    def __init__(self, fixed: np.ndarray) -> None:
        self._column, self._right = _bins(fixed)
        distance = np.subtract.outer(np.arange(_BINS), np.arange(_BINS))
        window = np.exp(-0.5 * distance**2)
        self._window = window / window.sum(axis=0)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """I and its slope by every value of x."""
        row, lower = _bins(x)
        cell = row * _BINS + self._column
        shares = (
            (cell, (1 - lower) * (1 - self._right)),
            (cell + 1, (1 - lower) * self._right),
            (cell + _BINS, lower * (1 - self._right)),
            (cell + _BINS + 1, lower * self._right),
        )
        counts = np.sum([np.bincount(where, share, _BINS**2) for where, share in shares], axis=0)
        joint = self._window @ counts.reshape(_BINS, _BINS) @ self._window.T / len(x)
        independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        tiny = np.finfo(np.float32).tiny
        ratio = np.log((joint + tiny) / (independent + tiny))
        # dI = sum of ratio * d(joint): what the marginals and the logarithm add is a constant times d(sum) = 0.
        by_count = (self._window.T @ ratio @ self._window).ravel() / len(x)
        left = by_count[cell + _BINS] - by_count[cell]
        right = by_count[cell + _BINS + 1] - by_count[cell + 1]
        slope = ((1 - self._right) * left + self._right * right) * (_BINS - 1) / 2
        return float((joint * ratio).sum()), slope


def _bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower one of the two bins that share a value, and the upper one's share."""
    position = (np.clip(values, -1, 1) + 1) / 2 * (_BINS - 1)
    lower = np.minimum(position.astype(np.int64), _BINS - 2)
    return lower, position - lower
