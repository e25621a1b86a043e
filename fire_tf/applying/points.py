"""Points moved from one image to the other, and how far from given targets they end (TRE).

Transforms pull images back: that of the moving image, warped onto the fixed one, takes points of the fixed image to the
moving one. So points of the moving image go through the inverse, which a registration has written beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fire_tf.applying.point_files import PointFile, read_points
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, write_file
from fire_tf.files.paths import check_apart, expanded, user_path
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import Chain, PointMap
from fire_tf.transforms.readers import read_chain, split_name

FIELDS = {"fixed": "CompositeWarp.nii.gz", "moving": "InverseCompositeWarp.nii.gz"}
"""By the image that points are given in: the field of a registration that takes them to the other one."""


@dataclass(frozen=True)
class Movement:
    """A map of world points (RAS+ mm), which points it takes to which image in words, and the files that it is of."""

    world_map: PointMap
    what: str
    files: tuple[Path, ...]


def movement_of(prefix: str, given_in: str, kind: str | None = None) -> Movement:
    """What takes points of the image ``given_in`` ("moving" or "fixed") of a registration to the other one.

    Raises InputError where the registration's fields are not there, or cannot be read.
    """
    paths = {image: Path(expanded(prefix) + name) for image, name in FIELDS.items()}
    other = "fixed" if given_in == "moving" else "moving"
    chain = read_chain([paths[given_in]], kind)
    # A field lies on the grid of the image whose points it takes: the other field's grid is the other image's.
    world_map = chain.world_map(source=read_grid(paths[other]))
    what = f"points of the {given_in} image, moved to the {other} one by {paths[given_in]}"
    return Movement(world_map, what, tuple(paths.values()))


def movement_by(
    named: Sequence[str], kind: str | None = None, source: Grid | None = None, target: Grid | None = None
) -> Movement:
    """What transforms do to points: `read_chain`'s pull-back, from the fixed image to the moving one."""
    what = f"points of the fixed image, pulled back to the moving one by {', then '.join(map(str, named))}"
    world_map = read_chain(named, kind).world_map(source, target)
    return Movement(world_map, what, tuple(split_name(text)[0] for text in named))


def move_points(world_map: PointMap, points: np.ndarray, name: str = "the points") -> np.ndarray:
    """Points (n, 3) in world mm (RAS+) through a map; a `Doubt` tells of those that lie outside of a field.

    Raises InputError where a point has no place under an inverse.
    """
    outside = np.zeros(len(points), bool)
    for step in world_map.maps if isinstance(world_map, Chain) else (world_map,):
        if hasattr(step, "covers"):
            outside |= ~step.covers(points)
        points = step(points)
        lost = np.flatnonzero(~np.isfinite(points).all(axis=-1))
        if len(lost):
            raise InputError(f"{name}: point {lost[0] + 1} cannot be moved, the inverse is not found there")
    if outside.any():
        numbers = ", ".join(str(number + 1) for number in np.flatnonzero(outside)[:10])
        cast_doubt(
            f"{name}: {outside.sum()} points lie outside the field, whose edge moves them: number {numbers}"
        )
    return points


def move_point_file(path: Path, output: Path, movement: Movement, targets: Path | None = None) -> list[str]:
    """Move the points of a file into another one of the same format; returns what is to be said of it, in lines.

    ``targets`` is a file of the places where the points should come to lie.

    Raises InputError for files that cannot be read or written, and for other numbers of points and targets.
    """
    path, output = user_path(path), user_path(output)
    if output.suffix.lower() != path.suffix.lower():
        raise InputError(f"{output}: points are written in the format that they come in ({path.suffix})")
    check_apart([output], [path, *movement.files, *([targets] if targets else [])])
    check_writable(output.parent)
    given = read_points(path)
    moved = move_points(movement.world_map, given.points, str(path))
    lines = [f"{len(moved)} {movement.what}"]
    if targets is not None:
        lines += _target_errors(given, moved, targets, str(path))
    text = given.text_of(moved)
    write_file(output, lambda beside: beside.write_text(text, encoding="utf-8"))
    return [str(output), *lines]


def _target_errors(given: PointFile, moved: np.ndarray, targets: Path, name: str) -> list[str]:
    """The target registration error after and before, in a line."""
    aims = read_points(targets)
    if len(aims.points) != len(moved):
        raise InputError(f"{targets}: holds {len(aims.points)} points, {name} {len(moved)}")
    by_label = len(set(given.labels)) == len(moved) and set(given.labels) == set(aims.labels)
    order = [aims.labels.index(label) for label in given.labels] if by_label else slice(None)
    after, before = (np.linalg.norm(points - aims.points[order], axis=-1) for points in (moved, given.points))
    pairing = "by label" if by_label else "in the files' order"
    return [f"TRE ({pairing}): {_summary(after)}; before: {_summary(before)}"]


def _summary(errors: np.ndarray) -> str:
    return f"mean {errors.mean():.2f} mm, median {np.median(errors):.2f}, largest {errors.max():.2f}"
