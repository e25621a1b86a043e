"""Scores of one registration: a row per direction, and a row per direction and structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.point_maps import AffineMap, Chain, PointMap
from fire_tf.geometry.reading import pull
from fire_tf.measures import metrics

DEFAULT_STRUCTURES = {1: "BS", 2: "CE", 3: "WM"}
SMALLEST_STRUCTURE = 50
"""Voxels that a structure must have in the target image to be scored there."""

Row = dict[str, str | int | float]


@dataclass
class Scores:
    """``pairs``: a row per pair, direction and method. ``labels``: the same per structure."""

    pairs: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)

    def extend(self, other: Scores) -> None:
        """Take over another one's rows."""
        self.pairs += other.pairs
        self.labels += other.labels


class _Direction(NamedTuple):
    """Warping ``source`` onto ``target``: ``pull_back`` maps target voxels to source ones, ``back`` back."""

    name: str
    source: str
    target: str
    pull_back: PointMap
    back: PointMap


def score(pair: Pair, result: Result, structures: Mapping[int, str], names: tuple[str, str]) -> Scores:
    """Score moving onto fixed and fixed onto moving, two directions that the rows call by ``names``."""
    directions = (
        _Direction(names[0], "moving", "fixed", result.to_moving, result.to_fixed),
        _Direction(names[1], "fixed", "moving", result.to_fixed, result.to_moving),
    )
    scores = Scores()
    for direction in directions:
        common: Row = {
            "level": pair.level,
            "pair": pair.name,
            "subject": pair.subject,
            "direction": direction.name,
            "method": result.method,
        }
        labels = _label_rows(pair, direction, structures)
        scores.labels += [common | row for row in labels]
        overlaps = [float(row["dice"]) for row in labels]
        scores.pairs.append(
            common
            | {"dice": float(np.mean(overlaps)) if overlaps else float("nan")}
            | _pair_row(pair, direction, structures)
            | dict(result.times._asdict())
        )
    return scores


def _label_rows(pair: Pair, direction: _Direction, structures: Mapping[int, str]) -> list[Row]:
    """Overlap and surface distance of every structure that is large enough in the target image."""
    target: np.ndarray = getattr(pair, f"{direction.target}_labels")
    source: np.ndarray = getattr(pair, f"{direction.source}_labels")
    warped = pull(source, metrics.map_positions(direction.pull_back, target.shape), nearest=True)
    rows: list[Row] = []
    for value, name in structures.items():
        voxels = int((target == value).sum())
        if voxels >= SMALLEST_STRUCTURE:
            masks = (warped == value, target == value)
            rows.append(
                {
                    "structure": name,
                    "voxels": voxels,
                    "dice": metrics.dice(*masks),
                    "hd95_mm": _surface_distance(*masks, pair.spacing(direction.target)),
                }
            )
    return rows


def _surface_distance(warped: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> float:
    """HD95 in mm; of a structure that was lost the worst that can be, the diagonal of the target's field of view."""
    if warped.any():
        return metrics.hausdorff95(warped, target, spacing)
    return float(np.linalg.norm(np.multiply(target.shape, spacing)))


def _pair_row(pair: Pair, direction: _Direction, structures: Mapping[int, str]) -> Row:
    """What concerns the map as a whole: folding, inverse consistency and the distance to the truth."""
    image = pair.array(direction.target)
    brain = metrics.brain_mask(image, float(image.min()))
    spacing = pair.spacing(direction.target)
    determinant = metrics.jacobian_determinant(metrics.map_positions(direction.pull_back, image.shape))
    return {
        "folded_percent": metrics.folded_percent(determinant, brain),
        "folded_everywhere_percent": metrics.folded_percent(determinant),
        "consistency_mm": metrics.inverse_consistency(direction.pull_back, direction.back, brain, spacing),
        "consistency_voxels": metrics.inverse_consistency(
            direction.pull_back, direction.back, brain, (1,) * pair.ndim
        ),
        "distance_mm": _distance(pair, direction, structures),
    }


def _distance(pair: Pair, direction: _Direction, structures: Mapping[int, str]) -> float:
    """Mean distance in mm to the true positions over the labelled voxels, both measured in the undeformed
    (fixed) image.

    Moving onto fixed: ``|T(phi(p)) - p|``; fixed onto moving: ``|phi(p) - T(p)|``, T the true map from moving
    to fixed.
    """
    if pair.true_to_fixed is None:
        return float("nan")
    labels: np.ndarray = getattr(pair, f"{direction.target}_labels")
    mask = np.isin(labels, list(structures))
    if direction.target == "fixed":
        found: PointMap = Chain((direction.pull_back, pair.true_to_fixed))
        return metrics.distance_to_truth(found, AffineMap.identity(pair.ndim), mask, pair.spacing("fixed"))
    return metrics.distance_to_truth(direction.pull_back, pair.true_to_fixed, mask, pair.spacing("fixed"))
