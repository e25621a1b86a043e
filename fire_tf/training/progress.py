"""The folder of a run, and where its training stands."""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf

from fire_tf.config.loading import save_config
from fire_tf.config.schema import Config, Stage
from fire_tf.files.outputs import write_file, write_together
from fire_tf.model.adam import Adam
from fire_tf.model.fire import FIRE
from fire_tf.model.losses import Losses
from fire_tf.model.storage import save_model
from fire_tf.training.observation import Observation
from fire_tf.training.workers import any_worker, is_chief

TERMS = ("loss", *Losses._fields)
WATCHED = (*Observation._fields, "collapsed")
"""What is found out about the validation pairs beside the terms; the last is the number of signs of collapse."""

COLUMNS = ("step", "stage", "seconds", *TERMS, *(f"val_{name}" for name in (*TERMS, *WATCHED)))
"""The columns of ``metrics.csv``."""

_EVERY = 600.0  # seconds between two checkpoints at the most


class Run:
    """A folder of one training run and where the training stands in it.

    ``step`` counts over all stages and is what everything else goes by: what the folder holds beyond that of the
    checkpoint from which a run is resumed is taken away. ``best`` is the least validation loss of the last stage.
    """

    def __init__(self, folder: Path, config: Config, model: FIRE):
        self.folder, self.config, self.model = folder, config, model
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.best = tf.Variable(float("inf"), trainable=False, name="best")
        self.checkpoint = tf.train.Checkpoint(model=model, step=self.step, best=self.best)
        # Every worker has to take part where one writes, for the sums over all of them: the others into the void.
        self._void = None if self.chief else TemporaryDirectory()
        where = self._void.name if self._void else str(folder / "checkpoints")
        self.manager = tf.train.CheckpointManager(self.checkpoint, where, max_to_keep=2)
        self._saved = time.monotonic()
        self.warned: set[str] = set()  # the signs of collapse that the user was told of

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return is_chief(self.model.distribute_strategy)

    @property
    def latest(self) -> str | None:
        """The chief's latest checkpoint."""
        return tf.train.latest_checkpoint(str(self.folder / "checkpoints"))

    @property
    def metrics(self) -> Path:
        """The table of losses, a row per epoch."""
        return self.folder / "metrics.csv"

    @property
    def picture(self) -> Path:
        """The picture of validation pairs at the step reached."""
        return self.folder / "pictures" / f"step_{int(self.step):06d}.png"

    def events(self, stage: Stage) -> Path:
        """The folder of a stage's logs for TensorBoard."""
        return self.folder / "tensorboard" / stage.name

    def stages(self) -> Iterator[tuple[Stage, int]]:
        """The stages still to run, each with the number of its steps already done."""
        start = 0
        for stage in self.config.stages:
            if int(self.step) < start + stage.steps:
                yield stage, max(0, int(self.step) - start)
            start += stage.steps

    def save(self) -> None:
        """Write a checkpoint."""
        self.manager.save()
        self._saved = time.monotonic()

    def save_in_time(self) -> None:
        """Write a checkpoint if the last one is ten minutes old, by the clock of any worker."""
        (due,) = any_worker(self.model.distribute_strategy, time.monotonic() - self._saved > _EVERY)
        if due:
            self.save()

    def keep_if_best(self, stage: Stage, loss: float) -> None:
        """Write the model to ``best/`` if ``loss`` is the least of the last stage so far."""
        if stage is self.config.stages[-1] and loss < float(self.best):
            self.best.assign(loss)
            if self.chief:
                write_together(f"{self.folder / 'best'}/", self.save_model)

    def save_model(self, folder: Path) -> None:
        """Write the model as it is now, with the config that it was trained by."""
        save_model(self.model, folder)
        save_config(self.config, folder / "config.yaml")

    def restore(self) -> None:
        """Go back to the latest checkpoint, with the model compiled for the stage that it was saved in."""
        latest = self.latest
        step = int(tf.train.load_variable(latest, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        ends = itertools.accumulate(stage.steps for stage in self.config.stages)
        stages = (stage for stage, end in zip(self.config.stages, ends, strict=True) if step <= end)
        compile_for(self.model, next(stages, self.config.stages[-1]))
        self.checkpoint.restore(latest).assert_existing_objects_matched()

    def cut(self) -> None:
        """Take away what was written behind the step reached, by a run that ended before its next checkpoint or its
        first."""
        self._cut_rows()
        self._cut_events()
        for picture in self.picture.parent.glob("step_*.png"):
            if int(picture.stem.removeprefix("step_")) > int(self.step):
                picture.unlink()

    def _cut_rows(self) -> None:
        """Take away the rows of epochs that ended behind the step reached; columns that an earlier version did not
        write are added, empty."""
        if not self.metrics.is_file():
            return
        with self.metrics.open(newline="") as stream:
            table = csv.DictReader(stream)
            rows = [row for row in table if int(row["step"]) <= int(self.step)]
            names = list(dict.fromkeys((*(table.fieldnames or ()), *COLUMNS)))

        def write(path: Path) -> None:
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, names)
                writer.writeheader()
                writer.writerows(rows)

        write_file(self.metrics, write)

    def _cut_events(self) -> None:
        """The same of TensorBoard's event files, which count epochs of a stage, and steps in tags of iterations."""
        left = dict(self.stages())
        for stage in self.config.stages:
            done = left.get(stage, stage.steps)
            for path in sorted(self.events(stage).rglob("events.out.tfevents.*")):
                every = self.config.validation.every
                kept = [record for record in _records(path) if _is_before(record, done, every, stage.steps)]
                write_file(path, partial(_write_records, kept))


def _records(path: Path) -> list[bytes]:
    found: list[bytes] = []
    with suppress(tf.errors.DataLossError):  # the last record of a process that was killed
        found.extend(record.numpy() for record in tf.data.TFRecordDataset(str(path)))
    return found


def _is_before(record: bytes, done: int, every: int, steps: int) -> bool:
    """Whether an event is of what ``done`` steps of a stage reached; an epoch has ``every`` steps, the last fewer."""
    event = tf.compat.v1.Event.FromString(record)
    if not event.HasField("summary"):
        return True
    counts_steps = any("iterations" in value.tag for value in event.summary.value)
    return int(event.step) <= done if counts_steps else min((event.step + 1) * every, steps) <= done


def _write_records(records: list[bytes], path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def compile_for(model: FIRE, stage: Stage) -> None:
    """Compile the model for a stage: its objective, its cycle, its three optimizers."""
    with model.distribute_strategy.scope():
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
        optimizers[f"{group}_optimizer"] = Adam(rate, global_clipnorm=stage.clip_norm)
    return optimizers
