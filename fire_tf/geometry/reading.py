"""The one reader of arrays between their voxels, in NumPy.

Points are ``(..., n)``, voxel indices in ``ij`` order (the centre of the first voxel is 0). `sample` keeps the edge
value beyond a grid, `pull` gives a value of its own there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from scipy.ndimage import affine_transform, map_coordinates, spline_filter


def sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``field`` ``(*shape, c)`` read linearly at points ``(..., n)``, clamped at the edge: ``(..., c)``, float64."""
    coordinates = np.moveaxis(points, -1, 0)
    return np.stack([_clamped(field[..., c], coordinates) for c in range(field.shape[-1])], axis=-1)


def sample_with_slopes(images: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``images`` (c, *shape) read linearly at points (m, n), clamped at the edge: (c, m), and the slopes of just that,
    (n, c, m).

    Corner by corner and not by scipy, which would have to read twice along every axis: three times as long in 3D.
    """
    n = points.shape[-1]
    last = np.asarray(images.shape[1:]) - 1
    inside = np.clip(points, 0, last - 1e-9)
    corner = inside.astype(np.int64)
    strides = np.asarray(images.strides[1:]) // images.itemsize
    first, flat = corner @ strides, images.reshape(len(images), -1)
    values = [flat.take(first + int(np.dot(offset, strides)), axis=1) for offset in product((0, 1), repeat=n)]
    slopes: list[list[np.ndarray]] = []
    # Between neighbours along an axis after the other; the number of corners halves each time.
    for axis in reversed(range(n)):
        upper = inside[:, axis] - corner[:, axis]
        steps = [high - low for low, high in zip(values[::2], values[1::2], strict=True)]
        values = [low + upper * step for low, step in zip(values[::2], steps, strict=True)]
        slopes = [
            [low + upper * (high - low) for low, high in zip(along[::2], along[1::2], strict=True)]
            for along in slopes
        ]
        slopes.insert(0, steps)
    unclamped = (points == inside).T[:, np.newaxis]
    return values[0], np.where(unclamped, np.stack([along[0] for along in slopes]), 0.0)


def pull(image: np.ndarray, points: np.ndarray, *, nearest: bool = False, outside: float = 0.0) -> np.ndarray:
    """``image`` ``(*shape)`` read at ``points`` ``(*output shape, n)``; beyond its grid the value is
    ``outside``.

    Linear interpolation gives float32; nearest neighbour keeps the type, so labels stay labels. A point up to
    half a voxel beyond the outermost voxel centres still belongs to that voxel for ``nearest``.
    """
    coordinates = np.moveaxis(points, -1, 0)
    if nearest:
        # Rounded here: scipy counts points less than half a voxel beyond the last centre as outside.
        indices = np.floor(coordinates + 0.5).astype(np.int64)
        size = np.asarray(image.shape).reshape((-1,) + (1,) * (indices.ndim - 1))
        inside = np.all((indices >= 0) & (indices < size), axis=0)
        values = image[tuple(np.clip(indices, 0, size - 1))]
        return np.where(inside, values, np.asarray(outside, dtype=image.dtype))
    # grid-constant blends towards the outside: a point on the last voxel must not be lost to rounding.
    return map_coordinates(
        image.astype(np.float32, copy=False), coordinates, order=1, mode="grid-constant", cval=outside
    )


def pull_around_holes(image: np.ndarray, points: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """`pull`, linear, of an image whose voxels may be NaN or infinite: these are read where they are nearest, and weigh
    nothing elsewhere. An ``outside`` that is not finite is read beyond half a voxel from the last one."""
    holes = ~np.isfinite(image)
    if np.isfinite(outside) and not holes.any():
        return pull(image, points, outside=outside)
    image = image.astype(np.float32, copy=False)
    beyond = float(np.isfinite(outside))
    known = pull(~holes, points, outside=beyond)
    values = pull(np.where(holes, 0, image), points, outside=outside if beyond else 0.0)
    nearest = pull(image, points, nearest=True, outside=outside)
    return np.where(known > 0.5, values / np.maximum(known, 0.5), nearest).astype(np.float32)


def cubic_reader(image: np.ndarray, outside: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    """A finite ``image`` (*shape), its cubic B-spline worked out once, as a function of points (..., n), in float32.

    The image goes on as its mirror about the outermost voxels; half a voxel beyond them the value is ``outside``.
    """
    coefficients = spline_filter(image, order=3, output=np.float64, mode="mirror")
    last = np.asarray(image.shape) - 1

    def read(points: np.ndarray) -> np.ndarray:
        values = map_coordinates(
            coefficients, np.moveaxis(points, -1, 0), np.float32, order=3, mode="mirror", prefilter=False
        )
        inside = ((points >= -0.5) & (points <= last + 0.5)).all(axis=-1)
        return np.where(inside, values, np.float32(outside))

    return read


def read_affine_grid(
    image: np.ndarray, matrix: np.ndarray, shape: Sequence[int], *, nearest: bool, outside: float
) -> np.ndarray:
    """``image`` read at a whole grid of ``shape``, whose voxels ``matrix`` (n + 1, n + 1) takes to those of ``image``.

    The same as `pull` at that grid's points, several times faster and without their memory; keeps the type.
    """
    n = image.ndim
    return affine_transform(
        image,
        matrix[:n, :n],
        matrix[:n, n],
        tuple(shape),
        order=0 if nearest else 1,
        mode="grid-constant",
        cval=outside,
    )


def _clamped(image: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    return map_coordinates(image, coordinates, order=1, mode="nearest", output=np.float64)
