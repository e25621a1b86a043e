"""The registration methods that are measured: each takes a pair and returns the maps that it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.point_maps import AffineMap, PointMap
from fire_tf.measures.timing import NOT_TIMED, Stopwatch, Times
from fire_tf.registration.pair import PairModel
from fire_tf.registration.refine import refine, search_for
from fire_tf.registration.start import register_from_start


@dataclass(frozen=True)
class Result:
    """What a method found for one pair.

    ``to_moving`` takes voxels of the fixed grid to voxels of the moving one (it warps moving onto fixed),
    ``to_fixed`` the other way round. ``times`` is what finding the two took together.
    """

    method: str
    to_moving: PointMap
    to_fixed: PointMap
    times: Times = NOT_TIMED


class Method(Protocol):
    """Registers a pair in one or several ways; an empty list says that the method does not apply to it."""

    def __call__(self, pair: Pair) -> list[Result]: ...


class Unaligned:
    """The images as they lie in the world."""

    def __call__(self, pair: Pair) -> list[Result]:
        still = AffineMap.identity(3)
        return [Result("unaligned", *pair.in_voxels(still, still))]


class TrueDeformation:
    """The deformation that the moving image was made with, where it is known: what can be reached at best."""

    def __call__(self, pair: Pair) -> list[Result]:
        if pair.true_to_moving is None or pair.true_to_fixed is None:
            return []
        return [Result("true deformation", pair.true_to_moving, pair.true_to_fixed)]


class TrainedModel:
    """A trained model, and its affine part alone; with ``refined`` also what refining makes of its answer.

    The first pair is run twice: tracing is not timed. The times of the refined result include the model's.
    """

    def __init__(
        self, model: PairModel, moving_modality: str | None = None, *, refined: bool = False
    ) -> None:
        self._model, self._moving_modality, self._refined = model, moving_modality, refined
        self._traced = False

    def __call__(self, pair: Pair) -> list[Result]:
        if not self._traced:
            register_from_start(self._model, pair.moving, pair.fixed, self._moving_modality)
            self._traced = True
        watch = Stopwatch()
        found = register_from_start(self._model, pair.moving, pair.fixed, self._moving_modality)
        times = watch.read()
        results = [
            Result("FIRE affine", *pair.in_voxels(found.affine_to_moving, found.affine_to_fixed), times),
            Result("FIRE", *pair.in_voxels(found.to_moving, found.to_fixed), times),
        ]
        if self._refined:
            better = refine(found, search_for(self._model))
            maps = pair.in_voxels(better.to_moving, better.to_fixed)
            results.append(Result("FIRE refined", *maps, watch.read()))
        return results
