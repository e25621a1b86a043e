"""Random shading and contrast of the images that the networks see in training.

Scanners leave a smooth gain over an image, and no two have the same contrast. Where G sees one image of a pair under a
drawn gain, contrast and noise while the other, its target, stays as it is, it learns tissue rather than grey values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.config.schema import ShadingConfig
from fire_tf.data.deformations import within
from fire_tf.geometry.cosines import cosines
from fire_tf.intensities.grey_values import BACKGROUND

_ORDERS = 3  # cosines of 0, 1 and 2 half periods along each axis of the canvas
_KNOTS = 8  # straight pieces of the drawn contrast curve
_BRIGHTEST = 1000  # images come with their brightest tissue clipped: about one voxel of the canvas in so many


class Shading(NamedTuple):
    """One drawn shading: ``exp(field)`` with ``max |field| = strength``, ``grey ** gamma``, the curve, then noise."""

    strength: tf.Tensor  # ()
    gamma: tf.Tensor  # ()
    coefficients: tf.Tensor  # (cosines,), of no particular size: the strength sets it
    # (knots,), logarithms of the curve's slopes on equal pieces of [0, 1]; their mean has no effect
    curve: tf.Tensor
    noise: tf.Tensor  # (*canvas), Gaussian, added to grey values in [0, 1]


def draw_shading(ranges: ShadingConfig, canvas: Sequence[int], seed: tf.Tensor) -> Shading:
    """Draw one shading of an image (*canvas, 1); the same ``seed`` (2,) gives the same one.

    The logarithm of gamma is uniform, so that 0.5 is as likely as 2.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    uniform = tf.random.stateless_uniform([4], seeds[0])
    return Shading(
        strength=within(uniform[0], ranges.strength),
        gamma=tf.exp(within(uniform[1], np.log(ranges.gamma))),
        coefficients=tf.random.stateless_normal([_ORDERS ** len(canvas) - 1], seeds[1]),
        curve=within(uniform[2], ranges.curve) * tf.random.stateless_normal([_KNOTS], seeds[2]),
        noise=within(uniform[3], ranges.noise) * tf.random.stateless_normal(canvas, seeds[3]),
    )


def shade(image: tf.Tensor, drawn: Shading) -> tf.Tensor:
    """``image`` (*canvas, 1) in [-1, 1] under a shading; background stays, a thousandth of the voxels is at 1 again."""
    grey = (image[..., 0] - BACKGROUND) / 2.0
    object_mask = grey > 0
    grey *= tf.exp(_field(drawn, grey.shape))
    flat = tf.reshape(grey, [-1])
    brightest = tf.math.top_k(flat, max(1, flat.shape[0] // _BRIGHTEST)).values
    grey = tf.minimum(grey / tf.maximum(brightest[-1], 1e-6), 1.0)
    grey = _along_curve(grey**drawn.gamma, drawn.curve) + tf.where(object_mask, drawn.noise, 0.0)
    return (2.0 * tf.clip_by_value(grey, 0.0, 1.0) + BACKGROUND)[..., tf.newaxis]


def _along_curve(grey: tf.Tensor, curve: tf.Tensor) -> tf.Tensor:
    """Rising straight pieces from (0, 0) to (1, 1) whose slopes are as ``exp(curve)`` to each other."""
    slopes = tf.nn.softmax(curve)
    pieces = _KNOTS * grey[..., tf.newaxis] - tf.range(_KNOTS, dtype=grey.dtype)
    return tf.tensordot(tf.clip_by_value(pieces, 0.0, 1.0), slopes, axes=1)


def _field(drawn: Shading, canvas: Sequence[int]) -> tf.Tensor:
    """The logarithm of the gain, (*canvas)."""
    basis = tf.constant(_cosines(tuple(canvas)), tf.float32)
    field = tf.tensordot(drawn.coefficients, basis, axes=1)
    return field * drawn.strength / tf.maximum(tf.reduce_max(tf.abs(field)), 1e-6)


def _cosines(canvas: tuple[int, ...]) -> np.ndarray:
    """Products of cosines, one per combination of orders but the constant: (cosines, *canvas)."""
    axes = [cosines(size, _ORDERS)[0].T for size in canvas]
    products = []
    for orders in list(product(range(_ORDERS), repeat=len(canvas)))[1:]:
        grids = np.meshgrid(*(axis[order] for axis, order in zip(axes, orders, strict=True)), indexing="ij")
        products.append(np.prod(grids, axis=0))
    return np.stack(products)
