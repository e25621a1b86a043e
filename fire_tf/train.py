"""Train FIRE: ``python -m fire_tf.train --config configs/t1_flair_2d.yaml [--set key=value] [--resume]``.

A run folder holds ``config.yaml`` (everything resolved), ``metrics.csv``, ``tensorboard/``, ``checkpoints/`` (model,
the three optimizers, phase of the cycle and step) and, at the end, ``model/``, which `register` and `evaluate` read.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from fire_tf.build import build_model
from fire_tf.cache import find_subjects, load_split
from fire_tf.config import Config, Stage, load_config, recipe_differences, save_config
from fire_tf.dataset import build_dataset
from fire_tf.errors import InputError, exit_cleanly
from fire_tf.losses import Losses
from fire_tf.model import FIRE, GROUPS
from fire_tf.model_folder import load_model, save_model

VALIDATION_SEED = 10_007  # added to the config's seed: validation draws are fixed and differ from training's


class Run:
    """A folder of one training run and where the training stands in it."""

    def __init__(self, folder: Path, config: Config, model: FIRE):
        self.folder, self.config, self.model = folder, config, model
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")  # over all stages
        self.checkpoint = tf.train.Checkpoint(model=model, step=self.step)
        self.manager = tf.train.CheckpointManager(self.checkpoint, str(folder / "checkpoints"), max_to_keep=2)

    def stages(self) -> Iterator[tuple[Stage, int]]:
        """The stages still to run, each with the number of its steps already done."""
        start = 0
        for stage in self.config.stages:
            if int(self.step) < start + stage.steps:
                yield stage, max(0, int(self.step) - start)
            start += stage.steps

    def restore(self) -> None:
        """Load the latest checkpoint, with the model compiled for the stage that it was saved in."""
        latest = self.manager.latest_checkpoint
        step = int(tf.train.load_variable(latest, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        ends = itertools.accumulate(stage.steps for stage in self.config.stages)
        stages = (stage for stage, end in zip(self.config.stages, ends, strict=True) if step <= end)
        _compile(self.model, next(stages, self.config.stages[-1]))
        self.checkpoint.restore(latest).assert_existing_objects_matched()


def _compile(model: FIRE, stage: Stage) -> None:
    model.compile(**_optimizers(stage), objective=stage.objective, cycle=stage.cycle)


def _optimizers(stage: Stage) -> dict[str, tf.keras.optimizers.Optimizer]:
    """Adam per group; a group that takes part in 1 of c iterations sees ``steps / c`` updates of its schedule."""
    optimizers = {}
    for group in ("affine", "nonrigid", "synthesis"):
        rate: Any = getattr(stage.learning_rate, group)
        if stage.schedule == "cosine":
            turns = sum(group in groups for groups in stage.cycle)
            updates = max(1, stage.steps * turns // len(stage.cycle))
            rate = tf.keras.optimizers.schedules.CosineDecay(rate, updates, alpha=0.02)
        optimizers[f"{group}_optimizer"] = tf.keras.optimizers.Adam(rate, global_clipnorm=stage.clip_norm)
    return optimizers


class MetricsLog(tf.keras.callbacks.Callback):
    """Appends one row per epoch to ``metrics.csv``: step, stage, seconds, every loss term and its ``val_`` twin."""

    TERMS = ("loss", *Losses._fields)

    def __init__(self, run: Run, stage: str):
        super().__init__()
        self.run, self.stage = run, stage
        self.path = run.folder / "metrics.csv"
        self.fields = ["step", "stage", "seconds", *self.TERMS, *(f"val_{term}" for term in self.TERMS)]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = f"{time.perf_counter() - self.started:.1f}"
        row = {"step": int(self.run.step), "stage": self.stage, "seconds": seconds}
        row |= {name: f"{float(value):.6g}" for name, value in (logs or {}).items() if name in self.fields}
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.fields)
            if fresh:
                writer.writeheader()
            writer.writerow(row)


class Progress(tf.keras.callbacks.Callback):
    """Counts steps in the run, shows a bar with the time left, and checkpoints at the end of every epoch."""

    def __init__(self, run: Run, stage: Stage, done: int, quiet: bool):
        super().__init__()
        self.run, self.quiet = run, quiet
        self.bar = tqdm(
            total=stage.steps, initial=done, desc=stage.name, unit="step", disable=quiet, mininterval=1.0
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.run.step.assign_add(1)
        self.bar.update()
        if batch % 10 == 0 and logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.run.manager.save()
        if logs and "val_loss" in logs and not self.quiet:
            self.bar.write(
                f"step {int(self.run.step)}: loss {logs['loss']:.4f}, validation {logs['val_loss']:.4f}"
            )


def _dataset(
    config: Config, stage: Stage, split: str, batch_size: int, seed: int, start: int
) -> tf.data.Dataset:
    return build_dataset(
        config.data,
        config.deformation if stage.deform else None,
        config.common,
        split=split,
        batch_size=batch_size,
        moving="either",
        seed=seed,
        repeat=True,
        start=start,
        aligned=stage.objective != "paper",  # the others start from what D alone moved
        shading=config.shading if split == "train" and stage.objective != "paper" else None,
        mirror=config.mirror if split == "train" else (),
    )


def _train_stage(run: Run, stage: Stage, done: int, quiet: bool) -> None:
    """Train what is left of a stage; where ``done`` of its steps were restored, the model is compiled for it."""
    config, model = run.config, run.model
    if not done:
        _compile(model, stage)
        model.phase.assign(0)
    validation = None
    if find_subjects(config.data)["validate"]:
        seed = config.seed + VALIDATION_SEED
        fixed = _dataset(config, stage, "validate", config.validation.batch_size, seed, 0)
        validation = fixed.take(config.validation.batches).cache()
    progress = Progress(run, stage, done, quiet)
    callbacks = [progress, MetricsLog(run, stage.name)]
    callbacks.append(tf.keras.callbacks.TensorBoard(run.folder / "tensorboard" / stage.name, profile_batch=0))
    every = config.validation.every
    while done < stage.steps:
        steps = min(every - done % every, stage.steps - done)
        first = -(-done // every)
        epochs = max(1, (stage.steps - done) // every) if steps == every else 1
        model.fit(
            # `fit` begins its dataset anew, so that it must begin at the step reached.
            _dataset(config, stage, "train", stage.batch_size, config.seed, int(run.step) * stage.batch_size),
            initial_epoch=first,
            epochs=first + epochs,
            steps_per_epoch=steps,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )
        done += epochs * steps
    progress.bar.close()


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

    Raises:
        InputError: the folder holds a run already and ``resume`` is not set, or ``resume`` finds no run in it, or one
            that was begun with another recipe; ``config.init`` is no model, or one of another size.
    """
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
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        tf.config.threading.set_inter_op_parallelism_threads(config.threads)
    tf.keras.utils.set_random_seed(config.seed)
    run = Run(folder, config, build_model(config))
    restoring = resume and run.manager.latest_checkpoint
    if config.init and not restoring:
        _start_from(run.model, config.init)
    load_split(config.data, "train")  # so that images which cannot be used leave no run folder behind
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    if restoring:
        run.restore()
    for stage, done in run.stages():
        _train_stage(run, stage, done, quiet)
    save_model(run.model, folder / "model")
    shutil.copyfile(folder / "config.yaml", folder / "model" / "config.yaml")
    return run.model


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.train", description="Train FIRE on pairs of images."
    )
    parser.add_argument(
        "--config", required=True, help="a YAML file, or the name of a config that comes along"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--output", type=Path, help="run folder (default: runs/NAME, by the config's name)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    config = load_config(options.config, options.overrides)
    folder = options.output or Path("runs") / config.name
    train(config, folder, resume=options.resume, quiet=options.quiet)
    print(f"model written to {folder / 'model'}")


if __name__ == "__main__":
    sys.exit(main())
