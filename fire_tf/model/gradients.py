"""The gradient of a loss, the same to the last bit each time where op determinism is asked for."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def gradients_of(tape: tf.GradientTape, loss: tf.Tensor, variables: dict[str, list[tf.Variable]]) -> Any:
    """The tape's gradient; in a graph its sums are made of pairs, so that op determinism is one of every bit.

    A sum of three and more, `AddN`, begins with whichever of them nobody else holds any more at the moment.
    """
    if tf.executing_eagerly():
        return tape.gradient(loss, variables)
    pairs = tf.AggregationMethod.EXPERIMENTAL_TREE
    flat = tf.gradients(loss, tf.nest.flatten(variables), aggregation_method=pairs)
    # The sum of a variable that is used several times is given no device, and what lies on none would be summed over
    # the workers one by one.
    return tf.nest.pack_sequence_as(variables, [tf.identity(gradient) for gradient in flat])
