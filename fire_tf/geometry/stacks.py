"""Stacks of thick slices, as hearts are acquired: which axis the slices lie along, and one slice after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap, PointMap

_AS_LONG = 0.99  # of the longest voxel edge: headers are float32, equal sizes differ in their last digits


def slice_axis(shape: Sequence[int], spacing: np.ndarray) -> int:
    """The axis that the slices of a grid are counted along: the one of a single voxel, else the one along which voxels
    are longest, the last of several."""
    if 1 in shape:
        return list(shape).index(1)
    return int(np.flatnonzero(spacing > _AS_LONG * spacing.max())[-1])


def slices_last(image: Image) -> Image:
    """A stack with the axis along which its voxels are longest, the slices, as its last one.

    In RAS order, in which images are read, that axis of a short-axis stack may come first or second. A volume whose
    voxels are equally long along all axes stays as it is.
    """
    normal = slice_axis(image.data.shape, image.spacing)
    order = [axis for axis in range(3) if axis != normal] + [normal]
    return Image(image.data.transpose(order), image.affine[:, [*order, 3]], image.path)


def check_same_grid(moving: Image, fixed: Image) -> None:
    """Raise InputError where two stacks lie on different grids: their slices do not correspond then."""
    same_shape = moving.data.shape == fixed.data.shape
    if not same_shape or not np.allclose(moving.affine, fixed.affine, atol=1e-3):
        raise InputError(
            f"{moving.path}: lies on another grid than {fixed.path}, so their slices do not correspond"
        )


@dataclass(frozen=True)
class Window:
    """The same part of every slice of a stack: ``rows`` and ``columns`` of voxels."""

    rows: slice
    columns: slice

    @classmethod
    def middle(cls, image: Image, size: Sequence[float]) -> Window:
        """The ``size`` (2) mm around the middle of a stack's slices, or as much as they have."""
        rows, columns = (_middle(image.data.shape[axis], size[axis] / image.spacing[axis]) for axis in (0, 1))
        return cls(rows, columns)

    @property
    def origin(self) -> np.ndarray:
        """The first voxel (2)."""
        return np.array([self.rows.start, self.columns.start], dtype=np.float64)

    def cut(self, image: Image, index: int) -> Image:
        """This part of slice number ``index``, in its place in the world."""
        corner = np.eye(4)
        corner[:3, 3] = [*self.origin, index]
        part = image.data[self.rows, self.columns, index : index + 1]
        return Image(part, image.affine @ corner, f"{image.path}, slice {index}")


def _middle(size: int, wanted: float) -> slice:
    count = round(min(size, wanted))
    start = (size - count) // 2
    return slice(start, start + count)


@dataclass(frozen=True)
class SliceMaps:
    """A map for each slice of a stack: a point (..., 3) follows that of the nearest slice.

    ``to_voxels`` maps points to the stack's voxels, slices last; a point beyond the stack follows its last slice.
    """

    maps: tuple[PointMap, ...]
    to_voxels: AffineMap

    def __call__(self, points: np.ndarray) -> np.ndarray:
        moved = np.empty(points.shape, dtype=np.float64)
        slices = np.clip(np.rint(self.to_voxels(points)[..., 2]), 0, len(self.maps) - 1)
        for index, own in enumerate(self.maps):
            here = slices == index
            if here.any():
                moved[here] = own(points[here])
        return moved
