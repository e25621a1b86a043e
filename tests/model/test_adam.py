"""Our Adam against Keras' own."""

from __future__ import annotations

import numpy as np
import pytest

from fire_tf.model.adam import Adam

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

STEPS = 12


def trained(kind: type[tf.keras.optimizers.Adam], compiled: bool, **options: object) -> list[np.ndarray]:
    """Two variables and all that the optimizer keeps, after some steps with drawn gradients."""
    random = np.random.default_rng(3)
    variables = [tf.Variable(random.normal(size=size).astype(np.float32)) for size in ((3, 4), (5,))]
    schedule = tf.keras.optimizers.schedules.CosineDecay(0.1, STEPS)
    adam = kind(schedule, **options)
    adam.build(variables)

    def step(*gradients: tf.Tensor) -> None:
        adam.apply_gradients(zip(gradients, variables, strict=True))

    run = tf.function(step) if compiled else step
    for _ in range(STEPS):
        run(*(tf.constant(random.normal(size=one.shape), tf.float32) for one in variables))
    return [one.numpy() for one in (*variables, *adam.variables)]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"global_clipnorm": 0.5, "beta_1": 0.5, "epsilon": 1e-3}, {"amsgrad": True}]
)
def test_updates_are_those_of_keras(options: dict[str, object], compiled: bool) -> None:
    for ours, theirs in zip(
        trained(Adam, compiled, **options), trained(tf.keras.optimizers.Adam, True, **options), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_rows_alone_are_updated_as_by_keras() -> None:
    """Where the gradient is that of a few rows, an `IndexedSlices`."""
    ends = []
    for kind in (Adam, tf.keras.optimizers.Adam):
        variable = tf.Variable(tf.ones([4, 2]))
        adam = kind(0.1)
        adam.build([variable])
        adam.apply_gradients([(tf.IndexedSlices(tf.ones([1, 2]), [2], [4, 2]), variable)])
        ends.append(variable.numpy())
    np.testing.assert_array_equal(*ends)
    assert (ends[0][2] < 1).all()
    assert (ends[0][[0, 1, 3]] == 1).all()


def test_a_state_of_keras_is_taken_over(tmp_path) -> None:
    """Runs that began before go on: the variables, their order and their names in a checkpoint are Keras'."""
    variable = tf.Variable(tf.ones(3))
    theirs, ours = tf.keras.optimizers.Adam(0.1), Adam(0.1)
    for adam in (theirs, ours):
        adam.build([variable])
    theirs.apply_gradients([(tf.constant([1.0, 2, 3]), variable)])
    path = tf.train.Checkpoint(adam=theirs).save(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(adam=ours).restore(path).assert_consumed()
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
