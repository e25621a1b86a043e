"""Graphs that TensorFlow leaves as they are, and its settings afterwards."""

import pytest

from fire_tf.networks.compiled import as_traced

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


def optimizer_left_out() -> bool:
    return tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]


def test_the_optimizer_of_graphs_is_left_out_meanwhile_alone() -> None:
    assert not optimizer_left_out()
    assert as_traced(optimizer_left_out)() == (not tf.config.list_logical_devices("GPU"))
    assert not optimizer_left_out()


def test_a_failing_step_leaves_it_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError):
        as_traced(lambda: 1 / 0)()
    assert not optimizer_left_out()


def test_a_users_choice_stays() -> None:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        assert as_traced(optimizer_left_out)()
        assert optimizer_left_out()
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
