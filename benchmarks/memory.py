"""Peak memory of a 3D training step by the size of its images and of its batch, and of a forward pass.

    python benchmarks/memory.py [--config t1_flair_3d]

Each in a process of its own, tracing and compiling included: the step of the config's last stage that updates G and F,
which holds the most. Printed beside the peak is what each voxel more than in the first line costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys

STEPS = [(64, 1), (96, 1), (128, 1), (64, 2), (64, 4), (64, 8)]  # size of the cube, batch
FORWARD = [(64, 1), (96, 1), (128, 1), (160, 1)]


def measure(name: str, what: str, size: int, batch_size: int) -> float:
    """Peak memory of this process in MiB above what the model's own is."""
    from training_steps import batch, peak_memory

    from fire_tf import load_config
    from fire_tf.model.build import build_model

    config = load_config(name)
    canvas = (size,) * 3
    model = build_model(dataclasses.replace(config, data=dataclasses.replace(config.data, canvas=canvas)))
    before, data = peak_memory(), batch(canvas, batch_size)
    if what == "step":
        model.compile(objective="paper", cycle=[["synthesis"]])
        float(model.make_train_function()(iter([data]))["loss"])
    else:
        model.estimate_pair(data["a"].numpy(), data["b"].numpy())
    return peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="t1_flair_3d")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, size, batch_size = options.measure
        print(measure(options.config, what, int(size), int(batch_size)))
        return
    for what, cases in (("step", STEPS), ("forward", FORWARD)):
        first: tuple[float, float] | None = None
        for size, batch_size in cases:
            command = [
                sys.executable,
                __file__,
                "--config",
                options.config,
                "--measure",
                what,
                size,
                batch_size,
            ]
            output = subprocess.run(
                [*map(str, command)], stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            peak = float(output.splitlines()[-1])
            voxels = size**3 * batch_size
            line = f"{what} {size}^3 x {batch_size}: {peak:.0f} MiB"
            if first is None:
                first = peak, voxels
            else:
                line += f", {(peak - first[0]) * 2**20 / (voxels - first[1]):.0f} bytes for each voxel more"
            print(line, flush=True)


if __name__ == "__main__":
    main()
