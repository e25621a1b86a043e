"""What a SavedModel of FIRE computes: images in, registered images out, in TensorFlow's own operations alone.

Images are RAS tensors at the model's spacing with the grey values of their files, (batch, *spatial, 1) float32 of
any size up to the largest canvas; ``moving`` is of the model's modality A, ``fixed`` of B. Both are normalised as
`fire_tf.intensities` does it and laid in the middle of the smallest canvas that holds them, and what is found is cut
back to their sizes. Points are voxel indices of the images as they came, axes in ``ij`` order.

Signature           inputs                          outputs
==================  ==============================  ==============================================================
serving_default     moving, fixed                   all of `OUTPUTS`
warp_only           moving, fixed                   warped_moving
register_bytes      moving_bytes, fixed_bytes: a    all of `OUTPUTS` with ``_bytes`` added, each a serialized
                    serialized TensorProto each     TensorProto (for REST, which writes them as base64)
describe            about: any string               description: JSON, what a client has to know of the model
==================  ==============================  ==============================================================

What cannot be registered is INVALID_ARGUMENT: an empty or too large image, NaN (but in the air around the object) or
infinite values, an image that is constant, images of different number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.intensities.grey_values import BACKGROUND, BRIGHTEST
from fire_tf.model.fire import FIRE
from fire_tf.networks.spatial import identity_grid, pull
from fire_tf.networks.transformation import Phi
from fire_tf.serving.saved_model.air import clear, fill_outside

OUTPUTS = {
    "warped_moving": "the moving image on the fixed one's voxels, (batch, *fixed, 1), its grey values",
    "warped_fixed": "the fixed image on the moving one's voxels, (batch, *moving, 1)",
    "synth_moving": "the moving image in modality B and the fixed image's grey values, in its own place",
    "synth_fixed": "the fixed image in modality A and the moving image's grey values, in its own place",
    "flow_forward": "(batch, *fixed, n): voxel p of the fixed image is read at p + flow(p) of the moving one",
    "flow_backward": "(batch, *moving, n): the same from the moving image's voxels to the fixed one's",
    "affine_forward": "(batch, n, n + 1): the affine part of the forward map, p -> L p + t",
    "affine_backward": "(batch, n, n + 1): the affine part of the backward map",
    "grey_range_moving": "(batch, 2): the grey values of the moving image that the model takes for -1 and 1",
    "grey_range_fixed": "(batch, 2): the same of the fixed image",
}


class Grey(NamedTuple):
    """Images (batch, *spatial, 1): their grey values, the same in [-1, 1], which become -1 and 1 (batch, 1), and which
    one lies outside (batch, 1)."""

    values: tf.Tensor
    normalised: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor
    outside: tf.Tensor


class ServedFIRE(tf.Module):
    """The signatures of a model on a ladder of canvases, the smallest first.

    Only the networks' weights are tracked: a SavedModel holds nothing of Keras.
    """

    def __init__(self, models: Sequence[FIRE], description: Mapping[str, Any]):
        super().__init__()
        self._description = json.dumps(description, indent=1)
        self._percentile = float(description["preprocessing"]["percentile"])
        self._canvases = [model.canvas for model in models]
        self._branches = [partial(_register, model) for model in models]
        self._forward_branches = [partial(_warp_moving, model) for model in models]
        self._image = [None] * (models[0].ndim + 1) + [1]
        self.weights = list({id(v): v for model in models for v in _weights(model)}.values())

    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """The functions to be saved, by the names of their signatures."""
        images = [tf.TensorSpec(self._image, tf.float32, name) for name in ("moving", "fixed")]
        encoded = [tf.TensorSpec([], tf.string, name) for name in ("moving_bytes", "fixed_bytes")]
        # TensorFlow Serving's REST interface refuses signatures that take nothing.
        nothing = [tf.TensorSpec([], tf.string, "about")]
        serve = tf.function(self._serve, images, autograph=False)
        return {
            "serving_default": serve,
            "warp_only": tf.function(self._warp_only, images, autograph=False),
            "register_bytes": tf.function(partial(self._serve_bytes, serve), encoded, autograph=False),
            "describe": tf.function(self._describe, nothing, autograph=False),
        }

    def _serve(self, moving: tf.Tensor, fixed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._on_canvas(self._branches, moving, fixed)

    def _warp_only(self, moving: tf.Tensor, fixed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._on_canvas(self._forward_branches, moving, fixed)

    def _serve_bytes(
        self, serve: Callable[..., dict[str, tf.Tensor]], moving_bytes: tf.Tensor, fixed_bytes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        images = (
            tf.ensure_shape(tf.io.parse_tensor(encoded, tf.float32), self._image)
            for encoded in (moving_bytes, fixed_bytes)
        )
        return {f"{name}_bytes": tf.io.serialize_tensor(value) for name, value in serve(*images).items()}

    def _describe(self, about: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"description": tf.constant(self._description)}

    def _on_canvas(
        self,
        branches: Sequence[Callable[[Grey, Grey], dict[str, tf.Tensor]]],
        moving: tf.Tensor,
        fixed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        sizes = tf.shape(moving), tf.shape(fixed)
        needed = tf.maximum(sizes[0][1:-1], sizes[1][1:-1])
        fits = tf.reduce_all(needed <= tf.constant(self._canvases), axis=-1)
        names = " or ".join("x".join(map(str, canvas)) for canvas in self._canvases)
        agreed = [
            tf.debugging.Assert(
                tf.reduce_any(fits), [f"moving and fixed must fit into {names} voxels, they have", needed]
            ),
            tf.debugging.Assert(
                sizes[0][0] == sizes[1][0], ["moving and fixed differ in number:", sizes[0][0], sizes[1][0]]
            ),
        ]
        with tf.control_dependencies(agreed):
            images = [
                normalised(checked(image, name), self._percentile)
                for image, name in ((moving, "moving"), (fixed, "fixed"))
            ]
            if len(branches) == 1:
                return branches[0](*images)
            first = tf.argmax(tf.cast(fits, tf.int32), output_type=tf.int32)
            return tf.switch_case(first, [partial(branch, *images) for branch in branches])


def _weights(model: FIRE) -> list[tf.Variable]:
    networks = (
        model.encoder,
        model.decoder_ab,
        model.decoder_ba,
        model.transformation_ab,
        model.transformation_ba,
    )
    return [variable for network in networks for variable in network.variables]


def checked(image: tf.Tensor, name: str) -> tf.Tensor:
    """The images (batch, *spatial, 1), with air where NaN surround the object; running it raises InvalidArgumentError
    for what cannot be registered."""
    axes = list(range(1, image.shape.rank))
    # Each looks at what the one before has let pass, so that the first that fails names the cause.
    image = _passing(image, tf.shape(image) > 0, f"{name} has no voxels")
    image = tf.map_fn(fill_outside, tf.squeeze(image, -1))[..., tf.newaxis]
    image = _passing(image, tf.math.is_finite(image), f"{name} holds values that are NaN or infinite")
    return _passing(image, tf.reduce_max(image, axes) > tf.reduce_min(image, axes), f"{name} is constant")


def _passing(image: tf.Tensor, passes: tf.Tensor, message: str) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(passes), [message])]):
        return tf.identity(image)


def normalised(image: tf.Tensor, percentile: float) -> Grey:
    """`grey_values.normalise` of each image of a batch with its air cleared: air to -1, ``percentile`` of the rest to
    1."""
    cleared, outside = tf.map_fn(clear, tf.squeeze(image, -1), fn_output_signature=(tf.float32, tf.float32))
    flat = tf.reshape(cleared, [tf.shape(image)[0], -1])
    low = tf.reduce_min(flat, axis=1, keepdims=True)
    common, times = BRIGHTEST
    brightest = tf.minimum(
        _percentile_above(flat, low, percentile / 100.0),
        low + times * (_percentile_above(flat, low, common / 100.0) - low),
    )
    high = tf.maximum(brightest, tf.math.nextafter(low, np.float32(np.inf)))
    scaled = tf.clip_by_value(2.0 * (flat - low) / (high - low) - 1.0, -1.0, 1.0)
    return Grey(image, tf.reshape(scaled, tf.shape(image)), low, high, outside[:, tf.newaxis])


def _percentile_above(flat: tf.Tensor, low: tf.Tensor, part: float) -> tf.Tensor:
    """numpy's linear percentile (``part``, 0 to 1) of the values above ``low``: (batch, values) -> (batch, 1).

    Only as many of the largest values are sorted as it can depend on.
    """
    count = tf.reduce_sum(tf.cast(flat > low, tf.int32), axis=1, keepdims=True)
    values = tf.shape(flat)[1]
    most = tf.minimum(values, tf.cast(tf.cast(values, tf.float64) * (1.0 - part), tf.int32) + 2)
    descending = tf.math.top_k(flat, most).values
    position = tf.cast(count - 1, tf.float64) * part
    below = tf.floor(position)
    index = count - 1 - tf.cast(below, tf.int32)
    lower, upper = (tf.gather(descending, i, batch_dims=1) for i in (index, tf.maximum(index - 1, 0)))
    return lower + tf.cast(position - below, tf.float32) * (upper - lower)


class _Place(NamedTuple):
    """Where images of ``size`` (n,) lie on a canvas: from voxel ``start`` (n,) on, as `geometry.canvas` lays them."""

    canvas: tuple[int, ...]
    size: tf.Tensor
    start: tf.Tensor

    @classmethod
    def of(cls, image: tf.Tensor, canvas: tuple[int, ...]) -> _Place:
        size = tf.shape(image)[1:-1]
        return cls(canvas, size, (tf.constant(canvas) - size) // 2)

    def lay(self, image: tf.Tensor, fill: float) -> tf.Tensor:
        """(batch, *size, 1) -> (batch, *canvas, 1)."""
        after = tf.constant(self.canvas) - self.size - self.start
        paddings = tf.pad(tf.stack([self.start, after], axis=1), [[1, 1], [0, 0]])
        return tf.ensure_shape(tf.pad(image, paddings, constant_values=fill), [None, *self.canvas, 1])

    def cut(self, value: tf.Tensor) -> tf.Tensor:
        """(batch, *canvas, channels) -> (batch, *size, channels)."""
        begin, size = tf.pad(self.start, [[1, 1]]), tf.pad(self.size, [[1, 1]], constant_values=-1)
        cut = tf.slice(value, begin, size)
        cut.set_shape([None] * (value.shape.rank - 1) + [value.shape[-1]])
        return cut


def _register(model: FIRE, moving: Grey, fixed: Grey) -> dict[str, tf.Tensor]:
    places = [_Place.of(image.values, model.canvas) for image in (moving, fixed)]
    g_moving, g_fixed = _features(model, moving, fixed, places)
    prediction = model.transforms(g_moving, g_fixed)
    forward = _direction(model, prediction.ab, moving, *places)
    backward = _direction(model, prediction.ba, fixed, *places[::-1])
    return {
        "warped_moving": forward[0],
        "warped_fixed": backward[0],
        "synth_moving": _in_grey_values(places[0].cut(model.decoder_ab(g_moving)), fixed),
        "synth_fixed": _in_grey_values(places[1].cut(model.decoder_ba(g_fixed)), moving),
        "flow_forward": forward[1],
        "flow_backward": backward[1],
        "affine_forward": forward[2],
        "affine_backward": backward[2],
        "grey_range_moving": tf.concat([moving.low, moving.high], axis=1),
        "grey_range_fixed": tf.concat([fixed.low, fixed.high], axis=1),
    }


def _warp_moving(model: FIRE, moving: Grey, fixed: Grey) -> dict[str, tf.Tensor]:
    places = [_Place.of(image.values, model.canvas) for image in (moving, fixed)]
    phi = model.transformation_ab(_features(model, moving, fixed, places))
    return {"warped_moving": _direction(model, phi, moving, *places)[0]}


def _features(model: FIRE, moving: Grey, fixed: Grey, places: Sequence[_Place]) -> list[tf.Tensor]:
    laid = (
        place.lay(image.normalised, BACKGROUND) for image, place in zip((moving, fixed), places, strict=True)
    )
    return list(model.features(*laid))


def _direction(
    model: FIRE, phi: Phi, source: Grey, source_place: _Place, target_place: _Place
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The source image warped onto the target's voxels, the flow and the affine part, both in voxel indices."""
    flow = model.displacement(phi)
    shift = tf.cast(target_place.start - source_place.start, tf.float32)
    warped = _pull(source, source_place, flow)
    return (
        target_place.cut(warped),
        target_place.cut(flow) + shift,
        _in_indices(phi.affine, model, source_place, target_place),
    )


