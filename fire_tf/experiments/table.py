"""The paper's tables (arXiv 1907.05062) with the figures measured here beside the paper's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from fire_tf.config.schema import DataConfig
from fire_tf.evaluation.scoring import DEFAULT_STRUCTURES, Row, Scores
from fire_tf.evaluation.summary import MEAN, differences, format_differences, summarise
from fire_tf.files.tables import grouped

PAIRS_DRAWN = {2: 48, 3: 24}
"""Pairs that a table is measured on where they are drawn, by the number of axes."""

_HEADINGS = {
    "unaligned": "unaligned",
    "ANTs affine": "ANTs-affine",
    "FIRE affine": "FIRE-affine",
    "ANTs SyN": "ANTs-SyN",
    "FIRE": "FIRE",
}
_COMPARED = {"FIRE affine": "ANTs affine", "FIRE": "ANTs SyN", "FIRE refined": "ANTs SyN"}
_NOTE = "The paper's rows are of its own pairs. Those measured here are on the same pairs for every method."
_NOT_GIVEN = "-"


class PaperRow(NamedTuple):
    """A structure by its name in our configs and in the paper, and the paper's figures, one per column."""

    structure: str
    name: str
    figures: tuple[str, ...]


class PaperTable(NamedTuple):
    """A table of the paper, Dice in %; ``methods`` are its columns by the names that methods have here."""

    title: str
    methods: tuple[str, ...]
    rows: tuple[PaperRow, ...]


TABLES = {
    ("T1", "FLAIR", 2): PaperTable(
        "Table 1, T1-FLAIR in 2D",
        tuple(_HEADINGS),
        (
            PaperRow("BS", "BS", ("11.62 (6.1)", "61.25 (3.7)", "62.90 (4.1)", "78.73 (7.3)", "80.68 (7.7)")),
            PaperRow("CE", "CE", ("7.17 (4.4)", "63.32 (3.2)", "64.36 (4.0)", "75.72 (8.1)", "76.96 (7.3)")),
            PaperRow(
                "WM", "WHM", ("14.29 (7.5)", "59.12 (4.5)", "59.97 (4.4)", "81.36 (6.0)", "84.18 (3.7)")
            ),
        ),
    ),
    ("T1", "FLAIR", 3): PaperTable(
        "Table 1, T1-FLAIR in 3D",
        tuple(_HEADINGS),
        (
            PaperRow("BS", "BS", ("27.15 (9.2)", "67.15 (3.1)", "69.81 (4.1)", "79.77 (6.7)", "81.08 (7.0)")),
            PaperRow(
                "CE", "CE", ("28.38 (10.3)", "68.38 (3.6)", "70.62 (3.7)", "86.00 (6.9)", "86.13 (7.2)")
            ),
            PaperRow(
                "WM", "WHM", ("20.27 (9.3)", "60.27 (3.8)", "60.61 (3.8)", "72.33 (7.4)", "72.56 (7.1)")
            ),
        ),
    ),
    # Section 3.1 gives these in words, of an example; "below 0.4" holds for SyN and for the affine.
    ("IR", "FLAIR", 2): PaperTable(
        "Section 3.1, IR-FLAIR in 2D",
        tuple(_HEADINGS),
        (
            PaperRow("BS", "BS", (_NOT_GIVEN,) * 5),
            PaperRow("CE", "CE", ("60", "< 40", _NOT_GIVEN, "< 40", "69")),
            PaperRow("WM", "WHM", (_NOT_GIVEN,) * 5),
        ),
    ),
    ("ED", "ES", 2): PaperTable(
        "Table 2, ACDC",
        ("unaligned", "ANTs SyN", "FIRE"),
        (
            PaperRow("LV", "LVe", ("65.75 (16.25)", "90.81 (4.3)", "90.08 (5.5)")),
            PaperRow("Myo", "Myo", ("51.97 (14.50)", "70.71 (5.6)", "71.66 (6.3)")),
        ),
    ),
}
"""By the two modalities, in either order, and the number of axes; mean (sd), Dice in %."""


