"""Transforms as functions of points, in numpy: what measuring and writing to disk need.

Every map here is a pull-back, as everywhere in the package: it takes points of the OUTPUT grid and returns
the points of the INPUT grid that they are read from. Points are arrays ``(..., n)``, float64, in ``ij``
order, in voxel indices (the centre of the first voxel is 0) unless a function says that they are RAS+ mm.
Affine parts are evaluated analytically, so they hold outside the field of view too; sampled displacements
keep their edge value there, which leaves a map continuous.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fire_tf.geometry.reading import sample

_HALVINGS = 6  # of a step of Newton's method that leads away


class PointMap(Protocol):
    """Anything that maps points ``(..., n)`` to points ``(..., n)``."""

    def __call__(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class AffineMap:
    """``p -> linear p + offset``, given as ``(n, n+1)`` or homogeneous ``(n+1, n+1)``, in voxels or mm."""

    matrix: np.ndarray

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] not in (matrix.shape[1], matrix.shape[1] - 1):
            raise ValueError(f"an affine map takes a matrix (n, n+1) or (n+1, n+1), got shape {matrix.shape}")
        object.__setattr__(self, "matrix", matrix[: matrix.shape[1] - 1])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:, :-1].T + self.matrix[:, -1]

    @property
    def homogeneous(self) -> np.ndarray:
        """The same map as an ``(n+1, n+1)`` matrix."""
        last = np.zeros((1, self.matrix.shape[1]))
        last[0, -1] = 1.0
        return np.concatenate([self.matrix, last])

    def inverse(self) -> AffineMap:
        """The map that undoes this one."""
        return AffineMap(np.linalg.inv(self.homogeneous))

    def after(self, first: AffineMap) -> AffineMap:
        """The map that applies ``first`` and then this one."""
        return AffineMap(self.homogeneous @ first.homogeneous)

    def extruded(self, ndim: int) -> AffineMap:
        """The same map of the first axes of ``ndim``-dimensional points; the other axes stay as they are."""
        own, matrix = len(self.matrix), np.eye(ndim + 1)
        matrix[:own, :own], matrix[:own, -1] = self.matrix[:, :-1], self.matrix[:, -1]
        return AffineMap(matrix)

    @classmethod
    def identity(cls, ndim: int) -> AffineMap:
        """The map that leaves ``ndim``-dimensional points where they are."""
        return cls(np.eye(ndim + 1))

    @classmethod
    def centred(cls, matrix: np.ndarray, shape: Sequence[int]) -> AffineMap:
        """From voxelmorph's ``(n, n+1)`` about the grid's centre, ``(size - 1) / 2``, to voxel indices."""
        centre = (np.asarray(shape, dtype=np.float64) - 1) / 2
        linear, offset = (
            np.asarray(matrix, dtype=np.float64)[:, :-1],
            np.asarray(matrix, dtype=np.float64)[:, -1],
        )
        return cls(np.concatenate([linear, (offset + centre - linear @ centre)[:, None]], axis=1))


@dataclass(frozen=True)
class DisplacementMap:
    """``p -> p + u(p)``, ``u`` being ``displacement`` ``(*shape, n)`` in voxels, interpolated linearly."""

    displacement: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.displacement)
        if len(shape) < 2 or shape[-1] != len(shape) - 1:
            raise ValueError(f"a displacement has the shape (*grid, {max(len(shape) - 1, 1)}), got {shape}")

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points + sample(self.displacement, points)


@dataclass(frozen=True)
class Chain:
    """Maps applied one after the other, the first one first: ``Chain((f, g))(p) = g(f(p))``."""

    maps: tuple[PointMap, ...]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        for step in self.maps:
            points = step(points)
        return points


@dataclass(frozen=True)
class Extruded:
    """A map of the first ``ndim`` axes of points that have more; the other coordinates pass unchanged."""

    inner: PointMap
    ndim: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.concatenate([self.inner(points[..., : self.ndim]), points[..., self.ndim :]], axis=-1)


@dataclass(frozen=True)
class InPlane:
    """A map of 3D points, seen within the planes ``k = 0`` of both grids: ``ndim`` coordinates in and out."""

    inner: PointMap
    ndim: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        zeros = np.zeros((*points.shape[:-1], 3 - self.ndim))
        return self.inner(np.concatenate([points, zeros], axis=-1))[..., : self.ndim]


@dataclass(frozen=True)
class AffineAfterDisplacement:
    """``p -> A(p + u(p))``: the model's ``phi_af o phi_nr``, of which the affine part stays analytic."""

    inner: DisplacementMap
    affine: AffineMap

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.affine(self.inner(points))


def in_voxels(world_map: PointMap, target: np.ndarray, source: np.ndarray, ndim: int) -> PointMap:
    """A map from the target's world to the source's (mm, RAS+) as one between their voxels, within the plane in 2D.

    ``target`` and ``source`` are the two grids' affines (4, 4), voxels to world; points have ``ndim`` coordinates.
    """
    return InPlane(Chain((AffineMap(target), world_map, AffineMap(source).inverse())), ndim)


