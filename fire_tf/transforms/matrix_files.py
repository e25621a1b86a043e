"""Affine transforms of FSL and FreeSurfer.

Both hold the map from the image that is warped to the one that it is warped onto, which is undone here: transforms are
pull-backs (`fire_tf.transforms.fields`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.extras import needed
from fire_tf.geometry.grids import Grid
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.transforms.fields import COORDINATES, AffineTransform


@dataclass(frozen=True)
class FslAffine:
    """FLIRT's matrix, between FSL's coordinates (`fire_tf.transforms.fields`) of two images; ``name`` is its file's."""

    matrix: AffineMap
    name: str

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> AffineMap:
        """Raises InputError where either grid is not given, and for a matrix without an inverse."""
        if source is None or target is None:
            raise InputError(
                f"{self.name}: counts on the grids of both images; it goes with no other transform, and points need "
                "--source and --reference"
            )
        to_fsl = COORDINATES["fsl"]
        return to_fsl(source).inverse().after(undone(self.matrix, self.name)).after(to_fsl(target))


def undone(matrix: AffineMap, name: str) -> AffineMap:
    """The inverse of the matrix of a file ``name``; raises InputError where there is none."""
    try:
        return matrix.inverse()
    except np.linalg.LinAlgError:
        raise InputError(f"{name}: cannot be inverted, its matrix is singular") from None


def is_text(path: Path) -> bool:
    """Whether a file's first page holds no byte that only binary files have."""
    with open(path, "rb") as stream:
        return b"\0" not in stream.read(4096)


def read_fsl(path: Path) -> FslAffine:
    """FLIRT's text of four lines of four numbers. Raises InputError for anything else."""
    try:
        matrix = np.array(
            [line.split() for line in path.read_text().splitlines() if line.strip()], np.float64
        )
    except (ValueError, OSError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise InputError(f"{path}: is neither ITK's .mat nor FSL's four lines of four numbers")
    return FslAffine(AffineMap(matrix), str(path))


def read_lta(path: Path) -> AffineTransform:
    """FreeSurfer's ``.lta`` of one transform, between voxels or world points of the images that it describes.

    Raises InputError for what cannot be read so, and without nitransforms.
    """
    with needed("nitransforms", "formats", str(path)):
        from nitransforms.io.lta import FSLinearTransform
    try:
        read = FSLinearTransform.from_string(path.read_text())
        between_voxels = read.structarr["type"] == 0
        if between_voxels and not all(read[image].structarr["valid"] for image in ("src", "dst")):
            raise InputError(f"{path}: is of voxels of images that it does not describe")
        matrix = AffineMap(read.to_ras())
    # It raises what its lines happen to raise: AssertionError, IndexError, ValueError, NotImplementedError, ...
    except Exception as error:
        if isinstance(error, InputError):
            raise
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as one transform of FreeSurfer ({cause})") from None
    if not np.isfinite(matrix.matrix).all():
        raise InputError(f"{path}: its matrix is not finite")
    return AffineTransform(matrix)
