"""Gauss-Newton steps on feature maps: against dense least squares, and on maps deformed by what is to be found."""

from itertools import product

import numpy as np
import pytest

from fire_tf.networks.gauss_newton import (
    AffineSteps,
    CosineSteps,
    _expand,
    _solve,
    _span,
    _structure_and_force,
    _upper,
    _waves,
)
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import FeatureGrid, affine_points

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

GRID = {2: (16, 20), 3: (12, 10, 14)}
STRIDE = 4
both_ranks = pytest.mark.parametrize("rank", [2, 3])


def smooth_features(rank: int, seed: int = 0) -> tf.Tensor:
    """Low cosines with random coefficients, (1, *grid, 6)."""
    bases = _waves(GRID[rank], 3.0, 10**6)[0]
    count = int(np.prod([basis.shape[1] for basis in bases]))
    coefficients = np.random.default_rng(seed).normal(size=(1, count, 6))
    return _expand(tf.constant(coefficients, tf.float32), bases)


def upper(matrices) -> np.ndarray:
    """The upper triangles (..., n (n + 1) / 2) of symmetric matrices (..., n, n)."""
    return np.stack([matrices[..., i, j] for i, j in _upper(matrices.shape[-1])], axis=-1)


def error(points: tf.Tensor, truth: tf.Tensor) -> float:
    """Mean distance away from the border, where what was shifted out of the grid cannot be found."""
    distance = np.linalg.norm(points - truth, axis=-1)[0]
    return float(distance[(slice(2, -2),) * distance.ndim].mean())


@both_ranks
def test_solve_is_the_dense_least_squares_solution(rank):
    sizes, counts = (4, 5, 3)[:rank], (2, 3, 2)[:rank]
    rng = np.random.default_rng(1)
    bases = [rng.normal(size=shape).astype(np.float32) for shape in zip(sizes, counts, strict=True)]
    root = rng.normal(size=(2, *sizes, rank, rank))
    structure = np.einsum("...ki,...kj->...ij", root, root)
    force = rng.normal(size=(2, *sizes, rank))
    prior = rng.uniform(0.1, 1, np.prod(counts))
    arguments = [tf.constant(value, tf.float32) for value in (upper(structure), force)]
    found = _solve(*arguments, bases, list(map(_span, bases)), tf.constant(prior, tf.float32)).numpy()

    functions = list(product(*[range(count) for count in counts]))
    voxels = list(product(*[range(size) for size in sizes]))
    for sample_number in range(2):
        # Columns are coefficients (k, i): d_i(p) = sum_k c_ki B_k(p).
        matrix, right, trace = 0, 0, 0
        for voxel in voxels:
            values = [np.prod([b[v, k] for b, v, k in zip(bases, voxel, f, strict=True)]) for f in functions]
            design = np.kron(values, np.eye(rank))
            s = structure[(sample_number, *voxel)]
            matrix = matrix + design.T @ s @ design / len(voxels)
            right = right + design.T @ force[(sample_number, *voxel)] / len(voxels)
            trace += np.trace(s) / len(voxels)
        matrix = matrix + trace * np.diag(np.repeat(prior, rank))
        expected = np.linalg.solve(matrix, -right).reshape(-1, rank)
        np.testing.assert_allclose(found[sample_number], expected, atol=1e-4)


