"""Pairs an hour of a cohort: one process, two shards side by side, two Dask workers.

    python benchmarks/cohort_speed.py --batch pairs.csv --model DIR [--rounds 1]
    python benchmarks/cohort_speed.py --batch pairs.csv --config t1_flair_3d

``--config`` takes its untrained networks, which cost what trained ones do. The commands run as users start them, on the
whole manifest; the rate is taken from the status files, from the moment when each process has a pair behind it, so that
starts and tracing, which thousands of pairs pay once, do not count. Ways take turns, so that a busy machine slows them
alike; beside the best rate stands the least CPU time (user and system) of a whole command, its start included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

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


class Speed(NamedTuple):
    """Pairs an hour, and CPU seconds in all."""

    rate: float
    cpu: float


def measure(commands: list[list[str]], output: Path, skipped: int) -> Speed:
    """Run commands side by side; ``skipped``: how many pairs are not counted at the beginning."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [
        subprocess.Popen([*command, f"{output}/P_"], stdout=subprocess.DEVNULL) for command in commands
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a command failed")
    statuses = list(output.glob("*_status.json"))
    assert all(json.loads(path.read_text())["state"] == "done" for path in statuses)
    ends = sorted(path.stat().st_mtime for path in statuses)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Speed(3600 * (len(ends) - skipped) / (ends[-1] - ends[skipped - 1]), cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", required=True)
    parser.add_argument("--model")
    parser.add_argument("--config")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    found: dict[str, list[Speed]] = {way: [] for way in chosen.ways}
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
                found[way].append(measure(commands, Path(made) / f"{way}{number}", skipped))
                print(f"round {number + 1}, {way}: {found[way][-1]}", flush=True)
    for way, speeds in found.items():
        rate, cpu = max(one.rate for one in speeds), min(one.cpu for one in speeds)
        print(f"{way:<25}{rate:7.0f} pairs an hour, {cpu:5.0f} s of CPU")


if __name__ == "__main__":
    main()
