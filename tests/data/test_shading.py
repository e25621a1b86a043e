"""Shading: what it does to grey values, and that G alone sees it."""

import numpy as np
import pytest
from tiny_fire import pairs, smallest_model

from fire_tf.config.schema import ShadingConfig
from fire_tf.data.shading import Shading, draw_shading, shade
from fire_tf.model.objectives import ALIGNED_TERMS

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


def shading(shape, **parts):
    """A shading of an image (*shape) that changes nothing but for ``parts``."""
    none = {
        "strength": 0.0,
        "gamma": 1.0,
        "coefficients": np.zeros(3 ** len(shape) - 1),
        "curve": np.zeros(8),
        "noise": np.zeros(shape),
    }
    return Shading(**{name: tf.constant(value, tf.float32) for name, value in {**none, **parts}.items()})


def test_gain_is_the_drawn_cosine_and_background_stays():
    image = np.zeros((40, 30, 1), np.float32)  # grey value 0.5
    image[:, :5] = -1
    only = np.zeros(8, np.float32)
    only[2] = -7.0  # orders (1, 0), after (0, 1) and (0, 2)
    shaded = shade(tf.constant(image), shading((40, 30), strength=0.4, coefficients=only)).numpy()
    wave = np.cos(np.pi * (np.arange(40) + 0.5) / 40)
    gain = np.exp(-0.4 * wave / wave.max())[:, np.newaxis]
    expected = np.broadcast_to(2 * gain / gain.max() - 1, (40, 25))
    np.testing.assert_allclose(shaded[:, 5:, 0], expected, atol=1e-5)
    assert np.all(shaded[:, :5] == -1)


@pytest.mark.parametrize("shape", [(12, 10, 1), (8, 10, 6, 1)])
def test_gamma_acts_on_grey_values_and_no_shading_changes_nothing(shape):
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    image[(0,) * len(shape)] = 1
    same = shade(tf.constant(image), shading(shape[:-1]))
    np.testing.assert_allclose(same, image, atol=1e-6)
    darker = shade(tf.constant(image), shading(shape[:-1], gamma=2.0))
    np.testing.assert_allclose(darker, 2 * ((image + 1) / 2) ** 2 - 1, atol=1e-6)


def test_the_curve_joins_its_pieces_and_a_common_factor_of_its_slopes_has_no_effect():
    slopes = np.array([1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0])  # of sum 20, over eight pieces
    grey = np.array([0.0, 1 / 16, 1 / 8, 0.5, 13 / 16, 1.0])
    image = (2 * grey - 1).astype(np.float32).reshape(6, 1, 1)
    expected = np.array([0.0, 0.5, 1.0, 10.0, 18.0, 20.0]) / 20
    for factor in (1.0, 7.0):
        shaded = shade(tf.constant(image), shading((6, 1), curve=np.log(factor * slopes)))
        np.testing.assert_allclose(shaded[:, 0, 0], 2 * expected - 1, atol=1e-6)


def test_noise_is_added_to_the_object_alone_and_stays_in_range():
    image = np.array([-1.0, 0.0, 0.9, 1.0], np.float32).reshape(4, 1, 1)
    shaded = shade(tf.constant(image), shading((4, 1), noise=[[0.3], [-0.1], [0.5], [0.0]]))
    np.testing.assert_allclose(shaded[:, 0, 0], [-1.0, -0.2, 1.0, 1.0], atol=1e-6)


def test_draws_stay_within_their_ranges_and_repeat():
    ranges = ShadingConfig(strength=(0.2, 0.5), gamma=(0.5, 2.0), curve=(0.5, 0.5), noise=(0.0, 0.1))
    drawn = [draw_shading(ranges, (30, 20), tf.constant([1, number])) for number in range(50)]
    strengths = np.array([one.strength for one in drawn])
    gammas = np.array([one.gamma for one in drawn])
    assert 0.2 <= strengths.min() < 0.25
    assert 0.45 < strengths.max() <= 0.5
    assert 0.5 <= gammas.min() < 0.6
    assert 1.6 < gammas.max() <= 2.0
    assert 0.45 < np.std([one.curve for one in drawn]) < 0.55
    deviations = np.array([np.std(one.noise) for one in drawn])
    assert deviations.min() < 0.02
    assert 0.08 < deviations.max() < 0.11
    again = draw_shading(ranges, (30, 20), tf.constant([1, 7]))
    np.testing.assert_array_equal(again.coefficients, drawn[7].coefficients)


def test_g_sees_the_shaded_images_and_the_targets_stay():
    model, data = smallest_model(), dict(pairs())
    shaded = {**data, "shaded_a": 0.5 * data["a"], "shaded_b": 0.25 * data["b"]}
    losses = model.compute_losses(shaded, "aligned", ALIGNED_TERMS)
    g_a, g_b = model.features(shaded["shaded_a"], shaded["shaded_b"])
    expected = [
        np.sqrt(np.mean((network(g) - target) ** 2, axis=(1, 2, 3)))
        for network, g, target in ((model.decoder_ab, g_a, data["b"]), (model.decoder_ba, g_b, data["a"]))
    ]
    np.testing.assert_allclose(losses.syn_acc, sum(expected), rtol=1e-4)
