"""Numbers to judge a registration by where nothing is labelled and no truth is known."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fire_tf.compat.environment import installed_version
from fire_tf.compat.version import __version__
from fire_tf.geometry.canvas import Prepared
from fire_tf.geometry.point_maps import AffineMap, PointMap
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.measures import metrics
from fire_tf.measures.grey_values import correlation
from fire_tf.registration.pair import Alignment, Synthesis, between_canvases, counting

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_LIBRARIES = ("tensorflow", "tf-keras", "numpy", "scipy", "nibabel")


def quality(found: Alignment) -> dict[str, Any]:
    """Similarity before and after, folding, inverse consistency and change of volume, on the canvases.

    ``similarity``: correlation inside the fixed image's brain between it and the moving image in its modality
    (synthesised, then warped); ``inverse_similarity`` the same for the other direction. Folding and inverse
    consistency as in ``fire_tf.measures.metrics``, ``jacobian_percentiles`` of the determinant, all in the brain of the
    image that is warped onto; ``volume_ratio`` is the forward median.
    """
    still = AffineMap.identity(3)
    forward = between_canvases(found.to_moving, found.fixed, found.moving)
    inverse = between_canvases(found.to_fixed, found.moving, found.fixed)
    before, inverse_before = similarities(replace(found, to_moving=still, to_fixed=still))
    reached, inverse_reached = similarities(found)
    brain, other_brain = (metrics.brain_mask(image.data, BACKGROUND) for image in (found.fixed, found.moving))
    determinant = metrics.jacobian_determinant(metrics.map_positions(forward, brain.shape))
    other = metrics.jacobian_determinant(metrics.map_positions(inverse, other_brain.shape))
    numbers = {
        "similarity_before": before,
        "similarity": reached,
        "inverse_similarity_before": inverse_before,
        "inverse_similarity": inverse_reached,
        "folded_percent": metrics.folded_percent(determinant, brain),
        "inverse_folded_percent": metrics.folded_percent(other, other_brain),
        "inverse_consistency_mm": metrics.inverse_consistency(forward, inverse, brain, found.fixed.spacing),
        "volume_ratio": float(np.median(determinant[brain])),
    }
    return {
        **{name: round(value, 4) for name, value in numbers.items()},
        "jacobian_percentiles": _percentiles(determinant[brain]),
        "inverse_jacobian_percentiles": _percentiles(other[other_brain]),
    }


def provenance(command: Sequence[str], model: Path) -> dict[str, Any]:
    """What a result was made with: the command, the model's file and its hash, versions of what is there."""
    installed = {name: version for name in _LIBRARIES if (version := installed_version(name)) is not None}
    return {
        "command": shlex.join(command),
        "model": str(model),
        "model_sha256": file_hash(model),
        "versions": {"fire_tf": __version__, "python": platform.python_version(), **installed},
    }


def file_hash(path: str | Path) -> str | None:
    """SHA-256 of a file, or of all files of a folder in the order of their names; None where there is nothing (an image
    that was given in memory)."""
    path = Path(path)
    files = sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]
    if not all(part.is_file() for part in files):
        return None
    digest = hashlib.sha256()
    for part in files:
        digest.update(part.read_bytes())
    return digest.hexdigest()


def _percentiles(values: np.ndarray) -> Mapping[str, float]:
    return {
        str(percent): round(float(value), 4)
        for percent, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
    }


def similarity(target: Prepared, synthesis: Synthesis, to_source: PointMap) -> float:
    """The correlation, in the target's brain, of the target and an image in its modality that is pulled through a map
    between their canvases' voxels; 0 where either is constant. What does not count in either is left out."""
    brain = metrics.brain_mask(target.data, BACKGROUND)
    positions = metrics.map_positions(to_source, brain.shape)
    brain &= counting(target.counts, synthesis.counts, positions)
    warped = pull(synthesis.data, positions, outside=BACKGROUND)
    if not brain.any() or not warped[brain].std() or not target.data[brain].std():
        return 0.0
    return correlation(warped, target.data, brain)


def similarities(found: Alignment) -> tuple[float, float]:
    """`similarity` of the fixed image and the moving one in its modality, and that of the other direction."""
    return (
        similarity(
            found.fixed, found.from_moving, between_canvases(found.to_moving, found.fixed, found.moving)
        ),
        similarity(
            found.moving, found.from_fixed, between_canvases(found.to_fixed, found.moving, found.fixed)
        ),
    )
