"""`fit` with Keras' callbacks, saving and loading: all three optimizers and the phase of the cycle take part.

The nine terms are replaced by cheap ones that depend on every variable and on the data: what is tested here is how
steps, optimizers and files go together, not the objective (see test_model.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_fire import awaken, equal, images, pairs, smallest_model, values

from fire_tf.files.errors import InputError
from fire_tf.model.fire import FIRE, GROUPS
from fire_tf.model.losses import Losses
from fire_tf.model.storage import load_model, save_model

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

# Keras draws its seeds so, on Python 3.11, once a seed was set.
pytestmark = pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")

RATES = {"affine": 1e-3, "nonrigid": 2e-3, "synthesis": 4e-3}
real_compute_losses = FIRE.compute_losses


def cheap_losses(model: FIRE, data: dict[str, tf.Tensor], objective: str, terms: frozenset[str]) -> Losses:
    """Mean squared distance of all weights to the mean of the image, times 1, 2, 3 ... for the nine terms."""
    flat = tf.concat([tf.reshape(variable, [-1]) for variable in model.trainable_variables], axis=0)
    level = tf.reduce_mean(data["a"], axis=[1, 2])
    distance = tf.reduce_mean((flat - level) ** 2, axis=1)
    return Losses(**{name: (k + 1) * distance for k, name in enumerate(Losses._fields) if name in terms})


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(FIRE, "compute_losses", cheap_losses)
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def new_model(seed: int = 5, rates: dict[str, float] = RATES, **options: Any) -> FIRE:
    """A compiled model; equal seeds give equal models."""
    tf.keras.utils.set_random_seed(seed)
    model = awaken(smallest_model())
    adams = {f"{group}_optimizer": tf.keras.optimizers.Adam(rate) for group, rate in rates.items()}
    model.compile(**adams, **options)
    return model


def rates_of(model: FIRE) -> list[float]:
    return [float(model.optimizers[group].learning_rate) for group in GROUPS]


def state_of(model: FIRE) -> list[np.ndarray]:
    """Everything that training goes on from: weights, the three optimizers, the phase of the cycle."""
    optimizers = [variable for group in GROUPS for variable in model.optimizers[group].variables]
    return values([*model.trainable_variables, *optimizers, model.phase])


def fit(
    model: FIRE, epochs: int, *callbacks: tf.keras.callbacks.Callback, **options: Any
) -> dict[str, list[float]]:
    """Two steps an epoch, so that epochs and cycles of three do not coincide."""
    return model.fit(images(), epochs=epochs, callbacks=list(callbacks), verbose=0, **options).history


class InterruptAt(tf.keras.callbacks.Callback):
    """Stands for the end of the process."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            raise InterruptedError


def test_the_groups_take_turns():
    model = new_model()
    for group in (*GROUPS, GROUPS[0]):
        before = {name: values(model.group_variables(name)) for name in GROUPS}
        model.train_step(pairs())
        for name in GROUPS:
            assert equal(values(model.group_variables(name)), before[name]) == (name != group)
    assert int(model.phase) == 4
    assert [int(model.optimizers[group].iterations) for group in GROUPS] == [2, 1, 1]


# -- learning rates ---------------------------------------------------------------------------------------------------


def test_learning_rate_scheduler_moves_all_three_in_proportion():
    model = new_model()
    fit(model, 2, tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2))
    np.testing.assert_allclose(rates_of(model), [rate / 4 for rate in RATES.values()], rtol=1e-6)


def test_a_rate_of_zero_stops_all_three_even_in_compiled_steps():
    tf.config.run_functions_eagerly(False)
    model = new_model()
    fit(model, 2)  # traces every step at the first rates
    before = values(model.trainable_variables)
    fit(model, 2, tf.keras.callbacks.LearningRateScheduler(lambda epoch: 0.0))
    assert equal(values(model.trainable_variables), before)
    fit(model, 2, tf.keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3))
    for group in GROUPS:
        own = {id(variable) for variable in model.group_variables(group)}
        pairs = zip(model.trainable_variables, before, strict=True)
        assert all(not np.array_equal(new, old) for new, old in pairs if id(new) in own), group


