"""Grey values: what is tissue, what becomes -1 and 1."""

import numpy as np

from fire_tf.intensities.grey_values import BACKGROUND, foreground, normalise


def test_normalise_maps_background_to_minus_one_and_the_percentile_to_one() -> None:
    data = np.concatenate([np.full(1000, 10.0), np.arange(11, 111)]).astype(np.float32)
    result = normalise(data, 50)  # the median of 11 ... 110 is 60.5
    assert result[0] == BACKGROUND
    np.testing.assert_allclose(result[1000], 2 * (11 - 10) / 50.5 - 1, rtol=1e-6)
    assert result.max() == 1.0
    np.testing.assert_array_equal(result[500:], normalise(data[500:], 50))  # less background changes nothing
    assert np.all(normalise(np.zeros((3, 3), np.float32), 99) == BACKGROUND)


def test_foreground_leaves_out_weak_noise() -> None:
    data = np.random.default_rng(0).uniform(0, 2, (20, 20)).astype(np.float32)
    data[5:10, 5:10] = 100
    assert foreground(data).sum() == 25
