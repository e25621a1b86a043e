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
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import tensorflow as tf

from fire_tf.geometry.cosines import cosines
from fire_tf.networks.compiled import fused
from fire_tf.networks.layers import SLOPE, convolution
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import FeatureGrid, affine_points, compose_displacements, identity_grid

_TINY = 1e-6  # keeps maps without any structure solvable: their displacement is 0


class _Steps(tf.keras.layers.Layer):
    """The projection of both feature maps that the steps compare, and how often they are taken."""

    def __init__(self, rank: int, steps: int, filters: int = 32, channels: int = 16, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, whatever the policy
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
        maps, root = tf.split(both, [self.projection.filters - 1, 1], axis=-1)
        moving, fixed = tf.split(tf.concat([maps, tf.nn.softplus(root)], axis=-1), 2)
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
        voxels = np.indices(self.grid.shape).reshape(n, -1).T * self.grid.strides
        places = (voxels - (np.array(canvas) - 1) / 2) / half
        basis = np.concatenate([places, np.ones_like(places[:, :1])], axis=-1).astype(np.float32)
        spans, prior = [_span(basis)], tf.fill([n + 1], self._DAMPING)
        to_half = half / tf.constant(self.grid.strides, tf.float32)
        moving, fixed = self._projected(*inputs)
        for _ in range(self.steps):
            warped = self.grid.sample(moving, affine_points(matrix, points, canvas))
            structure, force = (
                tf.reshape(value, [-1, len(places), value.shape[-1]])
                for value in _structure_and_force(warped, fixed, to_half)
            )
            step = tf.linalg.matrix_transpose(_solve(structure, force, [basis], spans, prior))
            # phi o (id + d), d(q) = step (q, 1)
            linear, shift = step[..., :-1] + tf.eye(n), step[..., -1:] * half
            shift = tf.matmul(matrix[..., :-1], shift) + matrix[..., -1:]
            matrix = tf.concat([tf.matmul(matrix[..., :-1], linear), shift], axis=-1)
        return matrix


class CosineSteps(_Steps):
    """A displacement as a sum of low cosines: features of moving and fixed -> u (batch, *grid, n), voxels of the grid.

    ``u`` starts from 0. Its cosines have half waves down to ``half_wave`` voxels, and its prior is the bending energy
    times ``bending`` (Ashburner and Friston 1999). The normal equations are dense: on a grid that is large for its
    half wave the cosines are as fine as 1,000 unknowns allow.
    """

    _DAMPING, _MOST = 0.02, 1000

    def __init__(self, rank: int, steps: int, bending: float, half_wave: float = 5.0, **kwargs: Any):
        super().__init__(rank, steps, **kwargs)
        self.bending, self.half_wave = bending, half_wave

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        moving, fixed = self._projected(*inputs)
        shape = moving.shape[1:-1].as_list()
        bases, waves = _waves(shape, self.half_wave, self._MOST // self.rank)
        spans = [_span(basis) for basis in bases]
        squared = np.sum(np.meshgrid(*[wave**2 for wave in waves], indexing="ij"), axis=0)
        prior = tf.constant(self._DAMPING + self.bending * squared.ravel() ** 2, tf.float32)
        points = identity_grid(shape)
        u = tf.zeros_like(moving[..., : self.rank])
        for _ in range(self.steps):
            structure, force = _structure_and_force(sample(moving, points + u), fixed, tf.ones([self.rank]))
            step = _expand(_solve(structure, force, bases, spans, prior), bases)
            u = compose_displacements(u, step)
        return u


def _waves(shape: Sequence[int], half_wave: float, most: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each axis of a grid cosines (size, k) of mean square 1, and their wave numbers (k,).

    Their half waves go down to ``half_wave`` samples, or as far as there are no more than ``most`` products of them.
    """
    while np.prod([1 + int(size / half_wave) for size in shape]) > most:
        half_wave *= 1.01
    bases, numbers = zip(*(cosines(size, 1 + int(size / half_wave)) for size in shape), strict=True)
    unit = [basis / np.sqrt(np.mean(basis**2, axis=0)) for basis in bases]
    return [basis.astype(np.float32) for basis in unit], list(numbers)


@fused
def _structure_and_force(
    warped: tf.Tensor, fixed: tf.Tensor, scale: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """w sum over channels of slopes_i slopes_j, (batch, *grid, n (n + 1) / 2) for i <= j, and of slopes (m - f),
    (batch, *grid, n).

    ``scale`` (n,): grid voxels per unit of the displacement that is sought.
    """
    weight, channels = warped[..., -1:] * fixed[..., -1:], slice(None, -1)
    warped, fixed = warped[..., channels], fixed[..., channels]
    mean, difference, n = (warped + fixed) / 2.0, (warped - fixed) * weight, warped.shape.rank - 2
    slopes = [_slope(mean, axis + 1) * scale[axis] for axis in range(n)]
    pairs = [slopes[i] * slopes[j] * weight for i, j in _upper(n)]
    structure, force = (
        [tf.reduce_sum(value, axis=-1) for value in values]
        for values in (pairs, [slope * difference for slope in slopes])
    )
    return tf.stack(structure, axis=-1), tf.stack(force, axis=-1)


def _upper(n: int) -> list[tuple[int, int]]:
    """The places (i, j), i <= j, of a symmetric matrix (n, n)."""
    return list(combinations_with_replacement(range(n), 2))


def _slope(value: tf.Tensor, axis: int) -> tf.Tensor:
    """Central differences per voxel along an axis, at the border half of the one-sided difference."""
    along = [slice(None)] * axis
    low, high = (value[(*along, part)] for part in (slice(None, -1), slice(1, None)))
    ends = [value[(*along, part)] for part in (slice(None, 1), slice(-1, None))]
    return (tf.concat([high, ends[1]], axis) - tf.concat([ends[0], low], axis)) / 2.0


def _solve(
    structure: tf.Tensor,
    force: tf.Tensor,
    bases: Sequence[np.ndarray],
    spans: Sequence[tuple[np.ndarray, np.ndarray]],
    prior: tf.Tensor,
) -> tf.Tensor:
    """The coefficients (batch, k, n) of the products of ``bases``, (size, k_axis) for each axis of the grid.

    ``spans`` are the `_span` of each, which all steps share.

    They minimise the mean of d^T structure d + 2 force^T d plus the mean trace of structure times the sum of
    ``prior`` (k,) c^2, so that the scale of the maps does not matter.
    """
    m, n = len(bases), force.shape[-1]
    size = prior.shape[0] * n
    places = np.zeros([n, n], int)
    for place, (i, j) in enumerate(_upper(n)):
        places[i, j] = places[j, i] = place
    diagonal = tf.gather(structure, np.diag(places), axis=-1)
    trace = tf.reduce_sum(tf.reduce_mean(diagonal, axis=list(range(1, m + 1))), axis=-1)
    matrix, right = structure, force
    for basis, (span, _) in zip(bases, spans, strict=True):
        # Each turn takes the first axis of the grid and appends what it is contracted to.
        matrix = tf.tensordot(matrix, span / np.float32(len(basis)), [[1], [0]])
        right = tf.tensordot(right, basis / np.float32(len(basis)), [[1], [0]])
    for _, products in spans:
        matrix = tf.tensordot(matrix, products, [[2], [0]])
    matrix = tf.gather(matrix, places, axis=1)  # (batch, n, n, k, k, k, k, ...): pairs of an axis' functions
    rows, columns = range(3, 3 + 2 * m, 2), range(4, 4 + 2 * m, 2)
    matrix = tf.reshape(tf.transpose(matrix, [0, *rows, 1, *columns, 2]), [-1, size, size])
    right = tf.reshape(tf.transpose(right, [0, *range(2, 2 + m), 1]), [-1, size, 1])
    ridge = (trace[:, tf.newaxis] + _TINY) * tf.repeat(prior, n)
    coefficients = tf.linalg.solve(matrix + tf.linalg.diag(ridge), -right)
    return tf.reshape(coefficients, [-1, size // n, n])


def _span(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Functions (size, r) that span all products of two of ``basis`` (size, k), and the products in them (r, k, k).

    Two cosines have the sum of two others as their product, so that 2 k - 1 take the place of k^2.
    """
    products = (basis[:, :, np.newaxis] * basis[:, np.newaxis, :]).reshape(len(basis), -1)
    left, values, right = np.linalg.svd(products.astype(np.float64), full_matrices=False)
    rank = int(np.sum(values > values[0] * 1e-6))
    coefficients = (values[:rank, np.newaxis] * right[:rank]).reshape(rank, *[basis.shape[1]] * 2)
    return left[:, :rank].astype(np.float32), coefficients.astype(np.float32)


def _expand(coefficients: tf.Tensor, bases: Sequence[np.ndarray]) -> tf.Tensor:
    """The sum (batch, *grid, n) of the bases' products times the coefficients (batch, k, n)."""
    n = coefficients.shape[-1]
    value = tf.reshape(coefficients, [-1, *(basis.shape[1] for basis in bases), n])
    for basis in bases:
        value = tf.tensordot(value, basis, [[1], [1]])
    return tf.transpose(value, [0, *range(2, 2 + len(bases)), 1])
