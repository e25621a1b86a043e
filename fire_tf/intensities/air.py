"""Which grey value is air, found from more than the lowest voxel.

Air is the most common range of grey values, in the image and on its border alike. It is mostly the lowest one, and
exactly one value; but single voxels lie below it, scanners pad a round field of view with a value far below, splines
undershoot around an object, receivers add noise, and images that were standardised inside the brain alone have their
air in the midst of the tissue. `fire_tf.serving.saved_model.air` does the same in TensorFlow: change both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation, binary_propagation, generate_binary_structure, label

BINS, WINDOW = 32, 3  # the range of grey values is cut into so many, and so many together are looked for
TAIL = 0.002  # part of the voxels at either end that does not tell the range
SAME = 1e-3  # part of the range that air may lie above the lowest value for that to be it: it was blurred, or rounded
FLAT = 0.02  # part of the range within which air that is not exactly one value lies at least
NOISE = 4.0 * 1.4826  # times the median distance below noisy air: what its noise reaches
CLEAR = 0.1  # part of the range by which tissue differs from air
ON_BORDER, ON_NOISY_BORDER, COMMON = 0.5, 0.75, 0.1  # parts of the border and of the image that air fills
BOTH_SIDES = 0.15  # part of the tissue that is darker than air where air lies in its midst
PADDED, SURROUNDED, DARKER, RIM, GAP = 0.005, 0.05, 0.03, 0.1, 0.3  # see `unpadded`
SPIKE, SPIKES, FEW = 0.4, 3e-4, 3  # see `without_spikes`
DARK = 0.35  # part of the range above air up to which the rim of a hole is dark
FARTHEST, EXTREME = 3.0, 0.02  # see `find_air`


class Air(NamedTuple):
    """Voxels within ``reach`` of ``value`` are air. ``low`` is the lowest value that tissue has; the same as ``value``
    but where air lies in the midst of the tissue."""

    value: np.float32
    reach: np.float32
    low: np.float32


def clear(data: np.ndarray) -> tuple[np.ndarray, float]:
    """The image (any shape, float32) with its air, and what is darker than tissue, at exactly its lowest grey value;
    and the grey value that air had. An image whose air is so already comes back as it is."""
    if data.min() == data.max():
        return data, float(data.min())
    image = without_spikes(unpadded(data))
    air = find_air(image)
    if air.low == air.value and not air.reach and air.low <= image.min():
        return image, float(air.value)
    is_air = (image >= air.value - air.reach) & (image <= air.value + air.reach)
    return np.where(is_air, air.low, np.maximum(image, air.low)), float(air.value)


def fill_outside(data: np.ndarray) -> tuple[np.ndarray, float]:
    """The image with air in the place of the NaN that lie outside the object, and the grey value that they were given;
    the NaN of the object stay.

    Outside is what hangs together with the border, by way of air too, and a hole whose rim is dark, as of a ventricle
    that was 0 before all 0 were made NaN.
    """
    missing = np.isnan(data)
    rest = data[np.isfinite(data)]
    if not rest.size or not missing.any():
        return data, float("nan")
    everywhere = generate_binary_structure(data.ndim, data.ndim)
    value, reach, _ = find_air(np.where(np.isfinite(data), data, _lowest(np.sort(rest))))
    is_air = missing | (np.abs(data - value) <= reach)
    reached = binary_propagation(is_air & _on_border(data.shape), everywhere, mask=is_air)
    bright = value + DARK * (np.percentile(rest, 99) - value)
    holes, count = label(missing & ~reached, everywhere)
    for hole in (holes == number for number in range(1, count + 1)):
        rim = binary_dilation(hole, everywhere) & ~hole
        reached |= hole & (np.median(data[rim]) <= bright)
    return np.where(missing & reached, value, data), float(value)


def find_air(data: np.ndarray) -> Air:
    """Where the grey values of an image's air lie.

    An image without any (a heart that fills its field of view) has its lowest value in the place of air, unless that
    lies ``FARTHEST`` times the range of all but the ``EXTREME`` parts below it.
    """
    values, border = np.sort(data, axis=None), np.sort(data[_on_border(data.shape)])
    last, tail = len(values) - 1, int((len(values) - 1) * TAIL)
    start, stop, on_border = _densest(values, border)
    value = values[(start + stop) // 2]
    flat = value - values[0] <= np.float32(SAME) * (values[last - tail] - values[tail])
    value = values[0] if flat else value
    same = np.searchsorted(values, value, "right") - np.searchsorted(values, value)
    exact = bool(flat) or 2 * same >= stop - start
    distance = value - values[np.searchsorted(values, value) // 2]
    span = np.maximum(values[last - tail] - value, value - values[tail])
    reach = np.float32(0) if exact else np.maximum(np.float32(NOISE) * distance, np.float32(FLAT) * span)
    apart = np.maximum(reach, np.float32(CLEAR) * span)
    darker = np.searchsorted(values, value - apart)
    tissue = darker + len(values) - np.searchsorted(values, value + apart, "right")
    between = darker > BOTH_SIDES * tissue
    if on_border >= (ON_BORDER if exact else ON_NOISY_BORDER) and between <= exact:
        low = values[int(TAIL * tissue)] if between else value
        return Air(value, reach, low)
    if exact and not between and same >= COMMON * len(values):
        return Air(value, reach, value)
    low = _lowest(values)
    return Air(low, np.float32(0), low)


def _lowest(values: np.ndarray) -> np.float32:
    """The lowest of sorted grey values, or what may be the lowest at most, see `find_air`."""
    few = int((len(values) - 1) * EXTREME)
    farthest = values[few] - np.float32(FARTHEST) * (values[len(values) - 1 - few] - values[few])
    return np.maximum(values[0], farthest)


def _densest(values: np.ndarray, border: np.ndarray) -> tuple[int, int, float]:
    """The window of grey values that most voxels lie in, of the image and of its border (both sorted): from which to
    which of the ``values``, and the part of the border."""
    tail = int((len(values) - 1) * TAIL)
    step = (values[len(values) - 1 - tail] - values[tail]) / np.float32(BINS)
    cuts = values[tail] + step * np.arange(1, BINS, dtype=np.float32)
    ends, border_ends = (
        np.concatenate([[0], np.searchsorted(sorted_, cuts), [len(sorted_)]]) for sorted_ in (values, border)
    )
    on_border = (border_ends[WINDOW:] - border_ends[:-WINDOW]) / len(border)
    place = np.argmax((ends[WINDOW:] - ends[:-WINDOW]) / len(values) + on_border)
    return ends[place], ends[place + WINDOW], on_border[place]


def _on_border(shape: Sequence[int]) -> np.ndarray:
    """Which voxels are the outermost along an axis that has several."""
    inside = np.zeros(shape, dtype=bool)
    inside[tuple(slice(1, -1) if size > 1 else slice(None) for size in shape)] = True
    return ~inside


def unpadded(data: np.ndarray) -> np.ndarray:
    """The image with air in the place of the padding outside a round field of view.

    Padding is one value, the lowest, in all corners. What it surrounds comes near the border (``RIM``) on all sides of
    a plane, and has air of its own: a range of grey values that hardly any voxel is darker than, mostly one value, or
    noise that lies ``GAP`` of the range above the padding.
    """
    lowest = data.min()
    padding = data == lowest
    corners = np.ix_(*([0, -1] if size > 1 else [0] for size in data.shape))
    if not padding[corners].all() or padding.mean() < PADDED or sum(_fills(~padding)) < 2:
        return data
    values = np.sort(data, axis=None)[np.count_nonzero(padding) :]
    start, stop, _ = _densest(values, values)
    value = values[(start + stop) // 2]
    same = np.searchsorted(values, value, "right") - np.searchsorted(values, value)
    gap = values[0] - lowest > np.float32(GAP) * (values[-1 - int(len(values) * TAIL)] - values[0])
    common = stop - start >= SURROUNDED * len(values) and start <= DARKER * len(values)
    if common and (2 * same >= stop - start or gap):
        return np.where(padding, value, data)
    return data


def without_spikes(data: np.ndarray) -> np.ndarray:
    """The image without single voxels that are brighter or darker than all around them by ``SPIKE`` of the range, where
    there are more of them than ``SPIKES`` of all and ``FEW``: they get the nearest value that is found around them."""
    last, tail = data.size - 1, int((data.size - 1) * TAIL)
    values = np.partition(data, (tail, last - tail), axis=None)
    far = np.float32(SPIKE) * (values[last - tail] - values[tail])
    darkest, brightest = _around(data, np.minimum), _around(data, np.maximum)
    spikes = (data > brightest + far) | (data < darkest - far)
    if not far or np.count_nonzero(spikes) <= max(SPIKES * data.size, FEW):
        return data
    return np.where(spikes, np.clip(data, darkest, brightest), data)


def _around(data: np.ndarray, most: np.ufunc) -> np.ndarray:
    """The least or the greatest value of a voxel's neighbours, over faces, edges and corners."""
    none = np.float32(np.inf if most is np.minimum else -np.inf)
    others, whole = np.full_like(data, none), data
    for axis in range(data.ndim):
        padded = np.pad(
            whole, [(1, 1) if other == axis else (0, 0) for other in range(data.ndim)], constant_values=none
        )
        before, after = (np.take(padded, np.arange(data.shape[axis]) + step, axis=axis) for step in (0, 2))
        others = most(others, most(before, after))
        whole = most(whole, most(before, after))
    return others


def _fills(inside: np.ndarray) -> list[bool]:
    """Along which axes a mask comes near both ends."""
    fills = []
    for axis, size in enumerate(inside.shape):
        places = np.flatnonzero(
            inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis))
        )
        fills.append(size > 1 and places[0] <= RIM * size and places[-1] >= size - 1 - RIM * size)
    return fills
