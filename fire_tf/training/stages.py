"""One stage of a training: its pairs, its validation, `fit`."""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from fire_tf.config.schema import Config, Stage
from fire_tf.data.dataset import Pairs
from fire_tf.files.doubts import cast_doubt
from fire_tf.sources.find import find_subjects
from fire_tf.training.callbacks import Interruption, MetricsLog, Progress, Watch
from fire_tf.training.progress import Run, compile_for
from fire_tf.training.workers import share_batches

VALIDATION_SEED = 10_007  # added to the config's seed: validation draws are fixed and differ from training's

_UNWATCHED = (
    "no validation split: no validation losses and pictures, and a training that collapses is not noticed"
)


def _pairs(config: Config, stage: Stage, split: str, seed: int) -> Pairs:
    return Pairs(
        config.data,
        config.deformation if stage.deform else None,
        config.common,
        split=split,
        moving="either",
        seed=seed,
        aligned=stage.objective != "paper",  # the others start from what D alone moved
        shading=config.shading if split == "train" and stage.objective != "paper" else None,
        mirror=config.mirror if split == "train" else (),
    )


def _validation(config: Config, stage: Stage) -> Pairs | None:
    """The pairs of which a few fixed batches are validated, or None without a validation split."""
    if not find_subjects(config.data)["validate"]:
        return None
    return _pairs(config, stage, "validate", config.seed + VALIDATION_SEED)


def _validated(run: Run, pairs: Pairs | None) -> dict[str, Any]:
    """What `fit` is told of it."""
    if pairs is None:
        return {}
    ours = run.config.validation
    batches = share_batches(run.model.distribute_strategy, pairs, ours.batch_size, take=ours.batches)
    return {"validation_data": batches, "validation_steps": ours.batches}


def _writers(run: Run, stage: Stage, validation: Pairs | None) -> list[tf.keras.callbacks.Callback]:
    """The callbacks that write; the chief's alone."""
    if not run.chief:
        return []
    board = tf.keras.callbacks.TensorBoard(run.events(stage), profile_batch=0, write_graph=False)
    watched = validation and validation.batches(run.config.validation.batch_size)
    watch = [Watch(run, stage, watched)] if watched else []
    return [*watch, MetricsLog(run, stage.name), board]


def train_stage(run: Run, stage: Stage, done: int, quiet: bool, interruption: Interruption) -> None:
    """Train what is left of a stage; where ``done`` of its steps were restored, the model is compiled for it."""
    config, model = run.config, run.model
    if not done:
        compile_for(model, stage)
        model.phase.assign(0)
    pairs = _pairs(config, stage, "train", config.seed)
    progress = Progress(run, stage, done, quiet)
    validation = _validation(config, stage)
    if validation is None and not int(run.step) and run.chief:
        cast_doubt(f"{run.folder}: {_UNWATCHED}")
    callbacks = [*_writers(run, stage, validation), progress, interruption]
    fit = partial(model.fit, callbacks=callbacks, verbose=0, **_validated(run, validation))
    every = config.validation.every
    while done < stage.steps:
        steps = min(every - done % every, stage.steps - done)
        first = done // every
        epochs = max(1, (stage.steps - done) // every) if steps == every else 1
        # `fit` begins its dataset anew, so that it must begin at the step reached.
        start = int(run.step) * stage.batch_size
        batches = share_batches(model.distribute_strategy, pairs, stage.batch_size, start)
        fit(batches, initial_epoch=first, epochs=first + epochs, steps_per_epoch=steps)
        done += epochs * steps
    progress.bar.close()
