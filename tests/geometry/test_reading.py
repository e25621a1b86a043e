"""Reading arrays between their voxels: values by hand at corners, edges and outside; slopes by finite differences."""

import numpy as np
import pytest

from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull, read_affine_grid, sample, sample_with_slopes

IMAGE = np.array([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])  # 10 i + j
SHAPES = [(7, 9), (6, 7, 8)]
both_ranks = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ((1, 2), 12.0),  # the last corner
        ((0.5, 1), 6.0),
        ((0.25, 1.5), 4.0),
        ((-0.5, 1.5), 1.5),  # clamped along one axis, read between voxels along the other
        ((0.5, -3), 5.0),
        ((1.5, 2.5), 12.0),
        ((99, -99), 10.0),
    ],
)
def test_sample_reads_linearly_and_keeps_the_edge_value_outside(
    point: tuple[float, float], value: float
) -> None:
    field = np.stack([IMAGE, -IMAGE], axis=-1).astype(np.float32)
    found = sample(field, np.array([[point]], dtype=float))
    assert found.shape == (1, 1, 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[0, 0], [value, -value])


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ((1, 2), 12.0),
        ((0.25, 1.5), 4.0),
        ((-0.5, 1), -1.5),  # half way from 1 to the outside's -4
        ((1, 2.25), 8.0),
        ((1.5, 2.5), 0.0),  # a quarter of 12, three quarters of -4
        ((-1, 1), -4.0),
        ((99, 1), -4.0),
    ],
)
def test_pull_blends_into_the_value_outside(point: tuple[float, float], value: float) -> None:
    found = pull(IMAGE, np.array([point], dtype=float), outside=-4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [value], atol=1e-6)


@pytest.mark.parametrize(
    ("point", "label"),
    [
        ((0.49, 0), 1),
        ((0.5, 0), 11),  # half a voxel goes up
        ((-0.5, 0), 1),  # and still belongs to the first one,
        ((-0.51, 0), 7),
        ((1.49, 2.49), 13),
        ((1.5, 2), 7),  # not to the last one
    ],
)
def test_pull_nearest_keeps_labels_and_their_type(point: tuple[float, float], label: int) -> None:
    found = pull(IMAGE.astype(np.uint8) + 1, np.array([point], dtype=float), nearest=True, outside=7)
    assert found.dtype == np.uint8
    assert found.tolist() == [label]


@both_ranks
@pytest.mark.parametrize("nearest", [False, True])
def test_an_affine_grid_reads_what_pull_reads_at_its_points(shape: tuple[int, ...], nearest: bool) -> None:
    """On a grid of quarter voxels that begins a voxel outside: corners, edges and exact halves are among its points."""
    image = np.random.default_rng(0).integers(1, 9, shape).astype(np.uint8 if nearest else np.float32)
    n = len(shape)
    matrix = np.diag([0.25] * n + [1.0])
    matrix[:n, n] = -1
    grid = tuple(4 * size + 8 for size in shape)
    found = read_affine_grid(image, matrix, grid, nearest=nearest, outside=0)
    expected = pull(image, AffineMap(matrix)(grid_points(grid)), nearest=nearest)
    assert found.dtype == image.dtype
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("point", "value", "slopes"),
    [
        ((0, 0), 0.0, (10, 1)),
        ((0.5, 1.5), 6.5, (10, 1)),
        ((-0.5, 1.5), 1.5, (0, 1)),  # clamped along the first axis alone
        ((3, 1.25), 11.25, (0, 1)),
        ((0.5, 2.5), 7.0, (10, 0)),
        ((1.5, 2.5), 12.0, (0, 0)),
    ],
)
def test_slopes_by_hand(point: tuple[float, float], value: float, slopes: tuple[int, int]) -> None:
    found, gradient = sample_with_slopes(np.stack([IMAGE, -2 * IMAGE]), np.array([point], dtype=float))
    np.testing.assert_allclose(found, [[value], [-2 * value]], atol=1e-7)
    np.testing.assert_allclose(gradient[..., 0].T, [slopes, np.multiply(-2, slopes)], atol=1e-7)


@both_ranks
def test_slopes_are_finite_differences_of_what_sample_reads(shape: tuple[int, ...]) -> None:
    rng, n, step = np.random.default_rng(1), len(shape), 1e-4
    cells = rng.integers(-2, np.array(shape) + 1, (400, n))
    points = cells + rng.uniform(0.01, 0.99, (400, n))  # off the planes, where the slope jumps

    def read(places: np.ndarray) -> np.ndarray:
        return sample(noise(shape)[..., np.newaxis], places)[..., 0]

    values, slopes = sample_with_slopes(noise(shape)[np.newaxis], points)
    np.testing.assert_allclose(values[0], read(points), atol=1e-7)
    for axis, along in enumerate(step * np.eye(n)):
        expected = (read(points + along) - read(points - along)) / (2 * step)
        np.testing.assert_allclose(slopes[axis, 0], expected, atol=1e-6)
