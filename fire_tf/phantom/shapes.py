"""Signed distances of simple shapes, and smooth random fields: the building blocks of the head phantom.

Points are given as three float32 arrays (x, y, z) in millimetres, RAS+. A signed distance is in millimetres,
negative inside; it is exact for tubes and slabs and of first order for ellipsoids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def ellipsoid(points: Points, centre: Point, radii: Point, power: float = 2.0) -> np.ndarray:
    """Signed distance (first order) of a superellipsoid; `power` 2 is an ellipsoid, more is boxier."""
    scaled = [np.abs(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    level = sum(s**power for s in scaled) ** (1.0 / power)
    # d level / d p = (s / level)^(power - 1) / r
    slope = sum((s ** (power - 1.0) / r) ** 2 for s, r in zip(scaled, radii, strict=True))
    slope = np.sqrt(slope) / np.maximum(level, 1e-3) ** (power - 1.0)
    return (level - 1.0) / np.maximum(slope, 1.0 / max(radii))


def tube(points: Points, path: Sequence[Point], radii: Sequence[float], blend: float = 2.0) -> np.ndarray:
    """Signed distance of a tube along the corners of `path`, its radius linear between those in `radii`."""
    distance = None
    for start, end, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        axis = [e - s for s, e in zip(start, end, strict=True)]
        offset = [p - s for p, s in zip(points, start, strict=True)]
        along = sum(o * a for o, a in zip(offset, axis, strict=True)) / sum(a * a for a in axis)
        along = np.clip(along, 0.0, 1.0)
        square = sum((o - along * a) ** 2 for o, a in zip(offset, axis, strict=True))
        piece = np.sqrt(square) - (r0 + along * (r1 - r0))
        distance = piece if distance is None else union(distance, piece, blend)
    if distance is None:
        raise ValueError(f"a tube needs at least 2 corners, got {len(path)}")
    return distance


def union(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Union of two signed distances, the joint rounded over about `blend` mm (quadratic smooth minimum)."""
    gap = np.maximum(blend - np.abs(a - b), 0.0) / blend
    return np.minimum(a, b) - (0.25 * blend) * gap * gap


def intersection(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Intersection of two signed distances, the edge rounded over about `blend` mm."""
    return -union(-a, -b, blend)


def cover(distance: np.ndarray, width: float) -> np.ndarray:
    """Fraction of a voxel of `width` mm that lies inside, for a boundary that is flat across the voxel."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


@dataclass(frozen=True)
class WaveField:
    """A band-limited random field of zero mean and unit variance: a sum of plane waves.

    vectors: (K, 3) radians per mm; phases: (K,). A function of position only, so that a subject is
    the same on every grid.
    """

    vectors: np.ndarray
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength: float, waves: int, spread: float = 0.15) -> WaveField:
        """Waves in random directions with lengths within +-`spread` of `wavelength` mm."""
        directions = rng.standard_normal((waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength * rng.uniform(1.0 - spread, 1.0 + spread, (waves, 1))
        return cls(2.0 * np.pi * directions / lengths, rng.uniform(0.0, 2.0 * np.pi, waves))

    def __call__(self, points: Sequence[np.ndarray]) -> np.ndarray:
        """The field at `points`: float32, the shape of one of their three arrays."""
        total = np.zeros(points[0].shape, np.float32)
        for (kx, ky, kz), phase in zip(self.vectors.tolist(), self.phases.tolist(), strict=True):
            total += np.cos(kx * points[0] + ky * points[1] + kz * points[2] + phase)
        return total * float(np.sqrt(2.0 / len(self.phases)))

    def on_grid(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """The field on the grid spanned by three `axes` (coordinates in mm): float32, (X, Y, Z).

        A plane wave is a product of one factor per axis: a matrix product instead of a cosine per point.
        """
        x, y, z = (np.exp(1j * np.outer(k, axis)) for k, axis in zip(self.vectors.T, axes, strict=True))
        x *= np.sqrt(2.0 / len(self.phases)) * np.exp(1j * self.phases)[:, None]
        plane = np.einsum("kx,ky->xyk", x, y)
        plane = np.concatenate([plane.real, -plane.imag], axis=-1).astype(np.float32)
        return plane @ np.concatenate([z.real, z.imag]).astype(np.float32)
