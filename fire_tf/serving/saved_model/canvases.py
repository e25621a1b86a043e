"""A trained model on another canvas than the one that it was trained on.

G and F are convolutional and serve any canvas as they are. T is not: it sees positions, and gives displacements, in
units of its canvas. Elsewhere it keeps the units that it was trained with, so that an image means the same to it
whatever surrounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fire_tf.files.errors import InputError
from fire_tf.model.fire import FIRE
from fire_tf.networks.affine import AffineNetwork
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.transformation import TransformationNetwork


class _AffineElsewhere(AffineNetwork):
    """T_af whose unit of length, half a canvas, stays that of the canvas ``own``."""

    def __init__(self, own: Sequence[int], **config: Any):
        super().__init__(**config)
        self._own_half = max(own) / 2.0

    @property
    def _half(self) -> float:
        return self._own_half


class _NonRigidElsewhere(NonRigidNetwork):
    """T_nr whose displacements are ``ratio`` (n,) times what its grid's size would make of them."""

    def __init__(self, ratio: Sequence[float], **config: Any):
        super().__init__(**config)
        self._ratio = tuple(ratio)

    def _half(self, grid: Sequence[int]) -> tf.Tensor:
        return super()._half(grid) * tf.constant(self._ratio, tf.float32)


def on_canvas(model: FIRE, canvas: Sequence[int]) -> FIRE:
    """The model, as it was trained, on a canvas (voxels along each axis): the same G and F, T with the same weights.

    Raises:
        InputError: the canvas has another rank than the model's, or is no multiple of its strides.
    """
    canvas, strides = tuple(canvas), model.encoder.total_strides
    if len(canvas) != model.ndim or any(
        n < 1 or n % stride for n, stride in zip(canvas, strides, strict=False)
    ):
        raise InputError(
            f"canvas {'x'.join(map(str, canvas))}: expected {model.ndim} sizes, "
            f"multiples of {' and '.join(map(str, strides))}"
        )
    if canvas == model.canvas:
        return model
    a_to_b = _elsewhere(model.transformation_ab, model, canvas)
    shared = model.transformation_ba is model.transformation_ab
    b_to_a = None if shared else _elsewhere(model.transformation_ba, model, canvas)
    other = FIRE(model.encoder, model.decoder_ab, model.decoder_ba, a_to_b, b_to_a, canvas)
    other.preprocessing = model.preprocessing
    for copy, original in (
        (other.transformation_ab, model.transformation_ab),
        (other.transformation_ba, model.transformation_ba),
    ):
        copy.set_weights(original.get_weights())
    return other


def _elsewhere(
    transformation: TransformationNetwork, model: FIRE, canvas: tuple[int, ...]
) -> TransformationNetwork:
    affine = transformation.affine.get_config() | {"canvas": canvas}
    ratio = [own / size for own, size in zip(model.canvas, canvas, strict=True)]
    nonrigid = _NonRigidElsewhere(ratio, **transformation.nonrigid.get_config())
    return TransformationNetwork(_AffineElsewhere(model.canvas, **affine), nonrigid)
