"""Several transforms as one, each as it is or inverted, in ANTs' order.

The last one named is applied to the image first. In points, which transforms pull back, it is the other way round: a
point of the target goes through the first one named first.

Affine transforms are inverted exactly. All others are solved for, point by point, to `TOLERANCE`; a point that is not
found so (the transform folds there, or leaves its grid) becomes NaN, which is a `Doubt`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid
from fire_tf.geometry.point_maps import AffineMap, Chain, InverseMap, PointMap, fit_affine
from fire_tf.transforms.fields import FieldMap, Transform

TOLERANCE = 1e-4
"""mm, between a point and where the transform takes the inverse that was found for it."""

_SAMPLES = 12  # points along an axis of a field, that its affine part is fitted to


@dataclass(frozen=True)
class TransformChain:
    """Transforms in the order in which points go through them, as ANTs names them."""

    steps: tuple[Transform, ...]

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> PointMap:
        """The whole map. Of the grids the last step knows the source alone, and the first one the target."""
        last = len(self.steps) - 1
        maps: list[PointMap] = []
        for place, step in enumerate(self.steps):
            found = step.world_map(source if place == last else None, target if place == 0 else None)
            for part in found.maps if isinstance(found, Chain) else (found,):
                if maps and isinstance(part, AffineMap) and isinstance(maps[-1], AffineMap):
                    maps[-1] = part.after(maps[-1])
                else:
                    maps.append(part)
        return maps[0] if len(maps) == 1 else Chain(tuple(maps))


@dataclass(frozen=True)
class Inverse:
    """What undoes a transform; ``name`` is its file's."""

    transform: Transform
    name: str

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> PointMap:
        """Raises InputError for an affine transform that has no inverse."""
        if isinstance(self.transform, TransformChain):
            undone = tuple(Inverse(step, self.name) for step in reversed(self.transform.steps))
            return TransformChain(undone).world_map(source, target)
        forward = self.transform.world_map(target, source)
        if not isinstance(forward, AffineMap):
            return SolvedMap(InverseMap(forward, _affine_part(forward), TOLERANCE), self.name)
        try:
            return forward.inverse()
        except np.linalg.LinAlgError:
            raise InputError(f"{self.name}: cannot be inverted, its matrix is singular") from None


def _affine_part(forward: PointMap) -> AffineMap:
    """What the search for an inverse starts with: of a field its own affine part, else the identity."""
    if not isinstance(forward, FieldMap):
        return AffineMap.identity(3)
    steps = [np.linspace(0, size - 1, min(size, _SAMPLES)) for size in forward.field.shape[:3]]
    voxels = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    flat = np.asarray(forward.field.shape[:3]) == 1
    if flat.any():  # in a single slice the field says nothing of the third direction, which stays as it is
        voxels = np.concatenate([voxels, voxels + flat])
    points = forward.to_voxels.inverse()(voxels.reshape(-1, 3))
    return fit_affine(points, forward(points))


@dataclass(frozen=True)
class SolvedMap:
    """An inverse that is found point by point; NaN where it is not."""

    inverse: InverseMap
    name: str

    def __call__(self, points: np.ndarray) -> np.ndarray:
        known = np.isfinite(points).all(axis=-1)
        found = np.full(points.shape, np.nan)
        solved = self.inverse(points[known])
        off = np.abs(self.inverse.forward(solved) - points[known]).max(axis=-1, initial=0.0)
        solved[off > 2 * TOLERANCE] = np.nan
        found[known] = solved
        if np.isnan(solved).any():
            cast_doubt(
                f"{self.name}: has no inverse to {TOLERANCE:g} mm at some points, which are left out: it folds there"
            )
        return found

    def covers(self, points: np.ndarray) -> np.ndarray:
        """Which points (..., 3) come from the grid of the field that is inverted: (...)."""
        forward = self.inverse.forward
        return (
            forward.covers(self(points))
            if isinstance(forward, FieldMap)
            else np.ones(points.shape[:-1], bool)
        )
