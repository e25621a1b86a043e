"""Rows of images beside each other, such as those that a model synthesised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fire_tf.pictures.panels import save, show_slice


def draw_synthesis(rows: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """A row of pictures per subject: ``rows[subject][title]`` is an image (*canvas) in [-1, 1]."""
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(3.2 * columns, 3.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (subject, images) in zip(panels, rows.items(), strict=True):
        for panel, (title, image) in zip(line, images.items(), strict=True):
            show_slice(panel, _slice(image), f"{subject}: {title}")
    save(figure, path)


def _slice(image: np.ndarray) -> np.ndarray:
    """The image itself in 2D, its middle axial slice in 3D."""
    return image if image.ndim == 2 else image[:, :, image.shape[2] // 2]
