"""The networks of FIRE (section 2.1): encoder G, decoders F, transformation networks T = (T_af, T_nr).

All of them are built once at a static canvas and serve two and three dimensions alike; ``rank`` is n. The paper's
Figures 2 and 3, which held the widths, did not survive as text: the numbers here are this package's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from fire_tf.networks.gauss_newton import AffineSteps, CosineSteps
from fire_tf.networks.layers import (
    SLOPE,
    ConvolutionUnit,
    ResidualBlock,
    StridedConvolution,
    convolution,
    patches,
    unpatches,
)
from fire_tf.networks.spatial import (
    FeatureGrid,
    affine_points,
    centre,
    compose_displacements,
    identity_grid,
    sample,
)


def _build_chain(layers: Sequence[tf.keras.layers.Layer], shape: tf.TensorShape) -> tf.TensorShape:
    for layer in layers:
        if not layer.built:
            layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return tf.TensorShape(shape)


def _run_chain(layers: Sequence[tf.keras.layers.Layer], value: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        value = layer(value)
    return value


class _SynthesisNetwork(tf.keras.layers.Layer):
    """What G and F share: residual blocks on the coarse grid, and the convolutions between it and the image.

    The k-th residual block, from 0, has dilation ``dilation_growth ** k``: 1 is the paper's plain blocks, and with 2
    four blocks see 30 coarse voxels far, a whole head: what lies where in it, and how far its border is.

    With ``shortcut`` a linear map of whole patches (one coarse voxel's share of the image) bypasses those
    convolutions, and only the residual blocks normalise: the others' grey values would depend on how much
    background surrounds the object. Without it, every convolution is normalised (the paper).
    """

    def __init__(
        self,
        filters: Sequence[int],
        strides: Sequence[Sequence[int]],
        residual_blocks: int = 4,
        shortcut: bool = False,
        dilation_growth: int = 1,
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
        self.dilation_growth = dilation_growth
        self.blocks = [
            ResidualBlock(self.filters[-1], self.rank, dilation_growth**k) for k in range(residual_blocks)
        ]
        self.resampling = self._resampling(normalize=not shortcut)
        self.shortcut = self._patches() if shortcut else None

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
        _build_chain(self.resampling, shape)
        if self.shortcut is not None:
            self.shortcut.build(shape)

    def _resample(self, value: tf.Tensor) -> tf.Tensor:
        state = _run_chain(self.resampling, value)
        return state if self.shortcut is None else tf.nn.relu(state + self.shortcut(value))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "residual_blocks": self.residual_blocks,
            "shortcut": self.shortcut is not None,
            "dilation_growth": self.dilation_growth,
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
        _build_chain(self.blocks, tf.TensorShape([None] * (self.rank + 1) + [self.filters[-1]]))
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(_run_chain(self.blocks, self._resample(images)), tf.float32)


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
        _build_chain(self.blocks, input_shape)
        self._build_resampling(tf.TensorShape(input_shape))
        self.last.build(tf.TensorShape([None] * (self.rank + 1) + [self.filters[0]]))
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.last(self._resample(_run_chain(self.blocks, features)))


@tf.keras.utils.register_keras_serializable("fire_tf")
class AffineNetwork(tf.keras.layers.Layer):
    """T_af: features (G(x_moving), G(x_fixed)) -> affine (batch, n, n + 1), the identity at the start.

    STN-like convolutions, global pooling, two dense layers. ``pooling`` is how the maps become one vector:

    - "average": both feature maps concatenated, convolved, and averaged (the paper's global average pooling);
    - "moments": the same convolutions on each image's features; a softmax over positions turns each map into
      weights, and the vector holds every map's weighted mean position and covariance: an average that sees where;
    - "keypoints": as "moments", and the mean positions of the two images are also taken as corresponding points:
      their regularised least-squares affine is what the dense layers correct.

    The two dense layers give n (n + 1) numbers: the linear part in voxels per voxel, the translation in half canvas
    sizes. The last layer starts at zero, and its output is scaled down. There is no instance normalisation: it
    would remove what is to be measured. `improved` takes that answer on by ``steps`` of `AffineSteps`.
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
        steps: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if pooling not in self.POOLINGS:
            raise ValueError(f"pooling is {pooling!r}: expected one of {', '.join(self.POOLINGS)}")
        self.canvas, self.strides, self.filters = tuple(canvas), tuple(strides), tuple(filters)
        self.maps, self.units, self.pooling, self.output_scale = maps, units, pooling, output_scale
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
            self.rank * (self.rank + 1), kernel_initializer="zeros", dtype="float32"
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
        _build_chain(self.chain, shape)
        _build_chain([self.hidden, self.parameters], tf.TensorShape([None, length]))
        if self.alignment is not None:
            self.alignment.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        moving, fixed = inputs
        start = tf.eye(self.rank, self.rank + 1, batch_shape=[tf.shape(moving)[0]])
        if self.pooling == "average":
            maps = _run_chain(self.chain, tf.concat([moving, fixed], axis=-1))
            pooled = tf.reduce_mean(maps, axis=list(range(1, self.rank + 1)))
        else:
            maps = _run_chain(self.chain, tf.concat([moving, fixed], axis=0))
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


@tf.keras.utils.register_keras_serializable("fire_tf")
class NonRigidNetwork(tf.keras.layers.Layer):
    """T_nr: (G(x_moving) o phi_af, G(x_fixed)) -> displacement (batch, *grid, n) on G's grid, in its voxels.

    Parallel convolutions on either input, concatenation, convolutions of growing dilation (a wide view of G's
    coarse grid), and a tanh: a displacement in the normalised coordinates [-1, 1] of the grid, which is returned in
    voxels of the grid. The last layer starts at zero, so that training begins at the identity.

    With ``steps`` the input is first aligned further by as many `CosineSteps`, and the convolutions find what is left;
    ``bending`` is the weight of their prior.
    """

    def __init__(
        self,
        rank: int,
        filters: int = 48,
        dilations: Sequence[int] = (1, 2, 4, 8, 4, 2, 1),
        output_scale: float = 0.1,
        steps: int = 0,
        bending: float = 7.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.rank, self.filters, self.dilations = rank, filters, tuple(dilations)
        self.output_scale, self.steps, self.bending = output_scale, steps, bending
        self.alignment = CosineSteps(rank, steps, bending) if steps else None
        self.parallel = [convolution(rank, filters), convolution(rank, filters)]
        self.merge = convolution(rank, filters)
        self.trunk = [convolution(rank, filters, dilation_rate=dilation) for dilation in self.dilations]
        self.activation = tf.keras.layers.LeakyReLU(SLOPE)
        self.last = convolution(rank, rank, kernel_initializer="zeros", dtype="float32")

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        shape = tf.TensorShape(input_shape[0])
        for layer in self.parallel:
            _build_chain([layer], shape)
        _build_chain([self.merge, *self.trunk, self.last], shape[:-1].concatenate(2 * self.filters))
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
            "steps": self.steps,
            "bending": self.bending,
        }


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
    """T = (T_af, T_nr): (G(x_moving), G(x_fixed)) -> `Phi`."""

    def __init__(self, affine: AffineNetwork, nonrigid: NonRigidNetwork, **kwargs: Any):
        super().__init__(**kwargs)
        self.affine, self.nonrigid = affine, nonrigid
        self.grid = FeatureGrid(affine.canvas, affine.strides)

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        for part in (self.affine, self.nonrigid):
            if not part.built:
                part.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor], detach: bool = False) -> Phi:
        """With ``detach`` no gradient goes from one part into the part before: T_nr, the steps of T_af, T_af."""
        before = tf.stop_gradient if detach else tf.identity
        moving, fixed = (_standardise(features) for features in inputs)
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
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TransformationNetwork:
        deserialize = tf.keras.layers.deserialize
        parts = {name: deserialize(config.pop(name)) for name in ("affine", "nonrigid")}
        return cls(**parts, **config)
