"""The forward pass of FIRE: features, transforms and synthesised images of a pair (section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.networks.spatial import FeatureGrid, affine_points, compose_affine, warp
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import Phi, TransformationNetwork

Batch = Mapping[str, tf.Tensor]
"""A training batch by name; `fire_tf.data.dataset` says what it holds."""


class Prediction(NamedTuple):
    """Features of both images and the transforms between them; ``ab`` warps A onto B."""

    g_a: tf.Tensor
    g_b: tf.Tensor
    ab: Phi
    ba: Phi


class ForwardPass:
    """What the five networks make of a pair. `FIRE` is this and a `keras.Model`, which holds the networks."""

    encoder: Encoder
    decoder_ab: Decoder
    decoder_ba: Decoder
    transformation_ab: TransformationNetwork
    transformation_ba: TransformationNetwork
    canvas: tuple[int, ...]
    ndim: int
    grid: FeatureGrid
    run_eagerly: bool  # Keras'
    predict_on_batch: Callable[[Batch], Mapping[str, np.ndarray]]  # Keras'

    def features(self, x_a: tf.Tensor, x_b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """G(x^A), G(x^B) in one pass."""
        g_a, g_b = tf.split(self.encoder(tf.concat([x_a, x_b], axis=0)), 2)
        return g_a, g_b

    def transforms(self, g_a: tf.Tensor, g_b: tf.Tensor, detach: bool = False) -> Prediction:
        """phi^{A->B} = T_AB(G(x^A), G(x^B)) and phi^{B->A} = T_BA(G(x^B), G(x^A)); ``detach``: see T."""
        if self.transformation_ab is not self.transformation_ba:
            ab = self.transformation_ab([g_a, g_b], detach=detach)
            return Prediction(g_a, g_b, ab, self.transformation_ba([g_b, g_a], detach=detach))
        both = [tf.concat(pair, axis=0) for pair in ((g_a, g_b), (g_b, g_a))]
        halves = zip(
            *(tf.split(part, 2) for part in self.transformation_ab(both, detach=detach)), strict=True
        )
        return Prediction(g_a, g_b, *(Phi(*half) for half in halves))

    def displacement(self, phi: Phi) -> tf.Tensor:
        """phi as a dense displacement on the image grid, (batch, *canvas, n), in voxels."""
        return compose_affine(phi.affine, self.grid.to_image(phi.nonrigid))

    def on_grid(self, phi: Phi) -> tf.Tensor:
        """phi at the samples of G's grid, (batch, *grid, n) image coordinates."""
        strides = tf.constant(self.grid.strides, tf.float32)
        return affine_points(phi.affine, self.grid.points() + strides * phi.nonrigid, self.canvas)

    def at(self, phi: Phi, points: tf.Tensor) -> tf.Tensor:
        """phi at any ``points`` (batch, *grid, n), image coordinates; phi_nr is read from G's grid."""
        strides = tf.constant(self.grid.strides, tf.float32)
        return affine_points(
            phi.affine, points + strides * self.grid.sample(phi.nonrigid, points), self.canvas
        )

    @tf.autograph.experimental.do_not_convert  # no tensor decides on control flow here; converting takes seconds
    def call(self, inputs: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Register and synthesise: see `predict_pair` for what the outputs are."""
        x_a, x_b = inputs["a"], inputs["b"]
        outputs = self.estimate(x_a, x_b)
        for direction in ("a_to_b", "b_to_a"):
            phi_af, phi_nr = outputs[f"affine_{direction}"], outputs[f"nonrigid_{direction}"]
            outputs[f"flow_{direction}"] = compose_affine(phi_af, phi_nr)
        outputs["warped_a"] = warp(x_a, outputs["flow_a_to_b"], fill=-1.0)
        outputs["warped_b"] = warp(x_b, outputs["flow_b_to_a"], fill=-1.0)
        g_warped_a, g_warped_b = self.features(outputs["warped_a"], outputs["warped_b"])
        outputs["synth_b_warped"] = self.decoder_ab(g_warped_a)
        outputs["synth_a_warped"] = self.decoder_ba(g_warped_b)
        return outputs

    def estimate(self, x_a: tf.Tensor, x_b: tf.Tensor) -> dict[str, tf.Tensor]:
        """What registering needs, half of `call`'s cost: ``affine_*``, ``nonrigid_*``, ``synth_a``, ``synth_b``."""
        prediction = self.transforms(*self.features(x_a, x_b))
        outputs: dict[str, tf.Tensor] = {}
        for direction, phi in (("a_to_b", prediction.ab), ("b_to_a", prediction.ba)):
            outputs[f"affine_{direction}"] = phi.affine
            outputs[f"nonrigid_{direction}"] = self.grid.to_image(phi.nonrigid)
        outputs["synth_b"] = self.decoder_ab(prediction.g_a)
        outputs["synth_a"] = self.decoder_ba(prediction.g_b)
        return outputs

    @cached_property  # and not made by __init__: a function that is assigned would be looked for in checkpoints
    def _traced_estimate(self) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
        return tf.function(self.estimate, autograph=False)

    def predict_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """Register pairs of prepared images, (batch, *canvas, 1) each.

        Returns:
            ``affine_a_to_b``, ``affine_b_to_a`` (batch, n, n + 1); ``nonrigid_*`` and ``flow_*`` (batch, *canvas, n):
            u_nr and the whole phi as displacements in voxels; ``warped_a`` = x^A o phi^{A->B}, ``warped_b``;
            ``synth_b`` = F^{A->B}(G(x^A)), aligned with A, and ``synth_b_warped`` = F^{A->B}(G(x^A o phi^{A->B})),
            aligned with B; ``synth_a``, ``synth_a_warped``.
        """
        outputs = self.predict_on_batch(dict(zip("ab", self._checked(a, b), strict=True)))
        return dict(outputs)

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """`predict_pair` without the warped images and the flows: what `estimate` gives."""
        run = self.estimate if self.run_eagerly else self._traced_estimate
        return {name: value.numpy() for name, value in run(*self._checked(a, b)).items()}

    def _checked(self, a: np.ndarray, b: np.ndarray) -> list[tf.Tensor]:
        expected = (*self.canvas, 1)
        for name, image in (("a", a), ("b", b)):
            if tuple(image.shape[1:]) != expected:
                raise ValueError(
                    f"image {name} has shape {tuple(image.shape)}: expected (batch, *{expected})"
                )
        return [tf.cast(image, tf.float32) for image in (a, b)]
