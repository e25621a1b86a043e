"""The canvas, the fixed grid that a model works on: an image's own axes, a given spacing, a number of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.reading import read_affine_grid
from fire_tf.intensities.grey_values import foreground, grey_range, scale

_SPECK = 5e-3  # part of the largest connected part: smaller ones do not count for where an object lies
_SAME_SPACING = 1e-3  # relative: spacings that differ by less are one spacing (headers are float32)


@dataclass(frozen=True)
class Prepared:
    """An image on the canvas.

    data: `canvas` float32 in [-1, 1], background -1.
    affine: (4, 4), canvas voxel -> world mm (RAS+); for a canvas of rank 2 the third voxel index is 0.
    spacing: the canvas' voxel size in mm, one number per canvas axis.
    grey_range: (2,), the image's grey values that became -1 and 1; (2, slices) where each slice has its own.
    counts: `canvas` bool, where the image counts: not beyond its mask. None: everywhere.
    """

    data: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, ...]
    grey_range: np.ndarray
    counts: np.ndarray | None = None


def canvas_grid(
    image: Image, spacing: Sequence[float], canvas: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The canvas' place in an image: its affine (4, 4), canvas voxel -> world mm, and its shape in 3D.

    Along each axis the canvas is centred on the field of view if that fits, else on the bounding box of the
    foreground. Where the image has the wanted spacing already, canvas voxels fall on image voxels. A
    canvas of rank 2 keeps the image's slices as they are.
    """
    sizes = (*canvas, *image.data.shape[len(canvas) :])
    zooms = image.spacing
    ratio = np.ones(3)
    ratio[: len(canvas)] = np.asarray(spacing) / zooms[: len(canvas)]
    ratio[np.abs(ratio - 1) < _SAME_SPACING] = 1.0
    centre = (np.asarray(image.data.shape) - 1) / 2
    too_large = np.asarray(image.data.shape) > np.asarray(sizes) * ratio + 0.5
    if too_large.any():
        centre[too_large] = _bounding_box_centre(foreground(image.data))[too_large]
    origin = centre - (np.asarray(sizes) - 1) / 2 * ratio
    origin = np.where(ratio == 1, np.floor(origin + 0.5), origin)
    to_image = np.diag([*ratio, 1.0])
    to_image[:3, 3] = origin
    return image.affine @ to_image, (int(sizes[0]), int(sizes[1]), int(sizes[2]))


def _bounding_box_centre(mask: np.ndarray) -> np.ndarray:
    """Centre of the smallest box around a mask but for its specks, in voxels."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background's
    boxes = ndimage.find_objects((sizes >= max(1, _SPECK * sizes.max()))[parts].astype(np.uint8))
    return np.array([(part.start + part.stop - 1) / 2 for part in boxes[0]])


def resample(image: Image, affine: np.ndarray, shape: Sequence[int], *, nearest: bool = False) -> np.ndarray:
    """Read an image on another grid: `affine` (4, 4) maps that grid's voxels to world mm, `shape` is its
    size (3).

    Linear, or nearest for labels; outside the image its lowest value (0 for labels). A grid much coarser
    than the image is read from a smoothed copy, so that nothing is aliased. A grid that falls on the
    image's own voxels is cut out without interpolation.
    """
    matrix = np.linalg.inv(image.affine) @ affine
    if image.data.shape[2] == 1 and shape[2] == 1:
        # Two single slices: their planes are taken for the same one, whatever the third coordinate says.
        matrix[2] = (0, 0, 1, 0)
    outside = 0 if nearest else image.data.min()
    start = np.rint(matrix[:3, 3])
    if np.allclose(matrix[:3, :3], np.eye(3), atol=1e-4) and np.allclose(matrix[:3, 3], start, atol=1e-2):
        return _cut(image.data, start.astype(int), shape, outside)
    data = image.data
    if not nearest:
        step = np.linalg.norm(matrix[:3, :3], axis=1)
        data = ndimage.gaussian_filter(data, np.sqrt(np.maximum(step**2 - 1, 0)) / 2.355, mode="nearest")
    return read_affine_grid(data, matrix, shape, nearest=nearest, outside=outside)


def _cut(data: np.ndarray, start: np.ndarray, shape: Sequence[int], outside: float) -> np.ndarray:
    """The box of `shape` that begins at voxel `start` (which may lie outside), filled up with `outside`."""
    result = np.full(tuple(shape), outside, dtype=data.dtype)
    first, stop = np.maximum(start, 0), np.minimum(start + np.asarray(shape), data.shape)
    if np.all(stop > first):
        source = tuple(slice(low, high) for low, high in zip(first, stop, strict=True))
        result[tuple(slice(low, high) for low, high in zip(first - start, stop - start, strict=True))] = data[
            source
        ]
    return result


def prepare(image: Image, spacing: Sequence[float], canvas: Sequence[int], percentile: float) -> Prepared:
    """Put one image on a canvas of rank 2 or 3 and normalise it.

    Raises InputError for a volume on a canvas of rank 2 and for a single slice on one of rank 3.
    """
    if len(canvas) == 2 and image.data.shape[2] != 1:
        shape = image.data.shape
        raise InputError(f"{image.path}: has shape {shape}, expected a single slice (the model is 2D)")
    if len(canvas) == 3 and image.data.shape[2] == 1:
        raise InputError(f"{image.path}: is a single slice, expected a volume (the model is 3D)")
    return prepare_at(image, canvas_grid(image, spacing, canvas)[0], canvas, percentile)


def prepare_at(image: Image, affine: np.ndarray, canvas: Sequence[int], percentile: float) -> Prepared:
    """One image on a canvas that lies where ``affine`` (4, 4) says, canvas voxel -> world mm, and normalised."""
    shape = (*canvas, 1)[:3]
    values = resample(image, affine, shape).reshape(tuple(canvas))
    counts = None
    if image.counts is not None:
        mask = Image(image.counts.astype(np.uint8), image.affine, image.path)
        counts = resample(mask, affine, shape, nearest=True).reshape(tuple(canvas)) > 0
    low, high = grey_range(values, percentile)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)[: len(canvas)]
    return Prepared(
        data=scale(values, low, high),
        affine=affine,
        spacing=tuple(float(size) for size in sizes),
        grey_range=np.array([low, high], np.float64),
        counts=counts,
    )
