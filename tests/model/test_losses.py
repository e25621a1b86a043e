"""The nine terms and the two of the warm-up on values worked out by hand."""

import numpy as np
import pytest

from fire_tf.model import losses
from fire_tf.model.losses import EPSILON, LAMBDA, Losses
from fire_tf.networks.spatial import laplacian

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

ROOT_MEAN_SQUARE_TERMS = [
    losses.syn_acc,
    losses.syn_fea,
    losses.syn_cyc,
    losses.syn_align,
    losses.reg_acc,
    losses.reg_ic,
    losses.r_syn,
    losses.r_reg,
]


def batch_of(*samples: list[float]) -> tf.Tensor:
    """Images of 2 x 2 pixels, (batch, 2, 2, 1)."""
    return tf.reshape(tf.constant(samples, tf.float32), [-1, 2, 2, 1])


def test_rms_is_per_sample_over_space_and_channels():
    left = tf.constant([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 0.0]]])
    right = tf.constant([[[1.0, 0.0], [3.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]]])
    # sqrt((0 + 4 + 0 + 16) / 4) and sqrt(4 / 4)
    np.testing.assert_allclose(losses.rms(left, right), [np.sqrt(5), 1], rtol=1e-6)


@pytest.mark.parametrize("term", ROOT_MEAN_SQUARE_TERMS, ids=lambda term: term.__name__)
def test_term_by_hand(term):
    # First sample: differences (0, 0, 0, 4): 2, and (3, 4, 0, 0): 2.5. Any other pairing of the four gives another
    # number. Second sample: (1, 1, 1, 1): 1, and (2, 0, 0, 0): 1.
    first = batch_of([0, 1, 2, 3], [1, 2, 3, 4])
    second = batch_of([0, 1, 2, 7], [2, 3, 4, 5])
    third = batch_of([1, -1, 1, -1], [9, 8, 7, 6])
    fourth = batch_of([4, 3, 1, -1], [7, 8, 7, 6])
    np.testing.assert_allclose(term(first, second, third, fourth), [4.5, 2.0], rtol=1e-6)


@pytest.mark.parametrize("term", ROOT_MEAN_SQUARE_TERMS, ids=lambda term: term.__name__)
def test_term_is_the_same_in_3d(term):
    # The volume repeats the slice, so the mean does not change.
    slices = [[0, 1, 2, 3], [0, 1, 2, 7], [1, -1, 1, -1], [4, 3, 1, -1]]
    volumes = [tf.repeat(batch_of(one)[..., tf.newaxis], 3, axis=3) for one in slices]
    np.testing.assert_allclose(term(*volumes), [4.5], rtol=1e-6)


def test_gradient_is_finite_where_both_sides_are_equal():
    image = batch_of([0, 1, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = losses.reg_ic(image, tf.identity(tf.stop_gradient(image)), image, tf.stop_gradient(image))
    np.testing.assert_allclose(value, [2 * np.sqrt(EPSILON)], rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(value, image), tf.zeros_like(image))


def test_smoothness_by_hand_in_2d():
    x, y = np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij")
    u_ab = np.stack([x**2 + y, 3 * x], axis=-1)  # Laplacian (2, 0): energy 4 everywhere
    u_ba = np.stack([x**3, y**2 - 2 * x * y], axis=-1)  # (6 x, 2): 36 (1 + 4 + 9) / 3 + 4 = 172
    fields = [tf.constant(u[np.newaxis], tf.float32) for u in (u_ab, u_ba)]
    np.testing.assert_allclose(losses.r_smooth(*fields), [176.0], rtol=1e-5)


def test_smoothness_by_hand_in_3d():
    x, y, z = np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij")
    u_ab = np.stack([x**2 + y**2, z**2, x * y * z], axis=-1)  # (4, 2, 0): 20
    u_ba = np.stack([z**3, 0 * x, 0 * x], axis=-1)  # 6 z: 36 (1 + 4) / 2 = 90
    fields = [tf.constant(np.stack([u, 2 * u]), tf.float32) for u in (u_ab, u_ba)]
    np.testing.assert_allclose(losses.r_smooth(*fields), [110.0, 440.0], rtol=1e-5)


@pytest.mark.parametrize("n", [2, 3])
def test_lambda_makes_a_mean_of_the_papers_sum(n):
    grid, u = (6, 8, 10)[:n], np.random.default_rng(0).normal(size=(1, *(6, 8, 10)[:n], n))
    squares = tf.reduce_sum(laplacian(tf.constant(u, tf.float32)) ** 2, axis=-1)
    points = np.prod(grid) * 4**n  # of the image, which two halvings of every axis left with the grid
    papers = 2 ** (2 * n) / (10 * points) * float(tf.reduce_mean(squares)) * np.prod(grid)
    field = tf.constant(u, tf.float32)
    assert LAMBDA * float(losses.r_smooth(field, tf.zeros_like(field))[0]) == pytest.approx(papers, rel=1e-5)


def test_known_transform_by_hand():
    points = tf.constant(np.stack(np.meshgrid([0.0, 4.0], [0.0, 4.0], indexing="ij"), axis=-1), tf.float32)
    target = points[tf.newaxis] + 1.0
    off = np.zeros((1, 2, 2, 2), np.float32)
    off[0, 0, 1] = [3, 4]  # 5 image voxels
    off[0, 1, 1] = [100, 100]  # not in the mask
    phi_moved = target + off
    phi_other = points[tf.newaxis] + 2 * off[:, ::-1, ::-1] * [
        [[[0.0]], [[1.0]]]
    ]  # (6, 8) at one masked point
    mask = tf.constant([[[[1.0], [1.0]], [[2.0], [0.0]]]])  # weights 1/4, 1/4, 1/2, 0
    # At 4 voxels per sample: 5 / 4 / 4 and 10 / 4 / 2; the root's 1e-4 adds 0.01 where the distance is 0.
    expected = (5 / 4 / 4 + 0.75 * 0.01) + (10 / 4 / 2 + 0.5 * 0.01)
    result = losses.known(phi_moved, target, phi_other, points, mask, scale=4.0)
    np.testing.assert_allclose(result, [expected], atol=1e-4)


def test_the_terms_bear_the_papers_names():
    names = [term.__name__ for term in ROOT_MEAN_SQUARE_TERMS] + ["r_smooth"]
    assert list(Losses._fields) == [*names, "known_start", "known_affine", "known"]
