"""How a training fails without a word, its losses finite: the signs that `Observation` shows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain

from fire_tf.config.schema import Stage
from fire_tf.training.observation import Observation

PATIENCE = 3
"""Validations that a network may take to show that it learns."""

_FLAT = 0.1  # of the real images' contrast: less is the mean image, whatever that correlates with
_PALE, _ALIKE = 0.3, 0.2  # contrast, correlation: images that show little, and that little is wrong
_OUTSIDE, _DEAD = 25.0, 50.0  # %


def validations_of(stages: tuple[Stage, ...], every: int, stage: Stage, epoch: int) -> dict[str, int]:
    """How often each group was validated after it had been trained, at the end of an ``epoch`` (from 0) of a stage."""
    seen = {"affine": 0, "nonrigid": 0, "synthesis": 0}
    for one in stages[: stages.index(stage) + 1]:
        count = epoch + 1 if one is stage else -(-one.steps // every)
        for group in set(chain(*one.cycle)):
            seen[group] += count
    return seen


def signs(seen: Observation, validations: Mapping[str, int], names: tuple[str, str]) -> dict[str, str]:
    """The signs of collapse, each with a line for the user; networks that were not trained for long show none.

    ``validations`` of each group so far; ``names``: the modalities A and B.
    """
    if math.isnan(seen.mi):
        return {"not finite": "the model's answers are no finite numbers any more"}
    found = {}
    if validations["synthesis"] >= PATIENCE:
        for role, name in zip("ab", names, strict=True):
            contrast, alike = getattr(seen, f"contrast_{role}"), getattr(seen, f"correlation_{role}")
            if contrast < _FLAT or (contrast < _PALE and alike < _ALIKE):
                found[f"mean {role}"] = (
                    f"F gives the mean image for every pair: synthesised {name} has {100 * contrast:.0f} % of the "
                    f"contrast of real {name} and correlates with it by {alike:.2f}"
                )
        if seen.dead_features > _DEAD:
            found["features"] = (
                f"G's features die: {seen.dead_features:.0f} % of its channels are the same for every image"
            )
    if max(validations["affine"], validations["nonrigid"]) >= PATIENCE and seen.outside > _OUTSIDE:
        found["outside"] = (
            f"the transforms leave the field of view: {seen.outside:.0f} % of the tissue is read from outside"
        )
    return found
