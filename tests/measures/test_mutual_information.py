"""Mutual information of grey values."""

import numpy as np
import pytest

from fire_tf.measures.mutual_information import MutualInformation


def test_mutual_information_of_what_can_be_counted_by_hand() -> None:
    two = np.repeat([-1.0, 1.0], 50)
    known = MutualInformation(two)
    assert known(two)[0] == pytest.approx(np.log(2))
    assert known(-two)[0] == pytest.approx(np.log(2))  # either value tells the other
    assert known(np.tile([-1.0, 1.0], 50))[0] == pytest.approx(0, abs=1e-12)  # independent
    assert known(np.full(100, 0.3))[0] == pytest.approx(0, abs=1e-12)
    four = np.repeat([-1.0, -0.3, 0.3, 1.0], 25)
    assert MutualInformation(four)(four)[0] == pytest.approx(np.log(4), abs=1e-3)


def test_its_slope_is_that_of_the_value() -> None:
    rng = np.random.default_rng(0)
    fixed = rng.uniform(-0.9, 0.9, 300)
    x = np.cos(3 * fixed) * 0.8 + rng.normal(0, 0.02, 300)
    information = MutualInformation(fixed)
    _, slope = information(x)
    for _ in range(4):
        direction = rng.normal(size=300)
        change = information(x + 1e-6 * direction)[0] - information(x - 1e-6 * direction)[0]
        assert slope @ direction == pytest.approx(change / 2e-6, rel=1e-3)