def _pull(image: Grey, place: _Place, flow: tf.Tensor) -> tf.Tensor:
    """Grey values read at ``p + flow(p)`` for every voxel p of the canvas; beyond the canvas they fade into air.

    As `fire_tf.geometry.reading.pull` does it.
    """
    air = tf.reshape(image.outside, [-1] + [1] * (image.values.shape.rank - 1))
    return air + pull(place.lay(image.values - air, 0.0), identity_grid(place.canvas) + flow)


def _in_indices(matrix: tf.Tensor, model: FIRE, source: _Place, target: _Place) -> tf.Tensor:
    """An affine about the canvas' centre (batch, n, n + 1) as one from voxel indices to voxel indices."""
    centre = (tf.constant(model.canvas, tf.float32) - 1.0) / 2.0
    from_target = tf.cast(target.start, tf.float32) - centre
    to_source = centre - tf.cast(source.start, tf.float32)
    linear = matrix[..., :-1]
    offset = tf.linalg.matvec(linear, from_target) + matrix[..., -1] + to_source
    return tf.concat([linear, offset[..., tf.newaxis]], axis=-1)


def _in_grey_values(synthesised: tf.Tensor, like: Grey) -> tf.Tensor:
    """An image in [-1, 1] in the grey values of the other one."""
    low, high = (
        tf.reshape(value, [-1] + [1] * (synthesised.shape.rank - 1)) for value in (like.low, like.high)
    )
    return low + (high - low) * (synthesised + 1.0) / 2.0
