"""Kernels of XLA, gradients of their own and normalisation image by image give what plain operations give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_fire import awaken, pairs, tiny_model

from fire_tf.networks import layers
from fire_tf.networks.compiled import uncompiled

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


@pytest.mark.parametrize(("rank", "objective"), [(2, "paper"), (3, "known")])
def test_losses_and_gradients_are_those_of_plain_operations(
    rank: int, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = awaken(tiny_model(rank, steps=1, shared=True)), pairs(rank)
    model.compile(objective=objective, cycle=[["affine", "nonrigid"]])
    terms = model._terms_of(("affine", "nonrigid"))

    def found() -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            computed = model.compute_losses(data, objective, terms)
            total = model.total(computed)
        values = [value for value in computed if value is not None]
        return values, tape.gradient(
            total, model.group_variables("affine") + model.group_variables("nonrigid")
        )

    ours = tf.function(found, autograph=False)()
    monkeypatch.setattr(layers, "_normalized", lambda layer, value: layer(value))
    with uncompiled():
        plain = found()
    for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(plain), strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(other))))
        np.testing.assert_allclose(one / scale, other / scale, atol=1e-5)
