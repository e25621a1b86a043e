"""A folder for each subject, a file for each modality: ``ROOT/sub-01/T1.nii.gz``."""

from __future__ import annotations

from pathlib import Path

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.files.errors import InputError
from fire_tf.sources.subjects import Splits, SubjectFiles, nifti_path, split_by_order


def find_subjects(config: DataConfig, root: Path | None = None) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split in ``root`` (default: ``data.root``); without a split of the config in order.

    Raises InputError, naming the folder, for what is missing.
    """
    root = Path(str(config.root)) if root is None else root
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    split: Splits = config.split
    if not any(split.values()):
        split = split_by_order(_subjects(root, config), root)
    return {name: [_folder(root / subject, config) for subject in split.get(name, ())] for name in SPLITS}


def _subjects(root: Path, config: DataConfig) -> list[str]:
    """The folders that hold one of the images, complete or not: others (derivatives, .git) are no subjects."""
    images = (config.modality_a, config.modality_b)
    found = [
        path.name
        for path in sorted(root.iterdir())
        if any(nifti_path(path, name).is_file() for name in images)
    ]
    if not found:
        raise InputError(
            f"{root}: holds no folder with {' or '.join(f'{name}.nii.gz' for name in images)} (data.root)"
        )
    return [name for name in found if not name.startswith(".")]


def _folder(folder: Path, config: DataConfig) -> SubjectFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, but {folder.name!r} is in data.split")
    a, b = (nifti_path(folder, modality) for modality in (config.modality_a, config.modality_b))
    maps = (config.labels, config.labels_a, config.labels_b)
    labels, *own = (nifti_path(folder, name) if name else None for name in maps)
    return SubjectFiles(folder.name, a, b, labels, (own[0], own[1]))
