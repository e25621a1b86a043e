"""Maps of points: between worlds and voxels, and grids in parts."""

import numpy as np

from fire_tf.geometry.point_maps import AffineMap, grid_points, grid_slabs, in_voxels


def grid(sizes: tuple[float, ...], origin: tuple[float, ...]) -> np.ndarray:
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = origin
    return affine


def test_a_world_map_between_the_voxels_of_two_grids() -> None:
    target, source = grid((2, 2, 4), (10, 0, -8)), grid((1, 4, 2), (0, -4, 0))
    shift = AffineMap(np.array([[1.0, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 2]]))
    # Voxel (1, 2, 3) lies at (12, 4, 4) mm, goes to (17, 10, 6) mm, which is voxel (17, 3.5, 3).
    found = in_voxels(shift, target, source, 3)(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(found, [[17, 3.5, 3]])


def test_in_2d_only_the_plane_counts() -> None:
    target, source = grid((2, 2, 4), (10, 0, -8)), grid((1, 4, 2), (0, -4, 50))
    found = in_voxels(AffineMap.identity(3), target, source, 2)(np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(found, [[12, 2]])


def test_slabs_are_the_grid_in_parts() -> None:
    shape = (7, 3, 2)
    parts = list(grid_slabs(shape, points=13))  # two rows of six points fit, three do not
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    np.testing.assert_array_equal(np.concatenate([points for _, points in parts]), grid_points(shape))
