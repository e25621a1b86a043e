"""Pairs to be measured on, drawn: subjects of a split whose moving image gets a seeded random deformation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from fire_tf.config.schema import Config, DeformationConfig, Split
from fire_tf.data.dataset import load_subjects
from fire_tf.data.deformations import affine_matrix, draw_parameters, keep_inside, smooth_field
from fire_tf.evaluation.pairs import Pair
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    DisplacementMap,
    InverseMap,
    PointMap,
    grid_points,
)
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND, foreground


def draw_pairs(config: Config, split: Split, count: int, seed: int, moving_modality: str) -> Iterator[Pair]:
    """``count`` pairs, the subjects of the split in turn, a random slice of theirs in 2D.

    Pair i depends on (seed, i) alone; the level of all is called ``drawn``. Raises InputError where the split
    is empty or has no labels.
    """
    samples = load_subjects(config.data, split)
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


def _deform(image: np.ndarray, labels: np.ndarray, to_fixed: PointMap) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels (*canvas), each read once through the map."""
    positions = to_fixed(grid_points(image.shape))
    return pull(image, positions, outside=BACKGROUND), pull(labels, positions, nearest=True)


def draw_map(ranges: DeformationConfig, image: np.ndarray, seed: tuple[int, int]) -> AffineAfterDisplacement:
    """A random D(x) = A(x + u(x)) in voxels that keeps the brain of ``image`` (*canvas) on the canvas."""
    canvas = image.shape
    drawn = draw_parameters(ranges, canvas, tf.constant(seed, tf.int32))
    centre = (np.asarray(canvas) - 1) / 2
    tissue = tf.constant(np.argwhere(foreground(image)) - centre, tf.float32)
    affine = keep_inside(affine_matrix(drawn), tissue, canvas, drawn.peak)
    field = smooth_field(drawn.control, drawn.peak, canvas, ranges.control_points)
    return AffineAfterDisplacement(DisplacementMap(field.numpy()), AffineMap.centred(affine.numpy(), canvas))


def _as_image(data: np.ndarray, spacing: Sequence[float], name: str) -> Image:
    volume = data.astype(np.float32).reshape((*data.shape, 1)[:3])
    return Image(volume, np.diag([*(*spacing, 1.0)[:3], 1.0]), name)
