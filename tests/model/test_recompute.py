"""Activations that are made anew for the gradient change nothing of it."""

from __future__ import annotations

from tiny_fire import awaken, pairs, tiny_model

from fire_tf.model.objectives import PAPER_TERMS

import tensorflow as tf  # isort: skip


def test_losses_and_gradients_are_the_same() -> None:
    model, data = awaken(tiny_model(shared=True)), pairs()
    networks = (model.encoder, model.decoder_ab, model.decoder_ba, model.transformation_ab)
    variables = [variable for network in networks for variable in network.trainable_variables]

    def step() -> list[tf.Tensor]:
        loss = model.total(model.compute_losses(data, "paper", PAPER_TERMS))
        return [loss, *tf.gradients(loss, variables)]

    expected = tf.function(step, autograph=False)()
    for network in networks:
        network.recompute = True
    found = tf.function(step, autograph=False)()
    for one, other in zip(found, expected, strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(other))))
        tf.debugging.assert_near(one, other, atol=1e-5 * scale, rtol=0.0)
