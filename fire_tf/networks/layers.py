"""Keras layers that the five networks are made of; rank 2 or 3 is a parameter of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from fire_tf.compat.normalization import instance_normalization

CONVOLUTION = {2: tf.keras.layers.Conv2D, 3: tf.keras.layers.Conv3D}
TRANSPOSED = {2: tf.keras.layers.Conv2DTranspose, 3: tf.keras.layers.Conv3DTranspose}
KERNEL = 3
SLOPE = 0.2  # of the leaky ReLU inside T
HE = "he_normal"


def convolution(rank: int, filters: int, **options: Any) -> tf.keras.layers.Layer:
    """A convolution of kernel 3 for ``rank`` spatial axes, SAME-padded unless told otherwise."""
    return CONVOLUTION[rank](filters, KERNEL, **{"padding": "same", **options})


def last_initializer(identity_start: bool) -> str:
    """Of the last weights of a part of T, whose answer is the identity while they are 0."""
    return "zeros" if identity_start else "glorot_uniform"


def build_chain(layers: Sequence[tf.keras.layers.Layer], shape: tf.TensorShape) -> tf.TensorShape:
    """Build layers that follow each other, those that are not built yet; returns the shape of what comes out."""
    for layer in layers:
        if not layer.built:
            layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return tf.TensorShape(shape)


def run_chain(layers: Sequence[tf.keras.layers.Layer], value: tf.Tensor) -> tf.Tensor:
    """Apply layers that follow each other."""
    for layer in layers:
        value = layer(value)
    return value


class NetworkLayer(tf.keras.layers.Layer):
    """A layer whose precision is that of the process, Keras' global policy, and no part of a saved model."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{key: value for key, value in kwargs.items() if key != "dtype"})

    def get_config(self) -> dict[str, Any]:
        return {key: value for key, value in super().get_config().items() if key != "dtype"}


def _normalized(layer: tf.keras.layers.Layer, value: tf.Tensor) -> tf.Tensor:
    """What an instance normalisation makes of a value, in float32 and then of the value's type again."""
    return tf.cast(_normalized_float32(layer, tf.cast(value, tf.float32)), value.dtype)


def _normalized_float32(layer: tf.keras.layers.Layer, value: tf.Tensor) -> tf.Tensor:
    """By the kernel for batches of one image where their number is known: half the time of the layer's own chain of
    operations."""
    if value.shape[0] is None:
        return layer(value)
    return _image_by_image(value, *map(tf.convert_to_tensor, (layer.gamma, layer.beta)), layer.epsilon)


