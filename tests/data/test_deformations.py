"""Random deformations against analytic cases, in two and three dimensions."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from fire_tf.config.schema import DeformationConfig
from fire_tf.data import deformations
from fire_tf.data.deformations import Parameters
from fire_tf.geometry.point_maps import AffineMap, grid_points

CANVASES = [(24, 32), (12, 16, 20)]
PAPER: dict[str, Any] = {
    "rotation": (10.0, 20.0),
    "translation": (0.1, 0.2),
    "scale": (0.85, 1.15),
    "shear": (-0.08, 0.08),
    "peak": (6.0, 10.0),
    "control_points": 10,
}


def centred_grid(canvas: tuple[int, ...]) -> np.ndarray:
    """Coordinates of every voxel (*canvas, n), origin at the canvas' centre."""
    return grid_points(canvas) - (np.asarray(canvas) - 1) / 2


def mapped(matrix: tf.Tensor, points: np.ndarray) -> np.ndarray:
    return AffineMap(matrix.numpy())(points)


def given(n: int, **values: Any) -> Parameters:
    planes = n * (n - 1) // 2
    rest = {
        "rotation": [0.0] * planes,
        "translation": [0.0] * n,
        "scale": [1.0] * n,
        "shear": [0.0] * planes,
        "peak": 0.0,
        "control": 0.0,
    }
    return Parameters(**{name: tf.constant(value, tf.float32) for name, value in (rest | values).items()})


def positive_part(field: np.ndarray) -> np.ndarray:
    """Smallest eigenvalue of the symmetric part of I + grad u, by central differences."""
    n = field.shape[-1]
    gradient = np.stack(np.gradient(field, axis=tuple(range(n))), axis=-1) + np.eye(n)
    return np.linalg.eigvalsh((gradient + np.swapaxes(gradient, -1, -2)) / 2)[..., 0]


def draw_field(canvas: tuple[int, ...], ranges: DeformationConfig, seed: int) -> tuple[np.ndarray, float]:
    drawn = deformations.draw_parameters(ranges, canvas, tf.constant([seed, 7]))
    field = deformations.smooth_field(drawn.control, drawn.peak, canvas, ranges.control_points)
    return field.numpy(), float(drawn.peak)


