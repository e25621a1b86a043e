"""Stacks of thick slices, as hearts are acquired: which axis the slices lie along, and one slice after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap, Chain, Extruded, PointMap

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


@dataclass(frozen=True)
class Part:
    """``rows`` and ``columns`` of voxels of slice number ``index`` of a stack, slices last."""

    rows: slice
    columns: slice
    index: int

    def of(self, stack: Image) -> Image:
        """This part of a stack, in its place in the world."""
        corner = np.eye(4)
        corner[:3, 3] = [self.rows.start, self.columns.start, self.index]
        return Image(
            self.of_array(stack.data)[..., None], stack.affine @ corner, f"{stack.path}, slice {self.index}"
        )

    def of_array(self, values: np.ndarray) -> np.ndarray:
        """This part of an array (X, Y, Z), with two axes."""
        return values[self.rows, self.columns, self.index]

    def in_stack(self, in_plane: PointMap) -> PointMap:
        """A map between voxels of this part, points (..., 2), as one between voxels of the stack, points (..., 3)."""
        origin = np.array([self.rows.start, self.columns.start], dtype=np.float64)
        there, back = (AffineMap(np.column_stack([np.eye(2), sign * origin])) for sign in (-1, 1))
        return Extruded(Chain((there, in_plane, back)), 2)


Found = TypeVar("Found")


def slice_by_slice(
    register: Callable[[Part], Found], moving: Image, fixed: Image, size: Sequence[float]
) -> list[Found]:
    """What ``register`` finds in each slice of two stacks on one grid, slices last.

    It is given the part of either stack that it is to look at: ``size`` (2) mm around the middle, or as much as the
    slices have, the same of all. Raises InputError where the stacks lie on different grids: their slices do not
    correspond then.
    """
    same_shape = moving.data.shape == fixed.data.shape
    if not same_shape or not np.allclose(moving.affine, fixed.affine, atol=1e-3):
        raise InputError(
            f"{moving.path}: lies on another grid than {fixed.path}, so their slices do not correspond"
        )
    rows, columns = (_middle(fixed.data.shape[axis], size[axis] / fixed.spacing[axis]) for axis in (0, 1))
    return [register(Part(rows, columns, index)) for index in range(fixed.data.shape[2])]


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
