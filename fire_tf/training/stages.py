"""One stage of a training: its pairs, its validation, `fit`."""

from __future__ import annotations

import tensorflow as tf

from fire_tf.config.schema import Config, Stage
from fire_tf.data.dataset import build_dataset
from fire_tf.data.sources.find import find_subjects
from fire_tf.training.callbacks import MetricsLog, Progress
from fire_tf.training.progress import Run, compile_for

VALIDATION_SEED = 10_007  # added to the config's seed: validation draws are fixed and differ from training's


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


def train_stage(run: Run, stage: Stage, done: int, quiet: bool) -> None:
    """Train what is left of a stage; where ``done`` of its steps were restored, the model is compiled for it."""
    config, model = run.config, run.model
    if not done:
        compile_for(model, stage)
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
