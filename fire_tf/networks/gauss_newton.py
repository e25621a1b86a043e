"""Unrolled Gauss-Newton steps that align learnt projections of two feature maps: T_af may end in them, T_nr begin.

Each step solves for the displacement ``d = sum over k of c_k B_k`` that best explains what is left of the difference
between the warped moving map m and the fixed map f (Lucas and Kanade 1981; Baker and Matthews 2004),

    mean over p of  w(p) |m(p) - f(p) + slopes(p) d(p)|^2  +  prior,

slopes being the mean of both maps' (Benhimane and Malis 2004). Maps and the weights w are two convolutions on the
features, learnt through the steps. A convolution has to learn how a difference of features becomes a displacement; here
it follows from the features' own slopes, which is as true for an unseen head as for a training one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fire_tf.geometry.cosines import cosines
from fire_tf.networks.layers import SLOPE, convolution
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import FeatureGrid, affine_points, centre, compose_displacements, identity_grid

_TINY = 1e-6  # keeps maps without any structure solvable: their displacement is 0


class _Steps(tf.keras.layers.Layer):
    """The projection of both feature maps that the steps compare, and how often they are taken."""

    def __init__(self, rank: int, steps: int, filters: int = 32, channels: int = 16, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank, self.steps = rank, steps
        self.hidden = convolution(rank, filters)
        self.activation = tf.keras.layers.LeakyReLU(SLOPE)
        self.projection = convolution(rank, channels + 1, dtype="float32")

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        shape = tf.TensorShape(input_shape[0])
        self.hidden.build(shape)
        self.projection.build(shape[:-1].concatenate(self.hidden.filters))
        super().build(input_shape)

    def _projected(self, moving: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both (batch, *grid, channels + 1): the map, and in the last channel the square root of a weight, > 0."""
        both = self.projection(self.activation(self.hidden(tf.concat([moving, fixed], axis=0))))
        both = tf.concat([both[..., :-1], tf.nn.softplus(both[..., -1:])], axis=-1)
        moving, fixed = tf.split(both, 2)
        return moving, fixed


class AffineSteps(_Steps):
    """Corrections of an affine: (features of moving and fixed, affine (batch, n, n + 1)) -> affine."""

    _DAMPING = 0.01

    def __init__(self, canvas: Sequence[int], strides: Sequence[int], steps: int, **kwargs: Any):
        super().__init__(len(canvas), steps, **kwargs)
        self.grid = FeatureGrid(tuple(canvas), tuple(strides))

    def call(self, inputs: Sequence[tf.Tensor], matrix: tf.Tensor) -> tf.Tensor:
        n, canvas = self.rank, self.grid.canvas
        half = max(canvas) / 2.0
        points = self.grid.points()
        # The basis is 1 and the coordinates, in half canvas sizes from the centre.
        places = tf.reshape((points - centre(canvas)) / half, [-1, n])
        basis = tf.concat([places, tf.ones_like(places[:, :1])], axis=-1)
        prior = tf.fill([n + 1], self._DAMPING)
        to_half = half / tf.constant(self.grid.strides, tf.float32)
        moving, fixed = self._projected(*inputs)
        for _ in range(self.steps):
            warped = self.grid.sample(moving, affine_points(matrix, points, canvas))
            structure, force = (
                tf.reshape(value, [-1, places.shape[0], *value.shape[n + 1 :]])
                for value in _structure_and_force(warped, fixed, to_half)
            )
            step = tf.linalg.matrix_transpose(_solve(structure, force, [basis], prior))
            # phi o (id + d), d(q) = step (q, 1)
            linear, shift = step[..., :-1] + tf.eye(n), step[..., -1:] * half
            shift = tf.matmul(matrix[..., :-1], shift) + matrix[..., -1:]
            matrix = tf.concat([tf.matmul(matrix[..., :-1], linear), shift], axis=-1)
        return matrix


class CosineSteps(_Steps):
    """A displacement as a sum of low cosines: features of moving and fixed -> u (batch, *grid, n), voxels of the grid.

    ``u`` starts from 0. Its cosines have half waves down to ``half_wave`` voxels, and its prior is the bending energy
    times ``bending`` (Ashburner and Friston 1999).
    """

    _DAMPING = 0.02

    def __init__(self, rank: int, steps: int, bending: float, half_wave: float = 5.0, **kwargs: Any):
        super().__init__(rank, steps, **kwargs)
        self.bending, self.half_wave = bending, half_wave

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        moving, fixed = self._projected(*inputs)
        shape = moving.shape[1:-1].as_list()
        bases, waves = zip(*(_cosines(size, self.half_wave) for size in shape), strict=True)
        squared = np.sum(np.meshgrid(*[wave**2 for wave in waves], indexing="ij"), axis=0)
        prior = tf.constant(self._DAMPING + self.bending * squared.ravel() ** 2, tf.float32)
        points = identity_grid(shape)
        u = tf.zeros_like(moving[..., : self.rank])
        for _ in range(self.steps):
            structure, force = _structure_and_force(sample(moving, points + u), fixed, 1.0)
            step = _expand(_solve(structure, force, bases, prior), bases)
            u = compose_displacements(u, step)
        return u