def test_a_rotation_by_90_degrees_turns_the_axes_about_the_canvas_centre() -> None:
    matrix = deformations.affine_matrix(given(2, rotation=[90.0], translation=[3.0, -1.0]))
    field = deformations.displacement(matrix, tf.zeros([5, 7, 2])).numpy()
    np.testing.assert_allclose(field[2, 3], [3, -1], atol=1e-5)  # the centre moves by the translation alone
    np.testing.assert_allclose(
        np.abs(field[4, 3] - [3, -1] + [2, 0]), [0, 2], atol=1e-5
    )  # (2, 0) -> (0, +-2)


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_affine_acts_on_centred_voxels(canvas: tuple[int, ...]) -> None:
    n = len(canvas)
    parameters = given(
        n, rotation=[20.0] * (n * (n - 1) // 2), scale=[0.9] * n, translation=list(range(1, n + 1))
    )
    matrix = deformations.affine_matrix(parameters).numpy()
    np.testing.assert_allclose(matrix[:, :n] @ matrix[:, :n].T, 0.81 * np.eye(n), atol=1e-5)
    assert np.linalg.det(matrix[:, :n]) > 0
    field = deformations.displacement(tf.constant(matrix), tf.zeros([*canvas, n])).numpy()
    corner = -(np.array(canvas) - 1) / 2
    np.testing.assert_allclose(corner + field[(0,) * n], matrix[:, :n] @ corner + matrix[:, n], atol=1e-4)


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_displacement_is_the_affine_of_the_displaced_point(canvas: tuple[int, ...]) -> None:
    n = len(canvas)
    matrix = deformations.affine_matrix(
        given(n, rotation=[15.0] * (n * (n - 1) // 2), shear=[0.05] * (n * (n - 1) // 2))
    )
    u = np.random.default_rng(0).normal(size=(*canvas, n)).astype(np.float32)
    field = deformations.displacement(matrix, tf.constant(u)).numpy()
    place = tuple(size // 3 for size in canvas)
    point = np.array(place) - (np.array(canvas) - 1) / 2
    expected = matrix.numpy()[:, :n] @ (point + u[place]) + matrix.numpy()[:, n] - point
    np.testing.assert_allclose(field[place], expected, atol=1e-4)


@pytest.mark.parametrize("canvas", CANVASES)
def test_compose_with_an_affine_inner_map_is_exact(canvas: tuple[int, ...]) -> None:
    n = len(canvas)
    planes = n * (n - 1) // 2
    outer = deformations.affine_matrix(given(n, rotation=[10.0] * planes, translation=[2.0] * n))
    inner = deformations.affine_matrix(given(n, rotation=[-25.0] * planes, scale=[1.1] * n))
    zero = tf.zeros([*canvas, n])
    composed = deformations.compose(outer, zero, deformations.displacement(inner, zero))
    grid = centred_grid(canvas)
    expected = mapped(outer, mapped(inner, grid)) - grid
    np.testing.assert_allclose(composed, expected, atol=1e-4)
    back = deformations.undone(inner, tf.constant(mapped(inner, grid).reshape(-1, n), tf.float32))
    np.testing.assert_allclose(back, grid.reshape(-1, n), atol=1e-4)


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_peak_of_the_field_is_the_drawn_one_and_may_be_zero(canvas: tuple[int, ...]) -> None:
    ranges = DeformationConfig(peak=(0.5, 1.0), control_points=4)
    field, peak = draw_field(canvas, ranges, 1)
    assert 0.5 <= peak <= 1.0
    np.testing.assert_allclose(np.linalg.norm(field, axis=-1).max(), peak, rtol=1e-5)
    assert not np.any(draw_field(canvas, DeformationConfig(), 1)[0])


def test_fields_at_the_level_of_the_paper_are_as_high_as_drawn_and_do_not_fold() -> None:
    ranges = DeformationConfig(**PAPER)
    short = 0
    for seed in range(40):
        field, peak = draw_field((192, 192), ranges, seed)
        highest = np.linalg.norm(field, axis=-1).max()
        assert highest <= peak * 1.0001
        short += highest < peak * 0.99
        assert positive_part(field).min() > 0.03
    assert short <= 4  # of the steepest ones, whose peak is lowered


@pytest.mark.parametrize("canvas", CANVASES)
def test_however_high_the_peak_the_field_stays_one_to_one(canvas: tuple[int, ...]) -> None:
    ranges = DeformationConfig(peak=(50.0, 60.0), control_points=3)
    for seed in range(10):
        assert positive_part(draw_field(canvas, ranges, seed)[0]).min() > 0


def test_a_control_grid_of_ones_is_a_constant_field_and_a_ramp_a_ramp() -> None:
    canvas, points = (20, 30), 6
    shape = deformations.control_shape(canvas, points)
    ones = deformations.smooth_field(tf.ones([*shape, 2]), 2.0, canvas, points).numpy()
    np.testing.assert_allclose(ones, np.sqrt(2), rtol=1e-5)  # B-splines sum to one everywhere
    ramp = tf.stack(
        tf.meshgrid(*[tf.range(size, dtype=tf.float32) for size in shape], indexing="ij"), axis=-1
    )
    slopes = np.diff(deformations.smooth_field(ramp, 1.0, canvas, points).numpy()[..., 0], axis=0)
    np.testing.assert_allclose(slopes, slopes.mean(), rtol=1e-3)


@pytest.mark.parametrize("canvas", CANVASES)
def test_draws_lie_in_their_ranges_take_both_signs_and_depend_on_the_seed(canvas: tuple[int, ...]) -> None:
    ranges = DeformationConfig(**PAPER)
    drawn = [deformations.draw_parameters(ranges, canvas, tf.constant([3, seed])) for seed in range(60)]
    again = deformations.draw_parameters(ranges, canvas, tf.constant([3, 5]))
    for one, other in zip(drawn[5], again, strict=True):
        np.testing.assert_array_equal(one, other)
    angles = np.array([parameters.rotation for parameters in drawn])
    assert np.all((np.abs(angles) >= 10) & (np.abs(angles) <= 20))
    assert 0.25 < np.mean(angles > 0) < 0.75
    shifts = np.linalg.norm(np.array([parameters.translation for parameters in drawn]) / canvas, axis=-1)
    assert np.all((shifts >= 0.0999) & (shifts <= 0.2001))
    scales = np.array([parameters.scale for parameters in drawn])
    assert np.all((scales >= 0.85) & (scales <= 1.15))
    assert scales.std() > 0.05


def corners(half: float, n: int) -> np.ndarray:
    return (
        np.stack(np.meshgrid(*[[-half, half]] * n, indexing="ij"), axis=-1).reshape(-1, n).astype(np.float32)
    )


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_object_stays_inside_and_small_shifts_are_left_alone(canvas: tuple[int, ...]) -> None:
    n = len(canvas)
    planes = n * (n - 1) // 2
    points = corners(2.0, n)
    far = deformations.affine_matrix(given(n, rotation=[15.0] * planes, translation=[30.0] * n))
    kept = deformations.keep_inside(far, points, canvas, 1.0)
    seen = deformations.undone(kept, points).numpy()
    half = (np.array(canvas) - 1) / 2
    assert np.all(np.abs(seen) <= half - 1 + 1e-3)
    np.testing.assert_allclose(np.abs(seen).max(axis=0), half - 1, atol=1e-3)  # right at the margin
    np.testing.assert_array_equal(kept[:, :n], far[:, :n])
    near = deformations.affine_matrix(given(n, rotation=[15.0] * planes, translation=[0.5] * n))
    np.testing.assert_allclose(deformations.keep_inside(near, points, canvas, 1.0), near, atol=1e-5)


def test_an_object_larger_than_the_canvas_is_centred() -> None:
    matrix = deformations.affine_matrix(given(2, translation=[5.0, -4.0]))
    kept = deformations.keep_inside(matrix, corners(40.0, 2), (24, 32), 1.0)
    np.testing.assert_allclose(kept[:, 2], [0, 0], atol=1e-4)