def test_reduce_on_plateau_moves_all_three():
    model = new_model()
    plateau = tf.keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=1, min_delta=1e9)
    history = fit(model, 2, plateau, validation_data=images())
    # The second epoch is no better; what was set at its end reaches the other two with the next step.
    fit(model, 1)
    np.testing.assert_allclose(rates_of(model), [rate / 10 for rate in RATES.values()], rtol=1e-6)
    assert history["lr"] == pytest.approx([RATES["synthesis"]] * 2)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_may_rest_at_rate_zero(group):
    model = new_model(rates=RATES | {group: 0.0})
    before = {name: values(model.group_variables(name)) for name in GROUPS}
    fit(model, 2)
    for name in GROUPS:
        assert equal(values(model.group_variables(name)), before[name]) == (name == group)
    np.testing.assert_allclose(rates_of(model), list((RATES | {group: 0.0}).values()))


def test_schedules_of_their_own_are_left_alone():
    schedule = tf.keras.optimizers.schedules.ExponentialDecay
    model = smallest_model()
    model.compile(
        **{f"{group}_optimizer": tf.keras.optimizers.Adam(schedule(r, 1, 0.5)) for group, r in RATES.items()}
    )
    fit(model, 2)  # four steps: the affine group's second one is at half its rate
    expected = [RATES["affine"] / 2, RATES["nonrigid"], RATES["synthesis"]]
    np.testing.assert_allclose(rates_of(model), expected, rtol=1e-6)


# -- stopping, keeping, going on --------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_weights_of_all_groups():
    model = new_model()
    kept: list[list[np.ndarray]] = []
    keep = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append(values(model.trainable_variables))
    )
    worse = tf.keras.callbacks.EarlyStopping(
        monitor="loss", mode="max", patience=2, restore_best_weights=True, min_delta=1e9
    )
    history = fit(model, 9, keep, worse)
    assert len(history["loss"]) == 3  # the first epoch sets the best; two without improvement end it
    assert equal(values(model.trainable_variables), kept[0])
    for group in GROUPS:
        assert int(model.optimizers[group].iterations) == 2


def test_checkpointed_weights_bring_back_optimizers_and_phase(tmp_path):
    model = new_model()
    path = str(tmp_path / "weights")
    fit(model, 2, tf.keras.callbacks.ModelCheckpoint(path, save_weights_only=True))
    other = new_model(seed=6)
    other.load_weights(path)
    assert equal(state_of(other), state_of(model))
    assert int(other.phase) == 4
    fit(model, 1)
    fit(other, 1)
    assert equal(state_of(other), state_of(model))


def test_model_checkpoint_keeps_whole_models(tmp_path):
    model = new_model()
    best = tf.keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), save_best_only=True, monitor="val_loss"
    )
    fit(model, 1, best, validation_data=images())
    assert equal(state_of(tf.keras.models.load_model(tmp_path / "best.keras")), state_of(model))


def test_backup_and_restore_goes_on_as_if_nothing_had_happened(tmp_path):
    through = new_model()
    fit(through, 4)

    def backup() -> tf.keras.callbacks.Callback:
        return tf.keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    with pytest.raises(InterruptedError):
        fit(new_model(), 4, backup(), InterruptAt(2))
    resumed = new_model(seed=6)
    history = fit(resumed, 4, backup())
    assert len(history["loss"]) == 2
    assert equal(state_of(resumed), state_of(through))


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["model.save", "save_model"])
def test_a_saved_model_comes_back_compiled_and_goes_on(tmp_path, how):
    model = new_model(cycle=[["affine", "nonrigid"], ["synthesis"], ["affine"]])
    model.loss_weights["reg_acc"] = 3.0
    model.preprocessing = {
        "modality_a": "T1",
        "modality_b": "FLAIR",
        "spacing": [1.0, 1.0],
        "percentile": 99.5,
    }
    fit(model, 2)
    if how == "save_model":
        save_model(model, tmp_path / "run" / "model")
        loaded = load_model(tmp_path / "run")
        assert loaded.preprocessing == model.preprocessing
    else:
        model.save(tmp_path / "fire.keras")
        loaded = tf.keras.models.load_model(tmp_path / "fire.keras")
    assert isinstance(loaded, FIRE)
    assert loaded.objective == model.objective
    assert loaded.cycle == model.cycle
    assert loaded.loss_weights == model.loss_weights
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert equal(state_of(loaded), state_of(model))
    assert fit(loaded, 2) == fit(model, 2)
    assert equal(state_of(loaded), state_of(model))


