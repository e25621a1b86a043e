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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize

from fire_tf.free_form.objective import Comparison, Objective
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    DisplacementMap,
    InverseMap,
    PointMap,
    fit_affine,
    grid_points,
)
from fire_tf.intensities.grey_values import foreground
from fire_tf.measures.metrics import map_positions
from fire_tf.registration.pair import PairModel, Registration, between_canvases, counting, world_maps

_MARGIN = 12.0  # mm around the fixed image's tissue within which points are compared


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


SEARCHES: Mapping[str, Search] = {
    "heads": Search(
        (
            Level(step=5, smoothing=4, controls=None, iterations=40),
            Level(step=2.5, smoothing=2, controls=50, iterations=40),
            Level(step=2.5, smoothing=1.5, controls=30, iterations=40),
            Level(step=1.25, smoothing=0.8, controls=20, iterations=80),
        ),
        bending=150.0,
        nonrigid=False,
    ),
    "hearts": Search(
        (
            Level(step=1.5, smoothing=1.5, controls=20, iterations=40),
            Level(step=1.5, smoothing=1, controls=10, iterations=60),
            Level(step=1.5, smoothing=0.8, controls=7, iterations=60),
        ),
        bending=2.0,
        nonrigid=True,
    ),
}
"""Both found on validation and training subjects: docs/refine.md. A wall that thickens moves less smoothly than the
heads are deformed, and farther than mutual information sees: there the networks' own answer is the better start."""


def search_for(model: PairModel) -> Search:
    """The search that suits what a model was trained on, as its settings name it."""
    return SEARCHES[model.preprocessing.get("search", "heads")]


def refine(found: Registration, search: Search = SEARCHES["heads"]) -> Registration:
    """Both directions of a registration, refined; the synthesised images stay as they are.

    The search starts from that direction by which the images are more alike. Where its end is no better than the
    networks' own answer, that one is returned.
    """
    levels, bending, nonrigid = search
    moving, fixed = found.moving, found.fixed
    given = between_canvases(found.to_moving, fixed, moving)
    seen = distance_transform_edt(~foreground(fixed.data), sampling=fixed.spacing) <= _MARGIN
    # Through the networks' answer: what does not count in the moving image is left out at the same points to the end.
    seen &= counting(fixed.counts, moving.counts, map_positions(given, fixed.data.shape))
    if not seen.any():
        return found
    comparisons = [
        Comparison(moving, fixed, seen, step=level.step, smoothing=level.smoothing) for level in levels
    ]
    phi = max(_starts(found, nonrigid), key=comparisons[0].similarity)
    for level, comparison in zip(levels, comparisons, strict=True):
        phi = _improve(phi, comparison, level, bending)
    if comparisons[-1].similarity(phi) <= comparisons[-1].similarity(given):
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
    affines = [fit_affine(corners, between_canvases(world, fixed, moving)(corners)) for world in worlds]
    if not nonrigid:
        still = DisplacementMap(np.zeros((*fixed.data.shape, fixed.data.ndim)))
        return [AffineAfterDisplacement(still, affine) for affine in affines]
    back = between_canvases(found.to_fixed, moving, fixed)
    maps = (between_canvases(found.to_moving, fixed, moving), InverseMap(back, affines[1].inverse()))
    return [_sampled(phi, affine, fixed.data.shape) for phi, affine in zip(maps, affines, strict=True)]


def _sampled(phi: PointMap, affine: AffineMap, shape: tuple[int, ...]) -> AffineAfterDisplacement:
    """phi as ``affine o (id + u)``, u sampled on the grid that it starts from."""
    points = grid_points(shape)
    return AffineAfterDisplacement(DisplacementMap(affine.inverse()(phi(points)) - points), affine)


def _improve(
    phi: AffineAfterDisplacement, comparison: Comparison, level: Level, bending: float
) -> AffineAfterDisplacement:
    """phi after one level of the search."""
    objective = Objective(phi, comparison, level.controls, bending)
    options = {"maxiter": level.iterations, "maxcor": 12}
    result = minimize(objective, objective.start, jac=True, method="L-BFGS-B", options=options)
    return objective.phi(result.x)
