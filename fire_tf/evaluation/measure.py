"""Scores of several methods on the same pairs, and the four tables that they are written as."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fire_tf.evaluation.methods import Method, Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.evaluation.scoring import DEFAULT_STRUCTURES, SMALLEST_STRUCTURE, Scores, score
from fire_tf.evaluation.summary import differences, summarise
from fire_tf.files.errors import InputError
from fire_tf.files.tables import write_table
from fire_tf.pictures.outlines import Labelled, Warped, draw_outlines


def evaluate(
    pairs: Iterable[Pair],
    methods: Sequence[Method],
    *,
    structures: dict[int, str] = DEFAULT_STRUCTURES,
    directions: tuple[str, str] = ("moving onto fixed", "fixed onto moving"),
    progress: bool = False,
    pictures: Path | None = None,
) -> Scores:
    """Score every method on every pair in both directions, but for methods that do not apply to the pair.

    ``pictures`` is a folder to draw the outlines of every pair's labels into.
    """
    scores = Scores()
    for count, pair in enumerate(pairs, start=1):
        results = [result for method in methods for result in method(pair)]
        for result in results:
            scores.extend(score(pair, result, structures, directions))
        if pictures:
            name = re.sub(r"[^\w.-]+", "_", pair.name)
            draw_outlines(_outlines(pair, results, directions), structures, pictures / f"{name}.png")
        if progress:
            print(f"\r{count} pairs measured", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    if not scores.pairs:
        raise InputError("there is no pair to measure")
    if not scores.labels:
        raise InputError(
            f"no structure has {SMALLEST_STRUCTURE} voxels in any image that another is warped onto"
        )
    return scores


def _outlines(pair: Pair, results: Sequence[Result], directions: tuple[str, str]) -> list[list[Warped]]:
    """What is drawn of a pair: a row for each direction, a panel for each method."""
    moving = Labelled(pair.array("moving"), pair.moving_labels, pair.spacing("moving"))
    fixed = Labelled(pair.array("fixed"), pair.fixed_labels, pair.spacing("fixed"))
    onto_fixed, onto_moving = directions
    return [
        [Warped(f"{onto_fixed}\n{found.method}", moving, fixed, found.to_moving) for found in results],
        [Warped(f"{onto_moving}\n{found.method}", fixed, moving, found.to_fixed) for found in results],
    ]


def write_scores(scores: Scores, folder: Path) -> None:
    """Write the tables ``pairs.csv`` (a row per pair, direction and method), ``labels.csv`` (the same per structure),
    ``summary.csv`` (mean and sd) and ``differences.csv`` (FIRE less each baseline, 95 % intervals) into a folder."""
    write_table(folder / "pairs.csv", scores.pairs)
    write_table(folder / "labels.csv", scores.labels)
    write_table(folder / "summary.csv", summarise(scores))
    compared = differences(scores)
    if compared:
        write_table(folder / "differences.csv", compared)
