"""The rigid part of a registration: the turn and the shift that its two maps agree on best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fire_tf.geometry.canvas import Prepared
from fire_tf.geometry.point_maps import AffineMap, fit_rigid
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.measures.metrics import brain_mask
from fire_tf.registration.pair import Registration

_POINTS = 20_000  # of either image's tissue, at most


def made_rigid(found: Registration) -> tuple[Registration, dict[str, Any]]:
    """A registration by turns and shifts alone, one direction the other's inverse, and what that leaves out of it.

    The rigid map is that which is nearest to both maps in least squares, in mm, over the tissue of the image that each
    of them is read at. What it leaves out: mean and 95th percentile, in mm, of how far it takes the tissue from where
    the two maps do, and the change of volume of the affine part.
    """
    fixed, moving = _tissue(found.fixed), _tissue(found.moving)
    points = np.concatenate([fixed, found.to_fixed(moving)])
    targets = np.concatenate([found.to_moving(fixed), moving])
    rigid = fit_rigid(points, targets)
    apart = np.linalg.norm(rigid(points) - targets, axis=-1)
    removed = {
        "mean_mm": round(float(apart.mean()), 4),
        "percentile_95_mm": round(float(np.percentile(apart, 95)), 4),
        "volume_ratio": round(float(np.linalg.det(found.affine_to_moving.matrix[:, :-1])), 4),
    }
    back = rigid.inverse()
    maps = replace(found, to_moving=rigid, affine_to_moving=rigid, to_fixed=back, affine_to_fixed=back)
    return maps, removed


def _tissue(image: Prepared) -> np.ndarray:
    """World points of an image's tissue (m, 3), in mm."""
    voxels = np.argwhere(brain_mask(image.data, BACKGROUND)).astype(np.float64)
    voxels = voxels[:: 1 + len(voxels) // _POINTS]
    places = np.zeros((len(voxels), 3))
    places[:, : image.data.ndim] = voxels
    return AffineMap(image.affine)(places)
