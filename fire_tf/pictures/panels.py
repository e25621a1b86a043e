"""What the pictures share: a plane of a canvas, a slice in a panel, a figure as a file.

Arrays are in RAS order and are turned so that a slice shows with its first axis to the right and its second upwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fire_tf.files.outputs import write_file

_RESOLUTION = 110  # pixels per inch of a figure's size


class Plane(NamedTuple):
    """A plane of a canvas: its two axes, the axis and place where it cuts a volume, and how much longer a voxel is
    along its second axis than along its first."""

    axes: tuple[int, int]
    normal: int | None = None
    place: int = 0
    aspect: float = 1.0

    def cut(self, image: np.ndarray) -> np.ndarray:
        """What of an array (*canvas, ...) lies in the plane."""
        return image if self.normal is None else np.take(image, self.place, axis=self.normal)


def entitle(panel: Axes, title: str) -> None:
    """A panel's title, at a place that is said: matplotlib would look for one for as long as all else takes."""
    panel.set_title(title, fontsize=9, y=1.0)


def show_slice(panel: Axes, image: np.ndarray, title: str, aspect: float = 1.0) -> None:
    """An image (*size) in [-1, 1] in grey; ``aspect``: of a voxel, second axis by first."""
    panel.imshow(
        image.T, cmap="gray", vmin=-1, vmax=1, origin="lower", interpolation="nearest", aspect=aspect
    )
    entitle(panel, title)
    panel.set_axis_off()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; the file appears whole or not at all."""
    FigureCanvasAgg(figure)
    write_file(path, lambda part: figure.savefig(part, dpi=_RESOLUTION))
