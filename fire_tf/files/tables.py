"""Text that people and spreadsheets save, read or refused by name, and tables in CSV.

Text is UTF-8, with or without a byte order mark, its lines ended in any of the usual ways. The cells of a table are
separated by commas, semicolons or tabs: what the heading has most of.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_file

Row = TypeVar("Row", bound=Mapping[str, Any])

_SEPARATORS = ",;\t"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Line(NamedTuple):
    """A row of a table: the number of its line in the file, and its cells by column, "" where there is nothing."""

    number: int
    cells: dict[str, str]


class Table(NamedTuple):
    """The columns of a table and its rows without the empty ones."""

    columns: tuple[str, ...]
    rows: list[Line]


def read_text(path: Path) -> str:
    """The text of a file; raises InputError, naming it, for one that cannot be read and for another encoding."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def decode(content: bytes) -> str:
    """UTF-8 as text, without its byte order mark; raises InputError for another encoding."""
    if content.startswith(_UTF_16):
        raise InputError("cannot be read: it is in UTF-16, expected UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"cannot be read: byte {content[error.start]:#x} in line {line} is not UTF-8 (Latin-1?), save it as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError("cannot be read: it holds zero bytes, which are no text in UTF-8 (UTF-16?)")
    return text


def read_table(path: Path) -> Table:
    """The table that a CSV file holds; raises InputError, naming file and line, for what is none."""
    text = read_text(path)
    heading = next((line for line in text.splitlines() if line.strip(f' "{_SEPARATORS}')), "")
    separator = max(_SEPARATORS, key=heading.count)
    try:
        # strict: a quote that is never closed would swallow the rows behind it.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error})") from None
    (_, columns), *rows = [(number, cells) for number, cells in lines if any(cells)] or [(0, [])]
    while columns and not columns[-1]:  # a spreadsheet's empty columns
        columns.pop()
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"{path}: has more than one column {repeated[0]!r}")
    return Table(tuple(columns), [Line(number, _cells(columns, row, number, path)) for number, row in rows])


def _cells(columns: Sequence[str], row: Sequence[str], number: int, path: Path) -> dict[str, str]:
    if any(row[len(columns) :]):
        raise InputError(f"{path}: line {number} has {len(row)} cells, the heading {len(columns)}")
    return dict(zip(columns, [*row, *[""] * len(columns)], strict=False))


def grouped(rows: Iterable[Row], keys: tuple[str, ...]) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the values of some columns, in the order in which they come first."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(str(row[key]) for key in keys)].append(row)
    return dict(groups)


def write_table(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, numbers with six digits; the file appears whole or not at all.

    ``columns`` are the keys of the first row unless they are given: rows may hold more, and lack some.
    """

    def write(beside: Path) -> None:
        with open(beside, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns or list(rows[0]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows({key: _shown(value) for key, value in row.items()} for row in rows)

    write_file(path, write)


def _shown(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
