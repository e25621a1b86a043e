"""Subjects on disk, and a cache of them that is ready to train on.

A subject is one co-registered pair, or the phases of a beating heart. Its images are read, resampled and
normalised once and kept as an uncompressed ``SUBJECT-SETTINGS-INPUTS.npz`` in the cache folder: SETTINGS is a
hash of everything in the config that shapes the arrays, INPUTS one of the files' paths, sizes and times of
change. A changed input or setting therefore misses the cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.data.sources.find import find_subjects
from fire_tf.data.subjects import SubjectFiles
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_file
from fire_tf.geometry.canvas import canvas_grid, resample
from fire_tf.geometry.images import Image, read_frames, read_image
from fire_tf.geometry.stacks import slices_last
from fire_tf.intensities.grey_values import foreground, normalise

_FORMAT = 2  # raise when the arrays of a cached subject come to mean something else


@dataclass(frozen=True)
class SubjectArrays:
    """A prepared subject: s samples, the slices that hold enough tissue in 2D, the one volume in 3D.

    a, b: (s, *canvas) float16 in [-1, 1], background -1. labels: (s, *canvas) unsigned, or None (always for a
    cine, whose images do not share any). phases: (s, p, *canvas) as a and b, every phase of a beat, or None.
    slices: (s,) index of each slice in the RAS volume (0 in 3D). affine: (4, 4), voxel of the canvas (and
    slice) -> world mm, RAS+. spacing: (n,) mm.
    """

    subject: str
    a: np.ndarray
    b: np.ndarray
    labels: np.ndarray | None
    phases: np.ndarray | None
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


def load_subject(config: DataConfig, files: SubjectFiles) -> SubjectArrays:
    """One prepared subject, from the cache or, where there is none that is up to date, from its files."""
    settings, inputs = _hash(_settings(config)), _hash(_stamps(files))
    folder = Path(config.cache)
    name = files.subject.replace("/", "_")
    cached = folder / f"{name}-{settings}-{inputs}.npz"
    if not cached.is_file():
        arrays = _prepare(config, files)
        write_file(cached, lambda beside: np.savez(beside, **arrays))
        # Never the current one: another process may have written it too, and be about to read it.
        for outdated in set(folder.glob(f"{name}-{settings}-*.npz")) - {cached}:
            outdated.unlink(missing_ok=True)
    with np.load(cached) as stored:
        arrays = dict(stored)
    labels, phases = arrays.pop("labels", None), arrays.pop("phases", None)
    return SubjectArrays(subject=files.subject, labels=labels, phases=phases, **arrays)


def _settings(config: DataConfig) -> list:
    return [_FORMAT, config.canvas, config.spacing, config.min_tissue, config.percentile, config.slice_axis]


def _stamps(files: SubjectFiles) -> list:
    stamps: list[list | None] = []
    for path in (files.a, files.b, files.labels, *([files.phases] if files.phases else [])):
        if path is None:
            stamps.append(None)
            continue
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        stamps.append([str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns])
    return stamps


def _hash(value: list) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _prepare(config: DataConfig, files: SubjectFiles) -> dict[str, np.ndarray]:
    """All images and the labels on one canvas: that of the first image."""
    first = read_image(files.a).cleared()
    if config.slice_axis == "thickest":
        first = slices_last(first)
    if len(config.canvas) == 3 and first.data.shape[2] == 1:
        raise InputError(f"{files.a}: is a single slice, expected a volume (data.ndim is 3)")
    affine, shape = canvas_grid(first, config.spacing, config.canvas)

    def on_canvas(image: Image) -> np.ndarray:
        volume = resample(image, affine, shape)
        if volume.min() == volume.max():
            raise InputError(f"{image.path}: nothing of it lies where {files.a} is")
        return volume

    a, b = on_canvas(first), on_canvas(read_image(files.b).cleared())
    n = len(config.canvas)
    slices = np.zeros(1, dtype=np.int64)
    if n == 2:
        tissue = foreground(a) & foreground(b)
        slices = np.flatnonzero(tissue.mean(axis=(0, 1)) >= config.min_tissue)

    def samples(volume: np.ndarray) -> np.ndarray:
        return np.moveaxis(volume[:, :, slices], 2, 0) if n == 2 else volume[np.newaxis]

    def normalised(volume: np.ndarray) -> np.ndarray:
        images = [normalise(image, config.percentile) for image in samples(volume)]
        return np.array(images, np.float16).reshape(len(slices), *config.canvas)  # also without any slice

    arrays = {"a": normalised(a), "b": normalised(b)}
    if files.labels is not None:
        labels = resample(read_image(files.labels, labels=True), affine, shape, nearest=True)
        arrays["labels"] = samples(labels)
    if files.phases is not None:
        frames = (frame.cleared() for frame in read_frames(files.phases))
        arrays["phases"] = np.stack([normalised(on_canvas(frame)) for frame in frames], axis=1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[:n]
    return {**arrays, "slices": slices, "affine": affine, "spacing": spacing}
