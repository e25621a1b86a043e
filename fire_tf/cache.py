"""Subjects on disk, and a cache of them that is ready to train on.

A subject is one co-registered pair. Its images are read, resampled and normalised once and kept as an
uncompressed ``SUBJECT-SETTINGS-INPUTS.npz`` in the cache folder: SETTINGS is a hash of everything in the
config that shapes the arrays, INPUTS one of the files' paths, sizes and times of change. A changed input or
setting therefore misses the cache.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fire_tf.config import DataConfig
from fire_tf.errors import InputError
from fire_tf.images import canvas_grid, foreground, normalise, read_image, resample
from fire_tf.phantom import DEFAULT_SHAPE, DEFAULT_SPACING, write_phantom

_FORMAT = 1  # raise when the arrays of a cached subject come to mean something else
SPLITS = ("train", "validate", "test")


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject; `labels` is valid for both images, or None."""

    subject: str
    a: Path
    b: Path
    labels: Path | None


@dataclass(frozen=True)
class SubjectArrays:
    """A prepared subject: s samples, the slices that hold enough tissue in 2D, the one volume in 3D.

    a, b: (s, *canvas) float16 in [-1, 1], background -1. labels: (s, *canvas) unsigned, or None.
    slices: (s,) index of each slice in the RAS volume (0 in 3D). affine: (4, 4), voxel of the canvas (and
    slice) -> world mm, RAS+. spacing: (n,) mm.
    """

    subject: str
    a: np.ndarray
    b: np.ndarray
    labels: np.ndarray | None
    slices: np.ndarray
    affine: np.ndarray
    spacing: np.ndarray


def load_split(config: DataConfig, split: str) -> list[SubjectArrays]:
    """All prepared subjects of a split, from the cache where it is up to date.

    Raises InputError for a missing or unreadable file, and for a split without samples.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    subjects = [load_subject(config, files) for files in find_subjects(config)[split]]
    if not any(len(subject.a) for subject in subjects):
        where = config.manifest if config.source == "manifest" else config.root or config.source
        cause = "no image with enough tissue (data.min_tissue)" if subjects else "no subject"
        raise InputError(f"{where}: the split {split!r} holds {cause}")
    return subjects


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split, in the order of the config or the manifest."""
    if config.source == "manifest":
        return _read_manifest(config)
    if config.source == "phantom":
        return _from_folders(_generate_phantom(config), config.split, config)
    return _from_folders(Path(str(config.root)), config.split, config)


def _from_folders(root: Path, split: Mapping, config: DataConfig) -> dict[str, list[SubjectFiles]]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (data.root)")
    if not any(split.values()):
        split = _split_by_order(sorted(path.name for path in root.iterdir() if path.is_dir()))
    return {name: [_folder(root / subject, config) for subject in split.get(name, ())] for name in SPLITS}


def _split_by_order(subjects: list[str]) -> dict[str, list[str]]:
    """Without a split in the config: the last fifth tests, the fifth before it validates."""
    held_out = max(1, len(subjects) // 5)
    return {
        "train": subjects[: -2 * held_out],
        "validate": subjects[-2 * held_out : -held_out],
        "test": subjects[-held_out:],
    }


def _folder(folder: Path, config: DataConfig) -> SubjectFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, but {folder.name!r} is in data.split")

    def image(name: str) -> Path:
        plain = folder / f"{name}.nii"
        return plain if plain.is_file() else folder / f"{name}.nii.gz"

    labels = image(config.labels) if config.labels else None
    return SubjectFiles(folder.name, image(config.modality_a), image(config.modality_b), labels)


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


def load_subject(config: DataConfig, files: SubjectFiles) -> SubjectArrays:
    """One prepared subject, from the cache or, where there is none that is up to date, from its files."""
    settings, inputs = _hash(_settings(config)), _hash(_stamps(files))
    folder = Path(config.cache)
    name = files.subject.replace(os.sep, "_")
    cached = folder / f"{name}-{settings}-{inputs}.npz"
    if not cached.is_file():
        arrays = _prepare(config, files)
        for outdated in folder.glob(f"{name}-{settings}-*.npz"):
            outdated.unlink()
        _write(cached, arrays)
    with np.load(cached) as stored:
        arrays = dict(stored)
    return SubjectArrays(subject=files.subject, labels=arrays.pop("labels", None), **arrays)


def _settings(config: DataConfig) -> list:
    return [_FORMAT, config.canvas, config.spacing, config.min_tissue, config.percentile]


def _stamps(files: SubjectFiles) -> list:
    stamps: list[list | None] = []
    for path in (files.a, files.b, files.labels):
        if path is None:
            stamps.append(None)
            continue
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        stamps.append([str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns])
    return stamps


def _hash(value: list) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _prepare(config: DataConfig, files: SubjectFiles) -> dict[str, np.ndarray]:
    """Both images and the labels on one canvas: that of the first image."""
    volumes, affine = _read_on_canvas(config, files)
    n = len(config.canvas)
    if n == 2:
        tissue = foreground(volumes["a"]) & foreground(volumes["b"])
        slices = np.flatnonzero(tissue.mean(axis=(0, 1)) >= config.min_tissue)
        samples = {name: [volume[:, :, index] for index in slices] for name, volume in volumes.items()}
    else:
        slices = np.zeros(1, dtype=np.int64)
        samples = {name: [volume] for name, volume in volumes.items()}
    for name in ("a", "b"):
        samples[name] = [normalise(image, config.percentile).astype(np.float16) for image in samples[name]]
    shape = (len(slices), *config.canvas)  # also of an empty list
    arrays = {name: np.array(images, volumes[name].dtype).reshape(shape) for name, images in samples.items()}
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[:n]
    return {**arrays, "slices": slices, "affine": affine, "spacing": spacing}


def _read_on_canvas(config: DataConfig, files: SubjectFiles) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`a`, `b` and, where there are any, `labels` as volumes on one grid, and its affine (4, 4)."""
    first = read_image(files.a)
    if len(config.canvas) == 3 and first.data.shape[2] == 1:
        raise InputError(f"{files.a}: is a single slice, expected a volume (data.ndim is 3)")
    affine, shape = canvas_grid(first, config.spacing, config.canvas)
    volumes = {"a": resample(first, affine, shape), "b": resample(read_image(files.b), affine, shape)}
    if volumes["b"].min() == volumes["b"].max():
        raise InputError(f"{files.b}: nothing of it lies where {files.a} is")
    if files.labels is not None:
        volumes["labels"] = resample(read_image(files.labels, labels=True), affine, shape, nearest=True)
    return volumes, affine
