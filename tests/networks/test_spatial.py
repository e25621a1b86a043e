"""Transforms on fields and images whose transformed values are known in closed form."""

import numpy as np
import pytest

from fire_tf.compat.voxelmorph import vxm
from fire_tf.geometry import reading
from fire_tf.networks.layers import StridedConvolution
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import (
    FeatureGrid,
    affine_displacement,
    affine_points,
    centre,
    compose_affine,
    identity_grid,
    invert_affine,
    laplacian,
    pull,
    sample_one,
    warp,
)

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

CANVASES = [(16, 12), (12, 8, 16)]
both_ranks = pytest.mark.parametrize("canvas", CANVASES, ids=["2d", "3d"])


def rotation(degrees: float, canvas: tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    """(n, n + 1): a turn in the first plane about the canvas' centre, then a shift along every axis."""
    angle, n = np.deg2rad(degrees), len(canvas)
    matrix = np.eye(n, n + 1, dtype=np.float32)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:, n] = shift
    return matrix


def random_affine(canvas: tuple[int, ...], seed: int = 0, batch: int = 2) -> np.ndarray:
    n = len(canvas)
    rng = np.random.default_rng(seed)
    return (np.eye(n, n + 1) + rng.normal(0, 0.15, (batch, n, n + 1))).astype(np.float32)


def points_of(canvas: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, canvas), indexing="ij"), axis=-1).astype(np.float32)


def mapped(matrix: np.ndarray, points: np.ndarray, canvas: tuple[int, ...]) -> np.ndarray:
    """A(p) by the definition: L (p - c) + t + c with c = (size - 1) / 2."""
    middle = (np.array(canvas) - 1) / 2
    return np.einsum("ij,...j->...i", matrix[:, :-1], points - middle) + matrix[:, -1] + middle


def inside(points: np.ndarray, upper: np.ndarray) -> np.ndarray:
    return np.all((points >= 0) & (points <= upper), axis=-1)


