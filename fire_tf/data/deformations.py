"""Random deformations: an affine and a smooth non-rigid part, drawn from ranges, in two and three dimensions.

Drawing (`draw_parameters`) is apart from the deterministic act (`affine_matrix`, `smooth_field`,
`displacement`). A deformation is a pull-back in voxels of the canvas, coordinates centred at ``(size - 1) /
2``:

    D(x) = A(x + u(x)),     deformed(x) = original(D(x))

with ``A(y) = R S H y + t`` (rotation, scale, shear; voxelmorph's order) and u a sum of cubic B-splines on a
coarse control grid. All functions work on one deformation, without a batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.compat.voxelmorph import vxm
from fire_tf.config.schema import DeformationConfig
from fire_tf.geometry.point_maps import AffineAfterDisplacement, AffineMap, DisplacementMap
from fire_tf.intensities.grey_values import foreground
from fire_tf.networks.spatial import compose_affine, identity_grid, invert_affine, sample_one

_STEEPEST = 0.95  # u is kept from contracting by more than this along any direction: 1 would fold
_PER_CONTROL = 4  # slopes are checked at this many points per control interval


class Parameters(NamedTuple):
    """One drawn deformation of rank n; p = 1 plane in 2D, 3 in 3D."""

    rotation: tf.Tensor  # (p,) degrees
    translation: tf.Tensor  # (n,) voxels
    scale: tf.Tensor  # (n,)
    shear: tf.Tensor  # (p,)
    peak: tf.Tensor  # () voxels
    control: tf.Tensor  # (*control grid, n), of no particular size: the peak sets it


def draw_parameters(ranges: DeformationConfig, canvas: Sequence[int], seed: tf.Tensor) -> Parameters:
    """Draw one deformation; the same `seed` (2,) gives the same one.

    Rotation (per plane) and translation are drawn from the range and given a random sign or direction: the
    length of the shift, as a part of the canvas size, lies in the range. Scale is per axis, shear per plane.
    """
    n = len(canvas)
    planes = n * (n - 1) // 2
    seeds = tf.random.experimental.stateless_split(seed, 3)
    uniform = tf.random.stateless_uniform([3 * planes + n + 2], seeds[0])
    angle, sign, shear, scale, rest = tf.split(uniform, [planes, planes, planes, n, 2])
    direction = tf.random.stateless_normal([n], seeds[1])
    direction /= tf.maximum(tf.norm(direction), 1e-6)
    return Parameters(
        rotation=within(angle, ranges.rotation) * tf.where(sign < 0.5, -1.0, 1.0),
        translation=within(rest[0], ranges.translation) * direction * tf.constant(canvas, tf.float32),
        scale=within(scale, ranges.scale),
        shear=within(shear, ranges.shear),
        peak=within(rest[1], ranges.peak),
        control=tf.random.stateless_normal([*control_shape(canvas, ranges.control_points), n], seeds[2]),
    )


def within(uniform: tf.Tensor, limits: Sequence[float] | np.ndarray) -> tf.Tensor:
    """Numbers of [0, 1) stretched to the range ``limits`` (low, high)."""
    return limits[0] + uniform * (limits[1] - limits[0])


def affine_matrix(parameters: Parameters) -> tf.Tensor:
    """A as (n, n + 1) in centred voxel coordinates."""
    values = [parameters.translation, parameters.rotation, parameters.scale, parameters.shear]
    n = parameters.translation.shape[0]
    matrix = vxm.utils.params_to_affine_matrix(tf.concat(values, 0)[tf.newaxis], ndims=n)
    return tf.reshape(matrix, [n, n + 1])


def keep_inside(
    matrix: tf.Tensor, points: tf.Tensor, canvas: Sequence[int], margin: tf.Tensor | float
) -> tf.Tensor:
    """Shorten the shift of an affine (n, n + 1) so that an object stays on the canvas.

    The image warped by the pull-back A shows the object at A^-1 of its place. Each component of that shift is
    clipped so that the object's bounding box stays `margin` voxels inside the canvas; an object that is
    larger than the canvas is centred. So a drawn translation is an upper limit, its rotation and scale
    are untouched.

    points: (k, n) centred voxel coordinates that stand for the object: its extreme points in many directions.
    """
    n = len(canvas)
    inverse = tf.linalg.inv(matrix[:, :n])
    turned = tf.matmul(points, inverse, transpose_b=True)
    shift = -tf.linalg.matvec(inverse, matrix[:, n])
    half = (tf.constant(canvas, tf.float32) - 1.0) / 2.0 - margin
    low = -half - tf.reduce_min(turned, axis=0)
    high = half - tf.reduce_max(turned, axis=0)
    middle = (low + high) / 2.0
    shift = tf.clip_by_value(shift, tf.minimum(low, middle), tf.maximum(high, middle))
    translation = -tf.linalg.matvec(matrix[:, :n], shift)
    return tf.concat([matrix[:, :n], translation[:, tf.newaxis]], axis=1)


def extreme_points(mask: np.ndarray) -> np.ndarray:
    """The points (k, n) of a mask that lie farthest in k directions, centred; k zeros for an empty one."""
    directions = _directions(mask.ndim)
    points = np.argwhere(mask).astype(np.float32) - (np.array(mask.shape, np.float32) - 1) / 2
    if len(points) == 0:
        return np.zeros_like(directions)
    return points[np.argmax(points @ directions.T, axis=0)]


def _directions(n: int) -> np.ndarray:
    """Unit vectors (k, n) all around: towards the surface cells of a 5 x 5 (x 5) block."""
    cells = np.stack(np.meshgrid(*[np.arange(-2, 3)] * n, indexing="ij"), axis=-1).reshape(-1, n)
    surface = cells[np.abs(cells).max(axis=1) == 2].astype(np.float32)
    return surface / np.linalg.norm(surface, axis=1, keepdims=True)


def control_shape(canvas: Sequence[int], control_points: int) -> tuple[int, ...]:
    """Size of the control grid: one interval in voxels for all axes, and one control beyond each end."""
    step = max(canvas) / control_points
    return tuple(_controls(size, step) for size in canvas)


def _controls(size: int, step: float) -> int:
    return int(np.ceil((size - 1) / step)) + 3


def smooth_field(
    control: tf.Tensor, peak: tf.Tensor | float, canvas: Sequence[int], control_points: int
) -> tf.Tensor:
    """u (*canvas, n) in voxels, its longest vector `peak` long, from controls (*`control_shape`, n).

    `control_points` is the number of control intervals along the longest axis.
    A field so steep that it could fold (in the tails of rough fields with a high peak) is scaled down until
    ``x + u(x)`` is one-to-one, and then stays below its peak.
    """
    step = max(canvas) / control_points
    field = _splines(control, tuple(canvas), step, None)
    longest = tf.sqrt(tf.reduce_max(tf.reduce_sum(field**2, axis=-1)))
    steepest = _steepest_contraction(control, tuple(canvas), step)
    return field * tf.minimum(peak / tf.maximum(longest, 1e-6), _STEEPEST / tf.maximum(steepest, 1e-6))


def _splines(control: tf.Tensor, canvas: tuple[int, ...], step: float, along: int | None) -> tf.Tensor:
    """The spline field at every voxel, or its derivative `along` an axis at the coarse points of `_basis`."""
    field = control
    for axis, size in enumerate(canvas):
        basis = _basis(size, step, None if along is None else along == axis)
        field = tf.tensordot(field, tf.constant(basis), axes=[[0], [1]])
    # Each product moved the next spatial axis to the end: the components now come first.
    return tf.transpose(field, [*range(1, len(canvas) + 1), 0])


@lru_cache(maxsize=64)
def _basis(size: int, step: float, derivative: bool | None) -> np.ndarray:
    """Cubic B-splines (points, controls): at voxels (None), at coarse points (False), the slope there."""
    points = np.arange(0, size, 1 if derivative is None else max(1, int(step / _PER_CONTROL)))
    distance = points[:, None] / step - (np.arange(_controls(size, step))[None, :] - 1)
    near, far = np.abs(distance), np.maximum(2 - np.abs(distance), 0)
    if derivative:
        slope = np.where(near < 1, 1.5 * near**2 - 2 * near, -0.5 * far**2)
        return (np.sign(distance) * slope / step).astype(np.float32)
    return np.where(near < 1, 2 / 3 - near**2 + near**3 / 2, far**3 / 6).astype(np.float32)


def _steepest_contraction(control: tf.Tensor, canvas: tuple[int, ...], step: float) -> tf.Tensor:
    """An upper bound of -(smallest eigenvalue) of the symmetric part of grad u, over the canvas.

    Below 1, ``x + u(x)`` is one-to-one on the canvas (a monotone map on a convex set) and its Jacobian
    positive. The bound is Gershgorin's: diagonal less the sum of the row's other entries.
    """
    n = len(canvas)
    slopes = tf.stack([_splines(control, canvas, step, axis) for axis in range(n)], axis=-1)
    symmetric = (slopes + tf.linalg.matrix_transpose(slopes)) / 2.0
    diagonal = tf.linalg.diag_part(symmetric)
    others = tf.reduce_sum(tf.abs(symmetric), axis=-1) - tf.abs(diagonal)
    return -tf.reduce_min(diagonal - others)


def displacement(matrix: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
    """D(x) - x (*canvas, n) in voxels, D(x) = A(x + u(x)), from A (n, n + 1) and u (*canvas, n)."""
    return compose_affine(matrix[tf.newaxis], field[tf.newaxis])[0]


def compose(matrix: tf.Tensor, field: tf.Tensor, inner: tf.Tensor) -> tf.Tensor:
    """Displacement of ``C o D`` (*canvas, n), D given by its displacement `inner`, C(y) = A(y + u(y)) by
    `matrix` (n, n + 1) and `field` (*canvas, n).

    u is interpolated linearly and held constant outside the canvas; A is evaluated there as it is.
    """
    points = identity_grid(inner.shape[:-1]) + inner
    return displacement(matrix, inner + sample_one(field, points))


def undone(matrix: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """A^-1 (n, n + 1 of A) of centred coordinates `points` (k, n)."""
    n = matrix.shape[0]
    inverse = invert_affine(matrix[tf.newaxis])[0]
    return tf.matmul(points, inverse[:, :n], transpose_b=True) + inverse[:, n]


def draw_map(ranges: DeformationConfig, image: np.ndarray, seed: tuple[int, int]) -> AffineAfterDisplacement:
    """A random D in voxels, as a map of points, that keeps the brain of ``image`` (*canvas) on the canvas."""
    canvas = image.shape
    drawn = draw_parameters(ranges, canvas, tf.constant(seed, tf.int32))
    centre = (np.asarray(canvas) - 1) / 2
    tissue = tf.constant(np.argwhere(foreground(image)) - centre, tf.float32)
    affine = keep_inside(affine_matrix(drawn), tissue, canvas, drawn.peak)
    field = smooth_field(drawn.control, drawn.peak, canvas, ranges.control_points)
    return AffineAfterDisplacement(DisplacementMap(field.numpy()), AffineMap.centred(affine.numpy(), canvas))
