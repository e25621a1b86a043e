"""Spatial transforms as plain TensorFlow functions; one code path for two and three dimensions.

A transform is a pull-back: it maps a point of the *output* grid to the point of the *input* grid that is read
from, ``(x o phi)(p) = x(phi(p))``. Points are in voxels of the image canvas, axes in ``ij`` order.
Affines are ``(batch, n, n + 1)`` in voxelmorph's convention: they act on voxel coordinates whose origin is the
canvas centre, ``(size - 1) / 2``. An affine is evaluated analytically wherever it is needed, never through a
dense field: interpolating a dense affine clamps it at the border of the field of view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.compat.voxelmorph import ne, vxm
from fire_tf.networks.sampling import sample


class FeatureGrid(NamedTuple):
    """Where the encoder's samples lie: sample ``k`` sits at image voxel ``stride * k``, along each axis."""

    canvas: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples along each axis."""
        return tuple(size // stride for size, stride in zip(self.canvas, self.strides, strict=True))

    def points(self) -> tf.Tensor:
        """Image coordinates of the samples, ``(*shape, n)``."""
        return identity_grid(self.shape) * tf.constant(self.strides, tf.float32)

    def sample(self, features: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
        """Read ``features`` (batch, *shape, c) linearly at image coordinates ``points`` (batch, *grid, n)."""
        return sample(features, points / tf.constant(self.strides, tf.float32))

    def to_image(self, displacement: tf.Tensor) -> tf.Tensor:
        """Bring a displacement (batch, *shape, n) in feature voxels to the image grid, in image voxels.

        Linear interpolation at ``p / stride``, which is where this grid's samples really are; voxelmorph's
        RescaleTransform would align the corners of the two grids instead. The last samples are held constant
        up to the border of the canvas.
        """
        field = displacement * tf.constant(self.strides, displacement.dtype)
        for axis, (size, stride) in enumerate(zip(self.canvas, self.strides, strict=True), start=1):
            if stride > 1:
                weights = tf.constant(_linear_weights(size, stride), field.dtype)
                field = _multiply_axis(weights, field, axis)
        return field


def _linear_weights(size: int, stride: int) -> np.ndarray:
    """Matrix (size, size // stride) that interpolates linearly from samples at ``stride * k`` to every voxel."""
    samples = size // stride
    position = np.minimum(np.arange(size) / stride, samples - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(samples)[None, :])).astype(np.float32)


def _multiply_axis(matrix: tf.Tensor, field: tf.Tensor, axis: int) -> tf.Tensor:
    """Apply ``matrix`` (new, old) along one axis of ``field``."""
    rank = field.shape.rank
    moved = tf.tensordot(field, matrix, axes=[[axis], [1]])  # the new axis comes last
    order = list(range(rank - 1))
    order.insert(axis, rank - 1)
    return tf.transpose(moved, order)


def identity_grid(shape: Sequence[int]) -> tf.Tensor:
    """Voxel coordinates of every voxel, ``(*shape, n)``, float32."""
    mesh = ne.utils.volshape_to_meshgrid(list(shape), indexing="ij")
    return tf.cast(tf.stack(mesh, axis=-1), tf.float32)


def centre(canvas: Sequence[int]) -> tf.Tensor:
    """Origin of the affines' coordinates: the middle of the canvas, in voxels, ``(n,)``."""
    return (tf.constant([float(size) for size in canvas]) - 1.0) / 2.0


def affine_points(matrix: tf.Tensor, points: tf.Tensor, canvas: Sequence[int]) -> tf.Tensor:
    """Map image coordinates ``points`` ([batch,] *grid, n) by ``matrix`` (batch, n, n + 1)."""
    origin = centre(canvas)
    n = len(canvas)
    batch = tf.shape(matrix)[0]
    grid = points.shape[-n - 1 : -1] if points.shape.rank == n + 2 else points.shape[:-1]
    flat = tf.reshape(points - origin, [1 if points.shape.rank == n + 1 else batch, -1, n])
    mapped = tf.matmul(flat, matrix[:, :, :n], transpose_b=True) + matrix[:, tf.newaxis, :, n] + origin
    return tf.reshape(mapped, [batch, *grid, n])


def invert_affine(matrix: tf.Tensor) -> tf.Tensor:
    """Inverse of ``matrix`` (batch, n, n + 1) in the same centred coordinates."""
    n = matrix.shape[-2]
    inverse = tf.linalg.inv(matrix[..., :n])
    return tf.concat([inverse, -tf.matmul(inverse, matrix[..., n:])], axis=-1)


def affine_displacement(matrix: tf.Tensor, canvas: Sequence[int]) -> tf.Tensor:
    """Dense displacement (batch, *canvas, n), in voxels, of ``matrix`` (batch, n, n + 1)."""
    points = identity_grid(canvas)
    return affine_points(matrix, points, canvas) - points


def compose_affine(matrix: tf.Tensor, displacement: tf.Tensor) -> tf.Tensor:
    """Displacement of ``phi_af o phi_nr``: ``A(p + u(p)) - p``, (batch, *canvas, n), in voxels.

    Equal to ``voxelmorph``'s ``compose([affine, displacement])`` inside the field of view and, unlike it, right
    outside of it, since the affine is not clamped there.
    """
    canvas = tuple(displacement.shape[1:-1])
    points = identity_grid(canvas)
    return affine_points(matrix, points + displacement, canvas) - points


def compose_displacements(outer: tf.Tensor, inner: tf.Tensor) -> tf.Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; all (batch, *grid, n), in voxels of that grid."""
    return inner + sample(outer, identity_grid(outer.shape[1:-1]) + inner)


def warp(
    image: tf.Tensor, displacement: tf.Tensor, method: str = "linear", fill: float | None = None
) -> tf.Tensor:
    """``image`` (batch, *canvas, c) read at ``p + displacement(p)``; voxelmorph's SpatialTransformer.

    ``method`` is "linear" or "nearest"; outside the image ``fill`` is returned, or the nearest voxel if None.
    """
    transformer = vxm.layers.SpatialTransformer(interp_method=method, fill_value=fill, dtype="float32")
    return transformer([image, displacement])


def sample_one(image: tf.Tensor, points: tf.Tensor, fill: float | None = None) -> tf.Tensor:
    """``image`` (*size, c) read linearly at its own voxel coordinates ``points`` (*grid, n); neurite's interpn.

    Outside the image ``fill`` is returned, or the nearest voxel if None.
    """
    return ne.utils.interpn(image, points, fill_value=fill)


def pull(image: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """`sample`, but outside the image (batch, *size, c) the value is 0, and linear in between, as in
    `fire_tf.geometry.reading.pull`: with a voxel of 0 all around."""
    n = points.shape[-1]
    return sample(tf.pad(image, [[0, 0], *[[1, 1]] * n, [0, 0]]), points + 1.0)


def laplacian(field: tf.Tensor) -> tf.Tensor:
    """Central second differences summed over the axes at interior points: (batch, *shape, c) -> (batch, *shape - 2, c).

    Spacing is one grid step; an axis shorter than three samples contributes nothing and is kept whole.
    """
    n = field.shape.rank - 2
    inside = [slice(1, -1) if field.shape[axis + 1] > 2 else slice(None) for axis in range(n)]
    total = tf.zeros_like(field[(slice(None), *inside)])
    for axis in range(n):
        if field.shape[axis + 1] > 2:
            low, high = list(inside), list(inside)
            low[axis], high[axis] = slice(None, -2), slice(2, None)
            centre = field[(slice(None), *inside)]
            total += field[(slice(None), *low)] + field[(slice(None), *high)] - 2.0 * centre
    return total
