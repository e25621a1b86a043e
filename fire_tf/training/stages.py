"""One stage of a training: its pairs, its validation, `fit`."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from fire_tf.config.schema import Config, Stage
from fire_tf.data.dataset import Pairs
from fire_tf.data.sources.find import find_subjects
from fire_tf.files.doubts import cast_doubt
from fire_tf.training.callbacks import Interruption, MetricsLog, Progress, Watch
from fire_tf.training.progress import Run, compile_for

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


def _validation(config: Config, stage: Stage) -> tf.data.Dataset | None:
    """A few fixed batches, or None without a validation split."""
    if not find_subjects(config.data)["validate"]:
        return None
    pairs = _pairs(config, stage, "validate", config.seed + VALIDATION_SEED)
    return pairs.batches(config.validation.batch_size).take(config.validation.batches).cache()


def train_stage(run: Run, stage: Stage, done: int, quiet: bool, interruption: Interruption) -> None:
    """Train what is left of a stage; where ``done`` of its steps were restored, the model is compiled for it."""
    config, model = run.config, run.model
    if not done:
        compile_for(model, stage)
        model.phase.assign(0)
    pairs = _pairs(config, stage, "train", config.seed)
    progress = Progress(run, stage, done, quiet)
    board = tf.keras.callbacks.TensorBoard(run.events(stage), profile_batch=0, write_graph=False)
    validation = _validation(config, stage)
    if validation is None and not int(run.step):
        cast_doubt(f"{run.folder}: {_UNWATCHED}")
    watch = [] if validation is None else [Watch(run, stage, validation)]
    fit = partial(
        model.fit,
        validation_data=validation,
        callbacks=[*watch, MetricsLog(run, stage.name), board, progress, interruption],
        verbose=0,
    )
    every = config.validation.every
    while done < stage.steps:
        steps = min(every - done % every, stage.steps - done)
        first = done // every
        epochs = max(1, (stage.steps - done) // every) if steps == every else 1
        # `fit` begins its dataset anew, so that it must begin at the step reached.
        batches = pairs.batches(stage.batch_size, int(run.step) * stage.batch_size)
        fit(batches, initial_epoch=first, epochs=first + epochs, steps_per_epoch=steps)
        done += epochs * steps
    progress.bar.close()