def grid_points(shape: Sequence[int]) -> np.ndarray:
    """Voxel indices of a grid as points, ``(*shape, n)``."""
    return np.stack(
        np.meshgrid(*[np.arange(size, dtype=np.float64) for size in shape], indexing="ij"), axis=-1
    )


def grid_slabs(shape: Sequence[int], points: int = 1 << 20) -> Iterator[tuple[slice, np.ndarray]]:
    """A grid's voxel indices in parts of about ``points`` points, so that large grids fit into memory.

    Yields the part's slice of the first axis and its points ``(k, *shape[1:], n)``.
    """
    rows = max(1, points // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        indices = grid_points((stop - start, *shape[1:]))
        indices[..., 0] += start
        yield slice(start, stop), indices


def split_affine(displacement: np.ndarray) -> AffineAfterDisplacement:
    """A sampled displacement ``(*shape, n)`` (voxels) as a map that stays sensible outside its grid.

    ``p + u(p)`` is its least-squares affine part, kept as a matrix, plus a remainder, which alone is clamped
    at the edge.
    """
    points = grid_points(displacement.shape[:-1])
    matrix = fit_affine(points, points + displacement)
    remainder = points + displacement - matrix(points)
    # matrix(p) + r(p) = matrix(p + L^-1 r(p)), L the linear part.
    inner = remainder @ np.linalg.inv(matrix.matrix[:, :-1]).T
    return AffineAfterDisplacement(DisplacementMap(inner), matrix)


def fit_affine(points: np.ndarray, targets: np.ndarray) -> AffineMap:
    """The affine map that takes ``points`` to ``targets`` (both ``(..., n)``) best, in least squares."""
    ndim = points.shape[-1]
    flat = np.concatenate([points.reshape(-1, ndim), np.ones((points.size // ndim, 1))], axis=1)
    solution, *_ = np.linalg.lstsq(flat, targets.reshape(-1, ndim), rcond=None)
    return AffineMap(solution.T)


def fit_rigid(points: np.ndarray, targets: np.ndarray) -> AffineMap:
    """The turn and shift that take ``points`` to ``targets`` (both ``(m, n)``) best, in least squares (Kabsch 1976).

    Points of a plane have one such turn too, as no turn is a mirror image.
    """
    centre, onto = points.mean(axis=0), targets.mean(axis=0)
    left, _, right = np.linalg.svd((targets - onto).T @ (points - centre))
    handed = np.ones(len(centre))
    handed[-1] = np.sign(np.linalg.det(left @ right))
    linear = left * handed @ right
    return AffineMap(np.concatenate([linear, (onto - linear @ centre)[:, np.newaxis]], axis=1))


@dataclass(frozen=True)
class InverseMap:
    """The inverse of ``forward``, found point by point: ``q`` with ``forward(q) = p`` within ``tolerance``.

    Newton's method: with the constant Jacobian of ``affine`` (the affine part of ``forward``), which is cheap and
    converges where the non-affine part stretches by less than its own distance; for the points that are left, with
    the Jacobian at the point and steps that never lead away.
    """

    forward: PointMap
    affine: AffineMap
    tolerance: float = 1e-4
    iterations: int = 25  # of either kind, at most

    def __call__(self, points: np.ndarray) -> np.ndarray:
        flat = points.reshape(-1, points.shape[-1])
        solve = np.linalg.inv(self.affine.matrix[:, :-1]).T
        start = self.affine.inverse()(flat)
        found, error = start, self.forward(start) - flat
        for _ in range(self.iterations):
            if np.abs(error).max(initial=0.0) < self.tolerance:
                return found.reshape(points.shape)
            found = found - error @ solve
            error = self.forward(found) - flat
        left = np.abs(error).max(axis=-1) >= self.tolerance
        found[left] = self._by_local_steps(start[left], flat[left])
        return found.reshape(points.shape)

    def _by_local_steps(self, found: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Newton's method for points (m, n) from the places ``found``, each step halved until it is one forward."""
        error = self.forward(found) - points
        for _ in range(self.iterations):
            if np.abs(error).max(initial=0.0) < self.tolerance:
                break
            step = (np.linalg.pinv(self._jacobian(found)) @ error[..., np.newaxis])[..., 0]
            for _ in range(_HALVINGS):
                tried = self.forward(found - step) - points
                worse = np.linalg.norm(tried, axis=-1) > np.linalg.norm(error, axis=-1)
                step[worse] /= 2
                if not worse.any():
                    break
            step[worse], tried[worse] = 0, error[worse]
            found, error = found - step, tried
        return found

    def _jacobian(self, points: np.ndarray) -> np.ndarray:
        """By central differences over half a voxel either way, (m, n, n)."""
        steps = np.eye(points.shape[-1]) / 2
        return np.stack(
            [self.forward(points + step) - self.forward(points - step) for step in steps], axis=-1
        )
