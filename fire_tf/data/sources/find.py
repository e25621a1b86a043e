"""Where subjects come from: a module or a function for each value of ``data.source``."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.data.sources import acdc, mrbrains
from fire_tf.data.subjects import Splits, SubjectFiles, nifti_path, split_by_order
from fire_tf.files.errors import InputError
from fire_tf.phantom.heads import DEFAULT_SHAPE, DEFAULT_SPACING, write_phantom


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split, in the order of the config, the manifest or the source's own split.

    Raises InputError, naming the file or folder, for what is missing.
    """
    if config.source == "manifest":
        return _read_manifest(config)
    if config.source == "phantom":
        return _from_folders(_generate_phantom(config), config.split, config)
    if config.source == "mrbrains":
        return mrbrains.find_subjects(config)
    if config.source == "acdc":
        return acdc.find_subjects(config)
    return _from_folders(Path(str(config.root)), config.split, config)


def _from_folders(root: Path, split: Splits, config: DataConfig) -> dict[str, list[SubjectFiles]]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    if not any(split.values()):
        split = split_by_order(sorted(path.name for path in root.iterdir() if path.is_dir()))
    return {name: [_folder(root / subject, config) for subject in split.get(name, ())] for name in SPLITS}


def _folder(folder: Path, config: DataConfig) -> SubjectFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, but {folder.name!r} is in data.split")
    a, b = (nifti_path(folder, modality) for modality in (config.modality_a, config.modality_b))
    labels = nifti_path(folder, config.labels) if config.labels else None
    return SubjectFiles(folder.name, a, b, labels)


def _read_manifest(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """A CSV with columns subject and split, and one of paths for each of modality_a, modality_b, labels."""
    path = Path(str(config.manifest))
    if not path.is_file():
        raise InputError(f"{path}: no such file (data.manifest)")
    root = Path(config.root) if config.root else path.parent
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = ["subject", config.modality_a, config.modality_b] + ([config.labels] if config.labels else [])
    if not any(config.split.values()):
        columns.append("split")
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)} (or no rows)")
    result: dict[str, list[SubjectFiles]] = {name: [] for name in SPLITS}
    for number, row in enumerate(rows, start=2):
        if empty := [column for column in columns if not (row[column] or "").strip()]:
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
    labels = root / row[config.labels] if config.labels else None
    return SubjectFiles(row["subject"], root / row[config.modality_a], root / row[config.modality_b], labels)


def _without_repeats(found: dict[str, list[SubjectFiles]], path: Path) -> dict[str, list[SubjectFiles]]:
    names = [files.subject for subjects in found.values() for files in subjects]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: subject {repeated[0]!r} stands in more than one line")
    return found


def _generate_phantom(config: DataConfig) -> Path:
    """The folder of generated subjects at the config's spacing, written on first use."""
    spacing = (*config.spacing, config.spacing[0])[:3]
    extent = [size * DEFAULT_SPACING for size in DEFAULT_SHAPE]
    shape = [math.ceil(length / step) for length, step in zip(extent, spacing, strict=True)]
    grid = "x".join(map(str, shape)) + "-" + "x".join(f"{step:g}" for step in spacing)
    root = Path(config.cache) / f"phantom-{config.phantom_subjects}-{grid}"
    if not root.is_dir():
        write_phantom(root, config.phantom_subjects, shape=shape, spacing=spacing)
    return root
