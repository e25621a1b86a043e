"""What registering loses when grey values are spoilt: Dice on pairs before and after.

    python benchmarks/spoilt_images.py --pairs t1_flair_pairs [--model t1_flair_2d] [--kinds "salt and pepper" ...]

Printed are, for each kind, the largest differences of the mean Dice of a structure at a level and in a direction, and
that of the pair which loses most in a direction. Images must have air of 0, as those of ``t1_flair_pairs`` have.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair, read_pairs
from fire_tf.evaluation.scoring import DEFAULT_STRUCTURES, score
from fire_tf.geometry.images import Image
from fire_tf.intensities.air import fill_outside
from fire_tf.model.fire import FIRE
from fire_tf.model.storage import load_model
from fire_tf.registration.pair import register_pair

SEED = 5


def outliers(image: np.ndarray, value: float, count: int) -> np.ndarray:
    spoilt = image.copy()
    spoilt.flat[np.random.default_rng(SEED).integers(0, image.size, count)] = value
    spoilt[2, 3] = value
    return spoilt


def speckled(image: np.ndarray, low: float, high: float) -> np.ndarray:
    drawn = np.random.default_rng(SEED).uniform(size=image.shape)
    return np.where(drawn < 0.0005, high, np.where(drawn > 0.9995, low, image))


def padded(image: np.ndarray, value: float) -> np.ndarray:
    places = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2) for n in image.shape], indexing="ij")
    return np.where(np.hypot(*places) > 1, value, image)


def standardised(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return (image - image[inside].mean()) / image[inside].std()


def in_brain(image: np.ndarray) -> np.ndarray:
    return np.where(image > 0, standardised(image, image > 0), 0)


def resampled(image: np.ndarray) -> np.ndarray:
    return ndimage.shift(ndimage.shift(image, (0.33, 0.4), order=3), (-0.33, -0.4), order=3)


def noisy(image: np.ndarray, sigma: float, air_alone: bool) -> np.ndarray:
    noise = np.random.default_rng(SEED).normal(0, sigma, (2, *image.shape))
    return np.where(image > 0, image, np.hypot(*noise)) if air_alone else np.hypot(image + noise[0], noise[1])


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a voxel of -1000": lambda image: outliers(image, -1000, 0),
    "ten voxels of -1000": lambda image: outliers(image, -1000, 10),
    "ten voxels of 1e5": lambda image: outliers(image, 1e5, 10),
    "salt and pepper": lambda image: speckled(image, image.min(), image.max()),
    "salt and pepper of a type's ends": lambda image: speckled(image, -32768, 32767),
    "padding of -1024": lambda image: padded(image, -1024),
    "padding of -3024": lambda image: padded(image, -3024),
    "an offset of 1000": lambda image: image + 1000,
    "an offset of -317.3": lambda image: image - 317.3,
    "standardised in the brain": in_brain,
    "standardised": lambda image: standardised(image, np.ones(image.shape, bool)),
    "splines": resampled,
    "whole numbers up to 255": lambda image: np.rint(image / image.max() * 255),
    "1e-6 times": lambda image: image * 1e-6,
    "1e6 times": lambda image: image * 1e6,
    "Rician noise of 20": lambda image: noisy(image, 20, False),
    "noise of 40 in the air": lambda image: noisy(image, 40, True),
    "NaN": lambda image: np.where(image > 0, image, np.nan),
}


def dice(model: FIRE, pair: Pair, spoil: Callable[[np.ndarray], np.ndarray]) -> dict[tuple[str, str], float]:
    """By direction and structure. Pairs hold images whose air is 0."""

    def spoilt(image: Image) -> Image:
        data, _ = fill_outside(spoil(image.data[..., 0]).astype(np.float32))
        return replace(image, data=data[..., None]).cleared()

    found = register_pair(model, spoilt(pair.moving), spoilt(pair.fixed))
    result = Result("FIRE", *pair.in_voxels(found.to_moving, found.to_fixed))
    rows = score(pair, result, DEFAULT_STRUCTURES, ("onto fixed", "onto moving")).labels
    return {(str(row["direction"]), str(row["structure"])): float(row["dice"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="t1_flair_2d")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    chosen = parser.parse_args()
    model, pairs = load_model(chosen.model, compiled=False), list(read_pairs(chosen.pairs))
    before = [dice(model, pair, lambda image: image) for pair in pairs]
    for kind in chosen.kinds:
        lost: dict[tuple[str, str, str], list[float]] = {}
        worst = 0.0
        for pair, own in zip(pairs, before, strict=True):
            after = dice(model, pair, KINDS[kind])
            for (direction, structure), value in own.items():
                lost.setdefault((pair.level, direction, structure), []).append(
                    after[direction, structure] - value
                )
            for direction in {direction for direction, _ in own}:
                changes = [after[key] - value for key, value in own.items() if key[0] == direction]
                worst = min(worst, float(np.mean(changes)))
        means = [np.mean(changes) for changes in lost.values()]
        print(f"{kind:34s} means {min(means):+.4f} to {max(means):+.4f}, worst pair {worst:+.4f}", flush=True)


if __name__ == "__main__":
    main()
