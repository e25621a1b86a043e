"""Where the paper's loss terms come from: what each of them compares, and how far the two differ in every voxel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.model.fire import FIRE
from fire_tf.model.losses import Losses
from fire_tf.model.objectives import PAPER_TERMS, compared_tensors
from fire_tf.networks.spatial import laplacian


class TermMap(NamedTuple):
    """The summand of a term that belongs to the direction A -> B, for one pair of images.

    left, right: (*grid, channels), on the image's grid or on G's, what is compared; for ``r_smooth`` the displacement
    of phi_nr and its Laplacian. error: (*grid), the root of the mean over channels of the squared difference (the
    Laplacian's length). value: what the summand is, the root of the mean of ``error ** 2`` (its mean for ``r_smooth``).
    """

    left: np.ndarray
    right: np.ndarray
    error: np.ndarray
    value: float


def term_maps(model: FIRE, a: np.ndarray, b: np.ndarray) -> dict[str, TermMap]:
    """All nine terms on a pair of prepared images (*canvas), in the order of `fire_tf.model.losses.Losses`."""
    data = {
        name: tf.constant(image[np.newaxis, ..., np.newaxis], tf.float32)
        for name, image in (("a", a), ("b", b))
    }
    prediction = model.transforms(*model.features(data["a"], data["b"]))
    compared = compared_tensors(model, data, prediction)
    found = {name: _of_images(*tensors[:2]) for name, tensors in compared.items() if name != "r_smooth"}
    found["r_smooth"] = _of_field(compared["r_smooth"][0])
    return {name: found[name] for name in Losses._fields if name in PAPER_TERMS}


def _of_images(left: tf.Tensor, right: tf.Tensor) -> TermMap:
    one, other = left.numpy()[0], right.numpy()[0]
    squared = ((one - other) ** 2).mean(axis=-1)
    return TermMap(one, other, np.sqrt(squared), float(np.sqrt(squared.mean())))


def _of_field(displacement: tf.Tensor) -> TermMap:
    curvature = laplacian(displacement).numpy()[0]
    squared = (curvature**2).sum(axis=-1)
    return TermMap(displacement.numpy()[0], curvature, np.sqrt(squared), float(squared.mean()))
