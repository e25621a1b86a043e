"""Stacks of slices registered slice by slice, and scored as the volumes that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fire_tf.evaluation.methods import Method, Result, Times
from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.point_maps import AffineMap, Chain, Extruded, PointMap
from fire_tf.geometry.stacks import SliceMaps, Window, check_same_grid


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
        check_same_grid(pair.moving, pair.fixed)
        window = Window.middle(pair.fixed, self._window)
        slices = range(pair.fixed.data.shape[2])
        found = [self._method(_slice(pair, window, index)) for index in slices]
        return [_stacked(results, window.origin) for results in zip(*found, strict=True)]


def _slice(pair: Pair, window: Window, index: int) -> Pair:
    """The window of the slices number ``index`` as a pair of single slices."""
    return replace(
        pair,
        name=f"{pair.name}_z{index:03d}",
        moving=window.cut(pair.moving, index),
        fixed=window.cut(pair.fixed, index),
        moving_labels=pair.moving_labels[window.rows, window.columns, index],
        fixed_labels=pair.fixed_labels[window.rows, window.columns, index],
        true_to_fixed=None,
        true_to_moving=None,
    )


def _stacked(results: Sequence[Result], origin: np.ndarray) -> Result:
    """What one method found in every slice, as one result; times add up."""
    return Result(
        results[0].method,
        _in_stack([result.to_moving for result in results], origin),
        _in_stack([result.to_fixed for result in results], origin),
        Times(*(sum(values) for values in zip(*(result.times for result in results), strict=True))),
    )


def _in_stack(maps: Sequence[PointMap], origin: np.ndarray) -> SliceMaps:
    """Maps of points (..., 2) that count from ``origin`` as one of the stack's voxels; no point leaves its slice."""
    there, back = (AffineMap(np.column_stack([np.eye(2), sign * origin])) for sign in (-1, 1))
    solid = tuple(Extruded(Chain((there, in_plane, back)), 2) for in_plane in maps)
    return SliceMaps(solid, AffineMap.identity(3))
