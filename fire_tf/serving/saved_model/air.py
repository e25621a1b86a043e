"""`fire_tf.intensities.air` in TensorFlow's own operations: the same names, the same constants, the same results.

Each function takes one image, (*spatial) float32 of sizes that are known only when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.intensities import air as rule


class _Air(NamedTuple):
    """See `fire_tf.intensities.air.Air`."""

    value: tf.Tensor
    reach: tf.Tensor
    low: tf.Tensor


def fill_outside(data: tf.Tensor) -> tf.Tensor:
    """The image with air in the place of NaN that hang together with the border. Unlike there NaN in holes stay."""
    missing = tf.math.is_nan(data)
    rest = tf.sort(tf.boolean_mask(data, tf.math.is_finite(data)))

    def filled() -> tf.Tensor:
        air = _find_air(tf.where(tf.math.is_finite(data), data, _lowest(rest)))
        is_air = missing | (tf.abs(data - air.value) <= air.reach)
        return tf.where(missing & _reached(_on_border(data), is_air), air.value, data)

    return tf.cond(tf.reduce_any(missing) & (tf.size(rest) > 0), filled, lambda: data)


def clear(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The image with all air at its lowest grey value, and the grey value that air had."""
    image = _without_spikes(_unpadded(data))
    air = _find_air(image)
    is_air = (image >= air.value - air.reach) & (image <= air.value + air.reach)
    return tf.where(is_air, air.low, tf.maximum(image, air.low)), air.value