def _cosines(size: int, half_wave: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (size, k) of mean square 1 with half waves down to ``half_wave`` samples, and their wave numbers (k,)."""
    waves, numbers = cosines(size, 1 + int(size / half_wave))
    waves /= np.sqrt(np.mean(waves**2, axis=0))
    return waves.astype(np.float32), numbers


def _structure_and_force(
    warped: tf.Tensor, fixed: tf.Tensor, scale: tf.Tensor | float
) -> tuple[tf.Tensor, tf.Tensor]:
    """w sum over channels of slopes slopes^T, (batch, *grid, n, n), and of slopes (m - f), (batch, *grid, n).

    ``scale``: grid voxels per unit of the displacement that is sought.
    """
    weight = (warped[..., -1:] * fixed[..., -1:])[..., tf.newaxis]
    warped, fixed = warped[..., :-1], fixed[..., :-1]
    slopes = _slopes((warped + fixed) / 2.0) * scale
    difference = (warped - fixed)[..., tf.newaxis]
    structure = tf.matmul(slopes, slopes * weight, transpose_a=True)
    return structure, tf.matmul(slopes, difference * weight, transpose_a=True)[..., 0]


def _slopes(value: tf.Tensor) -> tf.Tensor:
    """Central differences (batch, *grid, c, n) per voxel, at the border half of the one-sided difference."""
    slopes = []
    for axis in range(1, value.shape.rank - 1):
        padding = [[int(axis == other)] * 2 for other in range(value.shape.rank)]
        padded = tf.pad(value, padding, "SYMMETRIC")
        low, high = [slice(None)] * axis + [slice(None, -2)], [slice(None)] * axis + [slice(2, None)]
        slopes.append((padded[tuple(high)] - padded[tuple(low)]) / 2.0)
    return tf.stack(slopes, axis=-1)


def _solve(
    structure: tf.Tensor, force: tf.Tensor, bases: Sequence[np.ndarray | tf.Tensor], prior: tf.Tensor
) -> tf.Tensor:
    """The coefficients (batch, k, n) of the products of ``bases``, (size, k_axis) for each axis of the grid.

    They minimise the mean of d^T structure d + 2 force^T d plus the mean trace of structure times the sum of
    ``prior`` (k,) c^2, so that the scale of the maps does not matter.
    """
    m, n = len(bases), force.shape[-1]
    size = prior.shape[0] * n
    trace = tf.reduce_mean(tf.linalg.trace(structure), axis=list(range(1, m + 1)))
    matrix, right = structure, force
    for basis in bases:  # each turn takes the first axis of the grid and appends what it is contracted to
        mean = tf.constant(1.0 / basis.shape[0])
        products = basis[:, :, np.newaxis] * basis[:, np.newaxis, :] * mean
        matrix = tf.tensordot(matrix, products, [[1], [0]])
        right = tf.tensordot(right, basis * mean, [[1], [0]])
    rows, columns = range(3, 3 + 2 * m, 2), range(4, 4 + 2 * m, 2)
    matrix = tf.reshape(tf.transpose(matrix, [0, *rows, 1, *columns, 2]), [-1, size, size])
    right = tf.reshape(tf.transpose(right, [0, *range(2, 2 + m), 1]), [-1, size, 1])
    ridge = (trace[:, tf.newaxis] + _TINY) * tf.repeat(prior, n)
    coefficients = tf.linalg.solve(matrix + tf.linalg.diag(ridge), -right)
    return tf.reshape(coefficients, [-1, size // n, n])


def _expand(coefficients: tf.Tensor, bases: Sequence[np.ndarray]) -> tf.Tensor:
    """The sum (batch, *grid, n) of the bases' products times the coefficients (batch, k, n)."""
    n = coefficients.shape[-1]
    value = tf.reshape(coefficients, [-1, *(basis.shape[1] for basis in bases), n])
    for basis in bases:
        value = tf.tensordot(value, basis, [[1], [1]])
    return tf.transpose(value, [0, *range(2, 2 + len(bases)), 1])
