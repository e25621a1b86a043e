"""T_af, the affine part of a transformation network (section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fire_tf.networks.gauss_newton import AffineSteps
from fire_tf.networks.layers import (
    SLOPE,
    StridedConvolution,
    build_chain,
    convolution,
    last_initializer,
    run_chain,
)
from fire_tf.networks.spatial import centre, identity_grid


@tf.keras.utils.register_keras_serializable("fire_tf")
class AffineNetwork(tf.keras.layers.Layer):
    """T_af: features (G(x_moving), G(x_fixed)) -> affine (batch, n, n + 1).

    STN-like convolutions, global pooling, two dense layers. ``pooling`` is how the maps become one vector:

    - "average": both feature maps concatenated, convolved, and averaged (the paper's global average pooling);
    - "moments": the same convolutions on each image's features; a softmax over positions turns each map into
      weights, and the vector holds every map's weighted mean position and covariance: an average that sees where;
    - "keypoints": as "moments", and the mean positions of the two images are also taken as corresponding points:
      their regularised least-squares affine is what the dense layers correct.

    The two dense layers give n (n + 1) numbers: the linear part in voxels per voxel, the translation in half canvas
    sizes, times ``output_scale``. With ``identity_start`` the last layer starts at zero. There is no instance
    normalisation: it would remove what is to be measured. `improved` takes that answer on by ``steps`` of
    `AffineSteps`.
    """

    POOLINGS = ("average", "moments", "keypoints")

    def __init__(
        self,
        canvas: Sequence[int],
        strides: Sequence[int],
        filters: Sequence[int] = (64, 64, 64),
        maps: int = 64,
        units: int = 256,
        pooling: str = "moments",
        output_scale: float = 0.1,
        identity_start: bool = True,
        steps: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, whatever the policy
        if pooling not in self.POOLINGS:
            raise ValueError(f"pooling is {pooling!r}: expected one of {', '.join(self.POOLINGS)}")
        self.canvas, self.strides, self.filters = tuple(canvas), tuple(strides), tuple(filters)
        self.maps, self.units, self.pooling = maps, units, pooling
        self.output_scale, self.identity_start = output_scale, identity_start
        self.rank = len(self.canvas)
        self.chain: list[tf.keras.layers.Layer] = []
        for level, width in enumerate(self.filters):
            first = level == 0
            self.chain += [
                StridedConvolution(width, (2,) * self.rank) if first else convolution(self.rank, width),
                tf.keras.layers.LeakyReLU(SLOPE),
            ]
        self.chain.append(convolution(self.rank, maps, dtype="float32"))
        self.hidden = tf.keras.layers.Dense(units)
        self.activation = tf.keras.layers.LeakyReLU(SLOPE)
        self.parameters = tf.keras.layers.Dense(
            self.rank * (self.rank + 1), kernel_initializer=last_initializer(identity_start), dtype="float32"
        )
        self.steps = steps
        self.alignment = AffineSteps(self.canvas, self.strides, steps) if steps else None

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        shape = tf.TensorShape(input_shape[0])
        if self.pooling == "average":
            shape = shape[:-1].concatenate(2 * shape[-1])
            length = self.maps
        else:
            length = 2 * self.maps * (self.rank + self.rank * (self.rank + 1) // 2)
        build_chain(self.chain, shape)
        build_chain([self.hidden, self.parameters], tf.TensorShape([None, length]))
        if self.alignment is not None:
            self.alignment.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        moving, fixed = inputs
        start = tf.eye(self.rank, self.rank + 1, batch_shape=[tf.shape(moving)[0]])
        if self.pooling == "average":
            maps = run_chain(self.chain, tf.concat([moving, fixed], axis=-1))
            pooled = tf.reduce_mean(maps, axis=list(range(1, self.rank + 1)))
        else:
            maps = run_chain(self.chain, tf.concat([moving, fixed], axis=0))
            means, covariances = self._moments(maps)
            pooled = tf.concat(
                [_flat(part) for pair in (means, covariances) for part in tf.split(pair, 2)], axis=-1
            )
            if self.pooling == "keypoints":
                start = _fit_affine(*tf.split(means, 2))
        numbers = self.parameters(self.activation(self.hidden(pooled)))
        matrix = start + self.output_scale * tf.reshape(numbers, [-1, self.rank, self.rank + 1])
        return tf.concat([matrix[..., :-1], matrix[..., -1:] * self._half], axis=-1)

    def improved(self, inputs: Sequence[tf.Tensor], matrix: tf.Tensor) -> tf.Tensor:
        """This network's answer ``matrix`` after the steps on the features that it was found from."""
        return matrix if self.alignment is None else self.alignment(inputs, matrix)

    @property
    def _half(self) -> float:
        return max(self.canvas) / 2.0

    def _moments(self, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean position (2 batch, maps, n) and covariance (2 batch, maps, n (n + 1) / 2) in half canvas sizes."""
        weights = tf.nn.softmax(tf.reshape(maps, [tf.shape(maps)[0], -1, self.maps]), axis=1)
        grid = identity_grid(maps.shape[1:-1]) * (2.0 * tf.constant(self.strides, tf.float32))
        points = tf.reshape((grid - centre(self.canvas)) / self._half, [-1, self.rank])
        products = tf.stack(
            [points[:, i] * points[:, j] for i in range(self.rank) for j in range(i, self.rank)], axis=-1
        )
        mean = tf.einsum("bpm,pn->bmn", weights, points)
        square = tf.einsum("bpm,pn->bmn", weights, products)
        mean_products = tf.stack(
            [mean[..., i] * mean[..., j] for i in range(self.rank) for j in range(i, self.rank)], axis=-1
        )
        return mean, square - mean_products

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "canvas": self.canvas,
            "strides": self.strides,
            "filters": self.filters,
            "maps": self.maps,
            "units": self.units,
            "pooling": self.pooling,
            "output_scale": self.output_scale,
            "identity_start": self.identity_start,
            "steps": self.steps,
        }


def _flat(value: tf.Tensor) -> tf.Tensor:
    return tf.reshape(value, [tf.shape(value)[0], value.shape[1] * value.shape[2]])


def _fit_affine(moving: tf.Tensor, fixed: tf.Tensor, ridge: float = 1e-3) -> tf.Tensor:
    """Affine (batch, n, n + 1) that takes the points ``fixed`` (batch, points, n) to ``moving``.

    Least squares with ``ridge`` times the squared distance to the identity added, so that coinciding points give
    the identity.
    """
    n = fixed.shape[-1]
    ones = tf.ones_like(fixed[..., :1])
    design = tf.concat([fixed, ones], axis=-1)
    count = tf.cast(tf.shape(fixed)[1], tf.float32)
    normal = tf.matmul(design, design, transpose_a=True) / count + ridge * tf.eye(n + 1)
    identity = tf.eye(n + 1, n, batch_shape=[tf.shape(fixed)[0]])
    right = tf.matmul(design, moving, transpose_a=True) / count + ridge * identity
    return tf.linalg.matrix_transpose(tf.linalg.solve(normal, right))