def _find_air(data: tf.Tensor) -> _Air:
    values = tf.sort(tf.reshape(data, [-1]))
    count, tail = tf.size(values), _part(tf.size(values) - 1, rule.TAIL)
    start, stop, on_border = _densest(values, tf.sort(tf.boolean_mask(data, _on_border(data))))
    value = values[(start + stop) // 2]
    flat = value - values[0] <= np.float32(rule.SAME) * (values[count - 1 - tail] - values[tail])
    value = tf.where(flat, values[0], value)
    first, end = _place(values, value), _place(values, value, "right")
    exact = flat | (2 * (end - first) >= stop - start)
    span = tf.maximum(values[count - 1 - tail] - value, value - values[tail])
    noise = tf.maximum(np.float32(rule.NOISE) * (value - values[first // 2]), np.float32(rule.FLAT) * span)
    reach = tf.where(exact, 0.0, noise)
    apart = tf.maximum(reach, np.float32(rule.CLEAR) * span)
    darker = _place(values, value - apart)
    tissue = darker + count - _place(values, value + apart, "right")
    between = _double(darker) > rule.BOTH_SIDES * _double(tissue)
    surrounds = on_border >= tf.where(exact, _double(rule.ON_BORDER), _double(rule.ON_NOISY_BORDER))
    surrounds &= exact | ~between
    common = exact & ~between & (_double(end - first) >= rule.COMMON * _double(count))
    low = tf.where(between, values[_part(tissue, rule.TAIL)], value)
    none = _lowest(values)
    return _Air(
        value=tf.where(surrounds | common, value, none),
        reach=tf.where(surrounds | common, reach, 0.0),
        low=tf.where(surrounds, low, tf.where(common, value, none)),
    )


def _lowest(values: tf.Tensor) -> tf.Tensor:
    few = _part(tf.size(values) - 1, rule.EXTREME)
    usual = values[tf.size(values) - 1 - few] - values[few]
    return tf.maximum(values[0], values[few] - np.float32(rule.FARTHEST) * usual)


def _densest(values: tf.Tensor, border: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    tail = _part(tf.size(values) - 1, rule.TAIL)
    step = (values[tf.size(values) - 1 - tail] - values[tail]) / np.float32(rule.BINS)
    cuts = values[tail] + step * tf.range(1, rule.BINS, dtype=tf.float32)
    inside = []
    for part in (values, border):
        ends = tf.concat([[0], tf.searchsorted(part, cuts), [tf.size(part)]], axis=0)
        inside.append((ends, _double(ends[rule.WINDOW :] - ends[: -rule.WINDOW]) / _double(tf.size(part))))
    (ends, here), (_, on_border) = inside
    place = tf.argmax(here + on_border, output_type=tf.int32)
    return ends[place], ends[place + rule.WINDOW], on_border[place]


def _on_border(data: tf.Tensor) -> tf.Tensor:
    inside = tf.fill(tf.where(tf.shape(data) > 1, tf.maximum(tf.shape(data) - 2, 0), 1), False)
    around = tf.where(tf.shape(data) > 1, 1, 0)
    return tf.pad(inside, tf.stack([around, around], axis=1), constant_values=True)


def _unpadded(data: tf.Tensor) -> tf.Tensor:
    lowest = tf.reduce_min(data)
    padding = data == lowest
    corners = padding
    for axis in range(data.shape.rank):
        corners = tf.gather(corners, [0, tf.shape(data)[axis] - 1], axis=axis)
    share = tf.reduce_mean(tf.cast(padding, tf.float64))
    round_ = tf.reduce_all(corners) & (share >= rule.PADDED) & (_fills(~padding) >= 2) & (share < 1)

    def filled() -> tf.Tensor:
        values = tf.sort(tf.boolean_mask(data, ~padding))
        count = tf.size(values)
        start, stop, _ = _densest(values, values)
        value = values[(start + stop) // 2]
        same = _place(values, value, "right") - _place(values, value)
        widest = values[count - 1 - _part(count, rule.TAIL)] - values[0]
        gap = values[0] - lowest > np.float32(rule.GAP) * widest
        common = _double(stop - start) >= rule.SURROUNDED * _double(count)
        common &= _double(start) <= rule.DARKER * _double(count)
        return tf.where(common & ((2 * same >= stop - start) | gap) & padding, value, data)

    return tf.cond(round_, filled, lambda: data)


def _fills(inside: tf.Tensor) -> tf.Tensor:
    """Along how many axes a mask comes near both ends."""
    fills = []
    for axis in range(inside.shape.rank):
        others = [other for other in range(inside.shape.rank) if other != axis]
        places = tf.cast(tf.where(tf.reduce_any(inside, others)), tf.float64)
        size = _double(tf.shape(inside)[axis])
        low = tf.reduce_min(places) <= rule.RIM * size
        fills.append(low & (tf.reduce_max(places) >= size - 1 - rule.RIM * size) & (size > 1))
    return tf.reduce_sum(tf.cast(fills, tf.int32))


def _without_spikes(data: tf.Tensor) -> tf.Tensor:
    values = tf.sort(tf.reshape(data, [-1]))
    count, tail = tf.size(values), _part(tf.size(values) - 1, rule.TAIL)
    far = np.float32(rule.SPIKE) * (values[count - 1 - tail] - values[tail])
    darkest, brightest = _around(data, tf.minimum, np.inf), _around(data, tf.maximum, -np.inf)
    spikes = (data > brightest + far) | (data < darkest - far)
    many = _double(tf.math.count_nonzero(spikes)) > tf.maximum(rule.SPIKES * _double(count), rule.FEW)
    return tf.where(spikes & many & (far > 0), tf.clip_by_value(data, darkest, brightest), data)


def _around(data: tf.Tensor, most: Callable[..., tf.Tensor], none: float) -> tf.Tensor:
    others, whole = tf.fill(tf.shape(data), np.float32(none)), data
    for axis in range(data.shape.rank):
        ends = [(1, 1) if other == axis else (0, 0) for other in range(data.shape.rank)]
        padded = tf.pad(whole, ends, constant_values=none)
        before, after = (padded[_along(axis, data.shape.rank, cut)] for cut in (slice(-2), slice(2, None)))
        others = most(others, most(before, after))
        whole = most(whole, most(before, after))
    return others


def _along(axis: int, rank: int, cut: slice) -> Sequence[slice]:
    return tuple(cut if other == axis else slice(None) for other in range(rank))


def _reached(start: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """What of a mask hangs together with ``start``, over faces, edges and corners."""
    rank = mask.shape.rank

    def grown(reached: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wider = tf.nn.max_pool(tf.cast(reached, tf.float32)[tf.newaxis, ..., tf.newaxis], 3, 1, "SAME")
        wider = (tf.ensure_shape(wider[0, ..., 0], [None] * rank) > 0) & mask
        return wider, tf.reduce_any(wider & ~reached)

    first = start & mask
    return tf.while_loop(lambda _, more: more, grown, (first, tf.reduce_any(first)))[0]


def _place(values: tf.Tensor, value: tf.Tensor, side: str = "left") -> tf.Tensor:
    return tf.searchsorted(values, value[tf.newaxis], side)[0]


def _part(count: tf.Tensor, part: float) -> tf.Tensor:
    return tf.cast(_double(count) * part, tf.int32)


def _double(value: tf.Tensor | float) -> tf.Tensor:
    return tf.cast(value, tf.float64)
