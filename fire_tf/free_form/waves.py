"""Free-form deformations: displacements as sums of low cosines (Ashburner and Friston 1999)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fire_tf.geometry.cosines import cosines

_LEAST_VOLUME = 0.2  # Jacobian determinants below this are penalised


class Waves:
    """A displacement u on a canvas as a sum of cosines, the shortest half wave of which is ``half_wave`` mm long.

    u is given by its amplitudes (*size, n), in mm; the mean square of u over the canvas is the sum of their squares.
    ``spacing`` is the canvas' in mm.
    """

    def __init__(self, shape: tuple[int, ...], spacing: np.ndarray, half_wave: float) -> None:
        self._spacing = spacing
        self.size = tuple(1 + int(length / half_wave) for length in np.multiply(shape, spacing))
        steps = half_wave / spacing / 4  # a quarter of a half wave shows what derivatives do
        self._on_canvas, values, slopes, squares = [], [], [], []
        for size, count, step, voxel in zip(shape, self.size, steps, spacing, strict=True):
            basis, numbers = cosines(size, count)
            height = np.where(numbers > 0, np.sqrt(2), 1.0)  # of a mean square of 1
            phases = np.outer(np.arange(0, size, max(1, step)) + 0.5, numbers)
            self._on_canvas.append(basis * height)
            values.append(np.cos(phases) * height)
            slopes.append(-np.sin(phases) * numbers * height)
            squares.append((numbers / voxel) ** 2)
        self._slopes = [[*values[:axis], slope, *values[axis + 1 :]] for axis, slope in enumerate(slopes)]
        # All second derivatives of a cosine together: the sum of its squared wave numbers, squared.
        self._bending = np.square(sum(np.ix_(*squares)))[..., np.newaxis]

    def on_grid(self, grid: tuple[slice, ...]) -> list[np.ndarray]:
        """The matrices, one per axis, that take amplitudes to u on a part of the canvas."""
        return [basis[part] for basis, part in zip(self._on_canvas, grid, strict=True)]

    def displacement(self, amplitudes: np.ndarray) -> np.ndarray:
        """u on the canvas, (*canvas, n), in voxels."""
        return apply_along_axes(self._on_canvas, amplitudes) / self._spacing

    def fit(self, displacement: np.ndarray) -> np.ndarray:
        """The amplitudes whose u is closest to a displacement (*canvas, n), in voxels, in least squares."""
        return apply_along_axes(
            [basis.T / len(basis) for basis in self._on_canvas], displacement * self._spacing
        )

    def bending(self, amplitudes: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean squared second derivative of u, over all pairs of axes, in 1/mm^2, and its gradient."""
        half = self._bending * amplitudes
        return float(np.sum(amplitudes * half)), 2 * half

    def folding(self, amplitudes: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean square of what det(grad(id + u)) falls short of its least value, and its gradient."""
        jacobian = np.stack(
            [apply_along_axes(slope, amplitudes / self._spacing) for slope in self._slopes], axis=-1
        )
        jacobian += np.eye(len(self.size))
        cofactors = _cofactors(jacobian)
        determinant = (jacobian[..., 0, :] * cofactors[..., 0, :]).sum(axis=-1)
        short = np.maximum(_LEAST_VOLUME - determinant, 0.0)
        gradient = np.zeros_like(amplitudes)
        if not short.any():
            return 0.0, gradient
        by_slope = -2 * (short / short.size)[..., np.newaxis, np.newaxis] * cofactors
        for axis, slope in enumerate(self._slopes):
            gradient += apply_along_axes([basis.T for basis in slope], by_slope[..., axis])
        return float(np.mean(short**2)), gradient / self._spacing


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