def paper_table(data: DataConfig) -> PaperTable:
    """The paper's table of an experiment, with rows of our own for structures that it has not got.

    Where the paper has not measured the experiment at all, every figure of the table is missing.
    """
    a, b, ndim = data.modality_a, data.modality_b, data.ndim
    table = TABLES.get((a, b, ndim)) or TABLES.get((b, a, ndim))
    if table is None:
        table = PaperTable(f"{a}-{b} in {ndim}D, not measured in the paper", tuple(_HEADINGS), ())
    structures = data.structures or DEFAULT_STRUCTURES
    known = {row.structure for row in table.rows}
    absent = (_NOT_GIVEN,) * len(table.methods)
    more = [PaperRow(name, name, absent) for name in structures.values() if name not in known]
    return table._replace(rows=(*table.rows, *more))


def format_table(paper: PaperTable, scores: Scores) -> str:
    """The table as text: for every level and direction the paper's rows, ours below each, then the
    differences.

    Columns are the paper's; what was measured beyond them (a second ANTs, FIRE refined) follows. Differences
    are those of like with like, with 95 % intervals (`fire_tf.evaluation.summary.differences`).
    """
    lines = [f"{paper.title} (arXiv 1907.05062): Dice in %, mean (sd)", _NOTE]
    for (level, direction), group in grouped(summarise(scores), ("level", "direction")).items():
        lines += ["", f"{level}, {direction}", *_block(paper, group)]
    compared = [
        row
        for row in differences(scores)
        if str(row["baseline"]).startswith(_COMPARED.get(str(row["method"]), "?"))
    ]
    return "\n".join([*lines, "", format_differences(compared)])


def _block(paper: PaperTable, rows: Sequence[Row]) -> list[str]:
    """A heading, two lines per structure, the mean over the structures and the CPU time per pair."""
    measured = {(str(row["method"]), str(row["measure"]), str(row["structure"])): row for row in rows}
    present = list(dict.fromkeys(str(row["method"]) for row in rows))
    methods = [*paper.methods, *(method for method in present if method not in paper.methods)]

    def ours(measure: str, structure: str, form: Callable[[Row], str]) -> list[str]:
        found = [measured.get((method, measure, structure)) for method in methods]
        return [_NOT_GIVEN if row is None else form(row) for row in found]

    cells = [["", "", *map(_heading, methods), "pairs"]]
    for row in paper.rows:
        cells.append([row.name, "paper", *row.figures])
        cells.append(["", "here", *ours("dice", row.structure, _dice), _count(measured, row.structure)])
    cells.append([MEAN, "here", *ours("dice", MEAN, _dice), _count(measured, MEAN)])
    cells.append(["CPU s", "here", *ours("cpu_seconds", "", _seconds), _count(measured, "", "cpu_seconds")])
    return _aligned(cells)


def _heading(method: str) -> str:
    """The paper's name of a method, or of the one that it is a variant of ("ANTs SyN, 1 start")."""
    name, comma, variant = method.partition(",")
    return _HEADINGS.get(name, name) + comma + variant


def _count(measured: Mapping[tuple[str, str, str], Row], structure: str, measure: str = "dice") -> str:
    """Pairs that a line's means rest on; of the methods that were not timed or do not apply to some pairs fewer."""
    counts = {int(row["count"]) for key, row in measured.items() if key[1:] == (measure, structure)} - {0}
    return "-".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else "0"


def _dice(row: Row) -> str:
    mean, deviation = 100 * float(row["mean"]), 100 * float(row["sd"])
    return f"{mean:.2f} ({deviation:.1f})" if math.isfinite(mean) else _NOT_GIVEN


def _seconds(row: Row) -> str:
    return f"{float(row['mean']):.2f}" if math.isfinite(float(row["mean"])) else _NOT_GIVEN


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells, each column as wide as its widest cell: two columns of names, then of numbers."""
    columns = list(zip_longest(*cells, fillvalue=""))
    padded = [
        [cell.ljust(width) if place < 2 else cell.rjust(width) for cell in column]
        for place, column in enumerate(columns)
        for width in [max(map(len, column))]
    ]
    return ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
