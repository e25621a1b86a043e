"""Numbers to judge a registration by where nothing is labelled and no truth is known."""

from __future__ import annotations

import numpy as np

from fire_tf import metrics
from fire_tf.images import BACKGROUND, Prepared
from fire_tf.pointmaps import AffineMap, Chain, InPlane, PointMap, pull
from fire_tf.registration import Registration, Synthesis


def quality(found: Registration) -> dict[str, float]:
    """Similarity before and after, folding, inverse consistency and change of volume, on the canvases.

    ``similarity``: correlation inside the fixed image's brain between it and the moving image in its modality
    (synthesised, then warped); ``inverse_similarity`` the same for the other direction. Folding and inverse
    consistency as in ``fire_tf.metrics``; ``volume_ratio`` is the median Jacobian determinant in the brain.
    """
    still = AffineMap.identity(3)
    forward = _between(found.fixed, found.moving, found.to_moving)
    inverse = _between(found.moving, found.fixed, found.to_fixed)
    brain = metrics.brain_mask(found.fixed.data, BACKGROUND)
    determinant = metrics.jacobian_determinant(metrics.map_positions(forward, brain.shape))
    numbers = {
        "similarity_before": _similarity(
            found.fixed, found.from_moving, _between(found.fixed, found.moving, still)
        ),
        "similarity": _similarity(found.fixed, found.from_moving, forward),
        "inverse_similarity_before": _similarity(
            found.moving, found.from_fixed, _between(found.moving, found.fixed, still)
        ),
        "inverse_similarity": _similarity(found.moving, found.from_fixed, inverse),
        "folded_percent": metrics.folded_percent(determinant, brain),
        "inverse_consistency_mm": metrics.inverse_consistency(forward, inverse, brain, found.fixed.spacing),
        "volume_ratio": float(np.median(determinant[brain])),
    }
    return {name: round(value, 4) for name, value in numbers.items()}


def _between(target: Prepared, source: Prepared, world_map: PointMap) -> PointMap:
    """A map between worlds as one between canvas voxels of the two images."""
    steps = (AffineMap(target.affine), world_map, AffineMap(source.affine).inverse())
    return InPlane(Chain(steps), target.data.ndim)


def _similarity(target: Prepared, synthesis: Synthesis, to_source: PointMap) -> float:
    brain = metrics.brain_mask(target.data, BACKGROUND)
    warped = pull(synthesis.data, metrics.map_positions(to_source, brain.shape), outside=BACKGROUND)
    if not warped[brain].std() or not target.data[brain].std():
        return 0.0
    return float(np.corrcoef(warped[brain], target.data[brain])[0, 1])
