"""Stacks of slices registered slice by slice, and scored as the volumes that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fire_tf.errors import InputError
from fire_tf.images import Image
from fire_tf.methods import Method, Result, Times
from fire_tf.pairs import Pair
from fire_tf.pointmaps import PointMap


@dataclass(frozen=True)
class SliceMaps:
    """``(x, y, z) -> (x', y', z)`` in voxels: each slice has a map of its own, and no point leaves its slice.

    ``maps`` take points ``(..., 2)`` that count from ``origin`` (2); a point between two slices follows the
    nearer one, a point beyond the stack its last one.
    """

    maps: tuple[PointMap, ...]
    origin: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        moved = np.array(points, dtype=np.float64)
        slices = np.clip(np.rint(points[..., 2]), 0, len(self.maps) - 1)
        for index, in_plane in enumerate(self.maps):
            here = slices == index
            if here.any():
                moved[here, :2] = in_plane(points[here, :2] - self.origin) + self.origin
        return moved


class SliceBySlice:
    """A method for single slices, applied to every slice of a pair of stacks on one grid; a pair of single slices
    goes through as it is.

    ``window`` is the in-plane size in mm that the method is shown, around the middle of the stack (the whole of
    it by default): a model that cuts an image to its canvas would choose the place for either phase anew.
    """

    def __init__(self, method: Method, window: Sequence[float] = (np.inf, np.inf)) -> None:
        self._method, self._window = method, window

    def __call__(self, pair: Pair) -> list[Result]:
        if pair.ndim == 2:
            return self._method(pair)
        shapes = [image.data.shape for image in (pair.moving, pair.fixed)]
        if shapes[0] != shapes[1] or not np.allclose(pair.moving.affine, pair.fixed.affine, atol=1e-3):
            raise InputError(
                f"{pair.moving.path}: lies on another grid than {pair.fixed.path}, so their slices do not correspond"
            )
        spacing = pair.spacing("fixed")
        rows, columns = (middle(shapes[0][axis], self._window[axis] / spacing[axis]) for axis in (0, 1))
        found = [self._method(_slice(pair, rows, columns, index)) for index in range(shapes[0][2])]
        origin = np.array([rows.start, columns.start], dtype=np.float64)
        return [_stacked(results, origin) for results in zip(*found, strict=True)]


def middle(size: int, wanted: float) -> slice:
    """The middle ``wanted`` voxels, or as many as there are, of an axis of ``size``."""
    count = round(min(size, wanted))
    start = (size - count) // 2
    return slice(start, start + count)


def _slice(pair: Pair, rows: slice, columns: slice, index: int) -> Pair:
    """A part of the slices number ``index`` as a pair of single slices, in its place in the world."""
    corner = np.eye(4)
    corner[:3, 3] = [rows.start, columns.start, index]

    def cut(image: Image) -> Image:
        part = image.data[rows, columns, index : index + 1]
        return Image(part, image.affine @ corner, f"{image.path}, slice {index}")

    return replace(
        pair,
        name=f"{pair.name}_z{index:03d}",
        moving=cut(pair.moving),
        fixed=cut(pair.fixed),
        moving_labels=pair.moving_labels[rows, columns, index],
        fixed_labels=pair.fixed_labels[rows, columns, index],
        true_to_fixed=None,
        true_to_moving=None,
    )


def _stacked(results: Sequence[Result], origin: np.ndarray) -> Result:
    """What one method found in every slice, as one result; times add up."""
    return Result(
        results[0].method,
        SliceMaps(tuple(result.to_moving for result in results), origin),
        SliceMaps(tuple(result.to_fixed for result in results), origin),
        Times(*(sum(values) for values in zip(*(result.times for result in results), strict=True))),
    )
