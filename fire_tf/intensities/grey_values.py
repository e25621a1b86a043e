"""Grey values: where there is tissue, and which values become -1 and 1.

The background is the lowest value of every image here: `fire_tf.intensities.air.clear` has seen to that.
"""

from __future__ import annotations

import numpy as np

BACKGROUND = -1.0
"""The normalised value of what lies outside the object and outside the image."""

NO_AIR = BACKGROUND + 0.1
"""Normalised values above it are the object."""

BRIGHTEST = 98.0, 4.0
"""Nothing becomes 1 that is more than so many times as far above the background as this percentile: single voxels, a
thousandth of them, may have any value."""

_TISSUE = 0.05  # part of the range above the background below which a voxel counts as empty (noise)


def foreground(data: np.ndarray) -> np.ndarray:
    """Where there is tissue: voxels clearly above the background, which is the lowest value. Any shape."""
    low = data.min()
    above = data[data > low]
    if above.size == 0:
        return np.zeros(data.shape, dtype=bool)
    return data > low + _TISSUE * (_brightest(above, low, 99.5) - low)


def normalise(data: np.ndarray, percentile: float) -> np.ndarray:
    """Map the background to -1 and a high percentile of the rest to +1; clip what is brighter. Any shape.

    The rest is every voxel above the background: the share of the canvas that is empty has no influence. A blank
    slice comes back as background.
    """
    return scale(data, *grey_range(data, percentile))


def grey_range(data: np.ndarray, percentile: float) -> tuple[float, float]:
    """The grey values that `normalise` maps to -1 and to 1; one value twice for a blank slice."""
    low = data.min()
    above = data[data > low]
    if above.size == 0:
        return low, low
    return low, max(float(_brightest(above, low, percentile)), np.nextafter(low, np.float32(np.inf)))


def scale(data: np.ndarray, low: float, high: float) -> np.ndarray:
    if low == high:
        return np.full(data.shape, BACKGROUND, dtype=np.float32)
    return np.clip(2.0 * (data - low) / (high - low) - 1.0, -1.0, 1.0).astype(np.float32)


def _brightest(above: np.ndarray, low: np.float32, percentile: float) -> np.floating:
    common, times = BRIGHTEST
    wanted, usual = np.percentile(above, (percentile, common))
    return np.minimum(wanted, low + times * (usual - low))
