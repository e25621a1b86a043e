"""Stacks of slices registered slice by slice, and scored as the volumes that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fire_tf.evaluation.methods import Method, Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.geometry.stacks import Part, SliceMaps, slice_by_slice
from fire_tf.measures.timing import Times


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
        found = slice_by_slice(lambda part: self._in_stack(pair, part), pair.moving, pair.fixed, self._window)
        return [_stacked(results) for results in zip(*found, strict=True)]

    def _in_stack(self, pair: Pair, part: Part) -> list[Result]:
        """What the method finds in a part of the stacks, with maps between the stacks' voxels."""
        return [
            replace(
                result, to_moving=part.in_stack(result.to_moving), to_fixed=part.in_stack(result.to_fixed)
            )
            for result in self._method(_part_of(pair, part))
        ]


def _part_of(pair: Pair, part: Part) -> Pair:
    """A part of two stacks as a pair of single slices."""
    return replace(
        pair,
        name=f"{pair.name}_z{part.index:03d}",
        moving=part.of(pair.moving),
        fixed=part.of(pair.fixed),
        moving_labels=part.of_array(pair.moving_labels),
        fixed_labels=part.of_array(pair.fixed_labels),
        true_to_fixed=None,
        true_to_moving=None,
    )


def _stacked(results: Sequence[Result]) -> Result:
    """What one method found in every slice, as one result; times add up."""
    voxels = AffineMap.identity(3)
    return Result(
        results[0].method,
        SliceMaps(tuple(result.to_moving for result in results), voxels),
        SliceMaps(tuple(result.to_fixed for result in results), voxels),
        Times(*(sum(values) for values in zip(*(result.times for result in results), strict=True))),
    )
