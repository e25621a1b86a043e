"""Refine a registration on the pair itself: from the networks' answer to the highest mutual information.

The refined map is a free-form deformation (Rueckert et al. 1999), ``phi = A o (id + u)`` from the fixed canvas
to the moving one: A affine, u a sum of cubic B-splines on a lattice of controls. Minimised over A and the
controls together, coarse to fine, is

    -I(moving o phi, fixed) + bending B(u) + folding V(u)

with I the mutual information (Viola and Wells 1997, Mattes et al. 2003) in nats, B the bending energy and V
what the Jacobian determinant of ``id + u`` falls short of a least value. All gradients are analytic; L-BFGS does
the rest. The other direction is the inverse of phi, found point by point, so the two directions agree.
Only numpy and scipy are at work: nothing is traced, and the same pair always gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.optimize import minimize

from fire_tf.geometry.images import BACKGROUND, Prepared, foreground
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    Chain,
    DisplacementMap,
    InPlane,
    InverseMap,
    PointMap,
    fit_affine,
    grid_points,
)
from fire_tf.registration.pair import PairModel, Registration, world_maps

_MARGIN = 12.0  # mm around the fixed image's tissue within which points are compared
_BINS = 32
_FOLDING = 10.0  # weight of V
_LEAST_VOLUME = 0.2  # Jacobian determinants below this are penalised


@dataclass(frozen=True)
class Level:
    """One resolution of the search; lengths in mm.

    step: between the points that are compared, at least one voxel. smoothing: sigma of the Gaussian that both
    images are filtered with. controls: between the controls of u; None moves A alone.
    """

    step: float
    smoothing: float
    controls: float | None
    iterations: int


class Search(NamedTuple):
    """Levels, coarse to fine. bending: weight of the mean squared second derivative of u, in 1/mm^2. nonrigid: whether
    u starts from the networks' non-rigid part, or from 0."""

    levels: tuple[Level, ...]
    bending: float
    nonrigid: bool


BRAINS = Search(
    (
        Level(step=5, smoothing=4, controls=None, iterations=40),
        Level(step=2.5, smoothing=2, controls=50, iterations=40),
        Level(step=2.5, smoothing=1.5, controls=30, iterations=40),
        Level(step=1.25, smoothing=0.8, controls=20, iterations=80),
    ),
    bending=150.0,
    nonrigid=False,
)
HEARTS = Search(
    (
        Level(step=1.5, smoothing=1.5, controls=20, iterations=40),
        Level(step=1.5, smoothing=1, controls=10, iterations=60),
        Level(step=1.5, smoothing=0.8, controls=7, iterations=60),
    ),
    bending=2.0,
    nonrigid=True,
)
"""Both found on validation and training subjects: docs/refine.md. A wall that thickens moves less smoothly than the
heads are deformed, and farther than mutual information sees: there the networks' own answer is the better start."""


def search_for(model: PairModel) -> Search:
    """The search that suits what a model was trained on: the slices of hearts, or anything else."""
    return HEARTS if model.preprocessing.get("slices_last") else BRAINS


def refine(found: Registration, search: Search = BRAINS) -> Registration:
    """Both directions of a registration, refined; the synthesised images stay as they are.

    The search starts from that direction by which the images are more alike. Where its end is no better than the
    networks' own answer, that one is returned.
    """
    levels, bending, nonrigid = search
    moving, fixed = found.moving, found.fixed
    near_tissue = distance_transform_edt(~foreground(fixed.data), sampling=fixed.spacing) <= _MARGIN
    comparisons = [_Comparison(moving, fixed, near_tissue, level) for level in levels]
    phi = max(_starts(found, nonrigid), key=comparisons[0].similarity)
    for level, comparison in zip(levels, comparisons, strict=True):
        phi = _improve(phi, comparison, level, bending)
    if comparisons[-1].similarity(phi) <= comparisons[-1].similarity(
        _on_canvas(found.to_moving, moving, fixed)
    ):
        return found
    back = _sampled(InverseMap(phi, phi.affine), phi.affine.inverse(), moving.data.shape)
    to_moving, affine_to_moving = world_maps(phi, moving, fixed)
    to_fixed, affine_to_fixed = world_maps(back, fixed, moving)
    return replace(
        found,
        to_moving=to_moving,
        to_fixed=to_fixed,
        affine_to_moving=affine_to_moving,
        affine_to_fixed=affine_to_fixed,
    )


