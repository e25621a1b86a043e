"""Many pairs with one model: registered, each with a status of its own, and summed up in a table and on a page.

Which pairs: see `fire_tf.cohorts.manifest` and `fire_tf.cohorts.dataset`. Pair NAME gets the outputs of a single run
under the prefix ``P_NAME_`` and a status (`fire_tf.cohorts.status`); `fire_tf.cohorts.summary` makes
``P_summary.csv`` and ``P_summary.html`` of them all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from fire_tf.cohorts.attending import Outcome, Work
from fire_tf.cohorts.manifest import Cohort, Row, Shard
from fire_tf.cohorts.summary import check_summary, summarise
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.outputs import split_prefix
from fire_tf.registration.user_images import Options

_IMAGE = r"\.(nii\.gz|nrrd|mha)"
_OUTPUT = re.compile(
    rf".*_((Inverse)?(Warped{_IMAGE}|CompositeWarp\.nii\.gz|Composite\.(h5|x5)|Affine\.mat)|Synthesized[^_]*{_IMAGE}"
    r"|qc\.json|qc\.png|thumb\.webp|status\.json)"
)


class Attend(Protocol):
    """Who registers pairs: `fire_tf.cohorts.overlap.attend_side_by_side` or `fire_tf.cohorts.cluster.attend_on_cluster`
    with a model."""

    def __call__(self, work: Work, rows: Sequence[Row]) -> Iterator[Outcome]: ...


def register_cohort(
    attend: Attend,
    cohort: Cohort,
    options: Options,
    provenance: Mapping[str, Any],
    *,
    shard: Shard = Shard(),  # noqa: B008 - a tuple
    resume: bool = False,
) -> bool:
    """Register the pairs of a cohort, or a shard of them; returns whether all succeeded. A failing pair is named on
    stderr.

    ``resume`` passes over pairs that are done. The table and the page are written for a whole cohort alone: of
    shards, which end when they will, `fire_tf.cohorts.summary.summarise` makes them.

    Raises InputError where the table or the page would take the place of an input.
    """
    rows, prefix = cohort.rows, cohort.prefix
    inputs = [*cohort.tables, *(path for row in rows for path in (row.moving, row.fixed))]
    check_summary(prefix, inputs)
    work = Work(prefix, options, provenance, resume, _in_danger(prefix, inputs))
    mine = shard.of(rows)
    failed = _told(attend(work, mine), len(mine))
    if shard.parts == 1:
        return summarise(cohort)
    print(f"shard {shard.number}/{shard.parts}: {len(mine)} of {len(rows)} pairs, {failed} failed")
    return not failed


def _told(outcomes: Iterable[Outcome], count: int) -> int:
    """Say what became of each of ``count`` pairs, as it is known; returns how many failed."""
    failed = skipped = 0
    # A bar on a terminal, none in a log.
    for outcome in tqdm(outcomes, total=count, unit="pair", disable=None):
        for doubt in outcome.doubts:
            cast_doubt(doubt)
        if outcome.error:
            tqdm.write(f"{outcome.name}: error: {outcome.error}", file=sys.stderr)
        failed, skipped = failed + bool(outcome.error), skipped + outcome.skipped
    if skipped:
        print(f"{skipped} pairs were done")
    return failed


def _in_danger(prefix: str, inputs: Sequence[Path]) -> list[Path]:
    """The inputs in whose place a result might be written: few, and so quick to be compared with each.

    They lie where the results go, by whatever links, and are called as results are.
    """
    folder, _ = split_prefix(prefix)
    place = os.path.realpath(folder)
    found = ((path, *os.path.split(os.path.realpath(path))) for path in inputs)
    return [path for path, parent, name in found if parent == place and _OUTPUT.fullmatch(name)]
