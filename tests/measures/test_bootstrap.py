"""Intervals by resampling, on samples whose uncertainty is known."""

import numpy as np
import pytest

from fire_tf.measures.bootstrap import bootstrapped_means


def test_intervals_are_those_of_independent_rows() -> None:
    table = np.random.default_rng(0).normal([0.5, -1.0], [1.0, 3.0], size=(200, 2))
    mean, low, high = bootstrapped_means(table, seed=0)
    np.testing.assert_allclose(mean, [*table.mean(axis=0), table.mean()])
    expected = 2 * 1.96 * np.array([1.0, 3.0, np.hypot(1, 3) / 2]) / np.sqrt(200)
    np.testing.assert_allclose(high - low, expected, rtol=0.15)
    assert np.all((low < mean) & (mean < high))


def test_the_mean_of_columns_that_go_together_is_as_uncertain_as_they() -> None:
    column = np.random.default_rng(1).normal(size=(100, 1))
    _, low, high = bootstrapped_means(np.hstack([column, column]), seed=0)
    assert high[2] - low[2] == pytest.approx(high[0] - low[0])
    _, low, high = bootstrapped_means(np.hstack([column, -column]), seed=0)
    assert high[2] - low[2] == pytest.approx(0, abs=1e-12)


def test_what_is_missing_is_left_out() -> None:
    table = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 7.0]])
    np.testing.assert_allclose(bootstrapped_means(table, seed=0).mean, [2, 6, 4])
