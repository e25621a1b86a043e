"""Mixed precision (Micikevicius et al. 2018, arXiv 1710.03740): convolutions in 16 bits, all else in float32.

Weights, normalisation, geometry, solves and losses stay in float32 whatever Keras' policy; the last layers of every
network give float32. With float16 the loss is scaled, so that small gradients do not vanish; an update whose gradient
overflowed is left out, and the scale halved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

LossScaled = tf.keras.mixed_precision.LossScaleOptimizer


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Networks that are made meanwhile compute by Keras' policy ``name``, "mixed_bfloat16" for example."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def loss_scaled(
    optimizers: dict[str, tf.keras.optimizers.Optimizer],
) -> dict[str, tf.keras.optimizers.Optimizer]:
    """The optimizers, each with a loss scale."""
    return {
        group: optimizer if isinstance(optimizer, LossScaled) else LossScaled(optimizer)
        for group, optimizer in optimizers.items()
    }


def scaled(optimizers: Sequence[Any], loss: tf.Tensor) -> tf.Tensor:
    """The loss of a step that these optimizers take together, times the scale of the first if they have one."""
    if not isinstance(optimizers[0], LossScaled):
        return loss
    first, *_ = [optimizer.get_scaled_loss(loss) for optimizer in optimizers]  # each warns that is not asked
    return first


def unscaled(optimizers: Sequence[Any], gradients: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The gradients of such a loss without its scale, if there is one.

    Where a single number of them is not finite, none is: each optimizer then leaves the update out and halves its
    scale, so that groups which are updated together go on together, with one scale.
    """
    leader, *others = optimizers
    if not isinstance(leader, LossScaled):
        return gradients
    for other in others:
        other.get_unscaled_gradients([])  # it warns of what was not unscaled by itself
    flat = leader.get_unscaled_gradients(tf.nest.flatten(gradients))
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in flat if value is not None])
    spoilt = [None if value is None else tf.where(finite, value, value * float("nan")) for value in flat]
    return tf.nest.pack_sequence_as(gradients, spoilt)
