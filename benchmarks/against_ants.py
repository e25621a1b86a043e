"""Registering one pair of files, as a user runs it, against ANTs: wall-clock and CPU time and peak memory.

    python benchmarks/against_ants.py --model DIR --moving M.nii.gz --fixed F.nii.gz [--repeats 3] [--threads N]

Our command and a script that uses ANTs alone (`ants_pair.py`: affine and SyN with the settings for heads of
`fire_tf.baselines.ants`, from one start, both directions written) run in turn, each in a process of its own from its
start to its end, so that a busy machine slows them alike. What the images show decides how long ANTs iterates, and does
not matter to ours: for our times an untrained model does as well as a trained one (``--untrained CONFIG`` makes one).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from child_process import Cost, cost

from fire_tf.baselines.ants import AFFINE, SETTINGS

ANTS = Path(__file__).with_name("ants_pair.py")
NAMES = ("fire_tf.register", "ANTs")


def measure(options: argparse.Namespace, model: Path, folder: Path) -> np.ndarray:
    """Costs (repeats, 2, 3) of our command and of ANTs."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps([AFFINE, SETTINGS["heads"].syn]))
    files = [str(options.moving), str(options.fixed)]
    ours = [sys.executable, "-m", "fire_tf.register", "--model", str(model), *options.extra.split()]
    ours += ["--moving", files[0], "--fixed", files[1], "--output-prefix", f"{folder}/fire_"]
    theirs = [sys.executable, str(ANTS), str(settings), *files, f"{folder}/ants_"]
    threads = {}
    if options.threads:
        ours += ["--threads", str(options.threads)]
        threads = {
            name: str(options.threads) for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        }
    cost([sys.executable, "-c", "import fire_tf.model.fire, ants"])  # so that nothing waits for the disk
    rounds = []
    for _ in range(options.repeats):
        rounds.append([cost(ours, **threads), cost(theirs, **threads)])
        for name, one in zip(NAMES, rounds[-1], strict=True):
            print(f"{name:<20}{one.wall:9.1f} s{one.cpu:9.1f} s of CPU{one.memory:8.0f} MiB", flush=True)
    return np.array(rounds)


def untrained(config: str, folder: Path) -> Path:
    """A model of a config as it is before training."""
    from fire_tf.config.loading import load_config
    from fire_tf.model.build import build_model
    from fire_tf.model.storage import save_model

    save_model(build_model(load_config(config)), folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path)
    source.add_argument("--untrained", metavar="CONFIG", help="take an untrained model of this config")
    for name in ("moving", "fixed"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of either (default: as many as each takes by itself)")
    parser.add_argument("--extra", default="", help="further options of fire_tf.register, e.g. '--refine'")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or untrained(options.untrained, folder / "model")
        costs = measure(options, model, folder)
    medians = dict(zip(NAMES, np.median(costs, axis=0), strict=True))
    print(f"median of {options.repeats}:")
    for name, values in medians.items():
        one = Cost(*values)
        print(f"{name:<20}{one.wall:9.1f} s{one.cpu:9.1f} s of CPU{one.memory:8.0f} MiB")
    ratios = costs[:, 1] / costs[:, 0]
    for name, values in zip(("wall-clock", "CPU", "memory"), ratios.T, strict=True):
        print(f"ANTs takes {np.median(values):.2f} times the {name} ({values.min():.2f}-{values.max():.2f})")


if __name__ == "__main__":
    main()
