"""Images read between their voxels, in the ways that users choose among (`fire_tf.geometry.names.INTERPOLATIONS`).

==============  ====================================================================================================
linear          float32; voxels that are not finite are read where they are nearest
nearest         keeps the type
cubic           cubic B-splines through the voxels (float32), which may go beyond their values; holes as in linear
label-gaussian  keeps the type and makes no new value: each voxel around a point votes for its label by a Gaussian of
                its distance (of `SIGMA` voxels), and the label of most votes wins, of two the smaller one
==============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from scipy.ndimage import distance_transform_edt

from fire_tf.geometry.reading import cubic_reader, pull, pull_around_holes

SIGMA = 0.45
_ALIKE = 1e-9  # votes, of which a voxel has one at most

KEEPING_TYPE = ("nearest", "label-gaussian")
"""The interpolations that make no new value."""

PointReader = Callable[[np.ndarray], np.ndarray]


def reader_of(image: np.ndarray, interpolation: str, outside: float = 0.0) -> PointReader:
    """``image`` (*shape) as a function of points (..., n) in voxels; beyond its grid the value is ``outside``."""
    if interpolation == "nearest":
        return partial(pull, image, nearest=True, outside=outside)
    if interpolation == "label-gaussian":
        return partial(_vote, image, outside=outside)
    if interpolation == "cubic":
        return _cubic_around_holes(image.astype(np.float32, copy=False), outside)
    return lambda points: pull_around_holes(image, points, outside)


def _cubic_around_holes(image: np.ndarray, outside: float) -> PointReader:
    """A spline goes through every voxel: holes take the value of the nearest voxel, and are holes again afterwards."""
    holes = ~np.isfinite(image)
    if not holes.any():
        return cubic_reader(image, outside)
    if holes.all():
        return partial(pull, image, nearest=True, outside=outside)
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    smooth = cubic_reader(image[tuple(nearest)], outside)

    def read(points: np.ndarray) -> np.ndarray:
        original = pull(image, points, nearest=True, outside=outside)
        return np.where(np.isfinite(original), smooth(points), original)

    return read


def _vote(image: np.ndarray, points: np.ndarray, outside: float) -> np.ndarray:
    """The label around each point with most votes of the voxels at the corners of its cell."""
    flat = points.reshape(-1, image.ndim)
    last = np.asarray(image.shape) - 1
    inside = np.clip(flat, 0, last)
    low = np.minimum(np.floor(inside).astype(np.int64), np.maximum(last - 1, 0))
    corners = np.array(list(product((0, 1), repeat=image.ndim)))
    labels = np.stack([image[tuple(np.minimum(low + corner, last).T)] for corner in corners])
    found = labels[0].copy()
    border = np.flatnonzero((labels != labels[0]).any(axis=0))
    distances = (inside - low)[border] - corners[:, np.newaxis]
    votes = np.exp(-(distances**2).sum(axis=-1) / (2 * SIGMA**2))
    found[border] = _elected(labels[:, border], votes)
    if image.dtype.kind == "f":  # NaN is no label, and votes for none
        nearest = pull(image, flat, nearest=True)
        found = np.where(np.isfinite(nearest), found, nearest)
    beyond = ((flat < -0.5) | (flat >= last + 0.5)).any(axis=-1)
    found[beyond] = np.asarray(outside, image.dtype)
    return found.reshape(points.shape[:-1])


def _elected(labels: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Of labels and votes (corners, m) the label (m,) with the largest sum; the smaller one of two alike."""
    best, most = labels[0].copy(), np.full(labels.shape[1], -1.0)
    for label in labels:
        total = np.where(labels == label, votes, 0).sum(axis=0)
        better = (total > most + _ALIKE) | ((total > most - _ALIKE) & (label < best))
        best[better], most[better] = label[better], total[better]
    return best
