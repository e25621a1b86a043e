"""Pairs to be measured on, drawn: subjects of a split whose moving image gets a seeded random deformation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fire_tf.config.schema import Config, Split
from fire_tf.data.dataset import Sample, load_subjects
from fire_tf.data.deformations import draw_map
from fire_tf.data.label_maps import LabelMaps
from fire_tf.evaluation.pairs import Pair
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import InverseMap, PointMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND


def label_maps(config: Config, split: Split) -> Iterator[LabelMaps]:
    """Those of everything that pairs are drawn from; raises InputError for an image without."""
    for sample in _registered_samples(config, split):
        if sample.labels is None:
            raise InputError(f"{sample.name}: has no label map, so there is nothing to score")
        yield LabelMaps(sample.name, sample.labels, sample.labels)


def draw_pairs(config: Config, split: Split, count: int, seed: int, moving_modality: str) -> Iterator[Pair]:
    """``count`` pairs, the subjects of the split in turn, a random slice of theirs in 2D.

    Pair i depends on (seed, i) alone; the level of all is called ``drawn``. Raises InputError where the split
    is empty, has no labels, or has unaligned images, whose true map nobody knows.
    """
    samples = _registered_samples(config, split)
    subjects = sorted({sample.subject for sample in samples})
    if not subjects:
        raise InputError(f"split {split}: the config names no subject for it")
    for index in range(count):
        subject = subjects[index % len(subjects)]
        candidates = [sample for sample in samples if sample.subject == subject]
        sample = candidates[np.random.default_rng([seed, index]).integers(len(candidates))]
        if sample.labels is None:
            raise InputError(f"{sample.name}: has no label map, so there is nothing to score")
        moves_a = moving_modality == config.data.modality_a
        original, fixed = (sample.a, sample.b) if moves_a else (sample.b, sample.a)
        to_fixed = draw_map(config.deformation, original, (seed, index))
        name = f"{sample.name} #{index}"
        moving, moving_labels = _deform(original, sample.labels, to_fixed)
        yield Pair(
            name=name,
            level="drawn",
            subject=sample.subject,
            moving=_as_image(moving, sample.spacing, f"{name}, moving"),
            fixed=_as_image(fixed, sample.spacing, f"{name}, fixed"),
            moving_labels=moving_labels,
            fixed_labels=sample.labels,
            true_to_fixed=to_fixed,
            true_to_moving=InverseMap(to_fixed, to_fixed.affine),
        )


def _registered_samples(config: Config, split: Split) -> list[Sample]:
    if config.data.pairing == "unaligned":
        raise InputError(
            f"config {config.name}: pairs are drawn from registered images, and these are unaligned (data.pairing)"
        )
    return load_subjects(config.data, split)


def _deform(image: np.ndarray, labels: np.ndarray, to_fixed: PointMap) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels (*canvas), each read once through the map."""
    positions = to_fixed(grid_points(image.shape))
    return pull(image, positions, outside=BACKGROUND), pull(labels, positions, nearest=True)


def _as_image(data: np.ndarray, spacing: Sequence[float], name: str) -> Image:
    volume = data.astype(np.float32).reshape((*data.shape, 1)[:3])
    return Image(volume, np.diag([*(*spacing, 1.0)[:3], 1.0]), name)
