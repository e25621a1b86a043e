"""All pairs of a cohort in a table and on a page, from their statuses: whoever registered them, in whatever order.

``P_summary.csv`` has a row for each pair of the manifest, in its order; ``P_summary.html`` their pictures and numbers,
the worst first.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fire_tf.cohorts.manifest import Cohort, Row
from fire_tf.cohorts.status import THUMBNAIL, Status, read_status, status_path
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.outputs import split_prefix, write_file
from fire_tf.files.paths import check_apart
from fire_tf.files.tables import write_table

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
_STYLE = """
body{font-family:sans-serif;margin:2em} .failed{color:#a00} img{height:24em}
table{border-collapse:collapse} td,th{padding:.2em .8em;text-align:right}
article{content-visibility:auto;contain-intrinsic-size:auto 36em}
"""
# Of thousands of pairs a browser lays out and loads those alone that are looked at.


def check_summary(prefix: str, inputs: Iterable[Path]) -> None:
    """Raise InputError where the table or the page would take the place of an input."""
    check_apart([f"{prefix}summary.csv", f"{prefix}summary.html"], inputs)


def summarise(cohort: Cohort) -> bool:
    """Write the table and the page of a cohort's pairs, and say on stdout how many are done; returns whether all are.

    A pair that is not done counts as failed. Raises a `Doubt` where pairs were not all made with the same model and
    options, and InputError where a file would take the place of one of the cohort's tables.
    """
    rows, prefix = cohort.rows, cohort.prefix
    check_summary(prefix, cohort.tables)
    statuses = [read_status(status_path(prefix, row.name)) for row in rows]
    _doubt_mixture([status for status in statuses if status and status.state == "done"], prefix)
    done = [_filled(row, status) for row, status in zip(rows, statuses, strict=True)]
    write_table(Path(f"{prefix}summary.csv"), [_summary(row) for row in done], _SUMMARY)
    page = cohort_page(done, split_prefix(prefix)[1])
    write_file(f"{prefix}summary.html", lambda path: path.write_text(page, encoding="utf-8"))
    missing = sum(bool(row.error) for row in done)
    print(f"{prefix}summary.csv: {len(done) - missing} of {len(rows)} pairs are done")
    return not missing


def _filled(row: Row, status: Status | None) -> Row:
    if status is None:
        return replace(row, error="not registered yet")
    if not status.of(row):
        return replace(row, error=f"registered so far: {status.moving} onto {status.fixed}, other images")
    if status.state == "running":
        return replace(row, error="not done: being registered, or interrupted")
    return replace(row, numbers=status.numbers, error=status.error)


def _doubt_mixture(done: Sequence[Status], prefix: str) -> None:
    """Of images each pair has its own, of all else that `made_from` tells the cohort should have one."""
    kinds: Counter[str] = Counter()
    for status in done:
        common = {
            name: value
            for name, value in status.made_from.items()
            if not name.startswith(("moving", "fixed"))
        }
        common["options"] = {**common.get("options", {}), "moving_modality": None}
        kinds[json.dumps(common, sort_keys=True)] += 1
    if len(kinds) > 1:
        counts = ", ".join(str(count) for count in kinds.values())
        cast_doubt(
            f"{prefix}summary.csv: its pairs were not all made with one model, one set of options and one version of "
            f"fire_tf, but in groups of {counts}: register the manifest again with --resume",
            stacklevel=3,
        )


def _summary(row: Row) -> dict[str, Any]:
    place = {"name": row.name, "moving": row.moving, "fixed": row.fixed, "error": row.error}
    return {**row.numbers, **place, "warnings": "; ".join(row.warnings)}


def cohort_page(rows: Sequence[Row], stem: str) -> str:
    """An HTML page with every pair's thumbnail (``STEM NAME _thumb.webp`` beside the page), which leads to its picture,
    and numbers, worst first."""
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
    lines = [f"<h2>{html.escape(row.name)}</h2>", f"<p>{files}</p>"]
    lines += [f'<p class="failed">{html.escape(line)}</p>' for line in (row.error, *row.warnings) if line]
    if not row.error:
        known = [name for name in _NUMBERS if name in row.numbers]
        heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in known)
        cells = "".join(f"<td>{row.numbers[name]}</td>" for name in known)
        picture, thumbnail = (quote(f"{stem}{row.name}_{ending}") for ending in ("qc.png", THUMBNAIL))
        lines += [
            f"<table><tr>{heads}</tr><tr>{cells}</tr></table>",
            f'<p><a href="{picture}"><img src="{thumbnail}" alt="" loading="lazy"></a></p>',
        ]
    return "\n".join(("<article>", *lines, "</article>\n"))
