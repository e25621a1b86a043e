"""What a model's own kind of images and results looks like in a few numbers, and what lies beyond.

The numbers are learnt once, from pairs of the validation split (`fire_tf.training.limits`), and stored with the model:
``limits`` in ``preprocessing.json`` holds ``gain``, the least that synthesis must improve the similarity of two aligned
images by (left out where it does not improve it), and under each modality's name

    similarity          the least correlation, in the brain, of an image with the other one synthesised and warped
    affine_similarity   the same where the non-rigid part is left out
    rim                 the least mean grey value, in [-1, 1], of a shell 4 to 20 mm below the object's outline, where
                        the skull of a whole head lies: midway between the validation pairs and air, for brains differ
                        from one subject to the next, and a skull is nearly as dark as air
    size                the least and the most tissue, in cm2 of a slice or cm3 of a volume
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from fire_tf.config.shipped import voxels
from fire_tf.geometry.canvas import Prepared
from fire_tf.geometry.images import Image
from fire_tf.intensities.grey_values import BACKGROUND, NO_AIR
from fire_tf.measures import metrics
from fire_tf.registration.pair import Alignment, PairModel, Registration, Synthesis, between_canvases
from fire_tf.registration.quality import similarity

_BEYOND = 2.0
"""The least similarity lies so many times as far below the last hundredth of the validation pairs as that lies below
the last tenth."""

_FEW_IMAGES, _UNLIKE = 10, 3.0
"""Pairs drawn from fewer images than the first (volumes) say how far one head goes, not how heads differ: the least
similarity is then at most so much that it is the second number times as far from 1 as the median pair's."""

_SIZES = 0.6, 1.3  # of the least and the most tissue of the validation pairs
_SHELLS = (4.0, 8.0, 12.0, 16.0, 20.0)  # mm below the outline
_FEW = 20  # voxels of which a shell's mean is not taken
_COARSE, _FINE = 2.0, 1 / 8  # of the model's spacing


def measured(found: Registration) -> dict[str, dict[str, float]]:
    """The numbers of one registration, by modality; ``size`` is one number, ``gain`` one for each modality."""
    roles = (
        (found.moving, found.fixed, found.from_fixed, found.to_fixed, found.affine_to_fixed),
        (found.fixed, found.moving, found.from_moving, found.to_moving, found.affine_to_moving),
    )
    rows = {}
    for target, source, synthesis, whole, affine in roles:
        maps = [between_canvases(one, target, source) for one in (whole, affine)]
        reached = similarity(target, synthesis, maps[0])
        rows[synthesis.modality] = {
            "similarity": reached,
            "affine_similarity": similarity(target, synthesis, maps[1]),
            "gain": reached - similarity(target, _as_it_is(source), maps[0]),
            "rim": rim(target),
            "size": tissue(target),
        }
    return rows


def learnt(rows: Sequence[Mapping[str, Mapping[str, float]]], images: int) -> dict[str, Any]:
    """The limits of pairs, of each of which there is what `measured` gives.

    ``images``: of either modality, from which the pairs were drawn.
    """
    limits: dict[str, Any] = {}
    gains = [max(numbers["gain"] for numbers in row.values()) for row in rows]
    if np.percentile(gains, 1) > 0:
        limits["gain"] = 0.0
    for modality in rows[0]:
        values = {name: np.array([row[modality][name] for row in rows]) for name in rows[0][modality]}
        limits[modality] = {
            name: round(_beyond(values[name], images), 4) for name in ("similarity", "affine_similarity")
        }
        if np.isfinite(values["rim"]).all():
            limits[modality]["rim"] = round(float(np.percentile(values["rim"], 1) + BACKGROUND) / 2, 4)
        ends = values["size"].min(), values["size"].max()
        limits[modality]["size"] = [
            round(float(part * end), 4) for part, end in zip(_SIZES, ends, strict=True)
        ]
    return limits


def _beyond(values: np.ndarray, images: int) -> float:
    hundredth, tenth, median = np.percentile(values, (1, 10, 50))
    least = float(hundredth - _BEYOND * (tenth - hundredth))
    return least if images >= _FEW_IMAGES else min(least, 1.0 - _UNLIKE * (1.0 - float(median)))