def linear_field(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """A vector of n linear functions of the position, at ``points`` (..., n)."""
    n = points.shape[-1]
    rng = np.random.default_rng(seed)
    return points @ rng.normal(0, 0.1, (n, n)) + rng.normal(0, 0.5, n)


def test_identity_grid_and_centre_are_in_ij_voxels():
    grid = identity_grid((3, 2)).numpy()
    assert grid.dtype == np.float32
    np.testing.assert_array_equal(grid[2, 1], [2, 1])
    np.testing.assert_array_equal(centre((3, 2)), [1.0, 0.5])


def test_quarter_turn_takes_corner_to_corner():
    # About the centre (1.5, 1.5) of 4 x 4 voxels, (i, j) -> (-j, i) takes (0, 0) to (3, 0).
    turn = rotation(90, (4, 4))[np.newaxis]
    corners = tf.constant([[[0.0, 0.0], [3.0, 0.0]], [[3.0, 3.0], [0.0, 3.0]]])
    expected = [[[3, 0], [3, 3]], [[0, 3], [0, 0]]]
    np.testing.assert_allclose(affine_points(turn, corners, (4, 4))[0], expected, atol=1e-6)


@both_ranks
def test_affine_displacement_is_voxelmorphs(canvas):
    matrix = random_affine(canvas)
    ours = affine_displacement(tf.constant(matrix), canvas)
    for one, expected in zip(ours, matrix, strict=True):
        dense = vxm.utils.affine_to_dense_shift(tf.constant(expected), canvas, shift_center=True)
        np.testing.assert_allclose(one, dense, atol=1e-5)


@both_ranks
def test_affine_points_take_shared_and_per_sample_points(canvas):
    matrix = random_affine(canvas)
    shared = points_of(canvas)
    separate = np.stack([shared, shared + 1.5])
    for batch in range(2):
        np.testing.assert_allclose(
            affine_points(matrix, tf.constant(shared), canvas)[batch],
            mapped(matrix[batch], shared, canvas),
            atol=1e-5,
        )
        np.testing.assert_allclose(
            affine_points(matrix, tf.constant(separate), canvas)[batch],
            mapped(matrix[batch], separate[batch], canvas),
            atol=1e-5,
        )


@both_ranks
def test_inverse_undoes_the_affine(canvas):
    matrix = tf.constant(random_affine(canvas))
    points = identity_grid(canvas)
    there = affine_points(matrix, points, canvas)
    assert np.abs(there - points).max() > 1
    back = affine_points(invert_affine(matrix), there, canvas)
    np.testing.assert_allclose(back, np.broadcast_to(points, back.shape), atol=1e-4)


@both_ranks
def test_composition_is_voxelmorphs_inside_the_field_of_view_and_analytic_outside(canvas):
    matrix = random_affine(canvas)[:1]
    displacement = np.random.default_rng(1).normal(0, 2, (1, *canvas, len(canvas))).astype(np.float32)
    ours = compose_affine(tf.constant(matrix), tf.constant(displacement))[0].numpy()

    moved = points_of(canvas) + displacement[0]
    np.testing.assert_allclose(ours, mapped(matrix[0], moved, canvas) - points_of(canvas), atol=1e-4)

    theirs = vxm.utils.compose([tf.constant(matrix[0]), tf.constant(displacement[0])]).numpy()
    seen = inside(moved, np.array(canvas) - 1)
    assert 0.2 < seen.mean() < 0.9
    np.testing.assert_allclose(ours[seen], theirs[seen], atol=1e-4)
    assert np.abs(ours - theirs)[~seen].max() > 0.1  # where voxelmorph clamps the affine


@both_ranks
def test_sample_is_exact_on_linear_images_and_clamps(canvas):
    upper = np.array(canvas) - 1
    image = linear_field(points_of(canvas))[np.newaxis].astype(np.float32)
    queries = np.random.default_rng(3).uniform(-2, upper + 2, (1, *[5] * len(canvas), len(canvas)))
    result = sample(tf.constant(image), tf.constant(queries, tf.float32))[0]
    np.testing.assert_allclose(result, linear_field(np.clip(queries[0], 0, upper)), atol=1e-4)


@both_ranks
def test_one_image_is_read_as_in_a_batch_and_as_numpy_reads_it(canvas):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*canvas, 2)).astype(np.float32)
    points = rng.uniform(-2, np.array(canvas) + 1, (40, len(canvas))).astype(np.float32)
    found = sample_one(tf.constant(image), tf.constant(points)).numpy()
    np.testing.assert_allclose(found, reading.sample(image, points), atol=1e-4)
    batched = sample(tf.constant(image[np.newaxis]), tf.constant(points[np.newaxis]))[0]
    np.testing.assert_allclose(batched, found, atol=1e-5)


def test_a_fill_value_begins_at_the_outermost_voxel():
    image = tf.reshape(tf.range(6.0), [2, 3, 1])
    found = sample_one(image, tf.constant([[1.0, 2.0], [0.5, 1.5], [1.01, 1.0], [0.0, -0.01]]), fill=-7.0)
    np.testing.assert_allclose(found[:, 0], [5.0, 3.0, -7.0, -7.0])