def _starts(found: Registration, nonrigid: bool) -> list[AffineAfterDisplacement]:
    """Both directions as maps from the fixed canvas to the moving one, with or without their non-rigid parts."""
    moving, fixed = found.moving, found.fixed
    corners = grid_points((2,) * fixed.data.ndim)
    worlds = (found.affine_to_moving, found.affine_to_fixed.inverse())
    affines = [fit_affine(corners, _on_canvas(world, moving, fixed)(corners)) for world in worlds]
    if not nonrigid:
        still = DisplacementMap(np.zeros((*fixed.data.shape, fixed.data.ndim)))
        return [AffineAfterDisplacement(still, affine) for affine in affines]
    back = _on_canvas(found.to_fixed, fixed, moving)
    maps = (_on_canvas(found.to_moving, moving, fixed), InverseMap(back, affines[1].inverse()))
    return [_sampled(phi, affine, fixed.data.shape) for phi, affine in zip(maps, affines, strict=True)]


def _sampled(phi: PointMap, affine: AffineMap, shape: tuple[int, ...]) -> AffineAfterDisplacement:
    """phi as ``affine o (id + u)``, u sampled on the grid that it starts from."""
    points = grid_points(shape)
    return AffineAfterDisplacement(DisplacementMap(affine.inverse()(phi(points)) - points), affine)


def _on_canvas(to_moving: PointMap, moving: Prepared, fixed: Prepared) -> PointMap:
    """A map from the fixed world to the moving one as a map between canvas voxels."""
    steps = (AffineMap(fixed.affine), to_moving, AffineMap(moving.affine).inverse())
    return InPlane(Chain(steps), fixed.data.ndim)


def _improve(
    phi: AffineAfterDisplacement, comparison: _Comparison, level: Level, bending: float
) -> AffineAfterDisplacement:
    """phi after one level of the search."""
    objective = _Objective(phi, comparison, level, bending)
    options = {"maxiter": level.iterations, "maxcor": 12}
    result = minimize(objective, objective.start, jac=True, method="L-BFGS-B", options=options)
    return objective.phi(result.x)


class _Comparison:
    """How alike the moving image, read at given positions, and the fixed one are at a level's points."""

    def __init__(self, moving: Prepared, fixed: Prepared, mask: np.ndarray, level: Level) -> None:
        spacing = np.asarray(fixed.spacing)
        stride = np.maximum(1, np.rint(level.step / spacing).astype(int))
        self.grid = tuple(slice(None, None, int(size)) for size in stride)
        self.mask = mask[self.grid]
        self.points = grid_points(mask.shape)[self.grid][self.mask]
        self.fixed, self.spacing = fixed, spacing
        values = gaussian_filter(fixed.data.astype(np.float64), level.smoothing / spacing)
        self._information = _MutualInformation(values[self.grid][self.mask])
        smooth = gaussian_filter(moving.data.astype(np.float64), level.smoothing / np.asarray(moving.spacing))
        self._moving = np.pad(smooth, 1, constant_values=BACKGROUND)

    def similarity(self, phi: PointMap) -> float:
        """I(moving o phi, fixed)."""
        return self(phi(self.points))[0]

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """I for the positions (m, n) on the moving canvas that the points are mapped to, and dI/dpositions."""
        values, slopes = _read(self._moving, positions + 1)
        information, by_value = self._information(values)
        return information, by_value[:, np.newaxis] * slopes


