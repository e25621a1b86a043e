"""What the three specialised steps cost against a step that computes everything.

    python benchmarks/cycle_cost.py [--canvas 96 96] [--batch 4] [--repeats 7]

The full step computes all nine terms and the gradient of their sum for all three groups. The steps run in turn, in
one process, so that a busy machine slows them alike; each cost is the median over the repeats. Target: a cycle of
the three costs at most 0.6 of three full steps.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from fire_tf.config.schema import Config, DataConfig, Stage
from fire_tf.model.build import build_model
from fire_tf.model.fire import FIRE, GROUPS

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

TARGET = 0.6
NAMES = (*GROUPS, "all three")


def untrained_model(canvas: tuple[int, ...]) -> FIRE:
    """A model of default widths whose cycle is the paper's three steps and then the full one."""
    stage = Stage("all", "paper", tuple((group,) for group in GROUPS), steps=1, batch_size=1)
    data = DataConfig("phantom", ndim=len(canvas), canvas=canvas)  # type: ignore[arg-type]
    model = build_model(Config("cycle_cost", data, (stage,)))
    model.compile(cycle=[*((group,) for group in GROUPS), GROUPS])
    return model


def measure(model: FIRE, batch: int, repeats: int) -> np.ndarray:
    """Seconds per step, (repeats, 4), of `NAMES` in turn; the first round, which traces, is left out."""
    rng = np.random.default_rng(0)
    images = {name: rng.uniform(-1, 1, (batch, *model.canvas, 1)) for name in "ab"}
    data = {name: tf.constant(image, tf.float32) for name, image in images.items()}
    seconds = np.zeros((repeats + 1, len(NAMES)))
    for row in seconds:
        for step in range(len(NAMES)):
            started = time.perf_counter()
            float(model.train_step(data)["loss"])  # waits for the step
            row[step] = time.perf_counter() - started
    return seconds[1:]


def report(seconds: np.ndarray) -> float:
    """Print the medians; returns the cost of a cycle as a fraction of three full steps."""
    medians = np.median(seconds, axis=0)
    for name, median in zip(NAMES, medians, strict=True):
        print(f"{name:>10}: {1000 * median:8.1f} ms a step, {median / medians[-1]:.2f} of the full step")
    fraction = float(medians[:-1].sum() / (3 * medians[-1]))
    print(f"cycle of three / three full steps: {fraction:.2f} (target: at most {TARGET})")
    return fraction


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--canvas", type=int, nargs="+", default=[96, 96], help="two or three sizes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    report(measure(untrained_model(tuple(options.canvas)), options.batch, options.repeats))


if __name__ == "__main__":
    main()
