"""The folder of a run, and where its training stands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from fire_tf.config.schema import Config, Stage
from fire_tf.model.fire import FIRE


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
        compile_for(self.model, next(stages, self.config.stages[-1]))
        self.checkpoint.restore(latest).assert_existing_objects_matched()


def compile_for(model: FIRE, stage: Stage) -> None:
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
