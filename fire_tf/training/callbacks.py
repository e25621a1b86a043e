"""What a run writes while it trains: its table of losses, its checkpoints, a progress bar; and how it is stopped."""

from __future__ import annotations

import csv
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from fire_tf.config.schema import Stage
from fire_tf.files.doubts import cast_doubt
from fire_tf.pictures.registration import draw_pairs
from fire_tf.training.collapse import signs, validations_of
from fire_tf.training.observation import observe
from fire_tf.training.progress import COLUMNS, Run
from fire_tf.training.workers import any_worker

ENOUGH = {2: 24, 3: 4}
"""How many of the validation pairs are watched, by the number of their axes: a few percent of a training's time."""

_CAUGHT = (signal.SIGTERM, signal.SIGINT)  # a cluster's preemption, and Ctrl-C


class Watch(tf.keras.callbacks.Callback):
    """Registers the validation pairs at the end of every epoch: numbers that need no labels, a picture of the first
    two, and a warning where the training has collapsed, once for each sign of it.

    To come before the callbacks that write logs, to which the numbers are added as ``val_*``.
    """

    def __init__(self, run: Run, stage: Stage, validation: tf.data.Dataset):
        super().__init__()
        self.run, self.stage = run, stage
        enough = -(-ENOUGH[run.config.data.ndim] // run.config.validation.batch_size)
        batches = validation.take(min(enough, run.config.validation.batches))
        self._batches = [(batch["a"], batch["b"]) for batch in batches.as_numpy_iterator()]

    def on_train_begin(self, logs: Any = None) -> None:
        self._events = tf.summary.create_file_writer(str(self.run.events(self.stage) / "pictures"))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        config = self.run.config
        seen, pictures = observe(self.run.model, self._batches, config.data.spacing)
        validations = validations_of(config.stages, config.validation.every, self.stage, epoch)
        found = signs(seen, validations, (config.data.modality_a, config.data.modality_b))
        self._warn(found)
        if logs is not None:
            logs |= {f"val_{name}": value for name, value in seen._asdict().items()}
            logs["val_collapsed"] = float(len(found))
        if pictures:
            title = (
                f"step {int(self.run.step)}: mutual information {seen.mi:.3f}, before {seen.mi_before:.3f}"
            )
            draw_pairs(pictures, title, self.run.picture)
            image = tf.io.decode_png(tf.io.read_file(str(self.run.picture)), channels=3)
            with self._events.as_default(step=epoch):
                tf.summary.image("pairs", image[tf.newaxis])
            self._events.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._events.close()

    def _warn(self, found: dict[str, str]) -> None:
        for sign, line in found.items():
            if sign not in self.run.warned:
                self.run.warned.add(sign)
                with tqdm.external_write_mode(file=sys.stderr):  # not into the progress bar
                    cast_doubt(f"{self.run.folder}: step {int(self.run.step)}: {line}")


class MetricsLog(tf.keras.callbacks.Callback):
    """Appends one row per epoch to ``metrics.csv``: step, stage, seconds, every loss term, its ``val_`` twin, and the
    numbers of `Watch`."""

    def __init__(self, run: Run, stage: str):
        super().__init__()
        self.run, self.stage = run, stage

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = f"{time.perf_counter() - self.started:.1f}"
        row = {"step": int(self.run.step), "stage": self.stage, "seconds": seconds}
        row |= {name: f"{float(value):.6g}" for name, value in (logs or {}).items() if name in COLUMNS}
        with self.run.metrics.open("a+", newline="") as file:
            file.seek(0)
            columns = next(csv.reader(file), None)  # of a run that an earlier version began, in its order
            writer = csv.DictWriter(file, columns or COLUMNS, extrasaction="ignore")
            if columns is None:
                writer.writeheader()
            writer.writerow(row)


class Progress(tf.keras.callbacks.Callback):
    """Counts steps in the run, shows a bar with the time left, and checkpoints.

    At the end of every epoch, and every ten minutes within one. To come behind the callbacks that write: what they
    wrote of an epoch that no checkpoint has seen is taken away and written anew, but what they did not would be lost.
    """

    def __init__(self, run: Run, stage: Stage, done: int, quiet: bool):
        super().__init__()
        self.run, self.stage = run, stage
        self.bar = tqdm(
            total=stage.steps,
            initial=done,
            desc=stage.name,
            unit="step",
            disable=quiet or not run.chief,
            mininterval=1.0,
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.run.step.assign_add(1)
        self.bar.update()
        if batch % 10 == 0 and logs and not self.bar.disable:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)
        self.run.save_in_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs and "val_loss" in logs:
            self.run.keep_if_best(self.stage, float(logs["val_loss"]))
            if not self.bar.disable:
                self.bar.write(
                    f"step {int(self.run.step)}: loss {logs['loss']:.4f}, validation {logs['val_loss']:.4f}"
                )
        self.run.save()


class Interrupted(BaseException):
    """A run was asked to end; ``number`` is the signal's."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Interruption(tf.keras.callbacks.Callback):
    """Raises `Interrupted` behind the step, or the batch of a validation, in which a signal came to any worker.

    Between steps alone are weights, optimizers and the run's step of one moment. To come behind `Progress`, which
    counts the step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch them; the second Ctrl-C ends at once."""
        if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
            yield
            return
        before = {number: signal.signal(number, self._note) for number in _CAUGHT}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        came = any_worker(self.model.distribute_strategy, *(self._number == number for number in _CAUGHT))
        if any(came):
            raise Interrupted(_CAUGHT[came.index(True)])

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.on_train_batch_end(batch, logs)
