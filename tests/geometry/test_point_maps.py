"""Maps of points: between worlds and voxels, and grids in parts."""

import numpy as np

from fire_tf.geometry.point_maps import AffineMap, fit_rigid, grid_points, grid_slabs, in_voxels


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


def test_the_best_turn_of_points_is_no_mirror_image() -> None:
    points = np.random.default_rng(1).normal(size=(30, 3))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for flat in (1.0, 0.0):  # a plane too
        kept = points * (1, 1, flat)
        found = fit_rigid(kept, kept @ turn.T + (1, 2, 3))
        np.testing.assert_allclose(found.matrix, np.column_stack([turn, [1, 2, 3]]), atol=1e-12)
    mirrored = fit_rigid(points, points * (-1, 1, 1))
    assert np.linalg.det(mirrored.matrix[:, :3]) > 0
    noisy = fit_rigid(points, points @ turn.T + np.random.default_rng(2).normal(0, 0.01, (30, 3)))
    np.testing.assert_allclose(noisy.matrix[:, :3] @ noisy.matrix[:, :3].T, np.eye(3), atol=1e-12)
