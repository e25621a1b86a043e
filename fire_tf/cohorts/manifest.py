"""The pairs of a cohort, as a table names them, and the part of them that one job takes.

The manifest is a CSV with the columns ``moving`` and ``fixed`` (relative to its own folder), and where wanted
``name`` (default: pair001, ...) and ``moving_modality``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fire_tf.bids.derivatives import PairFiles
from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.files.tables import Line, read_table

_COLUMNS = {"moving", "fixed", "name", "moving_modality"}


@dataclass(frozen=True)
class Row:
    """A pair of the manifest, and what became of it: ``numbers`` (its quality), or an ``error``.

    ``derivatives``: where its images and transforms go if not beside its status.
    """

    name: str
    moving: Path
    fixed: Path
    moving_modality: str | None = None
    fixed_modality: str | None = None
    derivatives: PairFiles | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def badness(self) -> tuple[bool, int, float]:
        """Sorts the worst last: failed pairs, then those with the most warnings and the least similar images."""
        return bool(self.error), len(self.warnings), -float(self.numbers.get("similarity", 0.0))

    @property
    def warnings(self) -> Sequence[str]:
        """What is doubtful about the pair."""
        return self.numbers.get("warnings", ())


def read_manifest(path: Path) -> list[Row]:
    """The pairs of a manifest; raises InputError for one that cannot be read or is not as described above."""
    columns, rows = read_table(path)
    if not {"moving", "fixed"} <= set(columns) or set(columns) - _COLUMNS:
        raise InputError(
            f"{path}: has columns {', '.join(sorted(columns)) or 'none'}; "
            "expected moving, fixed and, where wanted, name and moving_modality"
        )
    if not rows:
        raise InputError(f"{path}: holds no pair")
    pairs = [_row(row, count, path) for count, row in enumerate(rows, start=1)]
    for name, times in Counter(pair.name for pair in pairs).items():
        if times > 1 or "/" in name:
            raise InputError(f"{path}: pair name {name!r} occurs twice or holds a slash")
    return pairs


def _row(row: Line, count: int, path: Path) -> Row:
    cells = row.cells
    if not cells["moving"] or not cells["fixed"]:
        raise InputError(f"{path}: line {row.number} names no moving or no fixed image")
    return Row(
        name=cells.get("name") or f"pair{count:03d}",
        moving=path.parent / user_path(cells["moving"]),
        fixed=path.parent / user_path(cells["fixed"]),
        moving_modality=cells.get("moving_modality") or None,
    )


class Cohort(NamedTuple):
    """The pairs that a command is about, what the names of their files begin with, and the tables that name them."""

    rows: Sequence[Row]
    prefix: str
    tables: Sequence[Path] = ()


class Shard(NamedTuple):
    """Part ``number``, from 1, of ``parts``: every ``parts``-th pair, so that neighbours, which are much alike,
    are spread evenly."""

    number: int = 1
    parts: int = 1

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of the manifest that are this shard's."""
        return rows[self.number - 1 :: self.parts]


def read_shard(text: str) -> Shard:
    """``i/N`` as a shard; raises InputError for anything else."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--shard {text}: expected i/N, from 1/N to N/N")
    return Shard(int(found[1]), int(found[2]))


def slurm_shard(environment: Mapping[str, str]) -> Shard:
    """The shard of a task of a SLURM job array, the whole outside of one.

    Raises InputError where the array's numbers have gaps, of which a task is not told.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return Shard()
    names = ("ID", "MIN", "MAX", "COUNT")
    texts = [environment.get(f"SLURM_ARRAY_TASK_{name}", "") for name in names]
    if all(text.isdecimal() for text in texts):
        number, first, last, count = map(int, texts)
        step = (last - first) // max(count - 1, 1) or 1
        if last - first == step * (count - 1) and (number - first) % step == 0 and first <= number <= last:
            return Shard((number - first) // step + 1, count)
    told = ", ".join(f"SLURM_ARRAY_TASK_{name}={text}" for name, text in zip(names, texts, strict=True))
    raise InputError(f"{told}: numbers with gaps do not tell which shard this is, give --shard i/N")
