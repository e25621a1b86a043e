"""Grey values of one image told from those of another."""

import numpy as np
import pytest

from fire_tf.measures.grey_values import GreyValueTable, correlation


def test_grey_value_table_is_the_conditional_mean() -> None:
    source = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    target = np.array([0.0, 1.0, 0.3, -1.0, -0.5])
    table = GreyValueTable.fit(source, target, np.ones(5, bool))
    np.testing.assert_allclose(table(np.array([-1.0, 0.0, 1.0])), [0.5, 0.3, -0.75])
    assert -0.75 < table(np.array([0.5]))[0] < 0.3
    assert correlation(source, -source, source < 0.5) == pytest.approx(-1.0)


def test_a_table_of_no_voxel_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one voxel"):
        GreyValueTable.fit(np.zeros(3), np.zeros(3), np.zeros(3, bool))