@partial(tf.function, autograph=False)  # traced once for all layers of a size: it is many operations
def _image_by_image(value: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    # A row of gains and offsets for each image: what is used several times has a sum of gradients, `AddN`, whose order
    # is not determined (`fire_tf.model.gradients`).
    rows = [tf.unstack(tf.tile(row[tf.newaxis], [value.shape[0], 1])) for row in (gamma, beta)]
    images = [
        tf.compat.v1.nn.fused_batch_norm(
            tf.reshape(image, [1, image.shape[1], -1, image.shape[-1]]), *both, epsilon=epsilon
        )[0]
        for image, *both in zip(tf.split(value, value.shape[0]), *rows, strict=True)
    ]
    return tf.reshape(tf.concat(images, axis=0), value.shape)


def patches(rank: int, filters: int, size: tuple[int, ...]) -> tf.keras.layers.Layer:
    """A linear map of each patch of ``size`` voxels to one vector: (batch, *size k, c) -> (batch, *k, filters)."""
    return CONVOLUTION[rank](filters, size, strides=size, use_bias=False, kernel_initializer=HE)


def unpatches(rank: int, filters: int, size: tuple[int, ...]) -> tf.keras.layers.Layer:
    """The mirror of `patches`: (batch, *k, c) -> (batch, *size k, filters)."""
    return TRANSPOSED[rank](filters, size, strides=size, use_bias=False, kernel_initializer=HE)


class _Resampling(NetworkLayer):
    """A kernel-3 convolution that changes the grid by ``strides``; ``options`` go to the Keras layer."""

    KINDS: dict[int, type[tf.keras.layers.Layer]]

    def __init__(
        self,
        filters: int,
        strides: tuple[int, ...],
        use_bias: bool = False,
        kernel_initializer: str = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.strides = filters, tuple(strides)
        self.options = {"use_bias": use_bias, "kernel_initializer": kernel_initializer}
        kind = self.KINDS[len(self.strides)]
        self.convolution = kind(filters, KERNEL, strides=self.strides, padding="valid", **self.options)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            **self.options,
        }


@tf.keras.utils.register_keras_serializable("fire_tf")
class StridedConvolution(_Resampling):
    """Kernel-3 convolution whose output sample ``k`` is centred on input voxel ``stride * k``.

    Keras' SAME padding centres an even-sized stride-2 convolution on ``2 k + 1``; padding before only, as here,
    keeps the first sample of every level on the first voxel, so that one number, the stride, tells where a
    feature lies. Input (batch, *size, c), output (batch, *size / strides, filters).
    """

    KINDS = CONVOLUTION

    @property
    def paddings(self) -> list[list[int]]:
        return [[0, 0], *([1, 0] if stride > 1 else [1, 1] for stride in self.strides), [0, 0]]

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


@tf.keras.utils.register_keras_serializable("fire_tf")
class UpsamplingConvolution(_Resampling):
    """Transposed kernel-3 convolution, the mirror of `StridedConvolution`: input ``k`` lands on ``stride * k``.

    Input (batch, *size, c), output (batch, *size * strides, filters).
    """

    KINDS = TRANSPOSED

    def build(self, input_shape: tf.TensorShape) -> None:
        self.convolution.build(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        batch, *size, _ = tf.TensorShape(input_shape)
        larger = [n if n is None else n * stride for n, stride in zip(size, self.strides, strict=True)]
        return tf.TensorShape([batch, *larger, self.filters])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        full, shape = self.convolution(inputs), self.compute_output_shape(inputs.shape)
        # Not full[:, 1:, ...]: the gradient of a strided slice takes several times as long as this one's, a padding.
        size = [-1 if length is None else length for length in shape]
        return tf.slice(full, [0, *[1] * len(self.strides), 0], size)


@tf.keras.utils.register_keras_serializable("fire_tf")
class ConvolutionUnit(NetworkLayer):
    """Convolution, instance normalisation, ReLU: the unit of G and F (section 2.1).

    ``resample`` is None, "down" or "up"; ``strides`` belong to the latter two, ``dilation`` to the first. With
    ``normalize`` False a bias takes the place of the normalisation, and the weights start at He's variance, which then
    matters.
    """

    def __init__(
        self,
        filters: int,
        rank: int,
        strides: tuple[int, ...] | None = None,
        resample: str | None = None,
        activation: str | None = "relu",
        normalize: bool = True,
        dilation: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.config = {
            "filters": filters,
            "rank": rank,
            "strides": strides,
            "resample": resample,
            "activation": activation,
            "normalize": normalize,
            "dilation": dilation,
        }
        options: dict[str, Any] = {
            "use_bias": not normalize,
            "kernel_initializer": "glorot_uniform" if normalize else HE,
        }
        if resample is None:
            self.convolution = convolution(rank, filters, dilation_rate=dilation, **options)
        elif resample in ("down", "up") and strides is not None:
            self.convolution = (StridedConvolution if resample == "down" else UpsamplingConvolution)(
                filters, strides, **options
            )
        else:
            raise ValueError(
                f"resample is {resample!r} with strides {strides}: expected None, or 'down' or 'up' with strides"
            )
        self.normalization = instance_normalization() if normalize else None
        self.activation = tf.keras.layers.Activation(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.convolution.build(input_shape)
        if self.normalization is not None:
            self.normalization.build(self.convolution.compute_output_shape(input_shape))
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return self.convolution.compute_output_shape(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        state = self.convolution(inputs)
        return self.activation(
            state if self.normalization is None else _normalized(self.normalization, state)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@tf.keras.utils.register_keras_serializable("fire_tf")
class ResidualBlock(NetworkLayer):
    """``x + IN(conv(ReLU(IN(conv(x)))))``, (batch, *size, filters) -> the same (section 2.1, "Resnet blocks").

    With ``identity_start`` the last gain starts at zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1): the block
    begins as the identity. ``dilation`` is that of both convolutions: how far apart the voxels lie that they combine.
    """

    def __init__(
        self, filters: int, rank: int, dilation: int = 1, identity_start: bool = True, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.filters, self.rank, self.dilation = filters, rank, dilation
        self.identity_start = identity_start
        self.first = ConvolutionUnit(filters, rank, dilation=dilation)
        self.second = convolution(rank, filters, use_bias=False, dilation_rate=dilation)
        self.normalization = instance_normalization(gamma_initializer="zeros" if identity_start else "ones")

    def build(self, input_shape: tf.TensorShape) -> None:
        for layer in (self.first, self.second, self.normalization):
            layer.build(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + _normalized(self.normalization, self.second(self.first(inputs)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "rank": self.rank,
            "dilation": self.dilation,
            "identity_start": self.identity_start,
        }
