"""Pairs of images in a BIDS dataset, by their names.

    DIR/sub-LABEL/[ses-LABEL/]DATATYPE/sub-LABEL[_ses-LABEL][_ENTITY-LABEL ...]_SUFFIX.nii.gz (or .nii)

Which two belong together: see `find_pairs`. Names are all that is looked at, so that a dataset is read too whose files
are links to what is not here yet (DataLad).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fire_tf.bids.names import BidsImage, Selector, parse_name
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError, nearest

DESCRIPTION = "dataset_description.json"
_EXTENSIONS = (".nii.gz", ".nii")
_FOLDERS = ("*", "ses-*/*")  # of a participant: datatypes, of sessions where there are any


class Pair(NamedTuple):
    """Two images of one participant."""

    first: BidsImage
    second: BidsImage


def participants(root: Path) -> dict[str, Path]:
    """The folders of a dataset's participants by name, ``sub-01``.

    Raises InputError where there is no dataset, and casts a doubt of one that has no description.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    found = {path.name: path for path in sorted(root.glob("sub-*")) if path.is_dir()}
    if not found:
        raise InputError(f"{root}: is no BIDS dataset, it holds no folder sub-LABEL")
    if not (root / DESCRIPTION).is_file():
        cast_doubt(f"{root}: holds no {DESCRIPTION}, which BIDS asks for")
    return found


def chosen(found: Mapping[str, Path], names: Iterable[str], root: Path) -> dict[str, Path]:
    """The participants of these names, given with ``sub-`` or without; raises InputError for one that is not there."""
    wanted = [participant(name) for name in names]
    for name in wanted:
        if name not in found:
            raise InputError(f"{root}: holds no participant {name!r}; nearest found: {nearest(name, found)}")
    return {name: folder for name, folder in found.items() if name in wanted}


def participant(name: str) -> str:
    """The name of a participant, given with ``sub-`` or without."""
    return f"sub-{name.removeprefix('sub-')}"


def find_pairs(root: Path, folders: Mapping[str, Path], first: Selector, second: Selector) -> list[Pair]:
    """The pairs of ``first`` and ``second`` of participants, in the order of their names.

    Two images are a pair if they are the only ones of their kind in a session (or of a participant without sessions),
    or, where there are several, if all entities that the selectors leave open are the same: ``run-1`` with ``run-1``.
    Whatever finds no partner so is named in a doubt and left out.

    Raises InputError where there is no pair at all.
    """
    pairs: list[Pair] = []
    for name, folder in folders.items():
        images = list(images_of(name, folder, root))
        sessions = _by_session(images, first, second)
        if not sessions:
            cast_doubt(
                f"{folder}: left out, it holds no {first} and no {second}{_instead(images, first, second)}"
            )
        for ones, twos in sessions.values():
            found = partners(ones, twos, first, second)
            alone = [image for image in (*ones, *twos) if not any(image in pair for pair in found)]
            pairs += found
            if alone:
                cast_doubt(_left_out(alone, images, first, second))
    if not pairs:
        raise InputError(f"{root}: holds no pair of {first} and {second}")
    return pairs


def labels_of(
    root: Path, folders: Mapping[str, Path], images: Selector, labels: Selector
) -> dict[Path, Path]:
    """The label map of each of the participants' images that has one, by the rule of `find_pairs`."""
    found: dict[Path, Path] = {}
    for name, folder in folders.items():
        for ones, twos in _by_session(images_of(name, folder, root), images, labels).values():
            found.update((one.path, two.path) for one, two in partners(ones, twos, images, labels))
    return found


def images_of(name: str, folder: Path, root: Path) -> Iterator[BidsImage]:
    """All images of a participant."""
    for pattern in _FOLDERS:
        for path in sorted(folder.glob(f"{pattern}/{name}_*")):
            extension = next((ending for ending in _EXTENSIONS if path.name.endswith(ending)), "")
            parsed = parse_name(path.name.removesuffix(extension)) if extension else None
            if parsed:
                yield BidsImage(path, path.parent.relative_to(root), *parsed)


def partners(
    ones: Sequence[BidsImage], twos: Sequence[BidsImage], first: Selector, second: Selector
) -> list[Pair]:
    """The pairs among the images of one session that two selectors take, by the rule of `find_pairs`."""
    if len(ones) == len(twos) == 1:
        return [Pair(ones[0], twos[0])]
    pairs = []
    for one in ones:
        like = [other for other in ones if first.others(other) == first.others(one)]
        same = [two for two in twos if second.others(two) == first.others(one)]
        if len(like) == len(same) == 1:  # more would be a .nii beside a .nii.gz of one name
            pairs.append(Pair(one, same[0]))
    return pairs


def _by_session(
    images: Iterable[BidsImage], first: Selector, second: Selector
) -> dict[str, tuple[list[BidsImage], list[BidsImage]]]:
    sessions: dict[str, tuple[list[BidsImage], list[BidsImage]]] = defaultdict(lambda: ([], []))
    for image in images:
        for place, selector in enumerate((first, second)):
            if selector.takes(image):
                sessions[selector.others(image).get("ses", "")][place].append(image)
    return sessions


def _left_out(
    alone: Sequence[BidsImage], images: Sequence[BidsImage], first: Selector, second: Selector
) -> str:
    names = ", ".join(image.path.name for image in alone)
    absent = [selector for selector in (first, second) if not any(map(selector.takes, alone))]
    folder = alone[0].path.parent
    if absent:
        return f"{folder}: {names} left out, it holds no {absent[0]} for it{_instead(images, *absent)}"
    return (
        f"{folder}: {names} left out, their names do not tell which belong together; say it by entities, as in "
        f"run-1_{first.suffix}"
    )


def _instead(images: Sequence[BidsImage], *absent: Selector) -> str:
    """What there is of the suffix that is wanted, under other names."""
    suffixes = {selector.suffix for selector in absent}
    names = [image.path.name for image in images if image.suffix in suffixes]
    return f" (there is {', '.join(names)})" if names else ""
