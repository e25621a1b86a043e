"""Free-form deformations: displacements as sums of cubic B-splines on a lattice of controls (Rueckert et al. 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.interpolate import BSpline

_LEAST_VOLUME = 0.2  # Jacobian determinants below this are penalised


class Lattice:
    """A displacement u on a canvas as a sum of cubic B-splines: ``size`` controls, in voxels, u in voxels.

    The controls lie ``interval`` mm apart along every axis, the first and the last beyond the canvas.
    """

    def __init__(self, shape: tuple[int, ...], spacing: Sequence[float], interval: float) -> None:
        self._shape, self._spacing = shape, spacing
        steps = [interval / voxel for voxel in spacing]
        self._knots = [
            np.arange(-3, np.ceil((size - 1) / step) + 4) * step
            for size, step in zip(shape, steps, strict=True)
        ]
        self.size = tuple(len(knots) - 4 for knots in self._knots)
        self._on_canvas = self._matrices([np.arange(size) for size in shape])
        # Four places per interval show what derivatives do; a single slice has but one.
        places = [np.arange(0, size, max(1, step / 4)) for size, step in zip(shape, steps, strict=True)]
        axes = range(len(shape))
        self._slopes = [self._matrices(places, [int(axis == along) for axis in axes]) for along in axes]
        self._products = [
            [basis.T @ basis / len(basis) for basis in self._matrices(places, [order] * len(shape))]
            for order in range(3)
        ]

    def on_grid(self, grid: tuple[slice, ...]) -> list[np.ndarray]:
        """The matrices, one per axis, that take controls to u on a part of the canvas."""
        return [basis[part] for basis, part in zip(self._on_canvas, grid, strict=True)]

    def displacement(self, controls: np.ndarray) -> np.ndarray:
        """u on the canvas, (*canvas, n)."""
        return apply_along_axes(self._on_canvas, controls)

    def fit(self, displacement: np.ndarray) -> np.ndarray:
        """The controls whose u is closest to a displacement (*canvas, n), in least squares."""
        return apply_along_axes([np.linalg.pinv(basis) for basis in self._on_canvas], displacement)

    def bending(self, controls: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean squared second derivative of u, over all pairs of axes, in 1/mm^2, and its gradient."""
        axes = range(len(self.size))
        half = np.zeros_like(controls)
        for first, second in product(axes, axes):
            orders = [(axis == first) + (axis == second) for axis in axes]
            products = [self._products[order][axis] for axis, order in enumerate(orders)]
            half += apply_along_axes(products, controls) / (self._spacing[first] * self._spacing[second]) ** 2
        half *= np.square(self._spacing)
        return float(np.sum(controls * half)), 2 * half

    def folding(self, controls: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean square of what det(grad(id + u)) falls short of its least value, and its gradient."""
        jacobian = np.stack([apply_along_axes(slope, controls) for slope in self._slopes], axis=-1)
        jacobian += np.eye(len(self.size))
        short = np.maximum(_LEAST_VOLUME - np.linalg.det(jacobian), 0.0)
        if not short.any():
            return 0.0, np.zeros_like(controls)
        by_slope = -2 * (short / short.size)[..., np.newaxis, np.newaxis] * _cofactors(jacobian)
        gradient = np.zeros_like(controls)
        for axis, slope in enumerate(self._slopes):
            gradient += apply_along_axes([basis.T for basis in slope], by_slope[..., axis])
        return float(np.mean(short**2)), gradient

    def _matrices(
        self, places: Sequence[np.ndarray], orders: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Per axis the splines at the places (voxels), or their derivatives of the given orders."""
        matrices = []
        for axis, (knots, at) in enumerate(zip(self._knots, places, strict=True)):
            splines = BSpline(knots, np.eye(len(knots) - 4), 3)
            matrices.append(splines(at, nu=0 if orders is None else int(orders[axis])))
        return matrices


def apply_along_axes(matrices: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """values (*old, n), multiplied along every axis by its matrix (new, old): (*new, n)."""
    for matrix in matrices:
        values = np.tensordot(values, matrix, axes=(0, 1))  # the new axis comes last
    return np.moveaxis(values, 0, -1)


def _cofactors(matrices: np.ndarray) -> np.ndarray:
    """d det(M) / dM for matrices (..., n, n), n = 2 or 3, singular ones too."""
    if matrices.shape[-1] == 2:
        (a, b), (c, d) = np.moveaxis(matrices, (-2, -1), (0, 1))
        return np.moveaxis(np.array([[d, -c], [-b, a]]), (0, 1), (-2, -1))
    rows = np.moveaxis(matrices, -2, 0)
    return np.stack([np.cross(rows[axis - 2], rows[axis - 1]) for axis in range(3)], axis=-2)
