"""What `fire_tf.registration.refine` minimises at one resolution, and its analytic gradient."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from fire_tf.free_form.waves import Waves, apply_along_axes
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
_POINTS = 50_000  # that are compared: more add little to a histogram (volumes have many)


class Comparison:
    """How alike the moving image, read at given positions, and the fixed one are at points of the fixed canvas.

    That is their mutual information or, given what the networks made of either (``imitations``: the moving image in the
    fixed one's modality, the fixed one in the moving one's), the mean of three: of the images, and of each with the
    other one's imitation.

    The points lie in ``mask`` (*canvas), ``step`` mm apart, at least one voxel, and farther where they would be too
    many; all images are filtered with a Gaussian of sigma ``smoothing`` mm.
    """

    def __init__(
        self,
        moving: Prepared,
        fixed: Prepared,
        mask: np.ndarray,
        *,
        step: float,
        smoothing: float,
        imitations: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.spacing = np.asarray(fixed.spacing)
        stride = np.maximum(1, np.rint(step / self.spacing).astype(int))
        while mask[tuple(slice(None, None, size) for size in stride)].sum() > _POINTS:
            stride += 1
        self.grid = tuple(slice(None, None, size) for size in stride)
        self.shape, self.mask = mask.shape, mask[self.grid]
        self.points = grid_points(mask.shape)[self.grid][self.mask]
        of_moving, of_fixed = ([image] for image in imitations) if imitations else ([], [])
        sigma = smoothing / np.asarray(moving.spacing)
        images = np.stack([_smooth(image, sigma) for image in (moving.data, *of_moving)])
        border = [(0, 0), *[(1, 1)] * moving.data.ndim]
        self._moving = np.pad(images, border, constant_values=BACKGROUND)
        targets = [
            MutualInformation(_smooth(image, smoothing / self.spacing)[self.grid][self.mask])
            for image in (fixed.data, *of_fixed)
        ]
        self._informations = [(0, target) for target in targets] + [(1, targets[0])] * len(of_moving)

    def similarity(self, phi: PointMap) -> float:
        """That of the moving image o phi and the fixed one, in nats."""
        return self(phi(self.points))[0]

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """The similarity for the positions (m, n) on the moving canvas that the points are mapped to, and its slopes
        (m, n) by them."""
        values, slopes = sample_with_slopes(self._moving, positions + 1)
        total, by_value = 0.0, np.zeros_like(values)
        for which, information in self._informations:
            nats, slope = information(values[which])
            total += nats / len(self._informations)
            by_value[which] += slope / len(self._informations)
        return total, np.einsum("cm,ncm->mn", by_value, slopes)


def _smooth(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return gaussian_filter(image.astype(np.float64), sigma)


class Objective:
    """What is minimised, as a function of one vector: A's entries, then the amplitudes of u.

    ``half_wave`` is the shortest one of u, in mm, ``bending`` the weight of B. A is taken about the canvas centre. The
    entries of its linear part are scaled so that a unit moves points at a quarter of the canvas by one voxel, as a unit
    of its shift does.
    """

    def __init__(
        self, phi: AffineAfterDisplacement, comparison: Comparison, half_wave: float, bending: float
    ) -> None:
        shape = comparison.shape
        self._comparison, self._bending, self._n = comparison, bending, len(shape)
        self._centre, self._reach = (np.asarray(shape) - 1) / 2, np.asarray(shape) / 4
        linear, offset = phi.affine.matrix[:, :-1], phi.affine.matrix[:, -1:]
        shift = offset + (linear @ self._centre - self._centre)[:, np.newaxis]
        self._waves = Waves(shape, comparison.spacing, half_wave)
        self._to_points = self._waves.on_grid(comparison.grid)
        entries = np.concatenate([linear * self._reach, shift], axis=1)
        self.start = np.concatenate([entries.ravel(), self._waves.fit(phi.inner.displacement).ravel()])

    def phi(self, x: np.ndarray) -> AffineAfterDisplacement:
        """The map that a vector stands for."""
        affine, amplitudes = self._parts(x)
        return AffineAfterDisplacement(DisplacementMap(self._waves.displacement(amplitudes)), affine)

    def _parts(self, x: np.ndarray) -> tuple[AffineMap, np.ndarray]:
        entries = x[: self._n * (self._n + 1)].reshape(self._n, self._n + 1)
        linear, shift = entries[:, :-1] / self._reach, entries[:, -1]
        offset = self._centre + shift - linear @ self._centre
        affine = AffineMap(np.concatenate([linear, offset[:, np.newaxis]], axis=1))
        return affine, x[entries.size :].reshape(*self._waves.size, self._n)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and its gradient."""
        affine, amplitudes = self._parts(x)
        mask, spacing = self._comparison.mask, self._comparison.spacing
        displacement = apply_along_axes(self._to_points, amplitudes)[mask] / spacing
        displaced = self._comparison.points + displacement
        similarity, by_position = self._comparison(affine(displaced))
        by_linear = by_position.T @ (displaced - self._centre) / self._reach
        by_shift = by_position.sum(axis=0)[:, np.newaxis]
        by_displacement = np.zeros((*mask.shape, self._n))
        by_displacement[mask] = by_position @ affine.matrix[:, :-1] / spacing
        by_amplitudes = -apply_along_axes([matrix.T for matrix in self._to_points], by_displacement)
        bending, by_bending = self._waves.bending(amplitudes)
        folding, by_folding = self._waves.folding(amplitudes)
        by_amplitudes += self._bending * by_bending + _FOLDING * by_folding
        value = -similarity + self._bending * bending + _FOLDING * folding
        by_affine = -np.concatenate([by_linear, by_shift], axis=1)
        return value, np.concatenate([by_affine.ravel(), by_amplitudes.ravel()])