@both_ranks
def test_cosines_are_orthonormal_and_expand_to_what_they_say(rank):
    bases = _waves(GRID[rank], 3.0, 10**6)[0]
    for basis, size in zip(bases, GRID[rank], strict=True):
        assert basis.shape == (size, 1 + size // 3)
        np.testing.assert_allclose(basis.T @ basis / size, np.eye(basis.shape[1]), atol=1e-5)
    counts = [basis.shape[1] for basis in bases]
    coefficients = np.random.default_rng(2).normal(size=(2, *counts, rank)).astype(np.float32)
    letters = "abc"[:rank]
    factors = ",".join(f"{upper}{lower}" for upper, lower in zip("xyz", letters, strict=False))
    expected = np.einsum(f"n{letters}i,{factors}->n{'xyz'[:rank]}i", coefficients, *bases)
    found = _expand(tf.reshape(tf.constant(coefficients), [2, -1, rank]), bases)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@both_ranks
def test_affine_steps_find_the_affine_between_two_maps(rank):
    canvas = tuple(STRIDE * size for size in GRID[rank])
    grid = FeatureGrid(canvas, (STRIDE,) * rank)
    moving = smooth_features(rank)
    rng = np.random.default_rng(3)
    truth = np.eye(rank, rank + 1) + rng.normal(0, 0.04, (rank, rank + 1))
    truth[:, -1] = rng.normal(0, STRIDE / 2, rank)
    truth = tf.constant(truth[np.newaxis], tf.float32)
    points = affine_points(truth, grid.points(), canvas)
    tf.keras.utils.set_random_seed(0)
    steps = AffineSteps(canvas, (STRIDE,) * rank, steps=4)
    start = tf.eye(rank, rank + 1, batch_shape=[1])
    found = steps([moving, grid.sample(moving, points)], start)
    before, after = (error(affine_points(matrix, grid.points(), canvas), points) for matrix in (start, found))
    assert before > STRIDE / 4
    assert after < 0.15 * before


@both_ranks
def test_cosine_steps_find_a_smooth_displacement(rank):
    moving = smooth_features(rank)
    points = FeatureGrid(GRID[rank], (1,) * rank).points()
    bases = _waves(GRID[rank], 7.0, 10**6)[0]
    count = int(np.prod([basis.shape[1] for basis in bases]))
    coefficients = np.random.default_rng(4).normal(size=(1, count, rank)) * 0.7 / np.sqrt(count)
    truth = points + _expand(tf.constant(coefficients, tf.float32), bases)
    tf.keras.utils.set_random_seed(0)
    found = points + CosineSteps(rank, steps=8, bending=7.0)([moving, sample(moving, truth)])
    before, after = error(points[tf.newaxis], truth), error(found, truth)
    assert before > 0.5
    assert after < 0.35 * before


@both_ranks
@pytest.mark.parametrize("constant", [False, True], ids=["equal maps", "maps without structure"])
def test_where_there_is_nothing_to_align_the_steps_stay_where_they_are(rank, constant):
    features = tf.ones_like(smooth_features(rank)) if constant else smooth_features(rank)
    other = 2.0 * features if constant else features
    canvas = tuple(STRIDE * size for size in GRID[rank])
    start = tf.eye(rank, rank + 1, batch_shape=[1])
    affine = AffineSteps(canvas, (STRIDE,) * rank, steps=2)
    cosines = CosineSteps(rank, steps=2, bending=7.0)
    inside = (slice(None), *[slice(3, -3)] * rank)  # the convolutions see the border of the maps
    if constant:
        features, other = features[inside], other[inside]
        canvas = tuple(STRIDE * size for size in features.shape[1:-1])
        affine = AffineSteps(canvas, (STRIDE,) * rank, steps=2)
        for steps in (affine, cosines):
            steps.build([features.shape, features.shape])
            for layer in (steps.hidden, steps.projection):
                layer.kernel.assign(tf.zeros_like(layer.kernel))
    np.testing.assert_allclose(affine([features, other], start), start, atol=1e-5)
    np.testing.assert_allclose(cosines([features, other]), np.zeros((*features.shape[:-1], rank)), atol=1e-5)


@both_ranks
def test_the_scale_of_the_maps_does_not_matter(rank):
    rng = np.random.default_rng(5)
    root = tf.constant(rng.normal(size=(1, *GRID[rank], rank, rank)), tf.float32)
    structure, force = upper(tf.matmul(root, root, transpose_a=True)), root[..., 0, :]
    bases = _waves(GRID[rank], 5.0, 10**6)[0]
    prior = tf.ones([int(np.prod([basis.shape[1] for basis in bases]))])
    spans = list(map(_span, bases))
    once = _solve(structure, force, bases, spans, prior)
    np.testing.assert_allclose(_solve(100 * structure, 100 * force, bases, spans, prior), once, atol=1e-4)


@both_ranks
def test_on_a_large_grid_the_cosines_are_as_fine_as_the_number_of_unknowns_allows(rank):
    shape = {2: (64, 96), 3: (40, 40, 48)}[rank]
    bases, waves = _waves(shape, 5.0, 1000 // rank)
    counts = [basis.shape[1] for basis in bases]
    assert 0.6 * 1000 < rank * np.prod(counts) <= 1000 if rank == 3 else counts == [13, 20]
    half_waves = [np.pi / wave[-1] for wave in waves]
    assert max(half_waves) < 1.3 * min(half_waves)  # as fine along every axis
    u = CosineSteps(rank, steps=1, bending=7.0)([tf.random.normal([1, *shape, 3], seed=s) for s in (0, 1)])
    assert u.shape == (1, *shape, rank)


@both_ranks
def test_structure_and_its_gradient_are_those_of_the_definition_compiled_or_not(rank):
    rng = np.random.default_rng(6)
    warped, fixed = (tf.constant(rng.normal(size=(2, *GRID[rank], 5)), tf.float32) for _ in range(2))
    scale = tf.constant(rng.uniform(0.2, 2, rank), tf.float32)
    values = (warped[..., :-1] + fixed[..., :-1]) / 2
    slopes = np.stack(
        np.gradient(values, axis=tuple(range(1, rank + 1))), axis=-1
    )  # inside the grid the same
    for axis in range(rank):  # at the border it has the whole one-sided difference
        for end in (0, -1):
            slopes[(slice(None), *[slice(None)] * axis, end)][..., axis] /= 2
    slopes = slopes * scale.numpy()
    weight = (warped[..., -1:] * fixed[..., -1:]).numpy()[..., np.newaxis]
    structure = np.einsum("...ci,...cj->...ij", slopes, slopes * weight)
    difference = (warped - fixed)[..., :-1].numpy()[..., np.newaxis]
    force = np.einsum("...ci,...cj->...i", slopes, difference * weight)

    def found(warped, fixed):
        with tf.GradientTape() as tape:
            tape.watch([warped, fixed])
            values = _structure_and_force(warped, fixed, scale)
            total = sum(tf.reduce_sum(tf.sin(value)) for value in values)
        return *values, *tape.gradient(total, [warped, fixed])

    eager, compiled = found(warped, fixed), tf.function(found)(warped, fixed)
    np.testing.assert_allclose(eager[0], upper(structure), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(eager[1], force, rtol=1e-4, atol=1e-4)
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
