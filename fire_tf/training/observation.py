"""What a model makes of the validation pairs, in numbers that need no labels and no truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion

from fire_tf.geometry.point_maps import grid_points
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.measures import metrics
from fire_tf.measures.collapse import Contrast, dead_percent, outside_percent, relative_contrast
from fire_tf.measures.grey_values import correlation
from fire_tf.measures.mutual_information import MutualInformation
from fire_tf.model.fire import FIRE
from fire_tf.pictures.registration import RegistrationPicture
from fire_tf.registration.pair import canvas_map

PICTURED = 2
"""How many of the pairs are drawn, the first ones."""

_RIM = 2  # voxels
_DEAD = 1e-3  # of features of images in [-1, 1]


class Observation(NamedTuple):
    """Means over pairs and both directions, in the tissue of the image that is warped onto, unless it says otherwise.

    mi, mi_before: mutual information (nats) of it with the other image, warped, and as that lies. consistency_mm: mean
    distance between a point and where both transforms take it, one after the other. folded, outside: % of voxels with
    a Jacobian determinant of 0 or less, and of voxels that are read from outside the canvas. contrast_a, contrast_b:
    that of the synthesised images of a modality as a part of that of the real ones
    (`fire_tf.measures.collapse.relative_contrast`); correlation_a, correlation_b: between the two, warped onto each
    other; all four without the tissue's rim. dead_features: % of G's channels that no image of the first batch changes.
    """

    mi: float
    mi_before: float
    consistency_mm: float
    folded: float
    outside: float
    contrast_a: float
    contrast_b: float
    correlation_a: float
    correlation_b: float
    dead_features: float


def observe(
    model: FIRE, batches: Iterable[tuple[np.ndarray, np.ndarray]], spacing: Sequence[float]
) -> tuple[Observation, list[RegistrationPicture]]:
    """Register batches of prepared images a and b, (batch, *canvas, 1) each; what is found, and the first pairs.

    ``spacing``: of the canvas, mm per axis. Nothing but NaN, and no pairs, where the model's answer is not finite.
    """
    rows: list[dict[str, float]] = []
    pictures: list[RegistrationPicture] = []
    contrasts = {name: Contrast() for name in ("a", "b", "synth_a", "synth_b")}
    dead = float("nan")
    for a, b in batches:
        if not rows:
            features = np.concatenate([part.numpy() for part in model.features(a, b)])
            dead = dead_percent(features, _DEAD)
        out = model.estimate_pair(a, b)
        if not all(np.isfinite(values).all() for values in out.values()):
            return Observation(*[float("nan")] * len(Observation._fields)), []
        for place in range(len(a)):
            pair = _Pair(a[place, ..., 0], b[place, ..., 0], out, place)
            rows.append(pair.numbers(spacing))
            pair.add_to(contrasts)
            if len(pictures) < PICTURED:
                pictures.append(pair.picture(spacing, model.preprocessing))
    means = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    for name in "ab":
        means[f"contrast_{name}"] = relative_contrast(contrasts[f"synth_{name}"], contrasts[name])
    return Observation(**means, dead_features=dead), pictures


class _Pair:
    """One pair of a batch: its images (*canvas), the synthesised ones, tissue, and where all voxels are read from."""

    def __init__(self, a: np.ndarray, b: np.ndarray, out: Mapping[str, np.ndarray], place: int):
        self.images = {"a": a, "b": b}
        self.synthesised = {name: out[f"synth_{name}"][place, ..., 0] for name in "ab"}
        self.tissue = {name: _tissue(image) for name, image in self.images.items()}
        self.inside = {name: _inside(mask) for name, mask in self.tissue.items()}
        # By the image that is warped onto.
        self.maps = {"a": canvas_map(out, "b", "a", place), "b": canvas_map(out, "a", "b", place)}
        grid = grid_points(a.shape)
        self.positions = {name: phi.affine(grid + phi.inner.displacement) for name, phi in self.maps.items()}

    def numbers(self, spacing: Sequence[float]) -> dict[str, float]:
        onto = {"a": self._onto("a", "b", spacing), "b": self._onto("b", "a", spacing)}
        found = {f"correlation_{name}": numbers.pop("correlation") for name, numbers in onto.items()}
        return found | {name: _mean([onto["a"][name], onto["b"][name]]) for name in onto["a"]}

    def _onto(self, fixed: str, moving: str, spacing: Sequence[float]) -> dict[str, float]:
        tissue, positions = self.tissue[fixed], self.positions[fixed]
        read, box = positions[tissue], metrics.bounding_box(tissue, margin=1)
        information = MutualInformation(self.images[fixed][tissue])
        inside = self.inside[fixed]
        synthesis = pull(self.synthesised[fixed], positions[inside], outside=BACKGROUND)
        return {
            "mi": information(pull(self.images[moving], read, outside=BACKGROUND))[0],
            "mi_before": information(self.images[moving][tissue])[0],
            "consistency_mm": metrics.inverse_consistency(
                self.maps[fixed], self.maps[moving], tissue, spacing
            ),
            "folded": metrics.folded_percent(metrics.jacobian_determinant(positions[box]), tissue[box]),
            "outside": outside_percent(read, tissue.shape),
            "correlation": _correlation(synthesis, self.images[fixed][inside]),
        }

    def add_to(self, contrasts: Mapping[str, Contrast]) -> None:
        for name, other in ("ab", "ba"):
            contrasts[name].add(self.images[name], self.inside[name])
            # In the other image's place, from which it was synthesised.
            contrasts[f"synth_{name}"].add(self.synthesised[name], self.inside[other])

    def picture(self, spacing: Sequence[float], preprocessing: Mapping[str, str]) -> RegistrationPicture:
        """A, warped onto B."""
        return RegistrationPicture(
            self.images["a"],
            self.images["b"],
            self.synthesised["b"],
            self.synthesised["a"],
            self.positions["b"],
            spacing,
            (preprocessing["modality_a"], preprocessing["modality_b"]),
        )


def _tissue(image: np.ndarray) -> np.ndarray:
    """All of an image that shows nothing."""
    tissue = metrics.brain_mask(image, BACKGROUND)
    return tissue if tissue.any() else ~tissue


def _inside(tissue: np.ndarray) -> np.ndarray:
    """Tissue without its rim, whose fading into the background a mere silhouette has too; all of it if it is thin."""
    inside = binary_erosion(tissue, iterations=_RIM)
    return inside if 2 * inside.sum() > tissue.sum() else tissue


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """0 where one of the two is the same everywhere."""
    everywhere = np.ones(one.shape, bool)
    return correlation(one, other, everywhere) if np.ptp(one) and np.ptp(other) else 0.0


def _mean(values: Sequence[float]) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