def doubts(
    found: Alignment,
    numbers: Mapping[str, Any],
    names: tuple[str, str],
    model: PairModel,
    *,
    affine_only: bool,
) -> list[str]:
    """What is doubtful about a registration, one line each; nothing where the model knows no limits.

    ``numbers`` are its `fire_tf.registration.quality.quality`, ``names`` the moving and the fixed image's file.
    """
    limits = model.preprocessing.get("limits")
    if not limits:
        return []
    moving, fixed = found.from_fixed.modality, found.from_moving.modality
    lines = []
    if (
        found.fixed.data.ndim == model.ndim
    ):  # of a stack, whose slices were learnt from, the similarity alone is judged
        lines += _of_image(found.moving, names[0], moving, limits[moving])
        lines += _of_image(found.fixed, names[1], fixed, limits[fixed])
    pair = f"{names[0]} and {names[1]}"
    kind = "affine_similarity" if affine_only else "similarity"
    low = [
        f"{number} is {numbers[number]:.2f} ({modality}: at least {limits[modality][kind]:.2f})"
        for modality, number in ((fixed, "similarity"), (moving, "inverse_similarity"))
        if numbers[number] < limits[modality][kind]
    ]
    if low:
        lines.append(
            f"{pair}: {' and '.join(low)}, less than pairs of the model's kind reach: another modality, anatomy or "
            "orientation, or a registration that failed"
        )
    if "gain" in limits and (gain := _gain(found, numbers)) <= limits["gain"]:
        lines.append(
            f"{pair}: synthesis makes them no more similar than they are (by {gain:.2f}): not "
            f"{moving} and {fixed}, or the other way round (--moving-modality)"
        )
    return lines


def _gain(found: Alignment, numbers: Mapping[str, Any]) -> float:
    onto_fixed = between_canvases(found.to_moving, found.fixed, found.moving)
    onto_moving = between_canvases(found.to_fixed, found.moving, found.fixed)
    return max(
        numbers["similarity"] - similarity(found.fixed, _as_it_is(found.moving), onto_fixed),
        numbers["inverse_similarity"] - similarity(found.moving, _as_it_is(found.fixed), onto_moving),
    )


def _as_it_is(image: Prepared) -> Synthesis:
    return Synthesis(image.data, image.affine, "its own", image.counts)


def _of_image(image: Prepared, name: str, modality: str, limit: Mapping[str, Any]) -> list[str]:
    lines = []
    size, unit = tissue(image), "cm2" if image.data.ndim == 2 else "cm3"
    least, most = limit["size"]
    seen = f"{name}: shows {size:.0f} {unit} of tissue, the model's {modality} images"
    if size < least:
        lines.append(f"{seen} at least {least:.0f}: a mostly empty image, or wrong voxel sizes")
    if size > most:
        lines.append(f"{seen} at most {most:.0f}: a whole head for a model of brains, or wrong voxel sizes")
    darkest = rim(image)
    if darkest < limit.get("rim", -np.inf):
        lines.append(
            f"{name}: is as dark as {darkest:.2f} in a layer below its outline (air is -1), the model's {modality} "
            f"images {limit['rim']:.2f} or more: a whole head for a model of stripped brains"
        )
    return lines


def spacing_doubts(image: Image, model: PairModel) -> list[str]:
    """Whether an image's voxels are of another order than those that the model was trained on."""
    wanted = np.asarray(model.preprocessing["spacing"])
    sizes = image.spacing[: len(wanted)]
    if suits_spacing(sizes, wanted):
        return []
    return [
        f"{image.path}: has voxels of {voxels(sizes)}, far from the {voxels(wanted)} that the model works at"
    ]


def suits_spacing(sizes: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether voxels of ``sizes`` mm are of the order of the ``wanted`` ones, a model's."""
    ratio = sizes / wanted
    return bool(ratio.max() <= _COARSE and ratio.min() >= _FINE)


def tissue(image: Prepared) -> float:
    """How much of an image is tissue: cm2 of a slice, cm3 of a volume."""
    voxel = float(np.prod(image.spacing)) / 10.0 ** len(image.spacing)
    return voxel * float(metrics.brain_mask(image.data, BACKGROUND).sum())


def rim(image: Prepared) -> float:
    """The mean grey value, in [-1, 1], of the darkest shell below the outline of the object; NaN where it is too small
    for one, or has no outline."""
    mask = image.data > NO_AIR
    if not mask.any() or mask.all():
        return float("nan")
    filled = metrics.brain_mask(mask, 0.0)
    if filled.ndim == 3:  # a skull is open where the field of view ends, but closed in every plane
        filled = np.stack([binary_fill_holes(plane) for plane in np.moveaxis(filled, 2, 0)], axis=2)
    depth = distance_transform_edt(filled, sampling=image.spacing)
    shells = ((depth > upper) & (depth <= lower) for upper, lower in pairwise(_SHELLS))
    return min(
        (float(image.data[shell].mean()) for shell in shells if shell.sum() > _FEW), default=float("nan")
    )
