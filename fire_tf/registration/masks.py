"""Masks: which part of an image counts. Lesions, cavities and what lies beyond a field of view have no counterpart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter, generate_binary_structure

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image, grid_difference, read_image
from fire_tf.geometry.nifti import Source

_KNOWN = 0.05  # of the weights of a Gaussian, that lie where the image counts, for its mean to be taken


def masked(image: Image, source: Source) -> Image:
    """An image of which only that counts which a mask, an image on its grid, marks by any number but 0.

    The rest keeps nothing of its own: what hangs together with the border of the image is air, its lowest grey value,
    and holes are filled from around them.

    Raises InputError for a mask on another grid, one that marks nothing, and one that is no label map.
    """
    mask = read_image(source, labels=True)
    difference = grid_difference(mask, image)
    if difference:
        raise InputError(f"{mask.path}: {difference}")
    counts = mask.data > 0
    if not counts.any():
        raise InputError(f"{mask.path}: marks nothing (every voxel is 0)")
    return replace(image, data=_filled(image.data, counts), counts=counts)


def _filled(data: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Grey values (any shape) with air, or a smooth continuation, where they do not count."""
    everywhere = generate_binary_structure(data.ndim, data.ndim)
    border = np.ones(data.shape, dtype=bool)
    border[tuple(slice(1, -1) if size > 1 else slice(None) for size in data.shape)] = False
    beyond = binary_propagation(border & ~counts, everywhere, mask=~counts)
    result = np.where(beyond, data.min(), data)
    known = counts.astype(np.float32)
    hole, sigma = ~counts & ~beyond, 1.0
    while hole.any():
        weight, value = (gaussian_filter(part, sigma) for part in (known, known * data))
        reached = hole & (weight > _KNOWN)
        result[reached] = value[reached] / weight[reached]
        hole, sigma = hole & ~reached, 2 * sigma
    return result
