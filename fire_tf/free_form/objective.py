"""What `fire_tf.registration.refine` minimises at one resolution, and its analytic gradient."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from fire_tf.free_form.lattice import Lattice, apply_along_axes
from fire_tf.geometry.canvas import Prepared
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    DisplacementMap,
    PointMap,
    grid_points,
)
from fire_tf.geometry.reading import sample_with_slopes
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.measures.mutual_information import MutualInformation

_FOLDING = 10.0  # weight of V


class Comparison:
    """How alike the moving image, read at given positions, and the fixed one are at points of the fixed canvas.

    The points lie in ``mask`` (*canvas), ``step`` mm apart, at least one voxel; both images are filtered with a
    Gaussian of sigma ``smoothing`` mm.
    """

    def __init__(
        self, moving: Prepared, fixed: Prepared, mask: np.ndarray, *, step: float, smoothing: float
    ) -> None:
        spacing = np.asarray(fixed.spacing)
        stride = np.maximum(1, np.rint(step / spacing).astype(int))
        self.grid = tuple(slice(None, None, int(size)) for size in stride)
        self.mask = mask[self.grid]
        self.points = grid_points(mask.shape)[self.grid][self.mask]
        self.fixed, self.spacing = fixed, spacing
        values = gaussian_filter(fixed.data.astype(np.float64), smoothing / spacing)
        self._information = MutualInformation(values[self.grid][self.mask])
        smooth = gaussian_filter(moving.data.astype(np.float64), smoothing / np.asarray(moving.spacing))
        self._moving = np.pad(smooth, 1, constant_values=BACKGROUND)

    def similarity(self, phi: PointMap) -> float:
        """I(moving o phi, fixed)."""
        return self(phi(self.points))[0]

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """I for the positions (m, n) on the moving canvas that the points are mapped to, and dI/dpositions."""
        values, slopes = sample_with_slopes(self._moving, positions + 1)
        information, by_value = self._information(values)
        return information, by_value[:, np.newaxis] * slopes


class Objective:
    """What is minimised, as a function of one vector: A's entries, then the controls of u, ``interval`` mm apart.

    Without an interval A alone is moved, and u stays that of ``phi``; ``bending`` is the weight of B. A is taken about
    the canvas centre. The entries of its linear part are scaled so that a unit moves points at a quarter of the canvas
    by one voxel, as a unit of its shift and of a control does.
    """

    def __init__(
        self, phi: AffineAfterDisplacement, comparison: Comparison, interval: float | None, bending: float
    ) -> None:
        shape = comparison.fixed.data.shape
        self._phi, self._comparison, self._bending, self._n = phi, comparison, bending, len(shape)
        self._centre, self._reach = (np.asarray(shape) - 1) / 2, np.asarray(shape) / 4
        linear, offset = phi.affine.matrix[:, :-1], phi.affine.matrix[:, -1:]
        shift = offset + (linear @ self._centre - self._centre)[:, np.newaxis]
        self.start = np.concatenate([linear * self._reach, shift], axis=1).ravel()
        self._lattice = None
        if interval is not None:
            self._lattice = Lattice(shape, comparison.fixed.spacing, interval)
            self._to_points = self._lattice.on_grid(comparison.grid)
            controls = self._lattice.fit(phi.inner.displacement)
            self.start = np.concatenate([self.start, controls.ravel()])

    def phi(self, x: np.ndarray) -> AffineAfterDisplacement:
        """The map that a vector stands for."""
        affine, controls = self._parts(x)
        if self._lattice is None or controls is None:
            return AffineAfterDisplacement(self._phi.inner, affine)
        return AffineAfterDisplacement(DisplacementMap(self._lattice.displacement(controls)), affine)

    def _parts(self, x: np.ndarray) -> tuple[AffineMap, np.ndarray | None]:
        entries = x[: self._n * (self._n + 1)].reshape(self._n, self._n + 1)
        linear, shift = entries[:, :-1] / self._reach, entries[:, -1]
        offset = self._centre + shift - linear @ self._centre
        affine = AffineMap(np.concatenate([linear, offset[:, np.newaxis]], axis=1))
        if self._lattice is None:
            return affine, None
        return affine, x[entries.size :].reshape(*self._lattice.size, self._n)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and its gradient."""
        affine, controls = self._parts(x)
        mask, points = self._comparison.mask, self._comparison.points
        if self._lattice is None or controls is None:
            displaced = self._phi.inner(points)
        else:
            displaced = points + apply_along_axes(self._to_points, controls)[mask]
        information, by_position = self._comparison(affine(displaced))
        by_linear = by_position.T @ (displaced - self._centre) / self._reach
        by_shift = by_position.sum(axis=0)[:, np.newaxis]
        by_affine = np.concatenate([by_linear, by_shift], axis=1)
        if self._lattice is None or controls is None:
            return -information, -by_affine.ravel()
        by_displacement = np.zeros((*mask.shape, self._n))
        by_displacement[mask] = by_position @ affine.matrix[:, :-1]
        by_controls = -apply_along_axes([matrix.T for matrix in self._to_points], by_displacement)
        bending, by_bending = self._lattice.bending(controls)
        folding, by_folding = self._lattice.folding(controls)
        by_controls += self._bending * by_bending + _FOLDING * by_folding
        value = -information + self._bending * bending + _FOLDING * folding
        return value, np.concatenate([-by_affine.ravel(), by_controls.ravel()])
