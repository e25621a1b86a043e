"""The encoder G and the decoders F (section 2.1).

Built once at a static canvas, in two and three dimensions alike. The paper's Figures 2 and 3, which held the widths,
did not survive as text: the numbers here are this package's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf

from fire_tf.networks.layers import (
    ConvolutionUnit,
    NetworkLayer,
    ResidualBlock,
    build_chain,
    convolution,
    patches,
    run_chain,
    unpatches,
)
from fire_tf.networks.recomputing import recomputed


class _SynthesisNetwork(NetworkLayer):
    """What G and F share: residual blocks on the coarse grid, and the convolutions between it and the image.

    The k-th residual block, from 0, has dilation ``dilation_growth ** k``: 1 is the paper's plain blocks, and with 2
    four blocks see 30 coarse voxels far, a whole head: what lies where in it, and how far its border is.

    With ``shortcut`` a linear map of whole patches (one coarse voxel's share of the image) bypasses those
    convolutions, and only the residual blocks normalise: the others' grey values would depend on how much
    background surrounds the object. Without it, every convolution is normalised (the paper). With ``identity_start``
    residual blocks begin as the identity (`ResidualBlock`).

    Attributes:
        recompute: make activations anew for the gradient instead of keeping them.
    """

    recompute = False

    def __init__(
        self,
        filters: Sequence[int],
        strides: Sequence[Sequence[int]],
        residual_blocks: int = 4,
        shortcut: bool = False,
        dilation_growth: int = 1,
        identity_start: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(filters) != len(strides) + 1:
            raise ValueError(
                f"{len(filters)} filters for {len(strides)} strides: expected one more filter than strides"
            )
        self.filters = tuple(filters)
        self.strides = tuple(tuple(level) for level in strides)
        self.residual_blocks = residual_blocks
        self.rank = len(self.strides[0])
        self.dilation_growth, self.identity_start = dilation_growth, identity_start
        self.blocks = [
            ResidualBlock(self.filters[-1], self.rank, dilation_growth**k, identity_start)
            for k in range(residual_blocks)
        ]
        self.resampling = self._resampling(normalize=not shortcut)
        self.shortcut = self._patches() if shortcut else None

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the network makes of a batch (of known size, where it is to `recompute`)."""
        if not self.recompute:
            return self._made(inputs)
        return recomputed(self._traced, inputs)[0]

    @cached_property  # not made by __init__: a function that is assigned would be looked for in checkpoints
    def _traced(self) -> Callable[[tf.Tensor], list[tf.Tensor]]:
        return tf.function(lambda image: [self._made(image)], autograph=False)

    def _made(self, inputs: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _resampling(self, normalize: bool) -> list[tf.keras.layers.Layer]:
        raise NotImplementedError

    def _patches(self) -> tf.keras.layers.Layer:
        raise NotImplementedError

    @property
    def total_strides(self) -> tuple[int, ...]:
        """Image voxels per feature voxel along each axis."""
        total = [1] * self.rank
        for level in self.strides:
            total = [product * stride for product, stride in zip(total, level, strict=True)]
        return tuple(total)

    def _build_resampling(self, shape: tf.TensorShape) -> None:
        build_chain(self.resampling, shape)
        if self.shortcut is not None:
            self.shortcut.build(shape)

    def _resample(self, value: tf.Tensor) -> tf.Tensor:
        state = run_chain(self.resampling, value)
        return state if self.shortcut is None else tf.nn.relu(state + self.shortcut(value))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "residual_blocks": self.residual_blocks,
            "shortcut": self.shortcut is not None,
            "dilation_growth": self.dilation_growth,
            "identity_start": self.identity_start,
        }


def _last_linear(layers: list[dict[str, Any]], normalize: bool) -> list[tf.keras.layers.Layer]:
    """Units of these settings; without normalisation the last one's ReLU waits for the shortcut."""
    if not normalize:
        layers[-1]["activation"] = None
    return [ConvolutionUnit(normalize=normalize, **settings) for settings in layers]


@tf.keras.utils.register_keras_serializable("fire_tf")
class Encoder(_SynthesisNetwork):
    """G: image (batch, *canvas, 1) in [-1, 1] -> features (batch, *canvas / strides, filters[-1]).

    An input convolution, one downsampling convolution per entry of ``strides`` (two in the paper, stride 2), and
    ``residual_blocks`` residual blocks. One G serves both modalities.
    """

    def _resampling(self, normalize: bool) -> list[tf.keras.layers.Layer]:
        down = zip(self.filters[1:], self.strides, strict=True)
        return _last_linear(
            [
                {"filters": self.filters[0], "rank": self.rank},
                *(
                    {"filters": width, "rank": self.rank, "strides": level, "resample": "down"}
                    for width, level in down
                ),
            ],
            normalize,
        )

    def _patches(self) -> tf.keras.layers.Layer:
        return patches(self.rank, self.filters[-1], self.total_strides)

    def build(self, input_shape: tf.TensorShape) -> None:
        self._build_resampling(input_shape)
        build_chain(self.blocks, tf.TensorShape([None] * (self.rank + 1) + [self.filters[-1]]))
        super().build(input_shape)

    def _made(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(run_chain(self.blocks, self._resample(images)), tf.float32)


@tf.keras.utils.register_keras_serializable("fire_tf")
class Decoder(_SynthesisNetwork):
    """F: features of G -> image (batch, *canvas, 1) in [-1, 1] of the other modality; `Encoder` mirrored.

    ``residual_blocks`` residual blocks, upsampling convolutions, and an output convolution with tanh.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.last = convolution(self.rank, 1, activation="tanh", dtype="float32")

    def _resampling(self, normalize: bool) -> list[tf.keras.layers.Layer]:
        up = zip(self.filters[-2::-1], self.strides[::-1], strict=True)
        return _last_linear(
            [
                {"filters": width, "rank": self.rank, "strides": level, "resample": "up"}
                for width, level in up
            ],
            normalize,
        )

    def _patches(self) -> tf.keras.layers.Layer:
        return unpatches(self.rank, self.filters[0], self.total_strides)

    def build(self, input_shape: tf.TensorShape) -> None:
        build_chain(self.blocks, input_shape)
        self._build_resampling(tf.TensorShape(input_shape))
        self.last.build(tf.TensorShape([None] * (self.rank + 1) + [self.filters[0]]))
        super().build(input_shape)

    def _made(self, features: tf.Tensor) -> tf.Tensor:
        return self.last(self._resample(run_chain(self.blocks, features)))
