"""Reading between voxels: neurite's values and gradients, eagerly, in graphs with XLA and without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from fire_tf.compat.voxelmorph import ne
from fire_tf.networks.compiled import uncompiled
from fire_tf.networks.sampling import sample

SIZES = [(7, 5), (4, 6, 5), (1, 6), (5, 1, 4)]
Reader = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def by_neurite(image: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    return tf.stack([ne.utils.interpn(image[k], points[k]) for k in range(image.shape[0])])


def value_and_gradients(
    reader: Reader, image: tf.Tensor, points: tf.Tensor, weight: tf.Tensor
) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch([image, points])
        value = reader(image, points)
        loss = tf.reduce_sum(value * weight)
    return [
        value.numpy(),
        *(np.array(tf.convert_to_tensor(part)) for part in tape.gradient(loss, [image, points])),
    ]


def without_xla(image: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    with uncompiled():
        return tf.function(sample, autograph=False)(image, points)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reader", [sample, tf.function(sample, autograph=False), without_xla])
def test_values_and_gradients_are_those_of_neurite(
    reader: Reader, size: tuple[int, ...], channels: int
) -> None:
    """Inside and beyond the image; off the planes of voxels, where the slope is not one number."""
    rng, n = np.random.default_rng(0), len(size)
    image = tf.constant(rng.normal(size=(2, *size, channels)), tf.float32)
    points = rng.uniform(-1.5, np.array(size) + 0.5, (2, 9, 4, n))
    points = tf.constant(np.where(abs(points - points.round()) < 0.01, points + 0.02, points), tf.float32)
    weight = tf.constant(rng.normal(size=(2, 9, 4, channels)), tf.float32)
    found = value_and_gradients(reader, image, points, weight)
    expected = value_and_gradients(by_neurite, image, points, weight)
    for axis in np.flatnonzero(
        np.array(size) == 1
    ):  # there neurite takes a slope between the voxel and itself
        found[2][..., axis] = expected[2][..., axis] = 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 5), (4, 6, 5)])
def test_voxels_themselves_are_read_as_they_are(size: tuple[int, ...]) -> None:
    image = tf.constant(np.random.default_rng(1).normal(size=(1, *size, 2)), tf.float32)
    axes = np.meshgrid(*map(np.arange, size), indexing="ij")
    points = tf.constant(np.stack(axes, axis=-1)[np.newaxis], tf.float32)
    np.testing.assert_allclose(sample(image, points), image, atol=1e-6)


def test_what_is_traced_without_xla_holds_none() -> None:
    image, points = tf.zeros([1, 4, 4, 1]), tf.zeros([1, 2, 2])
    for context, compiled in ((uncompiled(), False), (None, True)):
        function = tf.function(sample, autograph=False)
        if context is not None:
            with context:
                graph = function.get_concrete_function(image, points).graph
        else:
            graph = function.get_concrete_function(image, points).graph
        marked = [f for f in graph.as_graph_def().library.function if f.attr["_XlaMustCompile"].b]
        assert bool(marked) == compiled
