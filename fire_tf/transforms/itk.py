"""Affine transforms in the files that ITK and ANTs read.

In memory points are world millimetres in RAS+ (x to the right, y to the front); ITK's are LPS+, with x and y
turned. The file holds a pull-back, from points of the output image to points of the input image, as ours do.
Fields are in `fire_tf.transforms.fields`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat

from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineMap

LPS = AffineMap(np.diag([-1.0, -1.0, 1.0, 1.0]))
"""RAS+ to LPS+, and back."""

_KINDS = ("AffineTransform", "MatrixOffsetTransformBase")


def write_affine(world_map: AffineMap, path: Path, rank: int) -> None:
    """An affine map of world points (RAS+ mm) as ITK's ``.mat``: matrix and translation in LPS, centre at the
    origin.

    ``rank`` is 2 for single axial slices: their third coordinate is left out.
    """
    matrix = LPS.after(world_map).after(LPS).matrix
    parameters = np.concatenate([matrix[:rank, :rank].ravel(), matrix[:rank, 3]])
    name = f"AffineTransform_double_{rank}_{rank}"
    with open(path, "wb") as stream:
        savemat(stream, {name: parameters[:, np.newaxis], "fixed": np.zeros((rank, 1))}, format="4")


def read_affine(path: str | Path) -> AffineMap | None:
    """ITK's ``.mat`` as a map of world points (RAS+ mm); a 2D one leaves the third coordinate as it is.

    None for another transform than an affine of two or three dimensions; raises InputError for what is no such file.
    """
    try:
        content = loadmat(path)
    # loadmat raises what its parts happen to raise: ValueError, TypeError, KeyError, MatReadError, ...
    except Exception as error:
        raise InputError(f"{path}: cannot be read as an ITK transform ({type(error).__name__})") from error
    for name, value in content.items():
        kind, rank = name.split("_")[0], name.split("_")[-1]
        n = {"2": 2, "3": 3}.get(rank, 0)
        if kind in _KINDS and n and np.size(value) == n * (n + 1):
            return _from_itk(np.asarray(value), np.asarray(content.get("fixed", np.zeros(n))), n, path)
    return None


def _from_itk(parameters: np.ndarray, centre: np.ndarray, n: int, path: str | Path) -> AffineMap:
    """``p -> M (p - c) + t + c`` in LPS."""
    numbers = all(values.dtype.kind in "iuf" and np.isfinite(values).all() for values in (parameters, centre))
    if centre.size != n or not numbers:
        raise InputError(f"{path}: its transform is not a finite matrix, translation and centre")
    return LPS.after(about_centre(parameters.ravel(), centre.ravel()).extruded(3)).after(LPS)


def about_centre(parameters: np.ndarray, centre: np.ndarray) -> AffineMap:
    """ITK's ``p -> M (p - c) + t + c``: ``parameters`` (n * n + n,) are M's rows and then t, ``centre`` (n,) is c."""
    n = len(centre)
    parameters = np.asarray(parameters, np.float64)
    linear, translation = parameters[: n * n].reshape(n, n), parameters[n * n :]
    offset = translation + centre - linear @ np.asarray(centre, np.float64)
    return AffineMap(np.concatenate([linear, offset[:, np.newaxis]], axis=1))
