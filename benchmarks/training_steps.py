"""What a training step costs: its first call, which traces and compiles it, the next ones, and memory.

    python benchmarks/training_steps.py [--config t1_flair_2d t1_flair_3d] [--against WORKTREE] [--repeats 7]

Every step of every stage of a config is run on made-up images, each stage in a process of its own. With ``--against``,
a worktree of an earlier commit, its code and ours run in turn, and the ratios are printed: a busy machine slows them
alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent.parent


def measure(name: str, stage: int, repeats: int) -> dict[str, Any]:
    """Seconds of the first call and of the median next one for each phase of a stage, and peak memory in MiB."""
    from fire_tf import load_config

    try:
        from fire_tf.model.build import build_model
    except ImportError:  # version 0.1
        from fire_tf.build import build_model  # type: ignore[no-redef]
    try:
        from fire_tf.model.adam import Adam  # what training uses
    except ImportError:  # before
        from tensorflow.keras.optimizers import Adam  # type: ignore[assignment]

    config = load_config(name)
    chosen = config.stages[stage]
    model = build_model(config)
    before = peak_memory()
    optimizers = {f"{group}_optimizer": Adam(1e-6) for group in ("affine", "nonrigid", "synthesis")}
    model.compile(**optimizers, objective=chosen.objective, cycle=chosen.cycle)
    step, data = model.make_train_function(), batch(config.data.canvas, chosen.batch_size)
    first, later = [], []
    for turn in range(repeats + 1):
        for _ in chosen.cycle:
            started = time.perf_counter()
            float(step(iter([data]))["loss"])
            (later if turn else first).append(time.perf_counter() - started)
    seconds = np.median(np.reshape(later, (repeats, len(chosen.cycle))), axis=0)
    return {"first": first, "step": seconds.tolist(), "memory": peak_memory() - before}


def batch(canvas: tuple[int, ...], size: int) -> dict[str, Any]:
    """Smooth blobs of the size of heads and a drawn shift, as `fire_tf.data.dataset` gives them."""
    import tensorflow as tf

    n, rng = len(canvas), np.random.default_rng(0)
    axes = [np.linspace(-1.3, 1.3, count) for count in canvas]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    images = {}
    for name in "ab":
        waves = np.sin(9 * points @ rng.normal(size=(n, size)) + rng.uniform(0, 6, size))
        image = np.where((points**2).sum(-1, keepdims=True) < 1, 0.2 + 0.5 * waves, -1.0)
        images[name] = np.moveaxis(image, -1, 0)[..., np.newaxis]
    content = {
        **images,
        "displacement": np.full((size, *canvas, n), 2.0),
        "affine": np.broadcast_to(np.eye(n, n + 1), (size, n, n + 1)),
        "moves_a": np.arange(size) % 2,
    }
    return {name: tf.constant(value, tf.float32) for name, value in content.items()}


def peak_memory() -> float:
    """Of this process until now, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(code: Path, name: str, stage: int, repeats: int) -> dict[str, Any]:
    """`measure` in a process of its own, with the package of the checkout ``code``."""
    command = [sys.executable, __file__, "--measure", name, str(stage), "--repeats", str(repeats)]
    environment = {**os.environ, "PYTHONPATH": str(code), "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd=code
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", nargs="+", default=["t1_flair_2d", "t1_flair_3d"])
    parser.add_argument("--against", type=Path, help="a worktree of an earlier commit")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--measure", nargs=2, metavar=("CONFIG", "STAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]), options.repeats)))
        return
    from fire_tf import load_config

    for name in options.config:
        for stage, chosen in enumerate(load_config(name).stages):
            ours = child(HERE, name, stage, options.repeats)
            theirs = (
                child(options.against.resolve(), name, stage, options.repeats) if options.against else None
            )
            for phase, groups in enumerate(chosen.cycle):
                line = f"{name} {chosen.objective:<8}{'+'.join(groups):<18}"
                for key in ("first", "step"):
                    line += f"{key} {ours[key][phase]:8.3f} s"
                    line += (
                        f" ({ours[key][phase] / theirs[key][phase]:.2f} of {theirs[key][phase]:.3f})"
                        if theirs
                        else ""
                    )
                    line += "  "
                print(line, flush=True)
            memory = f"{name} {chosen.objective:<8}peak above the model's own: {ours['memory']:.0f} MiB"
            print(memory + (f" ({ours['memory'] / theirs['memory']:.2f})" if theirs else ""), flush=True)


if __name__ == "__main__":
    main()
