"""Subjects on disk, and a cache of them that is ready to train on.

A subject is a pair, co-registered or not, or the phases of a beating heart. Its images are read, resampled and
normalised once and kept as an uncompressed ``SUBJECT-KIND-STATE.npz`` in the cache folder: KIND is a hash of the
files' places and of everything in the config that shapes the arrays, STATE one of the files' sizes and times of
change. A changed input or setting therefore misses the cache, and of a KIND the last STATE alone is kept.

Several processes may share a folder: a copy appears whole, and one that is gone or damaged is made anew.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.data.alignment import doubt_alignment
from fire_tf.data.deformations import extreme_points
from fire_tf.data.unaligned import prepare_unaligned
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, write_file
from fire_tf.files.stored_arrays import StoredArray
from fire_tf.geometry.canvas import canvas_grid, resample
from fire_tf.geometry.images import Image, grid_difference, read_frames, read_image
from fire_tf.geometry.nifti import open_image
from fire_tf.geometry.stacks import slices_last
from fire_tf.intensities.grey_values import NO_AIR, foreground, normalise
from fire_tf.sources.find import find_subjects
from fire_tf.sources.subjects import SubjectFiles

_FORMAT = 3  # raise when the arrays of a cached subject come to mean something else


@dataclass(frozen=True)
class SubjectArrays:
    """A prepared subject: s samples, the slices that hold enough tissue in 2D, the one volume in 3D.

    a, b: (s, *canvas) float16 in [-1, 1], background -1. labels: (s, *canvas) unsigned, or None (always for
    unaligned images, which do not share any). phases: (s, p, *canvas) as a and b, every phase of a beat, or None.
    slices: (s,) index of each slice in the RAS volume (0 in 3D). affine: (4, 4), voxel of the canvas (and
    slice) of a -> world mm, RAS+. spacing: (n,) mm. extent: (s, k, n) float32, the points of a sample's object that
    lie farthest in k directions, in centred voxel coordinates of the canvas.
    """

    subject: str
    a: np.ndarray
    b: np.ndarray
    labels: np.ndarray | None
    phases: np.ndarray | None
    slices: np.ndarray
    affine: np.ndarray
    spacing: np.ndarray
    extent: np.ndarray


@dataclass(frozen=True)
class StoredSubject:
    """A prepared subject in the cache. ``images``: its a and b, each (s, *canvas), or its phases (s, p, *canvas)
    alone; ``extent``: as in `SubjectArrays`."""

    images: tuple[StoredArray, ...]
    extent: np.ndarray

    @property
    def images_a_sample(self) -> int:
        """2, or the number of phases."""
        return len(self.images) if len(self.images) > 1 else self.images[0].shape[1]


def load_split(config: DataConfig, split: str) -> list[SubjectArrays]:
    """All prepared subjects of a split, from the cache where it is up to date.

    Raises InputError for a missing or unreadable file, and for a split without samples.
    """
    return _split(config, split, load_subject)


def store_split(config: DataConfig, split: str) -> list[StoredSubject]:
    """The same in the cache, without their images in memory."""
    return _split(config, split, _store_subject)


_Subject = TypeVar("_Subject", SubjectArrays, StoredSubject)


def _split(
    config: DataConfig, split: str, subject: Callable[[DataConfig, SubjectFiles], _Subject]
) -> list[_Subject]:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    subjects = [subject(config, files) for files in find_subjects(config)[split]]
    if not any(len(subject.extent) for subject in subjects):
        where = config.manifest if config.source == "manifest" else config.root or config.source
        cause = "no image with enough tissue (data.min_tissue)" if subjects else "no subject"
        raise InputError(f"{where}: the split {split!r} holds {cause}")
    return subjects


def load_subject(config: DataConfig, files: SubjectFiles) -> SubjectArrays:
    """One prepared subject, from the cache or, where there is none that is up to date, from its files."""
    cached = _place(config, files)
    arrays = _stored(cached) or _make(config, files, cached)
    labels, phases = arrays.pop("labels", None), arrays.pop("phases", None)
    return SubjectArrays(subject=files.subject, labels=labels, phases=phases, **arrays)


def _store_subject(config: DataConfig, files: SubjectFiles) -> StoredSubject:
    cached = _place(config, files)
    found = _opened(cached)
    if found is None:
        _make(config, files, cached)
        found = _opened(cached)
    if found is None:
        raise InputError(f"{cached}: was taken away as soon as it was written")
    return found


def _place(config: DataConfig, files: SubjectFiles) -> Path:
    """The file in the cache that a subject has, or is to have, as its own files are now."""
    kind = f"{files.subject.replace('/', '_')}-{_hash(_settings(config, files))}"
    return Path(config.cache) / f"{kind}-{_hash(_stamps(files))}.npz"


def _make(config: DataConfig, files: SubjectFiles, cached: Path) -> dict[str, np.ndarray]:
    """Prepare a subject and put it into the cache."""
    check_writable(cached.parent)
    each_alone = config.pairing == "unaligned" and not config.cine
    fresh = prepare_unaligned(config, files) if each_alone else _prepare(config, files)
    images = fresh["phases"] if "phases" in fresh else np.stack([fresh["a"], fresh["b"]], axis=1)
    extent = [extreme_points((sample > NO_AIR).any(axis=0)) for sample in images]
    shape = extreme_points(np.zeros(config.canvas, bool)).shape  # also without any sample
    fresh["extent"] = np.array(extent, np.float32).reshape(len(images), *shape)
    # Another process may have stored what the files hold now: nothing that is older may take its place.
    if _place(config, files) != cached:
        raise InputError(f"{files.a}: it, or a file that belongs to it, changed while it was read")
    in_order = {name: np.ascontiguousarray(array) for name, array in fresh.items()}
    write_file(cached, lambda beside: np.savez(beside, **in_order))
    kind = cached.stem.rpartition("-")[0]
    for outdated in set(cached.parent.glob(f"{escape(kind)}-*.npz")) - {cached}:
        outdated.unlink(missing_ok=True)
    if config.pairing == "registered":
        doubt_alignment(fresh["a"], fresh["b"], files)
    return fresh


def _opened(path: Path) -> StoredSubject | None:
    """Where in a file of the cache its arrays are; None where it is not there (any more), or damaged."""
    try:
        with np.load(path) as stored:
            extent = stored["extent"]
            names = ("phases",) if "phases" in stored else ("a", "b")
            return StoredSubject(tuple(StoredArray.found(path, name) for name in names), extent)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None


def _stored(path: Path) -> dict[str, np.ndarray] | None:
    """What a file of the cache holds; None where it is not there (any more), or damaged."""
    try:
        with path.open("rb") as stream, np.load(stream) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
        return None


def _settings(config: DataConfig, files: SubjectFiles) -> list:
    """What shapes the arrays, and which files they are made of: two data sets may share a cache and names."""
    shaped = [config.canvas, config.spacing, config.min_tissue, config.percentile, config.slice_axis]
    names = [config.modality_a, config.modality_b, config.labels, config.pairing]
    return [
        _FORMAT,
        *shaped,
        *names,
        files.subject,
        [path and str(path.resolve()) for path in _inputs(files)],
    ]


def _inputs(files: SubjectFiles) -> list[Path | None]:
    return [files.a, files.b, files.labels, files.phases]


def _stamps(files: SubjectFiles) -> list:
    """Size and time of change of every file that is read: an image may have its header in one of its own."""
    opened = [open_image(path) for path in _inputs(files) if path is not None]
    parts = [Path(part.filename or "") for image in opened for part in image.file_map.values()]
    found = {str(part): part.stat() for part in parts if part.is_file()}
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found.items()]


def _hash(value: list) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _prepare(config: DataConfig, files: SubjectFiles) -> dict[str, np.ndarray]:
    """All images and the labels on one canvas: that of the first image."""
    first, second = as_read = read_image(files.a).cleared(), read_image(files.b).cleared()
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

    a, b = on_canvas(first), on_canvas(second)
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
        labels = read_image(files.labels, labels=True)
        if all(faults := [grid_difference(labels, image) for image in as_read]):
            raise InputError(f"{labels.path}: {faults[0]}")
        arrays["labels"] = samples(resample(labels, affine, shape, nearest=True))
    if files.phases is not None:
        frames = (frame.cleared() for frame in read_frames(files.phases))
        arrays["phases"] = np.stack([normalised(on_canvas(frame)) for frame in frames], axis=1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[:n]
    return {**arrays, "slices": slices, "affine": affine, "spacing": spacing}
