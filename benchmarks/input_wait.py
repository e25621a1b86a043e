"""How long training waits for its input, stage by stage of a config.

    python benchmarks/input_wait.py --config t1_flair_2d --set data.root=FOLDER

Prints, for every stage, the time of a step, the part of it spent waiting for the next batch (target: below 5 %) and
what a pair costs when nothing but the input runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple

from fire_tf.config.loading import load_config
from fire_tf.config.schema import Config, Stage
from fire_tf.data.dataset import build_dataset
from fire_tf.model.build import build_model

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

WARM_UP = 3  # steps: tracing and filling the buffers


class Timing(NamedTuple):
    """Seconds per step, and per pair for the input alone."""

    step: float
    wait: float
    pair: float


def batches(config: Config, stage: Stage) -> Iterator[dict[str, tf.Tensor]]:
    """The stage's training input, as in `fire_tf.train`."""
    return iter(
        build_dataset(
            config.data,
            config.deformation if stage.deform else None,
            config.common,
            split="train",
            batch_size=stage.batch_size,
            moving="either",
            seed=config.seed,
            repeat=True,
        )
    )


def measure(config: Config, stage: Stage, steps: int) -> Timing:
    """Train `steps` steps, and make as many batches without training."""
    model = build_model(config)
    optimizers = {
        f"{group}_optimizer": tf.keras.optimizers.Adam(1e-5) for group in ("affine", "nonrigid", "synthesis")
    }
    model.compile(**optimizers, objective=stage.objective, cycle=stage.cycle)
    train_step = model.make_train_function()
    source = batches(config, stage)
    waited = 0.0
    for step in range(-WARM_UP, steps):
        if step == 0:
            waited, begun = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - asked
        tf.nest.map_structure(lambda value: value.numpy(), train_step(iter([batch])))
    trained = time.perf_counter() - begun
    return Timing(trained / steps, waited / steps, _input_alone(config, stage, steps))


def _input_alone(config: Config, stage: Stage, steps: int) -> float:
    source = batches(config, stage)
    for _ in range(WARM_UP):
        next(source)
    begun = time.perf_counter()
    for _ in range(steps):
        next(source)
    return (time.perf_counter() - begun) / (steps * stage.batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="demo")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    print(f"{'stage':<12}{'step, ms':>10}{'waiting, ms':>13}{'waiting, %':>12}{'a pair alone, ms':>18}")
    for stage in config.stages:
        timing = measure(config, stage, arguments.steps)
        share = 100 * timing.wait / timing.step
        columns = (f"{1e3 * timing.step:>10.1f}", f"{1e3 * timing.wait:>13.2f}", f"{share:>12.2f}")
        print(f"{stage.name:<12}{''.join(columns)}{1e3 * timing.pair:>18.2f}", flush=True)


if __name__ == "__main__":
    main()
