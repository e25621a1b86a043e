"""How long registering one pair takes from the prompt, against importing TensorFlow.

    python benchmarks/startup.py --model DIR --moving M.nii.gz --fixed F.nii.gz [--repeats 5]

Both commands run in turn, as a user would start them, so that a busy machine slows them alike. Printed are the
medians of wall-clock and of CPU time (user and system). Target for a 2D pair: under 3 times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from child_process import cost

TARGET = 3.0
IMPORT = [sys.executable, "-c", "import tensorflow"]


def measure(register: list[str], repeats: int) -> np.ndarray:
    """Seconds, (repeats, 2, 2): import and registration, wall-clock and CPU. A first round warms the disk cache."""
    rounds = [[cost(IMPORT)[:2], cost(register)[:2]] for _ in range(repeats + 1)]
    return np.array(rounds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("model", "moving", "fixed"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        register = [sys.executable, "-m", "fire_tf.register", "--output-prefix", f"{folder}/"]
        for name in ("model", "moving", "fixed"):
            register += [f"--{name}", str(getattr(options, name))]
        seconds = measure(register, options.repeats)
    medians = np.median(seconds, axis=0)
    for label, (wall, cpu) in zip(("import tensorflow", "fire_tf.register"), medians, strict=True):
        print(f"{label:<20}{wall:7.2f} s{cpu:9.2f} s of CPU")
    wall, cpu = medians[1] / medians[0]
    spread = seconds[:, 1, 0] / seconds[:, 0, 0]
    print(
        f"{'ratio':<20}{wall:7.2f}  {cpu:9.2f}   (target: under {TARGET:g}; wall {spread.min():.2f}-{spread.max():.2f})"
    )


if __name__ == "__main__":
    main()
