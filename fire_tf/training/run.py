"""A whole training: a config in, a run folder with a trained model out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tensorflow as tf

from fire_tf.config.loading import load_config, recipe_differences, save_config
from fire_tf.config.schema import Config
from fire_tf.data.cache import store_split
from fire_tf.files.errors import InputError
from fire_tf.model.build import build_model
from fire_tf.model.fire import FIRE, GROUPS
from fire_tf.model.storage import load_model
from fire_tf.training.callbacks import Interrupted, Interruption
from fire_tf.training.limits import learn_limits
from fire_tf.training.progress import Run
from fire_tf.training.stages import train_stage
from fire_tf.training.workers import any_worker, join_workers

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
)
"""What collective operations raise when a worker no longer answers."""


def _start_from(model: FIRE, folder: str) -> None:
    """Take over the weights of a trained model with networks of the same sizes; its canvas may be another."""
    source = load_model(folder, compiled=False)
    for group in GROUPS:
        old, new = source.group_variables(group), model.group_variables(group)
        if [variable.shape for variable in old] != [variable.shape for variable in new]:
            raise InputError(
                f"init: {folder} has {group} networks of another size than this config's `network`"
            )
        for trained, fresh in zip(old, new, strict=True):
            fresh.assign(trained)


def train(config: Config, folder: Path, *, resume: bool = False, quiet: bool = False) -> FIRE:
    """Run every stage of ``config`` into the run folder and return the trained model.

    SIGTERM and Ctrl-C end it behind the step that they come in, with a checkpoint, and exit code 143 or 130.

    Raises:
        InputError: the folder holds a run already and ``resume`` is not set, or ``resume`` finds no run in it, or one
            that was begun with another recipe; a stage that cannot train; ``config.init`` is no model, or one of
            another size.
    """
    config.check_trainable()
    _check_folder(config, folder, resume)
    _set_up(config)
    strategy = join_workers(config.distribute)
    with strategy.scope():
        model = build_model(config)
    run = Run(folder, config, model)
    restoring = resume and run.latest
    if config.init and not restoring:
        _start_from(run.model, config.init)
    store_split(config.data, "train")  # so that images which cannot be used leave no run folder behind
    folder.mkdir(parents=True, exist_ok=True)
    if restoring:
        run.restore()
    elif run.chief:
        save_config(config, folder / "config.yaml")
    if run.chief:
        run.cut()
    _run_stages(run, quiet)
    if run.chief and not (restoring and (folder / "model").is_dir()):
        _set_limits(run.model, config)
        run.save_model(folder / "model")
    any_worker(strategy, True)  # none leaves before the chief is done, which would be taken for a failure
    return run.model


def _set_limits(model: FIRE, config: Config) -> None:
    """What `fire_tf.register` is to warn of goes with the model."""
    limits = learn_limits(model, config)
    if limits is None:
        print("no validation split: the model cannot tell images and results that are not of its kind")
    else:
        model.preprocessing = {**model.preprocessing, "limits": limits}


def _check_folder(config: Config, folder: Path, resume: bool) -> None:
    if resume and not (folder / "config.yaml").is_file():
        raise InputError(f"{folder}: no run to resume (it holds no config.yaml)")
    if resume and (others := recipe_differences(load_config(folder / "config.yaml"), config)):
        raise InputError(
            f"{folder}: was begun with another {', '.join(others)}; resume it with its own config.yaml"
        )
    if not resume and folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: holds a run already; give --resume to go on with it, or another --output"
        )


def _set_up(config: Config) -> None:
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        tf.config.threading.set_inter_op_parallelism_threads(config.threads)
    tf.keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
        # It makes one AddN of chains of sums, whose order the moment decides.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def _run_stages(run: Run, quiet: bool) -> None:
    interruption = Interruption()
    try:
        with interruption.listening():
            for stage, done in run.stages():
                train_stage(run, stage, done, quiet, interruption)
    except Interrupted as signalled:
        run.save()
        if run.chief:
            print(f"interrupted at step {int(run.step)}; --resume goes on from there", file=sys.stderr)
        raise SystemExit(128 + signalled.number) from None
    except _LOST as fault:
        if run.model.distribute_strategy.num_replicas_in_sync == 1:
            raise
        reason = str(fault).splitlines()[0]
        print(
            f"error: another worker is gone, start all again with --resume ({reason})",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # TensorFlow's own end waits for those who are gone
