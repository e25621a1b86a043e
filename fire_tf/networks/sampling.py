"""The one differentiable reader between voxels: what `neurite.utils.interpn` computes, several times faster.

Linear interpolation with a gradient of its own. What autodiff would store of every corner of every cell is read again
instead, the gradient by the image is a sum that is left out where nobody asks for it, and XLA makes one loop of the
dozens of small operations in between. In graphs, that is: a model that registers but one pair runs eagerly, and a
SavedModel may have to run where there is no XLA (`uncompiled`).
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.networks.compiled import is_uncompiled, one_kernel

Corner = tuple[int, ...]  # 0 or 1 along each axis: which end of a cell


def sample(image: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Read ``image`` (batch, *size, c) linearly at its own voxel coordinates ``points`` (batch, *grid, n), clamped."""
    if is_uncompiled():
        return _read(image, points)
    compiled = not tf.executing_eagerly()
    read, by_points, shares = _COMPILED if compiled else (_read, _by_points, _shares)

    @tf.custom_gradient
    def reading(image: tf.Tensor, points: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            voxels, parts = shares(image, points, upstream)
            count = tf.reduce_prod(tf.shape(image)[:-1])
            by_image = tf.reshape(tf.math.unsorted_segment_sum(parts, voxels, count), tf.shape(image))
            return by_image, by_points(image, points, upstream)

        return read(image, points), gradient

    return reading(image, points)


class _Cells(NamedTuple):
    """The cells of voxels that points lie in: all (batch, points), points in a row.

    first: number of the cell's first voxel among all of the batch. upper: for each axis where in the cell, 0 to 1.
    offsets: what the number of each corner is more than that of the first voxel.
    """

    first: tf.Tensor
    upper: list[tf.Tensor]
    offsets: dict[Corner, int]


def _cells(image: tf.Tensor, points: tf.Tensor) -> _Cells:
    size, n = image.shape[1:-1].as_list(), points.shape[-1]
    strides = [int(np.prod(size[axis + 1 :])) for axis in range(n)]
    batch = tf.shape(points)[0]
    first, upper = tf.range(batch)[:, tf.newaxis] * int(np.prod(size)), []
    flat = tf.reshape(points, [batch, -1, n])
    for axis in range(n):
        inside = tf.clip_by_value(flat[..., axis], 0.0, size[axis] - 1.0)
        lower = tf.minimum(tf.floor(inside), max(size[axis] - 2.0, 0.0))
        upper.append(inside - lower)
        first += tf.cast(lower, tf.int32) * strides[axis]
    offsets = {
        corner: sum(strides[axis] for axis in range(n) if corner[axis] and size[axis] > 1)
        for corner in product((0, 1), repeat=n)
    }
    return _Cells(first, upper, offsets)


def _along_axes(
    corners: dict[Corner, tf.Tensor], upper: list[tf.Tensor], slope: int | None = None
) -> tf.Tensor:
    """Interpolate between values at the corners of cells; along the axis ``slope`` their difference instead."""
    for axis, part in enumerate(upper):
        rest = product((0, 1), repeat=len(upper) - 1 - axis)
        ends = {corner: (corners[(0, *corner)], corners[(1, *corner)]) for corner in rest}
        corners = {
            corner: high - low if axis == slope else low + (high - low) * part
            for corner, (low, high) in ends.items()
        }
    return corners[()]


def _read(image: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    cells, channels = _cells(image, points), image.shape[-1]
    flat = tf.reshape(image, [-1, channels])
    corners = {corner: tf.gather(flat, cells.first + offset) for corner, offset in cells.offsets.items()}
    value = _along_axes(corners, [part[..., tf.newaxis] for part in cells.upper])
    return tf.reshape(value, tf.concat([tf.shape(points)[:-1], [channels]], axis=0))


def _by_points(image: tf.Tensor, points: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient by the points: the slopes of linear interpolation, 0 beyond the image."""
    cells, channels, n = _cells(image, points), image.shape[-1], points.shape[-1]
    flat, batch = tf.reshape(image, [-1, channels]), tf.shape(points)[0]
    weight = tf.reshape(upstream, [batch, -1, channels])
    corners = {corner: tf.gather(flat, cells.first + offset) for corner, offset in cells.offsets.items()}
    upper = [part[..., tf.newaxis] for part in cells.upper]
    coordinates, gradient = tf.reshape(points, [batch, -1, n]), []
    for axis, size in enumerate(image.shape[1:-1].as_list()):
        slope = tf.reduce_sum(_along_axes(corners, upper, axis) * weight, axis=-1)
        place = coordinates[..., axis]
        gradient.append(tf.where((place >= 0.0) & (place <= size - 1.0), slope, 0.0))
    return tf.reshape(tf.stack(gradient, axis=-1), tf.shape(points))


def _shares(image: tf.Tensor, points: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient by the image in parts: numbers of voxels (corners, batch, points), and what each is given
    (corners, batch, points, c)."""
    cells, n = _cells(image, points), points.shape[-1]
    weight = tf.reshape(upstream, [tf.shape(points)[0], -1, image.shape[-1]])
    voxels, parts = [], []
    for corner, offset in cells.offsets.items():
        share = tf.ones_like(cells.upper[0])
        for axis in range(n):
            share *= cells.upper[axis] if corner[axis] else 1.0 - cells.upper[axis]
        voxels.append(cells.first + offset)
        parts.append(share[..., tf.newaxis] * weight)
    return tf.stack(voxels), tf.stack(parts)


_COMPILED = tuple(one_kernel(function) for function in (_read, _by_points, _shares))
