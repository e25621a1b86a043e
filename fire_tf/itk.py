"""Transforms in the files that ITK and ANTs read.

In memory points are world millimetres in RAS+ (x to the right, y to the front); ITK's are LPS+, with x and y
turned. Both kinds of file hold a pull-back, from points of the output image to points of the input image, as
ours do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.io import savemat

from fire_tf.pointmaps import AffineMap, PointMap, grid_points

_VECTOR_INTENT = 1007
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def displacement_field(
    world_map: PointMap, shape: Sequence[int], affine: np.ndarray, rank: int
) -> nib.Nifti1Image:
    """A map sampled on a grid as ITK's displacement field: the whole map in one file.

    ``world_map`` takes world points (RAS+ mm) of the output image to the input image's. The grid has the
    ``shape`` (X, Y, Z) and the ``affine`` (4, 4) from its voxels to RAS+ mm. Returned: float32 mm, LPS
    components, ``(X, Y, Z, 1, 3)``, or ``(X, Y, 1, 1, 2)`` for ``rank`` 2, NIfTI intent 1007.
    """
    points = AffineMap(affine)(grid_points(shape))
    vectors = ((world_map(points) - points) @ _LPS[:3, :3])[..., np.newaxis, :rank].astype(np.float32)
    image = nib.Nifti1Image(vectors, affine)
    image.header.set_intent(_VECTOR_INTENT, (), "")
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1, strip_shears=True)
    return image


def write_affine(world_map: AffineMap, path: Path, rank: int) -> None:
    """An affine map of world points (RAS+ mm) as ITK's ``.mat``: matrix and translation in LPS, centre at the
    origin.

    ``rank`` is 2 for single axial slices: their third coordinate is left out.
    """
    matrix = _LPS @ world_map.homogeneous @ _LPS
    parameters = np.concatenate([matrix[:rank, :rank].ravel(), matrix[:rank, 3]])
    name = f"AffineTransform_double_{rank}_{rank}"
    with open(path, "wb") as stream:
        savemat(stream, {name: parameters[:, np.newaxis], "fixed": np.zeros((rank, 1))}, format="4")
