"""The whole way in minutes, on generated heads: ``python -m fire_tf.demo``.

Generates the data, trains a small 2D model, registers pairs of heads that the training never saw (the test
split, one image moved by seeded random deformations, T1 onto FLAIR and FLAIR onto T1), prints Dice before
and after, and draws one of the pairs. Everything goes into ``runs/demo``, or ``runs/demo-2`` and so on.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fire_tf.cache import SPLITS, load_split
from fire_tf.config import Config, load_config
from fire_tf.drawn_pairs import draw_pairs
from fire_tf.errors import exit_cleanly
from fire_tf.evaluate import evaluate, write_scores
from fire_tf.figures import draw_registration
from fire_tf.methods import Fire, Method, Unaligned
from fire_tf.model import FIRE
from fire_tf.pairs import Pair
from fire_tf.registration import register_pair
from fire_tf.scoring import Scores
from fire_tf.summary import MEAN, format_summary, summarise
from fire_tf.train import train

PAIRS = 32
SEED = 1


def demonstrate(config: Config, folder: Path, *, quiet: bool = False) -> None:
    """Generate, train into ``folder``, measure; raises InputError where the folder holds a run already."""
    print(
        f"{config.data.phantom_subjects} generated heads in {config.data.cache}/ (made if missing)",
        flush=True,
    )
    for split in SPLITS:
        load_split(config.data, split)
    print(f"training in {folder}, {len(config.stages)} stages", flush=True)
    measure(train(config, folder, quiet=quiet), config, folder)


def measure(model: FIRE, config: Config, folder: Path) -> None:
    """Register pairs of the test split, print their scores, write ``evaluation/`` and ``demo.png``."""
    a, b = names = config.data.modality_a, config.data.modality_b
    pairs = list(draw_pairs(config, "test", PAIRS, SEED, a))
    directions = (f"{a} onto {b}", f"{b} onto {a}")
    methods: list[Method] = [Unaligned(), Fire(model)]
    scores = evaluate(pairs, methods, structures=config.data.structures, directions=directions)
    write_scores(scores, folder / "evaluation")
    shown = typical_pair(pairs, scores)
    draw_registration(register_pair(model, shown.moving, shown.fixed), folder / "demo.png", names)
    before, after = (mean_dice(scores, method) for method in ("unaligned", "FIRE"))
    print("\n" + format_summary(summarise(scores)))
    print(f"\nmean Dice of {len(pairs)} pairs in both directions: {before:.1f} % before, {after:.1f} % after")
    print(f"picture: {folder / 'demo.png'} ({shown.name}); model: {folder / 'model'}")


def mean_dice(scores: Scores, method: str) -> float:
    """Dice in %, the mean over structures and both directions."""
    rows = [row for row in summarise(scores) if row["method"] == method and row["measure"] == "dice"]
    values = [float(row["mean"]) for row in rows if row["structure"] == MEAN]
    return 100 * sum(values) / len(values)


def typical_pair(pairs: Sequence[Pair], scores: Scores) -> Pair:
    """Of the third of the pairs that show most of the brain the one of median Dice, not the best one."""
    largest = sorted(pairs, key=lambda pair: np.count_nonzero(pair.fixed_labels))[-max(1, len(pairs) // 3) :]
    dice = {str(row["pair"]): float(row["dice"]) for row in scores.pairs if row["method"] == "FIRE"}
    return sorted(largest, key=lambda pair: dice[pair.name])[len(largest) // 2]


def unused_folder(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... where it exists already."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], numbered) if not path.exists())


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m fire_tf.demo", description="FIRE on generated heads.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    demonstrate(load_config("demo", options.overrides), unused_folder(options.output), quiet=options.quiet)


if __name__ == "__main__":
    sys.exit(main())
