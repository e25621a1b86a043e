"""T_nr, the non-rigid part of a transformation network (section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fire_tf.networks.gauss_newton import CosineSteps
from fire_tf.networks.layers import SLOPE, build_chain, convolution, last_initializer
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import compose_displacements, identity_grid


@tf.keras.utils.register_keras_serializable("fire_tf")
class NonRigidNetwork(tf.keras.layers.Layer):
    """T_nr: (G(x_moving) o phi_af, G(x_fixed)) -> displacement (batch, *grid, n) on G's grid, in its voxels.

    Parallel convolutions on either input, concatenation, convolutions of growing dilation (a wide view of G's
    coarse grid), and a tanh: a displacement in the normalised coordinates [-1, 1] of the grid, which is returned in
    voxels of the grid. ``output_scale`` is a factor before the tanh. With ``identity_start`` the last layer starts at
    zero.

    With ``steps`` the input is first aligned further by as many `CosineSteps`, and the convolutions find what is left;
    ``bending`` is the weight of their prior, and their cosines' half waves go down to ``half_wave`` voxels of the grid.
    """

    def __init__(
        self,
        rank: int,
        filters: int = 48,
        dilations: Sequence[int] = (1, 2, 4, 8, 4, 2, 1),
        output_scale: float = 0.1,
        identity_start: bool = True,
        steps: int = 0,
        bending: float = 7.0,
        half_wave: float = 5.0,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, whatever the policy
        self.rank, self.filters, self.dilations = rank, filters, tuple(dilations)
        self.output_scale, self.identity_start = output_scale, identity_start
        self.steps, self.bending, self.half_wave = steps, bending, half_wave
        self.alignment = CosineSteps(rank, steps, bending, half_wave) if steps else None
        self.parallel = [convolution(rank, filters), convolution(rank, filters)]
        self.merge = convolution(rank, filters)
        self.trunk = [convolution(rank, filters, dilation_rate=dilation) for dilation in self.dilations]
        self.activation = tf.keras.layers.LeakyReLU(SLOPE)
        self.last = convolution(
            rank, rank, kernel_initializer=last_initializer(identity_start), dtype="float32"
        )

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        shape = tf.TensorShape(input_shape[0])
        for layer in self.parallel:
            build_chain([layer], shape)
        build_chain([self.merge, *self.trunk, self.last], shape[:-1].concatenate(2 * self.filters))
        if self.alignment is not None:
            self.alignment.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        if self.alignment is None:
            return self._found(inputs)
        moving, fixed = inputs
        aligned = self.alignment(inputs)
        warped = sample(moving, identity_grid(moving.shape[1:-1]) + aligned)
        return compose_displacements(aligned, self._found([warped, fixed]))

    def _found(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The displacement that the convolutions give."""
        both = [self.activation(layer(value)) for layer, value in zip(self.parallel, inputs, strict=True)]
        state = self.activation(self.merge(tf.concat(both, axis=-1)))
        for layer in self.trunk:
            state = state + self.activation(layer(state))
        normalised = tf.tanh(self.output_scale * self.last(state))
        return normalised * self._half(normalised.shape[1:-1].as_list())

    def _half(self, grid: Sequence[int]) -> tf.Tensor:
        """The unit of the normalised coordinates (n,), in voxels of the grid."""
        return tf.constant(grid, tf.float32) / 2.0

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "filters": self.filters,
            "dilations": self.dilations,
            "output_scale": self.output_scale,
            "identity_start": self.identity_start,
            "steps": self.steps,
            "bending": self.bending,
            "half_wave": self.half_wave,
        }
