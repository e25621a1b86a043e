"""Where the paper's loss terms come from: what each of them compares, and how far the two differ in every voxel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from fire_tf.model.fire import FIRE
from fire_tf.model.objectives import PAPER_TERMS, compared_tensors
from fire_tf.networks.spatial import laplacian
from fire_tf.pictures.figures import save, show_slice

_COLUMNS = 3


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
    return {name: found[name] for name in model.term_means if name in PAPER_TERMS}


def _of_images(left: tf.Tensor, right: tf.Tensor) -> TermMap:
    one, other = left.numpy()[0], right.numpy()[0]
    squared = ((one - other) ** 2).mean(axis=-1)
    return TermMap(one, other, np.sqrt(squared), float(np.sqrt(squared.mean())))


def _of_field(displacement: tf.Tensor) -> TermMap:
    curvature = laplacian(displacement).numpy()[0]
    squared = (curvature**2).sum(axis=-1)
    return TermMap(displacement.numpy()[0], curvature, np.sqrt(squared), float(squared.mean()))


def draw_terms(maps: Mapping[str, TermMap], path: Path) -> None:
    """Three panels for each term of a 2D pair: what is compared, and the error, all errors of images on one scale.

    Of features and fields the channel that varies most is shown.
    """
    rows = -(-len(maps) // _COLUMNS)
    figure = Figure(figsize=(3.3 * _COLUMNS, 1.45 * rows), layout="constrained")
    panels = figure.subplots(rows, 3 * _COLUMNS, squeeze=False).reshape(-1, 3)
    for term, (name, found) in zip(panels, maps.items(), strict=False):
        channel = int(np.argmax(found.left.std(axis=tuple(range(found.left.ndim - 1)))))
        pictured = [found.left[..., channel], found.right[..., channel]]
        if found.left.shape[-1] > 1:  # features and fields have ranges of their own
            pictured = [image / max(float(np.abs(image).max()), 1e-6) for image in pictured]
        show_slice(term[0], pictured[0], name)
        show_slice(term[1], pictured[1], "")
        largest = 1.0 if found.left.shape[-1] == 1 else max(float(found.error.max()), 1e-6)
        term[2].imshow(found.error.T, cmap="magma", vmin=0, vmax=largest, origin="lower")
        term[2].set_title(f"{found.value:.3f}", fontsize=9)
        term[2].set_axis_off()
    save(figure, path)
