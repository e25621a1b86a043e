"""Many pairs with one model: registered one after the other, summed up in a table and on a page.

The manifest is a CSV with the columns ``moving`` and ``fixed`` (relative to its own folder), and where wanted
``name`` (default: pair001, ...) and ``moving_modality``. Pair NAME gets the outputs of a single run under the prefix
``P_NAME_``; ``P_summary.csv`` has a row per pair, ``P_summary.html`` its picture and numbers, the worst first.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import split_prefix, write_file
from fire_tf.files.paths import check_apart, user_path
from fire_tf.files.tables import Line, read_table, write_table
from fire_tf.registration.pair import PairModel
from fire_tf.registration.results import RegisteredImages, write_registration
from fire_tf.registration.user_images import Options, register_images

_COLUMNS = {"moving", "fixed", "name", "moving_modality"}
_NUMBERS = (
    "similarity_before",
    "similarity",
    "inverse_similarity",
    "folded_percent",
    "inverse_folded_percent",
    "inverse_consistency_mm",
    "volume_ratio",
    "field_of_view_overlap",
    "seconds",
)
_SUMMARY = ("name", "moving", "fixed", "error", "warnings", *_NUMBERS)
_STYLE = (
    "body{font-family:sans-serif;margin:2em}img{max-width:100%}.failed{color:#a00}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}"
)


@dataclass(frozen=True)
class Row:
    """A pair of the manifest, and what became of it: ``numbers`` (its quality), or an ``error``."""

    name: str
    moving: Path
    fixed: Path
    moving_modality: str | None = None
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
    names = [pair.name for pair in pairs]
    for name in names:
        if names.count(name) > 1 or "/" in name:
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


def register_cohort(
    model: PairModel, manifest: Path, prefix: str, options: Options, provenance: Mapping[str, Any]
) -> bool:
    """Register every pair of a manifest; returns whether all succeeded. A failing pair is named on stderr.

    Raises InputError for a manifest that cannot be used.
    """
    rows = read_manifest(manifest)
    inputs = [manifest, *(path for row in rows for path in (row.moving, row.fixed))]
    check_apart([f"{prefix}summary.csv", f"{prefix}summary.html"], inputs)
    write = partial(write_registration, warp_format=options.warp_format, provenance=provenance, inputs=inputs)
    done = []
    for row in tqdm(rows, unit="pair", disable=None):  # a bar on a terminal, nothing in a log file
        done.append(_register(model, row, options, partial(write, prefix=f"{prefix}{row.name}_")))
        if done[-1].error:
            tqdm.write(f"{row.name}: error: {done[-1].error}", file=sys.stderr)
    write_table(Path(f"{prefix}summary.csv"), [_summary(row) for row in done], _SUMMARY)
    page = cohort_page(done, split_prefix(prefix)[1])
    write_file(f"{prefix}summary.html", lambda path: path.write_text(page, encoding="utf-8"))
    return not any(row.error for row in done)


def _register(
    model: PairModel, row: Row, options: Options, write: Callable[[RegisteredImages], object]
) -> Row:
    options = replace(options, moving_modality=row.moving_modality or options.moving_modality)
    try:
        result = register_images(model, row.moving, row.fixed, options)
        write(result)
    except InputError as error:
        return replace(row, error=" ".join(str(error).split()))
    # Whatever goes wrong with one pair, a night's work on the others must not be lost.
    except Exception as error:
        return replace(row, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    return replace(row, numbers=result.quality)


def _summary(row: Row) -> dict[str, Any]:
    place = {"name": row.name, "moving": row.moving, "fixed": row.fixed, "error": row.error}
    return {**row.numbers, **place, "warnings": "; ".join(row.warnings)}


def cohort_page(rows: Sequence[Row], stem: str) -> str:
    """An HTML page with every pair's picture (``STEM NAME _qc.png`` beside the page) and numbers, worst first."""
    parts = [_section(row, stem) for row in sorted(rows, key=lambda row: row.badness, reverse=True)]
    failed, doubtful = sum(bool(row.error) for row in rows), sum(bool(row.warnings) for row in rows)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Registered pairs</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{len(rows)} pairs, {failed} failed, {doubtful} doubtful</h1>\n"
        f"<p>Failed pairs first, then by the number of warnings and rising similarity.</p>\n"
        f"{''.join(parts)}</body></html>\n"
    )


def _section(row: Row, stem: str) -> str:
    files = f"{html.escape(str(row.moving))} onto {html.escape(str(row.fixed))}"
    title = f"<h2>{html.escape(row.name)}</h2>\n<p>{files}</p>\n"
    if row.error:
        return f'{title}<p class="failed">{html.escape(row.error)}</p>\n'
    known = [name for name in _NUMBERS if name in row.numbers]
    heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in known)
    cells = "".join(f"<td>{row.numbers[name]}</td>" for name in known)
    picture = quote(f"{stem}{row.name}_qc.png")
    title += "".join(f'<p class="failed">{html.escape(warning)}</p>\n' for warning in row.warnings)
    return f'{title}<table><tr>{heads}</tr><tr>{cells}</tr></table>\n<p><img src="{picture}" alt=""></p>\n'
