"""A folder for each subject, a file for each modality: ``ROOT/sub-01/T1.nii.gz``."""

from __future__ import annotations

from pathlib import Path

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.data.subjects import Splits, SubjectFiles, nifti_path, split_by_order
from fire_tf.files.errors import InputError


def find_subjects(config: DataConfig, root: Path | None = None) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split in ``root`` (default: ``data.root``); without a split of the config in order.

    Raises InputError, naming the folder, for what is missing.
    """
    root = Path(str(config.root)) if root is None else root
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    split: Splits = config.split
    if not any(split.values()):
        split = split_by_order(sorted(path.name for path in root.iterdir() if path.is_dir()))
    return {name: [_folder(root / subject, config) for subject in split.get(name, ())] for name in SPLITS}


def _folder(folder: Path, config: DataConfig) -> SubjectFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, but {folder.name!r} is in data.split")
    a, b = (nifti_path(folder, modality) for modality in (config.modality_a, config.modality_b))
    labels = nifti_path(folder, config.labels) if config.labels else None
    return SubjectFiles(folder.name, a, b, labels)