@both_ranks
def test_pull_fades_outside_as_numpys_does(canvas):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(2, *canvas, 1)).astype(np.float32)
    points = rng.uniform(-2, np.array(canvas) + 1, (2, 200, len(canvas))).astype(np.float32)
    found = pull(tf.constant(image), tf.constant(points)).numpy()[..., 0]
    expected = np.stack([reading.pull(*pair) for pair in zip(image[..., 0], points, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_warp_pulls_back():
    image = np.random.default_rng(4).normal(size=(1, 5, 6, 1)).astype(np.float32)
    shift = np.broadcast_to(np.float32([2, -1]), (1, 5, 6, 2))
    filled = warp(image, tf.constant(shift), fill=-1.0)[0].numpy()
    np.testing.assert_allclose(filled[:3, 1:], image[0, 2:, :-1], atol=1e-6)
    assert np.all(filled[3:] == -1)
    assert np.all(filled[:, 0] == -1)
    held = warp(image, tf.constant(shift))[0].numpy()
    np.testing.assert_allclose(held[3:, 1:], np.broadcast_to(image[0, 4:, :-1], (2, 5, 1)), atol=1e-6)


def test_warp_nearest_keeps_labels():
    labels = tf.constant(np.random.default_rng(5).choice([0.0, 3.0, 7.0], (1, 5, 6, 1)), tf.float32)
    warped = warp(labels, tf.fill([1, 5, 6, 2], 0.4), method="nearest")
    np.testing.assert_array_equal(warped, labels)


@both_ranks
@pytest.mark.parametrize("stride", [2, 4])
def test_to_image_is_exact_on_linear_fields(canvas, stride):
    strides = (1, *[stride] * (len(canvas) - 1))
    grid = FeatureGrid(canvas, strides)
    at_samples = linear_field(grid.points().numpy())
    dense = grid.to_image(tf.constant(at_samples / strides, tf.float32)[tf.newaxis])[0]
    last = (np.array(grid.shape) - 1) * strides  # beyond the last sample, its value is held
    np.testing.assert_allclose(dense, linear_field(np.minimum(points_of(canvas), last)), atol=1e-5)


def test_feature_grid_shape_and_points():
    grid = FeatureGrid((16, 12), (4, 2))
    assert grid.shape == (4, 6)
    np.testing.assert_array_equal(grid.points()[3, 5], [12, 10])


def centred_subsampling(strides: tuple[int, ...], channels: int) -> StridedConvolution:
    """A StridedConvolution whose kernel keeps the centre voxel: samples where the layer's centres are."""
    layer = StridedConvolution(channels, strides)
    layer.build(tf.TensorShape([None, *(None for _ in strides), channels]))
    kernel = np.zeros(layer.convolution.kernel.shape)
    kernel[(1,) * len(strides)] = np.eye(channels)
    layer.convolution.kernel.assign(kernel)
    return layer


@both_ranks
def test_phi_means_the_same_on_features_and_on_images(canvas):
    # x(p) = p, read through a rotation, must be A(p) on the image and, at its samples, on the feature grid.
    n = len(canvas)
    grid = FeatureGrid(canvas, (4,) * n)
    image = identity_grid(canvas)[tf.newaxis]
    halve = centred_subsampling((2,) * n, n)
    features = halve(halve(image))
    turn = rotation(20, canvas, shift=0.7)[np.newaxis]

    on_image = warp(image, affine_displacement(turn, canvas))[0].numpy()
    on_features = grid.sample(features, affine_points(turn, grid.points(), canvas))[0].numpy()

    expected = mapped(turn[0], grid.points().numpy(), canvas)
    seen = inside(expected, (np.array(grid.shape) - 1) * 4)
    assert seen.sum() >= 4
    np.testing.assert_allclose(on_features[seen], expected[seen], atol=1e-4)
    every_fourth = on_image[(slice(None, None, 4),) * n]
    np.testing.assert_allclose(every_fourth[seen], on_features[seen], atol=1e-4)


@both_ranks
def test_a_displacement_means_the_same_on_features_and_on_images(canvas):
    n = len(canvas)
    grid = FeatureGrid(canvas, (4,) * n)
    on_samples = tf.constant(np.random.default_rng(6).normal(0, 0.3, (1, *grid.shape, n)), tf.float32)
    dense = grid.to_image(on_samples)
    np.testing.assert_allclose(dense[(slice(None), *(slice(None, None, 4),) * n)], 4 * on_samples, atol=1e-5)


@both_ranks
def test_laplacian_of_polynomials(canvas):
    n = len(canvas)
    p = points_of(canvas)
    factors = np.arange(1, n + 1)
    square = (p**2 * factors).sum(-1)  # Laplacian 2 (1 + 2 + ...)
    cube = (p**3).sum(-1)  # second differences of p^3 are 6 p exactly
    mixed = p[..., 0] * p[..., 1] + 3 * p[..., 0] - 5  # harmonic
    field = tf.constant(np.stack([square, cube, mixed], -1)[np.newaxis], tf.float32)
    result = laplacian(field)[0].numpy()
    interior = p[(slice(1, -1),) * n]
    assert result.shape == (*interior.shape[:-1], 3)
    np.testing.assert_allclose(result[..., 0], 2 * factors.sum(), atol=1e-2)
    np.testing.assert_allclose(result[..., 1], 6 * interior.sum(-1), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(result[..., 2], 0, atol=1e-3)


def test_laplacian_leaves_out_axes_that_are_too_short():
    p = points_of((5, 2))
    result = laplacian(tf.constant((p**2)[np.newaxis]))[0].numpy()
    assert result.shape == (3, 2, 2)
    np.testing.assert_allclose(result[..., 0], 2)
    np.testing.assert_allclose(result[..., 1], 0)
