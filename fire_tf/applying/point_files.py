"""Points in the files of ANTs and 3D Slicer.

===========  ========================================================  ================================================
file         coordinates                                               kept as they are
===========  ========================================================  ================================================
``.csv``     ANTs': LPS+ mm, columns ``x,y[,z]``                       the other columns (``t``, ``label``, ...)
``.fcsv``    as its ``# CoordinateSystem`` says                        header, labels and the other columns
``.json``    Slicer's ``.mrk.json``: as each markup's                  everything but ``measurements``, which were of
             ``coordinateSystem`` says; undefined points are passed    the old places
             over
===========  ========================================================  ================================================

In memory points are world millimetres in RAS+. A 2D file of ANTs' (no ``z``) lies in the plane z = 0.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.files.tables import read_table, read_text
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.transforms.itk import LPS

_SYSTEMS = {"RAS": AffineMap.identity(3), "0": AffineMap.identity(3), "LPS": LPS, "1": LPS}
_IN_PLANE = 1e-3  # mm


@dataclass(frozen=True)
class PointFile:
    """Points (n, 3) in world mm (RAS+), their labels ("" where there is none), and the file with other points as text.

    ``text_of`` takes points (n, 3) like ``points``; raises InputError for points that the file cannot hold.
    """

    points: np.ndarray
    labels: tuple[str, ...]
    text_of: Callable[[np.ndarray], str]


def read_points(path: str | Path) -> PointFile:
    """The points of a file, in its own coordinates (see above).

    Raises InputError for a file that cannot be read, that is none of these, or has no points.
    """
    path = user_path(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path}: points are read from {', '.join(_READERS)}")
    found = read(path)
    if not len(found.points):
        raise InputError(f"{path}: holds no points")
    return found


def _read_csv(path: Path) -> PointFile:
    table = read_table(path)
    columns = {name.lower(): name for name in table.columns}
    absent = [axis for axis in "xy" if axis not in columns]
    if absent:
        raise InputError(f"{path}: has no column {absent[0]!r}; ANTs' points have the heading x,y,z")
    axes = [columns[axis] for axis in "xyz" if axis in columns]
    lines = [(line.number, [line.cells[axis] for axis in axes]) for line in table.rows]
    points = LPS(_numbers(path, lines))

    def text_of(moved: np.ndarray) -> str:
        if len(axes) == 2 and np.abs(moved[:, 2]).max() > _IN_PLANE:
            raise InputError(f"{path}: its points leave the plane z = 0; they need a column z")
        rows = [
            {**line.cells, **dict(zip(axes, _shown(point), strict=False))}
            for line, point in zip(table.rows, LPS(moved), strict=True)
        ]
        return _csv_text([table.columns, *(list(row.values()) for row in rows)])

    label = columns.get("label", "")
    return PointFile(points, tuple(line.cells.get(label, "") for line in table.rows), text_of)


def _read_fcsv(path: Path) -> PointFile:
    lines = read_text(path).splitlines()
    header = [line for line in lines if line.startswith("#")]
    named = (line[1:].split("=", 1) for line in header if "=" in line)
    said = {name.strip(): value.strip() for name, value in named}
    system = _system(path, said.get("CoordinateSystem"))
    columns = [name.strip() for name in said.get("columns", "").split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise InputError(f"{path}: its header names no columns x, y and z")
    places = [columns.index(axis) for axis in "xyz"]
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = list(csv.reader(line for _, line in numbered))
    short = [i for (i, _), row in zip(numbered, rows, strict=True) if len(row) <= max(places)]
    if short:
        raise InputError(f"{path}: line {short[0]} has fewer cells than its header names")
    cells = [(i, [row[place] for place in places]) for (i, _), row in zip(numbered, rows, strict=True)]

    def text_of(moved: np.ndarray) -> str:
        changed = copy.deepcopy(rows)
        for row, point in zip(changed, system(moved), strict=True):
            for place, cell in zip(places, _shown(point), strict=True):
                row[place] = cell
        return "\n".join(header) + "\n" + _csv_text(changed)

    label = columns.index("label") if "label" in columns else len(columns)
    return PointFile(
        system(_numbers(path, cells)), tuple("".join(row[label : label + 1]) for row in rows), text_of
    )


def _read_markups(path: Path) -> PointFile:
    try:
        content = json.loads(read_text(path))
        systems, points = [], []
        for markup, point in _control_points(content):
            if (unit := markup.get("coordinateUnits", "mm")) != "mm" and unit[0] != "mm":
                raise InputError(f"{path}: its coordinates are in {unit}, expected mm")
            systems.append(_system(path, markup.get("coordinateSystem")))
            points.append(point)
        lines = [(i, point["position"]) for i, point in enumerate(points, 1)]
        labels = tuple(str(point.get("label", "")) for point in points)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: cannot be read as Slicer's markups ({type(error).__name__}: {error})"
        ) from None
    places = _numbers(path, lines, "point")

    def text_of(moved: np.ndarray) -> str:
        changed = copy.deepcopy(content)
        for markup in changed["markups"]:
            markup.pop("measurements", None)
        for (_, point), system, place in zip(_control_points(changed), systems, moved, strict=True):
            point["position"] = [round(value, 6) for value in system(place).tolist()]
        return json.dumps(changed, indent=4) + "\n"

    world = [system(place) for system, place in zip(systems, places, strict=True)]
    return PointFile(np.reshape(world, (-1, 3)), labels, text_of)


def _control_points(content: Any) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Every point that has a place, with its markup."""
    return [
        (markup, point)
        for markup in content["markups"]
        for point in markup["controlPoints"]
        if point.get("positionStatus", "defined") != "undefined"
    ]


_READERS: dict[str, Callable[[Path], PointFile]] = {
    ".csv": _read_csv,
    ".fcsv": _read_fcsv,
    ".json": _read_markups,
}


def _system(path: Path, name: str | None) -> AffineMap:
    """A file's coordinates to RAS+, and back."""
    if name not in _SYSTEMS:
        raise InputError(f"{path}: its coordinates are {name or 'not named'}, expected RAS or LPS")
    return _SYSTEMS[name]


def _numbers(path: Path, lines: Sequence[tuple[int, Sequence[Any]]], place: str = "line") -> np.ndarray:
    """Coordinates (n, 3) of numbered lines; a third one that is not there is 0."""
    points = np.zeros((len(lines), 3))
    for point, (number, cells) in zip(points, lines, strict=True):
        try:
            values = [float(cell) for cell in cells]
        except (TypeError, ValueError):
            values = []
        if len(values) not in (2, 3) or not all(map(math.isfinite, values)):
            raise InputError(f"{path}: {place} {number} has no coordinates but {', '.join(map(str, cells))}")
        point[: len(values)] = values
    return points


def _shown(point: np.ndarray) -> list[str]:
    return [f"{value:.6f}" for value in point]


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
