"""What a transform does to volumes: the determinant of its Jacobian, as an image."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np

from fire_tf.files.doubts import cast_doubt
from fire_tf.geometry.grids import Grid
from fire_tf.geometry.nifti import check_memory
from fire_tf.geometry.point_maps import AffineMap, PointMap, grid_slabs
from fire_tf.measures.metrics import jacobian_determinant


def determinants(world_map: PointMap, target: Grid) -> np.ndarray:
    """Of the Jacobian of a map of world points (RAS+ mm) at the voxels of a grid, by central differences: (X, Y, Z).

    The map pulls back, so 2 means that what fills a voxel here had twice its volume in the image that is warped. NaN
    where the map has no value.
    """
    # A single slice gets a second one beside it: the map tells how it goes on there.
    shape = tuple(max(size, 2) for size in target.shape)
    check_memory(8 * 25 * math.prod(shape), "the determinant")
    positions, to_world = np.empty((*shape, 3)), AffineMap(target.affine)
    for part, voxels in grid_slabs(shape):
        positions[part] = world_map(to_world(voxels))
    found = jacobian_determinant(positions, float(np.linalg.det(target.affine[:3, :3])))
    return found[tuple(slice(size) for size in target.shape)]


def determinant_image(values: np.ndarray, target: Grid) -> nib.Nifti1Image:
    """`determinants` as float32 on their grid."""
    return target.image(values.astype(np.float32))


def log_determinant_image(values: np.ndarray, target: Grid) -> nib.Nifti1Image:
    """The natural logarithm of `determinants` as float32; NaN where the map folds, which a `Doubt` counts."""
    folded = int((values <= 0).sum())
    if folded:
        cast_doubt(
            f"the map folds at {folded} voxels ({100 * folded / values.size:.3g} %): their determinant is not "
            "positive, its logarithm NaN"
        )
    with np.errstate(all="ignore"):
        return target.image(np.where(values > 0, np.log(values), np.nan).astype(np.float32))