def _read(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``image`` read linearly at points (m, n), clamped at the edge, and the slopes (m, n) of just that."""
    last = np.asarray(image.shape) - 1
    inside = np.clip(points, 0, last - 1e-9)
    corner = inside.astype(np.int64)
    upper = inside - corner
    strides = np.asarray(image.strides) // image.itemsize
    first, flat = corner @ strides, image.ravel()
    values, slopes = np.zeros(len(points)), np.zeros_like(inside)
    for offset in product((0, 1), repeat=image.ndim):
        at_corner = flat[first + int(np.dot(offset, strides))]
        weights = np.stack([upper[:, axis] if up else 1 - upper[:, axis] for axis, up in enumerate(offset)])
        values += at_corner * weights.prod(axis=0)
        for axis, up in enumerate(offset):
            others = np.delete(weights, axis, axis=0).prod(axis=0)
            slopes[:, axis] += (1 if up else -1) * at_corner * others
    return values, np.where(points == inside, slopes, 0.0)


class _MutualInformation:
    """I(x, fixed) of the joint histogram of two sets of grey values in [-1, 1], in nats.

    Every pair of values is shared between four bins (linear Parzen windows) and the histogram then smoothed
    with a Gaussian of one bin, which leaves I differentiable and the empty bins a little filled.
    """

    def __init__(self, fixed: np.ndarray) -> None:
        self._column, self._right = _bins(fixed)
        distance = np.subtract.outer(np.arange(_BINS), np.arange(_BINS))
        window = np.exp(-0.5 * distance**2)
        self._window = window / window.sum(axis=0)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """I and its slope by every value of x."""
        row, lower = _bins(x)
        cell = row * _BINS + self._column
        shares = (
            (cell, (1 - lower) * (1 - self._right)),
            (cell + 1, (1 - lower) * self._right),
            (cell + _BINS, lower * (1 - self._right)),
            (cell + _BINS + 1, lower * self._right),
        )
        counts = np.sum([np.bincount(where, share, _BINS**2) for where, share in shares], axis=0)
        joint = self._window @ counts.reshape(_BINS, _BINS) @ self._window.T / len(x)
        independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        tiny = np.finfo(np.float32).tiny
        ratio = np.log((joint + tiny) / (independent + tiny))
        # dI = sum of ratio * d(joint): what the marginals and the logarithm add is a constant times d(sum) = 0.
        by_count = (self._window.T @ ratio @ self._window).ravel() / len(x)
        left = by_count[cell + _BINS] - by_count[cell]
        right = by_count[cell + _BINS + 1] - by_count[cell + 1]
        slope = ((1 - self._right) * left + self._right * right) * (_BINS - 1) / 2
        return float((joint * ratio).sum()), slope


def _bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower one of the two bins that share a value, and the upper one's share."""
    position = (np.clip(values, -1, 1) + 1) / 2 * (_BINS - 1)
    lower = np.minimum(position.astype(np.int64), _BINS - 2)
    return lower, position - lower


class _Objective:
    """What a level minimises, as a function of one vector: A's entries, then the controls of u.

    A is taken about the canvas centre. The entries of its linear part are scaled so that a unit moves points at
    a quarter of the canvas by one voxel, as a unit of its shift and of a control does.
    """

    def __init__(
        self, phi: AffineAfterDisplacement, comparison: _Comparison, level: Level, bending: float
    ) -> None:
        shape = comparison.fixed.data.shape
        self._phi, self._comparison, self._bending, self._n = phi, comparison, bending, len(shape)
        self._centre, self._reach = (np.asarray(shape) - 1) / 2, np.asarray(shape) / 4
        linear, offset = phi.affine.matrix[:, :-1], phi.affine.matrix[:, -1:]
        shift = offset + (linear @ self._centre - self._centre)[:, np.newaxis]
        self.start = np.concatenate([linear * self._reach, shift], axis=1).ravel()
        self._lattice = None
        if level.controls is not None:
            self._lattice = _Lattice(shape, comparison.fixed.spacing, level.controls)
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
            displaced = points + _apply(self._to_points, controls)[mask]
        information, by_position = self._comparison(affine(displaced))
        by_linear = by_position.T @ (displaced - self._centre) / self._reach
        by_shift = by_position.sum(axis=0)[:, np.newaxis]
        by_affine = np.concatenate([by_linear, by_shift], axis=1)
        if self._lattice is None or controls is None:
            return -information, -by_affine.ravel()
        by_displacement = np.zeros((*mask.shape, self._n))
        by_displacement[mask] = by_position @ affine.matrix[:, :-1]
        by_controls = -_apply([matrix.T for matrix in self._to_points], by_displacement)
        bending, by_bending = self._lattice.bending(controls)
        folding, by_folding = self._lattice.folding(controls)
        by_controls += self._bending * by_bending + _FOLDING * by_folding
        value = -information + self._bending * bending + _FOLDING * folding
        return value, np.concatenate([-by_affine.ravel(), by_controls.ravel()])


class _Lattice:
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
        return _apply(self._on_canvas, controls)

    def fit(self, displacement: np.ndarray) -> np.ndarray:
        """The controls whose u is closest to a displacement (*canvas, n), in least squares."""
        return _apply([np.linalg.pinv(basis) for basis in self._on_canvas], displacement)

    def bending(self, controls: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean squared second derivative of u, over all pairs of axes, in 1/mm^2, and its gradient."""
        axes = range(len(self.size))
        half = np.zeros_like(controls)
        for first, second in product(axes, axes):
            orders = [(axis == first) + (axis == second) for axis in axes]
            products = [self._products[order][axis] for axis, order in enumerate(orders)]
            half += _apply(products, controls) / (self._spacing[first] * self._spacing[second]) ** 2
        half *= np.square(self._spacing)
        return float(np.sum(controls * half)), 2 * half

    def folding(self, controls: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean square of what det(grad(id + u)) falls short of its least value, and its gradient."""
        jacobian = np.stack([_apply(slope, controls) for slope in self._slopes], axis=-1)
        jacobian += np.eye(len(self.size))
        short = np.maximum(_LEAST_VOLUME - np.linalg.det(jacobian), 0.0)
        if not short.any():
            return 0.0, np.zeros_like(controls)
        by_slope = -2 * (short / short.size)[..., np.newaxis, np.newaxis] * _cofactors(jacobian)
        gradient = np.zeros_like(controls)
        for axis, slope in enumerate(self._slopes):
            gradient += _apply([basis.T for basis in slope], by_slope[..., axis])
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


def _apply(matrices: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
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
