"""Mixed precision: what computes in which type, what an overflow does, what is saved."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_fire import awaken, pairs, smallest_model, tiny_model

from fire_tf.config.schema import TRAINED
from fire_tf.model.precision import LossScaled, policy, unscaled
from fire_tf.model.storage import load_model, save_model

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

SETTINGS = {"modality_a": "T1", "modality_b": "FLAIR", "spacing": [1.0, 1.0], "percentile": 99.5}


def _model(name: str, **options):
    with policy(name):
        return awaken(tiny_model(**options))


def _snapshot(model):
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.parametrize(("name", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)])
def test_convolutions_alone_are_in_half_precision(name, tolerance):
    half, whole = _model(name, steps=1), _model("float32", steps=1)
    for rounded, exact in zip(half.trainable_variables, whole.trainable_variables, strict=True):
        rounded.assign(exact)
    assert {variable.dtype for variable in half.trainable_variables} == {tf.float32}
    assert half.encoder.blocks[0].second.compute_dtype == name.removeprefix("mixed_")
    batch = pairs()
    found, expected = (model.estimate(batch["a"], batch["b"]) for model in (half, whole))
    for output, value in found.items():
        assert value.dtype == tf.float32, output
        difference = np.abs(value.numpy() - expected[output].numpy())
        assert 0.0 < difference.max() < tolerance * max(1.0, np.abs(expected[output]).max()), output


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("objective", ["paper", "known", "aligned"])
def test_every_objective_trains(name, objective):
    with policy(name):
        model = smallest_model(shared=True, steps=1)
    model.compile(objective=objective, cycle=[TRAINED[objective]], run_eagerly=True)
    before = _snapshot(model)
    for _ in range(8):  # the scale of float16 starts high, and the first updates may be left out
        terms = model.train_step(pairs())
    assert all(np.isfinite(value) for value in terms.values())
    assert any(np.any(old != new) for old, new in zip(before, _snapshot(model), strict=True))


def test_an_overflow_leaves_the_update_out_and_halves_the_scale():
    with policy("mixed_float16"):
        model = smallest_model(shared=True)
    model.compile(cycle=[("affine", "nonrigid"), ("synthesis",)])
    scales = [float(model.optimizers[group].loss_scale) for group in ("affine", "nonrigid", "synthesis")]
    assert scales == [2.0**15] * 3
    model.optimizers["affine"]._loss_scale._current_loss_scale.assign(1e38)  # overflows float16, and float32
    model.optimizers["nonrigid"]._loss_scale._current_loss_scale.assign(1e38)
    before = _snapshot(model)
    model.train_step(pairs())
    assert all(np.array_equal(old, new) for old, new in zip(before, _snapshot(model), strict=True))
    found = [float(model.optimizers[group].loss_scale) for group in ("affine", "nonrigid", "synthesis")]
    np.testing.assert_allclose(found, [0.5e38, 0.5e38, 2.0**15])
    model.train_step(pairs())  # the other phase has a scale of its own and goes on
    assert float(model.optimizers["affine"].loss_scale) == float(model.optimizers["nonrigid"].loss_scale)


def test_one_group_that_overflows_holds_the_others_of_its_step_back():
    """A number that is not finite in one group's gradient alone: both leave the update out."""
    optimizer = LossScaled(tf.keras.optimizers.SGD(1.0))
    gradients = {"affine": [tf.constant([2.0**15]), None], "nonrigid": [tf.constant([np.inf, 1.0])]}
    found = unscaled([optimizer, LossScaled(tf.keras.optimizers.SGD(1.0))], gradients)
    assert np.isnan(found["affine"][0]).all()
    assert found["affine"][1] is None
    assert np.isnan(found["nonrigid"][0]).all()
    gradients["nonrigid"] = [tf.constant([2.0**16, 2.0**15])]
    np.testing.assert_array_equal(unscaled([optimizer], gradients)["nonrigid"][0], [2.0, 1.0])


@pytest.mark.parametrize("trained", ["mixed_float16", "float32"])
def test_a_saved_model_loads_under_either_policy(tmp_path, trained):
    with policy(trained):
        model = smallest_model()
    model.compile(objective="aligned", cycle=[("synthesis",)])
    model.preprocessing = SETTINGS
    model.train_step(pairs())
    save_model(model, tmp_path / "model")
    for name in ("float32", "mixed_float16"):
        with policy(name):
            loaded = load_model(tmp_path / "model")
        assert loaded.encoder.compute_dtype == name.removeprefix("mixed_")
        for old, new in zip(model.trainable_variables, loaded.trainable_variables, strict=True):
            np.testing.assert_array_equal(old, new)
        assert all(np.isfinite(value) for value in loaded.train_step(pairs()).values())


@pytest.mark.slow
def test_two_hundred_steps_in_float16_end_where_those_in_float32_do():
    """Losses within 2 %: means over the last 20 steps, all of which the scale of the loss let through."""
    ends = {}
    for name in ("float32", "mixed_float16"):
        tf.keras.utils.set_random_seed(1)
        with policy(name):
            model = awaken(tiny_model(shared=True, steps=1))
        adam = tf.keras.optimizers.Adam
        model.compile(adam(1e-3), adam(1e-3), adam(1e-3), cycle=[("affine", "nonrigid", "synthesis")])
        losses = []
        for step in range(200):
            model.reset_metrics()
            losses.append(float(model.train_step(pairs(seed=step % 10))["loss"]))
        ends[name] = np.mean(losses[-20:])
        assert ends[name] < 0.8 * np.mean(losses[:10])
    np.testing.assert_allclose(ends["mixed_float16"], ends["float32"], rtol=0.02)
