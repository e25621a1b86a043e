"""Mutual information of grey values (Viola and Wells 1997, Mattes et al. 2003), with its slope."""

from __future__ import annotations

import numpy as np

_BINS = 32


class MutualInformation:
    """I(x, fixed) of the joint histogram of two sets of grey values in [-1, 1], in nats.

    Every x is shared between two bins (linear Parzen windows), a fixed value lies in the nearest one (Mattes et al.).
    The histogram is then smoothed with a Gaussian of one bin, which leaves I differentiable and the empty bins a little
    filled.
    """

    def __init__(self, fixed: np.ndarray) -> None:
        self._column = np.rint(_position(fixed)).astype(np.int64)
        distance = np.subtract.outer(np.arange(_BINS), np.arange(_BINS))
        window = np.exp(-0.5 * distance**2)
        self._window = window / window.sum(axis=0)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """I and its slope by every value of x."""
        position = _position(x)
        row = np.minimum(position.astype(np.int64), _BINS - 2)
        upper, cell = position - row, row * _BINS + self._column
        counts = np.bincount(cell, 1 - upper, _BINS**2) + np.bincount(cell + _BINS, upper, _BINS**2)
        joint = self._window @ counts.reshape(_BINS, _BINS) @ self._window.T / len(x)
        independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        tiny = np.finfo(np.float32).tiny
        ratio = np.log((joint + tiny) / (independent + tiny))
        # dI = sum of ratio * d(joint): what the marginals and the logarithm add is a constant times d(sum) = 0.
        by_count = (self._window.T @ ratio @ self._window) / len(x)
        by_share = (by_count[1:] - by_count[:-1]) * ((_BINS - 1) / 2)
        return float((joint * ratio).sum()), by_share.ravel()[cell]


def _position(values: np.ndarray) -> np.ndarray:
    """Where values lie among the bins, from 0 to the last one's number."""
    return (np.clip(values, -1, 1) + 1) * ((_BINS - 1) / 2)
