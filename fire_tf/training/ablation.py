"""What the terms of the paper's objective do: the same training from the same weights, one of them left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tensorflow as tf

from fire_tf.model.adam import Adam
from fire_tf.model.fire import FIRE
from fire_tf.model.forward import Batch
from fire_tf.model.losses import Losses
from fire_tf.model.objectives import PAPER_TERMS
from fire_tf.networks.compiled import as_traced

NOTHING = "nothing"
"""What is left out of the run that the others are compared with."""

TERMS = tuple(name for name in Losses._fields if name in PAPER_TERMS)


def leave_one_out(
    model: FIRE, batches: Iterable[Batch], check: Batch, rate: float = 5e-4
) -> dict[str, dict[str, float]]:
    """Left-out term (or `NOTHING`) -> the nine terms, unweighted, of ``check`` after training without it.

    Every run starts from the weights that ``model`` comes with, which it has again afterwards, and takes one step of
    Adam per batch. All weights learn in every step, not in the paper's turns: so one compiled step serves all runs.
    """
    batches, variables = list(batches), model.trainable_variables
    start, step = [variable.numpy() for variable in variables], _Step(model, rate)
    found = {}
    for left_out in (NOTHING, *TERMS):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        weights = tf.constant([0.0 if name == left_out else model.loss_weights[name] for name in TERMS])
        step.forget()
        for batch in batches:
            step.run(batch, weights)
        found[left_out] = _terms(model, check)
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    return found


class _Step:
    """A step of Adam on all weights, with the weights of the terms (9,) as an input: compiled once."""

    def __init__(self, model: FIRE, rate: float):
        self._model, self._variables = model, model.trainable_variables
        self._adam = Adam(rate)
        self._adam.build(self._variables)
        self._fresh = [variable.numpy() for variable in self._adam.variables]
        self.run = as_traced(tf.function(self._run, autograph=False))

    def forget(self) -> None:
        """Begin anew: moments and counter as they were at first."""
        for variable, value in zip(self._adam.variables, self._fresh, strict=True):
            variable.assign(value)

    def _run(self, data: Batch, weights: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            computed = self._model.compute_losses(data, "paper", PAPER_TERMS)._asdict()
            terms = tf.stack([tf.reduce_mean(computed[name]) for name in TERMS])
            loss = tf.tensordot(weights, terms, 1)
        self._adam.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))


def _terms(model: FIRE, data: Batch) -> dict[str, float]:
    computed = model.compute_losses(data, "paper", PAPER_TERMS)._asdict()
    return {name: float(tf.reduce_mean(computed[name])) for name in TERMS}


def ratios(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Left-out term -> how many times every term is what it is where nothing was left out."""
    whole = found[NOTHING]
    return {
        left_out: {name: value / whole[name] for name, value in terms.items()}
        for left_out, terms in found.items()
        if left_out != NOTHING
    }
