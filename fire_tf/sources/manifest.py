"""A CSV table of subjects: columns subject and split, and one of paths for each of modality_a, modality_b and labels.

Of unaligned pairs the columns labels_a and labels_b may have empty cells. A row may be a pair of single slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.files.tables import read_table
from fire_tf.sources.subjects import SubjectFiles


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split in the order of the manifest; raises InputError, naming file and line."""
    path = Path(str(config.manifest))
    if not path.is_file():
        raise InputError(f"{path}: no such file (data.manifest)")
    root = Path(config.root) if config.root else path.parent
    table = read_table(path)
    columns = ["subject", config.modality_a, config.modality_b] + ([config.labels] if config.labels else [])
    if not any(config.split.values()):
        columns.append("split")
    own = [column for column in (config.labels_a, config.labels_b) if column]
    missing = [column for column in columns + own if column not in table.columns]
    if missing or not table.rows:
        raise InputError(f"{path}: has no column {', '.join(missing)}" if missing else f"{path}: has no rows")
    result: dict[str, list[SubjectFiles]] = {name: [] for name in SPLITS}
    for number, row in table.rows:
        if empty := [column for column in columns if not row[column]]:
            raise InputError(f"{path}: line {number} has nothing in column {', '.join(empty)}")
        name = _split_of(row, config, f"{path}: line {number}")
        if name is not None:
            result[name].append(_manifest_row(row, root, config))
    return _without_repeats(result, path)


def _split_of(row: Mapping[str, str], config: DataConfig, place: str) -> str | None:
    """The config's split decides where it names subjects (others are left out), else the row's own column."""
    if any(config.split.values()):
        return next((name for name in SPLITS if row["subject"] in config.split.get(name, ())), None)
    if row["split"] not in SPLITS:
        raise InputError(f"{place}: split is {row['split']!r}, expected one of {', '.join(SPLITS)}")
    return row["split"]


def _manifest_row(row: Mapping[str, str], root: Path, config: DataConfig) -> SubjectFiles:
    a, b = (root / user_path(row[modality]) for modality in (config.modality_a, config.modality_b))
    maps = (config.labels, config.labels_a, config.labels_b)
    labels, *own = (root / user_path(row[name]) if name and row[name] else None for name in maps)
    return SubjectFiles(row["subject"], a, b, labels, (own[0], own[1]))


def _without_repeats(found: dict[str, list[SubjectFiles]], path: Path) -> dict[str, list[SubjectFiles]]:
    names = [files.subject for subjects in found.values() for files in subjects]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: subject {repeated[0]!r} stands in more than one line")
    return found
