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


def test_pairs_of_one_subject_are_no_more_certain_than_the_subject() -> None:
    """Ten equal rows each of 40 subjects: the interval is that of 40 values, and not of 400."""
    values = np.random.default_rng(2).normal(size=40)
    subjects = np.repeat([f"s{i}" for i in range(40)], 10)
    _, low, high = bootstrapped_means(np.repeat(values, 10)[:, np.newaxis], 0, subjects)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.15)
    _, alone_low, alone_high = bootstrapped_means(values[:, np.newaxis], 0)
    assert high[0] - low[0] == pytest.approx(alone_high[0] - alone_low[0], rel=0.05)


def test_subjects_of_three_are_drawn_with_all_their_rows() -> None:
    """A row of 3, one of 0 and ten of 1: the ends are draws of one subject alone."""
    table = np.array([[3.0], [0.0], *[[1.0]] * 10])
    mean, low, high = bootstrapped_means(table, 0, ["a", "b", *["c"] * 10])
    assert mean[0] == pytest.approx(13 / 12)
    # a three times has a chance of 1 in 27, more than 2.5 %, and so has b.
    assert (low[0], high[0]) == (0.0, 3.0)


def test_two_subjects_are_left_to_their_pairs() -> None:
    table = np.random.default_rng(3).normal(size=(20, 1))
    for subjects in (["a"] * 20, ["a", "b"] * 10):
        np.testing.assert_array_equal(bootstrapped_means(table, 0, subjects), bootstrapped_means(table, 0))


def test_draws_without_any_value_are_left_out_without_a_word() -> None:
    """Of 16 rows two hold something: every eighth draw has neither."""
    table = np.full((16, 1), np.nan)
    table[:2, 0] = 1.0, 2.0
    mean, low, high = bootstrapped_means(table, seed=0)
    np.testing.assert_array_equal([mean, low, high], [[1.5, 1.5], [1, 1], [2, 2]])
