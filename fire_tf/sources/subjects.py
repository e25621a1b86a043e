"""What every source of images gives: the files of a subject, and the subjects of each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fire_tf.config.schema import SPLITS
from fire_tf.files.errors import InputError, nearest

Found = TypeVar("Found")
Splits = Mapping[str, Sequence[str]]
"""The names of the subjects of each split."""


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject: two images and what belongs to them.

    `labels` are valid for both of two co-registered images. Of unaligned ones each has `own_labels` on its own grid,
    where there are any. Of a beating heart, whose images are two phases, `phases` is the 4D file with every phase of
    the beat, or None where the two are all that there is.
    """

    subject: str
    a: Path
    b: Path
    labels: Path | None = None
    own_labels: tuple[Path | None, Path | None] = (None, None)
    phases: Path | None = None


def nifti_path(folder: Path, name: str) -> Path:
    """``name.nii`` if it is there, else ``name.nii.gz``, there or not."""
    plain = folder / f"{name}.nii"
    return plain if plain.is_file() else folder / f"{name}.nii.gz"


def split_found(found: Mapping[str, Found], split: Splits, root: Path) -> dict[str, dict[str, Found]]:
    """What was found in ``root``, by subject, of the subjects of every split.

    Raises InputError for a subject that was not found.
    """
    for name in (name for names in split.values() for name in names):
        if name not in found:
            hint = nearest(name, found)
            raise InputError(
                f"{root}: holds no subject {name!r}, which is in data.split; nearest found: {hint}"
            )
    return {part: {name: found[name] for name in split.get(part, ())} for part in SPLITS}


def split_by_order(subjects: Sequence[str], root: Path) -> dict[str, Sequence[str]]:
    """The last fifth tests, the fifth before it validates; raises InputError where there are too few in ``root``."""
    check_count(subjects, root)
    held_out = max(1, len(subjects) // 5)
    return {
        "train": subjects[: -2 * held_out],
        "validate": subjects[-2 * held_out : -held_out],
        "test": subjects[-held_out:],
    }


def check_count(subjects: Sequence[str], root: Path) -> None:
    """Raise InputError where there are too few subjects for each split to have one."""
    if len(subjects) < len(SPLITS):
        raise InputError(
            f"{root}: holds {len(subjects)} of the {len(SPLITS)} subjects that are needed at least, one each to train, "
            f"to validate and to test ({', '.join(subjects) or 'none'}); or say in data.split what each is for"
        )
