"""What ``python -m fire_tf.demo`` does: generated heads, a small model, and pairs that it has not seen.

One image of a pair of the test split is moved by seeded random deformations; T1 goes onto FLAIR and FLAIR onto T1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fire_tf.config.schema import SPLITS, Config
from fire_tf.data.cache import store_split
from fire_tf.evaluation.drawn_pairs import draw_pairs
from fire_tf.evaluation.measure import evaluate, write_scores
from fire_tf.evaluation.methods import Method, TrainedModel, Unaligned
from fire_tf.evaluation.pairs import Pair
from fire_tf.evaluation.scoring import Scores
from fire_tf.evaluation.summary import MEAN, format_summary, summarise
from fire_tf.model.fire import FIRE
from fire_tf.registration.pair import register_pair
from fire_tf.registration.results import draw_alignment
from fire_tf.training.run import train

PAIRS = 32
SEED = 1


def demonstrate(config: Config, folder: Path, *, quiet: bool = False) -> None:
    """Generate, train into ``folder``, measure; raises InputError where the folder holds a run already."""
    print(
        f"{config.data.phantom_subjects} generated heads in {config.data.cache}/ (made if missing)",
        flush=True,
    )
    for split in SPLITS:
        store_split(config.data, split)
    print(f"training in {folder}, {len(config.stages)} stages", flush=True)
    measure(train(config, folder, quiet=quiet), config, folder)


def measure(model: FIRE, config: Config, folder: Path) -> None:
    """Register pairs of the test split, print their scores, write ``evaluation/`` and ``demo.png``."""
    a, b = config.data.modality_a, config.data.modality_b
    pairs = list(draw_pairs(config, "test", PAIRS, SEED, a))
    directions = (f"{a} onto {b}", f"{b} onto {a}")
    methods: list[Method] = [Unaligned(), TrainedModel(model)]
    scores = evaluate(pairs, methods, structures=config.data.structures, directions=directions)
    write_scores(scores, folder / "evaluation")
    shown = typical_pair(pairs, scores)
    draw_alignment(register_pair(model, shown.moving, shown.fixed), folder / "demo.png")
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