def test_a_loaded_model_predicts_and_goes_on_with_the_real_objective(tmp_path, monkeypatch):
    monkeypatch.setattr(FIRE, "compute_losses", real_compute_losses)
    model = new_model()
    data = pairs()
    model.train_step(data)
    model.save(tmp_path / "fire.keras")
    loaded = tf.keras.models.load_model(tmp_path / "fire.keras")
    expected = model.predict_pair(data["a"], data["b"])
    for name, value in loaded.predict_pair(data["a"], data["b"]).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    model.train_step(data)
    loaded.train_step(data)
    assert equal(state_of(loaded), state_of(model))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a fire_tf model"):
        load_model(tmp_path)


def test_preprocessing_is_plain_json(tmp_path):
    model = new_model()
    model.preprocessing = {"spacing": [1.28, 1.28]}
    save_model(model, tmp_path)
    assert json.loads((tmp_path / "preprocessing.json").read_text())["spacing"] == [1.28, 1.28]


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars by tag and step."""
    found: dict[str, dict[int, float]] = {}
    for path in folder.glob("events*"):
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_tensorboard_gets_every_term_by_epoch_and_by_batch(tmp_path):
    model = new_model()
    # Keras 2.15 writes batches only along with the steps per second.
    board = tf.keras.callbacks.TensorBoard(
        str(tmp_path), update_freq="batch", write_steps_per_second=True, profile_batch=0
    )
    history = fit(model, 3, board, validation_data=images())
    scalars = events(tmp_path / "train")
    for name in ("loss", "syn_acc", "r_smooth"):
        assert list(scalars[f"epoch_{name}"].values()) == pytest.approx(history[name], rel=1e-5)
        assert list(scalars[f"epoch_{name}"]) == [0, 1, 2]
    assert list(scalars["batch_loss"]) == [1, 2, 3, 4, 5, 6]
    assert "epoch_loss" in events(tmp_path / "validation")


# -- what can be switched on later ------------------------------------------------------------------------------------


def test_loss_scaling_gives_the_same_steps_and_keeps_three_scales():
    def train(scaled: bool) -> FIRE:
        tf.keras.utils.set_random_seed(5)
        model = awaken(smallest_model())
        optimizers = {f"{group}_optimizer": tf.keras.optimizers.SGD(0.1) for group in GROUPS}
        if scaled:
            wrap = tf.keras.mixed_precision.LossScaleOptimizer
            optimizers = {name: wrap(one, initial_scale=2.0**10) for name, one in optimizers.items()}
        model.compile(**optimizers)
        fit(model, 2)
        return model

    plain, scaled = train(False), train(True)
    for one, other in zip(scaled.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert [int(scaled.optimizers[group].dynamic_counter) for group in GROUPS] == [2, 1, 1]


@pytest.mark.parametrize("kind", ["mirrored", "one device"])
def test_a_step_runs_under_a_distribution_strategy(kind):
    tf.config.run_functions_eagerly(False)
    strategy = (
        tf.distribute.MirroredStrategy(["CPU:0"])
        if kind == "mirrored"
        else tf.distribute.OneDeviceStrategy("CPU:0")
    )
    with strategy.scope():
        distributed = new_model()
    alone = new_model()
    ours, expected = fit(distributed, 2), fit(alone, 2)
    assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    for one, other in zip(distributed.trainable_variables, alone.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
