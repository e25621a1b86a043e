"""Keras layers that the five networks are made of; rank 2 or 3 is a parameter of each."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from fire_tf._voxelmorph import tfa

CONVOLUTION = {2: tf.keras.layers.Conv2D, 3: tf.keras.layers.Conv3D}
TRANSPOSED = {2: tf.keras.layers.Conv2DTranspose, 3: tf.keras.layers.Conv3DTranspose}
KERNEL = 3


def convolution(rank: int, filters: int, **options: Any) -> tf.keras.layers.Layer:
    """A convolution of kernel 3 for ``rank`` spatial axes, SAME-padded unless told otherwise."""
    return CONVOLUTION[rank](filters, KERNEL, **{"padding": "same", **options})


@tf.keras.utils.register_keras_serializable("fire_tf")
class StridedConvolution(tf.keras.layers.Layer):
    """Kernel-3 convolution whose output sample ``k`` is centred on input voxel ``stride * k``.

    Keras' SAME padding centres an even-sized stride-2 convolution on ``2 k + 1``; padding before only, as here,
    keeps the first sample of every level on the first voxel, so that one number, the stride, tells where a
    feature lies. Input (batch, *size, c), output (batch, *size / strides, filters).
    """

    def __init__(self, filters: int, strides: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = tuple(strides)
        rank = len(self.strides)
        self.paddings = [[0, 0], *([1, 0] if stride > 1 else [1, 1] for stride in self.strides), [0, 0]]
        self.convolution = CONVOLUTION[rank](
            filters, KERNEL, strides=self.strides, padding="valid", use_bias=False
        )

    def _padded(self, shape: tf.TensorShape) -> tf.TensorShape:
        pairs = zip(shape, self.paddings, strict=True)
        return tf.TensorShape([size if size is None else size + sum(padding) for size, padding in pairs])

    def build(self, input_shape: tf.TensorShape) -> None:
        self.convolution.build(self._padded(input_shape))
        super().build(input_shape)

    # Where a layer does not know its output's shape Keras traces its call, which takes a model seconds to load.
    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return self.convolution.compute_output_shape(self._padded(input_shape))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.convolution(tf.pad(inputs, self.paddings))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@tf.keras.utils.register_keras_serializable("fire_tf")
class UpsamplingConvolution(tf.keras.layers.Layer):
    """Transposed kernel-3 convolution, the mirror of `StridedConvolution`: input ``k`` lands on ``stride * k``.

    Input (batch, *size, c), output (batch, *size * strides, filters).
    """

    def __init__(self, filters: int, strides: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = tuple(strides)
        self.convolution = TRANSPOSED[len(self.strides)](
            filters, KERNEL, strides=self.strides, padding="valid", use_bias=False
        )

    def build(self, input_shape: tf.TensorShape) -> None:
        self.convolution.build(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        batch, *size, _ = tf.TensorShape(input_shape)
        larger = [n if n is None else n * stride for n, stride in zip(size, self.strides, strict=True)]
        return tf.TensorShape([batch, *larger, self.filters])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        full = self.convolution(inputs)
        crop = tuple(slice(1, None) if stride > 1 else slice(1, -1) for stride in self.strides)
        return full[(slice(None), *crop)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@tf.keras.utils.register_keras_serializable("fire_tf")
class NormalizedConvolution(tf.keras.layers.Layer):
    """Convolution, instance normalisation (tensorflow-addons), ReLU: the unit of G and F (section 2.1).

    ``resample`` is None, "down" or "up"; ``strides`` belong to the latter two.
    """

    def __init__(
        self,
        filters: int,
        rank: int,
        strides: tuple[int, ...] | None = None,
        resample: str | None = None,
        activation: str | None = "relu",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.config = {
            "filters": filters,
            "rank": rank,
            "strides": strides,
            "resample": resample,
            "activation": activation,
        }
        if resample is None:
            self.convolution = convolution(rank, filters, use_bias=False)
        elif resample in ("down", "up") and strides is not None:
            self.convolution = (StridedConvolution if resample == "down" else UpsamplingConvolution)(
                filters, strides
            )
        else:
            raise ValueError(
                f"resample is {resample!r} with strides {strides}: expected None, or 'down' or 'up' with strides"
            )
        self.normalization = tfa.layers.InstanceNormalization()
        self.activation = tf.keras.layers.Activation(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.convolution.build(input_shape)
        self.normalization.build(self.convolution.compute_output_shape(input_shape))
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return self.convolution.compute_output_shape(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.activation(self.normalization(self.convolution(inputs)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@tf.keras.utils.register_keras_serializable("fire_tf")
class ResidualBlock(tf.keras.layers.Layer):
    """``x + IN(conv(ReLU(IN(conv(x)))))``, (batch, *size, filters) -> the same (section 2.1, "Resnet blocks")."""

    def __init__(self, filters: int, rank: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.rank = filters, rank
        self.first = NormalizedConvolution(filters, rank)
        self.second = NormalizedConvolution(filters, rank, activation=None)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.first.build(input_shape)
        self.second.build(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.second(self.first(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "rank": self.rank}
