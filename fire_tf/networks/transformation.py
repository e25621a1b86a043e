"""T = (T_af, T_nr): from the features of two images to the transform between them (section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from fire_tf.networks.affine import AffineNetwork
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.recomputing import recomputed
from fire_tf.networks.spatial import FeatureGrid, affine_points


def _standardise(features: tf.Tensor) -> tf.Tensor:
    """Every channel of every sample at mean 0 and variance 1, so that T sees structure and not how G scales it."""
    axes = list(range(1, features.shape.rank - 1))
    mean, variance = tf.nn.moments(features, axes, keepdims=True)
    return (features - mean) * tf.math.rsqrt(variance + 1e-3)


class Phi(NamedTuple):
    """One predicted transform, phi = phi_af o phi_nr: affine (batch, n, n + 1); displacement (batch, *grid, n) of
    phi_nr on G's grid, in voxels of that grid. ``start`` is what T_af's steps improved to ``affine``."""

    affine: tf.Tensor
    nonrigid: tf.Tensor
    start: tf.Tensor


@tf.keras.utils.register_keras_serializable("fire_tf")
class TransformationNetwork(tf.keras.layers.Layer):
    """T = (T_af, T_nr): (G(x_moving), G(x_fixed)) -> `Phi`.

    ``standardised``: both parts see the features' channels at mean 0 and variance 1; the paper's do not.

    Attributes:
        recompute: as that of `fire_tf.networks.synthesis`.
    """

    recompute = False

    def __init__(
        self, affine: AffineNetwork, nonrigid: NonRigidNetwork, standardised: bool = True, **kwargs: Any
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, whatever the policy
        self.affine, self.nonrigid, self.standardised = affine, nonrigid, standardised
        self.grid = FeatureGrid(affine.canvas, affine.strides)

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        for part in (self.affine, self.nonrigid):
            if not part.built:
                part.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor], detach: bool = False) -> Phi:
        """With ``detach`` no gradient goes from one part into the part before: T_nr, the steps of T_af, T_af."""
        found = partial(self._found, detach=detach)
        return Phi(*(recomputed(found, *inputs) if self.recompute else found(*inputs)))

    def _found(self, *inputs: tf.Tensor, detach: bool) -> Phi:
        before = tf.stop_gradient if detach else tf.identity
        moving, fixed = map(_standardise, inputs) if self.standardised else inputs
        start = self.affine([moving, fixed])
        matrix = self.affine.improved([moving, fixed], before(start))
        points = self.affine_points(before(matrix))
        return Phi(matrix, self.nonrigid([self.grid.sample(moving, points), fixed]), start)

    def affine_points(self, matrix: tf.Tensor) -> tf.Tensor:
        """phi_af at the samples of G's grid, (batch, *grid, n) image coordinates."""
        return affine_points(matrix, self.grid.points(), self.grid.canvas)

    def get_config(self) -> dict[str, Any]:
        serialize = tf.keras.layers.serialize
        return {
            **super().get_config(),
            "affine": serialize(self.affine),
            "nonrigid": serialize(self.nonrigid),
            "standardised": self.standardised,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TransformationNetwork:
        deserialize = tf.keras.layers.deserialize
        parts = {name: deserialize(config.pop(name)) for name in ("affine", "nonrigid")}
        return cls(**parts, **config)
