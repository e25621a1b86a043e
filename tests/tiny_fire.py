"""A FIRE of a few hundred weights and smooth pairs of images for it, for tests of the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fire_tf.model.fire import FIRE
from fire_tf.networks.affine import AffineNetwork
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import TransformationNetwork

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

# No two axes alike, so that a swap of axes shows; G's grid keeps three samples along some axis for the Laplacian.
CANVAS = {2: (16, 12), 3: (12, 8, 16)}


def tiny_model(
    rank: int = 2,
    *,
    filters: Sequence[int] = (2, 3, 4),
    residual_blocks: int = 1,
    shortcut: bool = True,
    pooling: str = "moments",
    dilations: Sequence[int] = (1, 2),
    steps: int = 0,
    shared: bool = False,
    **options: Any,
) -> FIRE:
    """FIRE with strides of 2 between the entries of ``filters``; T takes ``steps`` and may be ``shared``.

    ``options`` go to its constructor.
    """
    canvas = CANVAS[rank]
    strides = [[2] * rank] * (len(filters) - 1)
    synthesis = (filters, strides, residual_blocks, shortcut)
    encoder = Encoder(*synthesis, name="g")

    def transformation(name: str) -> TransformationNetwork:
        sizes = {"filters": (4,), "maps": 3, "units": 5}
        affine = AffineNetwork(canvas, encoder.total_strides, **sizes, pooling=pooling, steps=steps)
        return TransformationNetwork(affine, NonRigidNetwork(rank, 4, dilations, steps=steps), name=name)

    return FIRE(
        encoder,
        Decoder(*synthesis, name="f_ab"),
        Decoder(*synthesis, name="f_ba"),
        transformation("t_ab"),
        None if shared else transformation("t_ba"),
        canvas,
        **options,
    )


def smallest_model(**options: Any) -> FIRE:
    """`tiny_model` in 2D with as few layers as there can be, for what does not depend on their number."""
    return tiny_model(filters=(2, 2), residual_blocks=0, dilations=(), **options)


def awaken(model: FIRE, seed: int = 0) -> FIRE:
    """Give the weights that start at zero random values, so that no gradient is zero for that reason."""
    rng = np.random.default_rng(seed)
    for network in (model.encoder, model.decoder_ab, model.decoder_ba):
        for block in network.blocks:
            block.normalization.gamma.assign(rng.normal(0.0, 0.3, block.normalization.gamma.shape))
    for transformation in (model.transformation_ab, model.transformation_ba):
        for layer in (transformation.affine.parameters, transformation.nonrigid.last):
            for variable in layer.trainable_variables:
                variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


def pairs(rank: int = 2, batch: int = 2, seed: int = 0) -> dict[str, tf.Tensor]:
    """A batch as `fire_tf.data.dataset` gives it: smooth images in [-1, 1] and a drawn transform."""
    rng = np.random.default_rng(seed)
    canvas = CANVAS[rank]
    points = np.stack(np.meshgrid(*map(np.arange, canvas), indexing="ij"), axis=-1)

    def waves(channels: int) -> np.ndarray:
        frequency = rng.uniform(-0.6, 0.6, (batch, channels, rank))
        return np.sin(np.einsum("...n,bcn->b...c", points, frequency) + rng.uniform(0, 6, channels))

    eye = np.broadcast_to(np.eye(rank, rank + 1), (batch, rank, rank + 1))
    element = {
        "a": waves(1),
        "b": waves(1),
        "displacement": waves(rank),
        "affine": eye,
        "moves_a": np.arange(batch) % 2,
    }
    return {name: tf.constant(value, tf.float32) for name, value in element.items()}


def images(rank: int = 2, count: int = 4, batch: int = 2) -> tf.data.Dataset:
    """``count`` pairs in batches, images alone."""
    data = pairs(rank, count)
    return tf.data.Dataset.from_tensor_slices({name: data[name] for name in ("a", "b")}).batch(batch)


def values(variables: Sequence[tf.Variable]) -> list[np.ndarray]:
    """What the variables hold now."""
    return [variable.numpy().copy() for variable in variables]


def equal(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    """Bit for bit."""
    return len(left) == len(right) and all(
        np.array_equal(one, other) for one, other in zip(left, right, strict=True)
    )
