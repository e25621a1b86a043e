"""Gradients without activations: they are made anew, one image at a time (Chen et al. 2016, arXiv 1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import tensorflow as tf

Function = Callable[..., Sequence[tf.Tensor]]


def recomputed(function: Function, *batches: tf.Tensor) -> list[tf.Tensor]:
    """The tensors (batch, ...) that ``function`` makes of the ``batches`` (batch, ...), whose size is known.

    It is called with one sample after the other, on the way there and on the way back: what one of them needs is held
    when no other's is. `tf.recompute_grad` would make those of a batch beside each other.
    """

    @tf.custom_gradient
    def running(*batches: tf.Tensor) -> Any:
        made: list[list[tf.Tensor]] = []
        for sample in _samples(batches):
            with tf.control_dependencies(made[-1] if made else []):
                made.append(_waited_for(function(*map(tf.identity, sample))))

        def gradient(*upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
            found: list[list[tf.Tensor]] = []
            for sample, above in zip(_samples(batches), _samples(upstream), strict=True):
                with tf.control_dependencies([*above, *(found[-1] if found else ())]):
                    found.append(_gradient(function, sample, above, variables))
            by_source = list(zip(*found, strict=True))
            of_variables = [reduce(tf.add, parts) for parts in by_source[len(batches) :]]
            return _joined(by_source[: len(batches)]), of_variables

        return _joined(zip(*made, strict=True)), gradient

    return running(*batches)


def _samples(batches: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, ...]]:
    return list(zip(*(tf.split(batch, batch.shape[0]) for batch in batches), strict=True))


def _joined(parts: Any) -> list[tf.Tensor]:
    return [tf.concat(of_samples, axis=0) for of_samples in parts]


def _gradient(
    function: Function,
    sample: Sequence[tf.Tensor],
    above: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
) -> list[tf.Tensor]:
    """By the sample's tensors, then by the variables."""
    sources = [*map(tf.identity, sample), *variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        made = function(*sources[: len(sample)])
    zero = tf.UnconnectedGradients.ZERO
    return _waited_for(tape.gradient(made, sources, above, unconnected_gradients=zero))


def _waited_for(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Tensors that others can wait for: who waits for an output of a `tf.function` waits for its side effects alone."""
    return [tf.identity(tensor) for tensor in tensors]
