"""What `recompute: true` saves and costs: memory of a training step above what is held once it is traced, and time.

    python benchmarks/recomputing.py [--config t1_flair_3d_unaligned] [--size 80 96 80]

Each way in a process of its own, one after the other, so that compare them with each other alone; Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
from pathlib import Path


def measure(name: str, canvas: tuple[int, ...], recompute: bool, steps: int = 3) -> tuple[float, float]:
    """MiB above what is held once it is traced, and CPU seconds of a step that updates all three groups."""
    from training_steps import batch

    from fire_tf import load_config
    from fire_tf.model.build import build_model

    config = load_config(name)
    data = dataclasses.replace(config.data, canvas=canvas)
    model = build_model(dataclasses.replace(config, data=data, recompute=recompute))
    model.compile(objective="paper", cycle=[["affine", "nonrigid", "synthesis"]])
    pair = batch(canvas, 1)
    (step,) = model._steps
    step.get_concrete_function(pair)
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    float(step(pair)["loss"])
    began = sum(os.times()[:2])
    for _ in range(steps):
        float(step(pair)["loss"])
    return _status("VmHWM") - held, (sum(os.times()[:2]) - began) / steps


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="t1_flair_3d_unaligned")
    parser.add_argument("--size", type=int, nargs="+", default=[80, 96, 80])
    parser.add_argument("--measure", choices=("False", "True"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(*measure(options.config, tuple(options.size), options.measure == "True"))
        return
    found = []
    for recompute in ("False", "True"):
        command = [sys.executable, __file__, "--config", options.config, "--measure", recompute, "--size"]
        output = subprocess.run(
            [*command, *map(str, options.size)], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        found.append(tuple(map(float, output.split()[-2:])))
        print(f"recompute {recompute}: {found[-1][0]:.0f} MiB, {found[-1][1]:.1f} CPU s a step", flush=True)
    (kept, time_kept), (anew, time_anew) = found
    print(f"{anew / kept:.2f} of the memory, {time_anew / time_kept:.2f} times as long")


if __name__ == "__main__":
    main()
