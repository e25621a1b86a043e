"""A picture of the loss terms: what each of them compares, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fire_tf.pictures.panels import entitle, save, show_slice

_COLUMNS = 3
_LEAST = 1e-6  # of a range that is divided by


def draw_terms(terms: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, float]], path: Path) -> None:
    """Three panels for each term of a 2D pair: what is compared, and the error, all errors of images on one scale.

    A term is left and right (*grid, channels), which are compared, their error (*grid) and the term's value, as in
    `fire_tf.model.term_maps.TermMap`. Of several channels, those of features and fields, the one that varies most on
    the left is shown.
    """
    rows = -(-len(terms) // _COLUMNS)
    figure = Figure(figsize=(3.3 * _COLUMNS, 1.45 * rows), layout="constrained")
    panels = figure.subplots(rows, 3 * _COLUMNS, squeeze=False).reshape(-1, 3)
    for line, (name, (left, right, error, value)) in zip(panels, terms.items(), strict=False):
        channel = int(np.argmax(left.std(axis=tuple(range(left.ndim - 1)))))
        pictured = [left[..., channel], right[..., channel]]
        if left.shape[-1] > 1:  # features and fields have ranges of their own
            pictured = [image / max(float(np.abs(image).max()), _LEAST) for image in pictured]
        show_slice(line[0], pictured[0], name)
        show_slice(line[1], pictured[1], "")
        largest = 1.0 if left.shape[-1] == 1 else max(float(error.max()), _LEAST)
        line[2].imshow(error.T, cmap="magma", vmin=0, vmax=largest, origin="lower")
        entitle(line[2], f"{value:.3f}")
        line[2].set_axis_off()
    save(figure, path)
