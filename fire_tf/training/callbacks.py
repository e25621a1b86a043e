"""What a run writes while it trains: its table of losses, its checkpoints, a progress bar."""

from __future__ import annotations

import csv
import time
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from fire_tf.config.schema import Stage
from fire_tf.model.losses import Losses
from fire_tf.training.progress import Run


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
