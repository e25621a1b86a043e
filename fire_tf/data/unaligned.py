"""Two images that nobody aligned, each on a canvas of its own, where `register` puts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fire_tf.config.schema import DataConfig
from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import Prepared, prepare
from fire_tf.geometry.images import read_image
from fire_tf.geometry.stacks import slices_last
from fire_tf.intensities.grey_values import foreground
from fire_tf.sources.subjects import SubjectFiles


def prepare_unaligned(config: DataConfig, files: SubjectFiles) -> dict[str, np.ndarray]:
    """The arrays of `fire_tf.data.cache.SubjectArrays`, without labels; the affine is that of A's canvas.

    Where the headers say that the images lie has no influence. In 2D a pair one image of which shows too little tissue
    is left out. Raises InputError for a volume in 2D and for a single slice in 3D.
    """
    a, b = (_on_its_canvas(config, path) for path in (files.a, files.b))
    tissue = min(foreground(image.data).mean() for image in (a, b))
    count = int(len(config.canvas) == 3 or tissue >= config.min_tissue)
    return {
        "a": a.data[np.newaxis][:count].astype(np.float16),
        "b": b.data[np.newaxis][:count].astype(np.float16),
        "slices": np.zeros(count, dtype=np.int64),
        "affine": a.affine,
        "spacing": np.array(a.spacing),
    }


def _on_its_canvas(config: DataConfig, path: Path) -> Prepared:
    image = read_image(path).cleared()
    if config.slice_axis == "thickest":
        image = slices_last(image)
    if len(config.canvas) == 2 and image.data.shape[2] > 1:
        raise InputError(
            f"{image.path}: is a volume, and the slices of unaligned volumes do not correspond (data.ndim is 2); list "
            "pairs of single slices in a manifest"
        )
    return prepare(image, config.spacing, config.canvas, config.percentile)
