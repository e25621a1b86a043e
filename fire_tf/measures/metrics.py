"""What a registration is measured by: overlap, surface distance, folding, inverse consistency, distance to
the truth.

Label maps and masks are arrays ``(*shape)``, maps are pull-backs on points ``(..., n)``
(``fire_tf.geometry.point_maps``), ``spacing`` is in mm per axis. A value that does not exist (the overlap of two empty
structures) is NaN, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import binary_erosion, binary_fill_holes, distance_transform_edt, label

from fire_tf.geometry.point_maps import PointMap, grid_points


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice's overlap of two masks, ``2 |a and b| / (|a| + |b|)`` in [0, 1]; NaN where both are empty."""
    first, second = _masks(first, second)
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else float("nan")


def dice_per_structure(
    first: np.ndarray, second: np.ndarray, structures: Mapping[int, str]
) -> dict[str, float]:
    """Dice of every named structure of two label maps."""
    return {name: dice(first == value, second == value) for value, name in structures.items()}


def hausdorff95(first: np.ndarray, second: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile Hausdorff distance in mm between the surfaces of two masks; NaN where either is empty.

    The surface of a mask is its voxels with a face neighbour outside it; distances run between voxel centres.
    The larger of the two directions' 95th percentiles is returned.
    """
    first, second = _masks(first, second)
    if not first.any() or not second.any():
        return float("nan")
    window = bounding_box(first | second)
    first, second = first[window], second[window]
    surfaces = [mask & ~binary_erosion(mask) for mask in (first, second)]
    distances = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return max(
        float(np.percentile(distances[1][surfaces[0]], 95)),
        float(np.percentile(distances[0][surfaces[1]], 95)),
    )


def jacobian_determinant(positions: np.ndarray, voxel_volume: float = 1.0) -> np.ndarray:
    """Jacobian determinant of a sampled map by central differences (one-sided at the edge): ``(*shape)``.

    ``positions`` ``(*shape, n)`` are the mapped voxels. In voxels of a grid alike the determinant is
    dimensionless as it is; in mm, pass the signed ``voxel_volume`` of the grid (the determinant of its
    affine).
    """
    ndim = positions.shape[-1]
    if positions.ndim != ndim + 1:
        raise ValueError(f"positions have the shape (*grid, n) with n axes, got {positions.shape}")
    rows = [np.stack(_gradient(positions[..., axis]), axis=-1) for axis in range(ndim)]
    return np.linalg.det(np.stack(rows, axis=-2)) / voxel_volume


def folded_percent(determinant: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Share in % of voxels (of ``mask``, where given) whose Jacobian determinant is <= 0."""
    values = determinant if mask is None else determinant[mask]
    return 100.0 * float(np.mean(values <= 0)) if values.size else float("nan")


def inverse_consistency(
    outward: PointMap, back: PointMap, mask: np.ndarray, spacing: Sequence[float]
) -> float:
    """Mean over the voxels p of ``mask`` of ``|back(outward(p)) - p|``, in mm (voxels for a spacing of ones).

    ``outward`` takes the mask's grid to the other one and ``back`` returns. Both are evaluated as functions,
    so a point that leaves the field of view is not clamped to its edge on the way.
    """
    points = np.argwhere(mask).astype(np.float64)
    return _mean_length(back(outward(points)) - points, spacing)


def distance_to_truth(found: PointMap, true: PointMap, mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Mean over the voxels of ``mask`` of the distance in mm between where two maps send them."""
    points = np.argwhere(mask).astype(np.float64)
    return _mean_length(found(points) - true(points), spacing)


def brain_mask(image: np.ndarray, background: float = 0.0) -> np.ndarray:
    """The brain of a skull-stripped image: what is above ``background`` but for specks, holes filled.

    A low axial slice shows the cerebellum and both temporal lobes apart, so every connected part counts that has
    at least a twentieth of the largest one's size.
    """
    parts, _ = label(np.asarray(image) > background)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background's
    large = (sizes > 0) & (sizes * 20 >= sizes.max())
    return binary_fill_holes(large[parts])


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around a mask, which is not empty, and ``margin`` voxels more where the grid has them."""
    indices = np.argwhere(mask)
    return tuple(
        slice(max(0, low - margin), high + 1 + margin)
        for low, high in zip(indices.min(axis=0), indices.max(axis=0), strict=True)
    )


def map_positions(point_map: PointMap, shape: Sequence[int]) -> np.ndarray:
    """Where a map sends every voxel of a grid: ``(*shape, n)``."""
    return point_map(grid_points(shape))


def _masks(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"two masks of one grid are expected, got shapes {first.shape} and {second.shape}")
    return first, second


def _gradient(values: np.ndarray) -> list[np.ndarray]:
    result = np.gradient(values)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _mean_length(vectors: np.ndarray, spacing: Sequence[float]) -> float:
    if not len(vectors):
        return float("nan")
    return float(np.mean(np.linalg.norm(vectors * np.asarray(spacing, dtype=np.float64), axis=-1)))
