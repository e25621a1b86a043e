"""Cosines along an axis of a grid: what smooth fields are made of."""

from __future__ import annotations

import numpy as np


def cosines(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``cos(k pi (i + 1/2) / size)`` for samples i and k = 0 .. count - 1, (size, count), and wave numbers (count,).

    Wave numbers are in radians per sample; k is the number of half waves along the axis.
    """
    numbers = np.pi * np.arange(count) / size
    return np.cos(np.outer(np.arange(size) + 0.5, numbers)), numbers
