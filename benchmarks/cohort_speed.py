"""Pairs an hour of a cohort: one process, two shards side by side, two Dask workers.

    python benchmarks/cohort_speed.py --batch pairs.csv --model DIR [--rounds 1]
    python benchmarks/cohort_speed.py --batch pairs.csv --config t1_flair_3d

``--config`` takes its untrained networks, which cost what trained ones do. The commands run as users start them, on the
whole manifest; the rate is taken from the status files, from the moment when each process has a pair behind it, so that
starts and tracing, which thousands of pairs pay once, do not count. Ways take turns, so that a busy machine slows them
alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fire_tf import load_config
from fire_tf.model.build import build_model
from fire_tf.model.storage import save_model

ONE_THREAD = ["--threads", "1"]
WAYS = {
    "one process": [[]],
    "one process, 4 together": [["--together", "4"]],
    "two shards": [["--shard", "1/2", *ONE_THREAD], ["--shard", "2/2", *ONE_THREAD]],
    "two Dask workers": [["--dask", "local:2", *ONE_THREAD]],
}


def pairs_an_hour(commands: list[list[str]], output: Path, skipped: int) -> float:
    """Run commands side by side; ``skipped``: how many pairs are not counted at the beginning."""
    running = [
        subprocess.Popen([*command, f"{output}/P_"], stdout=subprocess.DEVNULL) for command in commands
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a command failed")
    statuses = list(output.glob("*_status.json"))
    assert all(json.loads(path.read_text())["state"] == "done" for path in statuses)
    ends = sorted(path.stat().st_mtime for path in statuses)
    return 3600 * (len(ends) - skipped) / (ends[-1] - ends[skipped - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", required=True)
    parser.add_argument("--model")
    parser.add_argument("--config")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    rates: dict[str, list[float]] = {way: [] for way in chosen.ways}
    with tempfile.TemporaryDirectory() as made:
        model = chosen.model
        if chosen.config:
            model = f"{made}/model"
            save_model(build_model(load_config(chosen.config)), Path(model))
        register = [sys.executable, "-m", "fire_tf.register", "--model", model, "--batch", chosen.batch]
        for number in range(chosen.rounds):
            for way in chosen.ways:
                commands = [[*register, *more, "--output-prefix"] for more in WAYS[way]]
                skipped = 2 if way.startswith("two") else 3
                rates[way].append(pairs_an_hour(commands, Path(made) / f"{way}{number}", skipped))
                print(f"round {number + 1}, {way}: {rates[way][-1]:.0f} pairs an hour", flush=True)
    first = np.median(rates[chosen.ways[0]])
    for way, found in rates.items():
        print(
            f"{way:<25}{np.median(found):7.0f} pairs an hour, {np.median(found) / first:.2f} times the first"
        )


if __name__ == "__main__":
    main()
