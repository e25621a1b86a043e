"""Refine a registration on the pair itself: from the networks' answer to the highest mutual information.

The refined map is a free-form deformation, ``phi = A o (id + u)`` from the fixed canvas to the moving one: A affine, u
a sum of low cosines. Minimised over A and the amplitudes together, coarse to fine, from the networks' whole answer, is

    -(I(x o phi, y) + I(F_y(x) o phi, y) + I(x o phi, F_x(y))) / 3 + bending B(u) + folding V(u)

for the moving image x and the fixed one y, with I the mutual information (Viola and Wells 1997, Mattes et al. 2003) in
nats, F_y(x) the synthesised image of x in y's modality, B the bending energy and V what the Jacobian determinant of
``id + u`` falls short of a least value. All gradients are analytic; L-BFGS does the rest. The other direction is the
inverse of phi, found point by point, so the two directions agree. Only numpy and scipy are at work: nothing is traced,
and the same pair always gives the same result.

Synthesised images err elsewhere than mutual information of the images does, and together they lead astray less often
(docs/refine.md). What is found is taken only if more than what was sought says that it is better.
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
from fire_tf.measures.metrics import jacobian_determinant, map_positions
from fire_tf.registration.pair import PairModel, Registration, between_canvases, counting, world_maps
from fire_tf.registration.quality import similarities

_MARGIN = 12.0  # mm around the fixed image's tissue within which points are compared
_GAIN = 1e-4  # in nats, of a step that is the last one
_VOLUMES = 0.2, 5.0  # between which a plausible map changes the volumes of tissue,
_BEYOND = 0.01  # but for such a part of it


@dataclass(frozen=True)
class Level:
    """One resolution of the search; lengths in mm.

    step: between the points that are compared, at least one voxel. smoothing: sigma of the Gaussian that all images are
    filtered with. half_wave: the shortest one of u.
    """

    step: float
    smoothing: float
    half_wave: float
    iterations: int


class Search(NamedTuple):
    """Levels, coarse to fine. bending: weight of the mean squared second derivative of u, in 1/mm^2."""

    levels: tuple[Level, ...]
    bending: float


SEARCHES: Mapping[str, Search] = {
    "heads": Search(
        (
            Level(step=2.5, smoothing=1.5, half_wave=30, iterations=40),
            Level(step=1.25, smoothing=0.8, half_wave=20, iterations=40),
        ),
        bending=150.0,
    ),
    "hearts": Search(
        (
            Level(step=1.5, smoothing=1.5, half_wave=20, iterations=40),
            Level(step=1.5, smoothing=1, half_wave=10, iterations=60),
            Level(step=1.5, smoothing=0.8, half_wave=7, iterations=60),
        ),
        bending=15.0,
    ),
}
"""Both found on validation and training subjects: docs/refine.md. A wall that thickens moves less smoothly than the
heads are deformed."""


def search_for(model: PairModel) -> Search:
    """The search that suits what a model was trained on, as its settings name it."""
    return SEARCHES[model.preprocessing.get("search", "heads")]


def refine(found: Registration, search: Search = SEARCHES["heads"]) -> Registration:
    """Both directions of a registration, refined; the synthesised images stay as they are.

    The search starts from that direction by which the images are more alike. Where its end is no better than the
    networks' own answer, or implausible, that one is returned, itself.
    """
    moving, fixed = found.moving, found.fixed
    given = between_canvases(found.to_moving, fixed, moving)
    tissue = foreground(fixed.data)
    seen = distance_transform_edt(~tissue, sampling=fixed.spacing) <= _MARGIN
    # Through the networks' answer: what does not count in the moving image is left out at the same points to the end.
    seen &= counting(fixed.counts, moving.counts, map_positions(given, fixed.data.shape))
    if not seen.any():
        return found
    imitations = found.from_moving.data, found.from_fixed.data
    comparisons = [
        Comparison(moving, fixed, seen, step=level.step, smoothing=level.smoothing, imitations=imitations)
        for level in search.levels
    ]
    phi = max(_starts(found), key=comparisons[0].similarity)
    for level, comparison in zip(search.levels, comparisons, strict=True):
        phi = _improve(phi, comparison, level, search.bending)
    if comparisons[-1].similarity(phi) <= comparisons[-1].similarity(given) or not _plausible(phi, tissue):
        return found
    back = _sampled(InverseMap(phi, phi.affine), phi.affine.inverse(), moving.data.shape)
    to_moving, affine_to_moving = world_maps(phi, moving, fixed)
    to_fixed, affine_to_fixed = world_maps(back, fixed, moving)
    refined = replace(
        found,
        to_moving=to_moving,
        to_fixed=to_fixed,
        affine_to_moving=affine_to_moving,
        affine_to_fixed=affine_to_fixed,
        refined=True,
    )
    return refined if sum(similarities(refined)) > sum(similarities(found)) else found


def _starts(found: Registration) -> list[AffineAfterDisplacement]:
    """Both directions as maps from the fixed canvas to the moving one."""
    moving, fixed = found.moving, found.fixed
    corners = grid_points((2,) * fixed.data.ndim)
    worlds = (found.affine_to_moving, found.affine_to_fixed.inverse())
    affines = [fit_affine(corners, between_canvases(world, fixed, moving)(corners)) for world in worlds]
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
    objective = Objective(phi, comparison, level.half_wave, bending)
    options = {"maxiter": level.iterations, "maxcor": 12, "ftol": _GAIN}
    result = minimize(objective, objective.start, jac=True, method="L-BFGS-B", options=options)
    return objective.phi(result.x)


def _plausible(phi: PointMap, tissue: np.ndarray) -> bool:
    """Whether a map, from voxels where ``tissue`` (*canvas) is, changes its volumes as far as anatomy may."""
    determinant = jacobian_determinant(map_positions(phi, tissue.shape))[tissue]
    return bool(np.mean((determinant < _VOLUMES[0]) | (determinant > _VOLUMES[1])) < _BEYOND)
