"""How often refining leaves a pair worse than the networks' answer, and what it takes, beside another version's.

    python benchmarks/refining_harms.py --model t1_flair_2d --subjects sub-05 sub-06 --count 20 [--before CHECKOUT] \\
        --set data.root=FOLDER [--set deformation.peak=[6,10]]
    python benchmarks/refining_harms.py --model t1_flair_2d --pairs FOLDER [--before CHECKOUT]

Pairs are drawn from the subjects, as evaluate draws them, or come from a folder. Every pair is registered once, and
each version refines that answer, one after the other, on one core. Printed are Dice (mean of both directions) and the
distance to the truth in mm (fixed onto moving) for each pair; and for each version the means, the share of pairs that
end worse than the networks left them, of those that keep the networks' answer, and CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fire_tf.config.loading import load_config
from fire_tf.evaluation.drawn_pairs import draw_pairs
from fire_tf.evaluation.pairs import Pair, read_pairs
from fire_tf.evaluation.scoring import DEFAULT_STRUCTURES, SMALLEST_STRUCTURE
from fire_tf.experiments.experiment import of_subjects
from fire_tf.files.errors import exit_cleanly
from fire_tf.files.paths import user_path
from fire_tf.geometry.point_maps import PointMap
from fire_tf.geometry.reading import pull
from fire_tf.measures.metrics import dice, distance_to_truth, map_positions
from fire_tf.model.paths import find_model, run_config
from fire_tf.model.storage import load_model
from fire_tf.registration.pair import Registration, modalities
from fire_tf.registration.start import register_from_start

# Answers are sent to each version as a pickle; what it refines is told by what it returns, not by its own flags.
_REFINE = """
import pickle, sys, time
from fire_tf.registration.refine import SEARCHES, refine
while True:
    found, search = pickle.load(sys.stdin.buffer)
    start = time.process_time()
    better = refine(found, SEARCHES[search])
    seconds = time.process_time() - start
    pickle.dump((better.to_moving, better.to_fixed, better is found, seconds), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""
_HARM = ((1.0, 0.2), (3.0, 0.5))  # points of Dice, mm


class Version:
    """Refining as the package in a folder does it, in a process of its own."""

    def __init__(self, checkout: Path) -> None:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _REFINE],
            cwd=checkout,  # from where -c imports first
            env={**os.environ, **threads, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.rows: list[tuple[float, ...]] = []

    def measure(self, pair: Pair, found: Registration, search: str) -> None:
        """Add a row: Dice, mm, whether the answer was kept, CPU seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((found, search), self._process.stdin)
        self._process.stdin.flush()
        to_moving, to_fixed, kept, seconds = pickle.load(self._process.stdout)
        self.rows.append((*measured(pair, to_moving, to_fixed), kept, seconds))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=user_path, required=True)
    parser.add_argument("--pairs", type=user_path, help="a folder of pairs (default: drawn ones)")
    parser.add_argument("--subjects", nargs="+", default=(), help="of drawn pairs (default: the test split)")
    parser.add_argument("--count", type=int, default=20, help="of drawn pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=5, help="of drawn pairs (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the config")
    parser.add_argument("--before", type=user_path, help="a checkout of the version to compare with")
    options = parser.parse_args(arguments)
    model = load_model(find_model(options.model))
    moving = modalities(model)[0]
    pairs: Iterable[Pair]
    if options.pairs:
        pairs = read_pairs(options.pairs)
    else:
        config = of_subjects(load_config(run_config(options.model), options.set), "test", options.subjects)
        pairs = draw_pairs(config, "test", options.count, options.seed, moving)
    versions = {"after": Version(Path(__file__).resolve().parent.parent)}
    if options.before:
        versions["before"] = Version(options.before.resolve())
    start = []
    for pair in pairs:
        found = register_from_start(model, pair.moving, pair.fixed, moving)
        start.append(measured(pair, found.to_moving, found.to_fixed))
        for version in versions.values():
            version.measure(pair, found, model.preprocessing.get("search", "heads"))
        ends = ", ".join(
            f"{name} {row.rows[-1][0]:.1f} {row.rows[-1][1]:.2f}" for name, row in versions.items()
        )
        print(f"{pair.level} {pair.name}: {start[-1][0]:.1f} {start[-1][1]:.2f}, {ends}", flush=True)
    print_means(np.array(start), versions)


def measured(pair: Pair, to_moving: PointMap, to_fixed: PointMap) -> tuple[float, float]:
    """Mean Dice of both directions in %, and the distance to the truth in mm of the second one."""
    onto_fixed, onto_moving = pair.in_voxels(to_moving, to_fixed)
    overlaps = []
    for source, target, to_source in (
        (pair.moving_labels, pair.fixed_labels, onto_fixed),
        (pair.fixed_labels, pair.moving_labels, onto_moving),
    ):
        warped = pull(source, map_positions(to_source, target.shape), nearest=True)
        seen = [value for value in DEFAULT_STRUCTURES if (target == value).sum() >= SMALLEST_STRUCTURE]
        overlaps.append(np.mean([dice(warped == value, target == value) for value in seen]))
    assert pair.true_to_fixed is not None
    structures = np.isin(pair.moving_labels, list(DEFAULT_STRUCTURES))
    apart = distance_to_truth(onto_moving, pair.true_to_fixed, structures, pair.spacing("fixed"))
    return 100 * float(np.mean(overlaps)), apart


def print_means(start: np.ndarray, versions: dict[str, Version]) -> None:
    print(
        f"{len(start)} pairs; the networks' answers: {np.nanmean(start[:, 0]):.2f}, {start[:, 1].mean():.3f} mm"
    )
    for name, version in versions.items():
        version.close()
        rows = np.array(version.rows, dtype=float)
        overlap, distance = (rows[:, :2] - start).T
        print(
            f"{name}: {np.nanmean(rows[:, 0]):.2f}, {rows[:, 1].mean():.3f} mm, {rows[:, 3].mean():.2f} CPU s"
        )
        for points, length in _HARM:
            share = 100 * np.mean((overlap < -points) | (distance > length))
            print(f"  more than {points:g} point(s) or {length:g} mm worse: {share:.1f} %")
        print(f"  the networks' own answer: {100 * rows[:, 2].mean():.1f} %")


if __name__ == "__main__":
    main()
