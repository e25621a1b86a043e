"""Cosines that smooth fields are sums of."""

import numpy as np

from fire_tf.geometry.cosines import cosines


def test_values_by_hand_and_half_waves_fit_the_axis() -> None:
    waves, numbers = cosines(4, 3)
    np.testing.assert_allclose(numbers, [0, np.pi / 4, np.pi / 2])
    np.testing.assert_allclose(waves[:, 0], 1)
    np.testing.assert_allclose(waves[:, 1], np.cos(np.pi * np.array([1, 3, 5, 7]) / 8))
    np.testing.assert_allclose(waves[:, 2], np.sqrt(0.5) * np.array([1, -1, -1, 1]))
    products = waves.T @ waves
    np.testing.assert_allclose(products, np.diag([4, 2, 2]), atol=1e-12)
