"""Refining on made-up pairs of two contrasts whose true deformation is known."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from fake_model import KnownModel, inverse_affine
from made_up_pairs import (
    SHAPE,
    SPACING,
    TURN,
    as_image,
    distance,
    imitating_model,
    made_up_pair,
    true_map,
)
from scipy.ndimage import gaussian_filter

from fire_tf.evaluation.measure import evaluate
from fire_tf.evaluation.methods import TrainedModel
from fire_tf.evaluation.pairs import Pair
from fire_tf.free_form.objective import Comparison, Objective
from fire_tf.free_form.waves import Waves
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    DisplacementMap,
    InverseMap,
    grid_points,
)
from fire_tf.geometry.reading import pull
from fire_tf.measures import metrics
from fire_tf.registration.pair import Registration, register_pair
from fire_tf.registration.refine import SEARCHES, Search, refine, search_for


def searching(**changes: float) -> Search:
    """The search for heads, its levels and its bending changed."""
    heads = SEARCHES["heads"]
    bending = changes.pop("bending", heads.bending)
    return Search(tuple(replace(level, **changes) for level in heads.levels), bending)


def registered(pair: Pair, model: KnownModel | None = None) -> Registration:
    """What a model answers, one that leaves everything where it is if none is given."""
    return register_pair(model or imitating_model(pair.ndim), pair.moving, pair.fixed)


@lru_cache
def deformed(ndim: int) -> tuple[Pair, Registration, Registration]:
    """A deformed pair, the start that knows nothing, and what refining makes of it."""
    pair = made_up_pair(ndim, true_map(ndim))
    start = registered(pair)
    return pair, start, refine(start)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_inverse_of_a_map_is_found_where_it_stretches_fourfold(ndim: int) -> None:
    shape = SHAPE[ndim]
    points = grid_points(shape)
    away = (points - (np.asarray(shape) - 1) / 2) / 4
    bulge = DisplacementMap(12 * np.tanh(away) * np.exp(-np.square(away / 5).sum(-1, keepdims=True)))
    forward = AffineAfterDisplacement(bulge, AffineMap.centred(TURN[ndim], shape))
    assert np.linalg.norm(np.diff(forward(points), axis=0), axis=-1).max() > 3.5
    np.testing.assert_allclose(forward(InverseMap(forward, forward.affine)(points)), points, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_known_deformation_is_recovered(ndim: int) -> None:
    pair, start, refined = deformed(ndim)
    assert distance(pair, start) > 2 * SPACING[ndim][0]
    assert distance(pair, refined) < 0.25 * SPACING[ndim][0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_both_directions_undo_each_other_and_nothing_folds(ndim: int) -> None:
    pair, _, refined = deformed(ndim)
    maps = pair.in_voxels(refined.to_moving, refined.to_fixed)
    for outward, back in (maps, maps[::-1]):
        assert metrics.inverse_consistency(outward, back, pair.fixed_labels > 0, SPACING[ndim]) < 0.05
        assert metrics.jacobian_determinant(metrics.map_positions(outward, SHAPE[ndim])).min() > 0.3


def test_the_affine_parts_are_those_of_the_maps() -> None:
    """But for the displacement, which is 2.5 mm on average where it was made."""
    _, _, refined = deformed(2)
    points = AffineMap(refined.fixed.affine)(
        np.pad(np.argwhere(refined.fixed.data > -0.9), [(0, 0), (0, 1)]).astype(float)
    )
    apart = refined.to_moving(points) - refined.affine_to_moving(points)
    assert 0.5 < np.linalg.norm(apart, axis=-1).mean() < 5
    np.testing.assert_allclose(refined.affine_to_fixed(refined.affine_to_moving(points)), points, atol=1e-9)


@pytest.mark.parametrize("ndim", [2, 3])
def test_aligned_images_stay_aligned(ndim: int) -> None:
    pair = made_up_pair(ndim)
    refined = refine(registered(pair))
    to_moving, _ = pair.in_voxels(refined.to_moving, refined.to_fixed)
    points = np.argwhere(pair.fixed_labels > 0).astype(float)
    assert (
        np.linalg.norm((to_moving(points) - points) * SPACING[ndim], axis=-1).mean() < 0.1 * SPACING[ndim][0]
    )


def test_the_same_pair_gives_the_same_map() -> None:
    _, start, refined = deformed(2)
    points = AffineMap(start.fixed.affine)(grid_points((*SHAPE[2], 1)))
    np.testing.assert_array_equal(refine(start).to_moving(points), refined.to_moving(points))


def test_the_networks_answer_stays_where_the_search_ends_below_it() -> None:
    """The model knows the displacement too; shifts and the affine part, which are all that is searched, are worse."""
    true = true_map(2)
    inverse = InverseMap(true, true.affine)(grid_points(SHAPE[2]))
    outward = true.affine(inverse) - grid_points(SHAPE[2])  # u with A^-1 (p + u(p)) = D^-1 (p)
    model = imitating_model(2, a_to_b=(inverse_affine(TURN[2]), outward))
    start = registered(made_up_pair(2, true), model)
    assert refine(start, searching(half_wave=1000)) is start


def test_the_networks_answer_stays_where_the_synthesised_images_say_so() -> None:
    """Inverted they tell as much of the other image as before, and correlate the less the better they lie."""
    _, start, refined = deformed(2)
    assert refined is not start
    assert refined.refined
    inverted = replace(
        start,
        from_moving=replace(start.from_moving, data=-start.from_moving.data),
        from_fixed=replace(start.from_fixed, data=-start.from_fixed.data),
    )
    assert refine(inverted) is inverted
    assert not inverted.refined


def test_the_networks_answer_stays_where_tissue_would_be_torn() -> None:
    """The same search is held together by its bending."""
    pair = made_up_pair(2, true_map(2))
    rough = searching(half_wave=8, bending=0, iterations=80)
    start = registered(pair)
    assert refine(start, rough._replace(bending=150)) is not start
    assert refine(start, rough) is start


def test_the_search_starts_from_the_better_direction() -> None:
    """The model's forward affine is the identity and wrong, its backward one is right."""
    still = np.zeros((*SHAPE[2], 2))
    pair = made_up_pair(2, AffineMap.centred(TURN[2], SHAPE[2]))
    start = registered(pair, imitating_model(2, b_to_a=(TURN[2], still)))
    refined = refine(start, searching(iterations=0))
    np.testing.assert_allclose(
        refined.affine_to_moving.matrix, start.affine_to_fixed.inverse().matrix, atol=0.5
    )


def test_refined_is_measured_beside_the_model() -> None:
    pair, _, _ = deformed(2)
    scores = evaluate([pair], [TrainedModel(imitating_model(2), refined=True)])
    dice = {row["method"]: row["dice"] for row in scores.pairs if row["direction"] == "moving onto fixed"}
    assert list(dice) == ["FIRE affine", "FIRE", "FIRE refined"]
    assert dice["FIRE"] < 0.8 < 0.93 < dice["FIRE refined"]
    seconds = {row["method"]: row["seconds"] for row in scores.pairs}
    assert seconds["FIRE refined"] > seconds["FIRE"]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_gradient_is_that_of_the_objective(ndim: int) -> None:
    """By central differences in random directions, where some Jacobian determinants are penalised."""
    pair = made_up_pair(ndim, true_map(ndim))
    found = registered(pair)
    comparison = Comparison(
        found.moving,
        found.fixed,
        found.fixed.data > -0.9,
        step=5,
        smoothing=4,
        imitations=(found.from_moving.data, found.from_fixed.data),
    )
    still = DisplacementMap(np.zeros((*SHAPE[ndim], ndim)))
    start = AffineAfterDisplacement(still, AffineMap.identity(ndim))
    objective = Objective(start, comparison, 40, bending=3.0)
    rng = np.random.default_rng(1)
    x = objective.start + rng.normal(0, 8 / ndim, objective.start.size)
    x[: ndim * (ndim + 1)] = objective.start[: ndim * (ndim + 1)]
    waves = Waves(SHAPE[ndim], np.array(SPACING[ndim]), 40)
    folding, _ = waves.folding(x[ndim * (ndim + 1) :].reshape(*waves.size, ndim))
    assert folding > 1e-3
    _, gradient = objective(x)
    for _ in range(4):
        direction = rng.normal(size=x.size)
        change = objective(x + 1e-5 * direction)[0] - objective(x - 1e-5 * direction)[0]
        assert gradient @ direction == pytest.approx(change / 2e-5, rel=1e-2)  # linear reads have kinks


CHEST = 72.0  # radius in mm around a ventricle


def short_axis(cavity: float, wall: float) -> tuple[np.ndarray, np.ndarray]:
    """A left ventricle in its slice, radii in mm: the image, and its labels (1 cavity, 2 wall)."""
    distance = np.linalg.norm(from_middle() * SPACING[2], axis=-1)
    labels = np.select([distance < cavity, distance < wall], [1, 2])
    grey = np.select([labels == 1, labels == 2, distance < CHEST], [300.0, 60.0, 150.0])
    return gaussian_filter(grey, 0.7).astype(np.float32), labels.astype(np.uint8)


def from_middle() -> np.ndarray:
    return grid_points(SHAPE[2]) - (np.asarray(SHAPE[2]) - 1) / 2


def contraction(before: tuple[float, float], after: tuple[float, float]) -> Pair:
    """Two phases of a ventricle with these radii of cavity and wall."""
    (moving, moving_labels), (fixed, fixed_labels) = short_axis(*before), short_axis(*after)
    return Pair("made up", "ED", "nobody", as_image(moving), as_image(fixed), moving_labels, fixed_labels)


def heart_model(**known: tuple[np.ndarray, np.ndarray]) -> KnownModel:
    """One whose two phases look alike."""
    model = KnownModel(SHAPE[2], SPACING[2], **known, imitate=(np.positive, np.positive))
    model.preprocessing = {**model.preprocessing, "search": "hearts"}
    return model


def worst_dice(pair: Pair, model: KnownModel) -> float:
    """Of the cavity and the wall after refining."""
    found = refine(registered(pair, model), search_for(model))
    to_moving, _ = pair.in_voxels(found.to_moving, found.to_fixed)
    warped = pull(pair.moving_labels, to_moving(grid_points(SHAPE[2])), nearest=True)
    return min(metrics.dice(warped == label, pair.fixed_labels == label) for label in (1, 2))


def test_a_model_of_hearts_is_refined_as_finely_as_a_wall_thickens() -> None:
    pair, model = contraction((24, 32), (20, 30)), heart_model()
    model.preprocessing = {**model.preprocessing, "search": "heads"}
    assert worst_dice(pair, model) < 0.93
    model.preprocessing = {**model.preprocessing, "search": "hearts"}
    assert worst_dice(pair, model) > 0.95


def test_refining_hearts_starts_from_the_nonrigid_part_of_either_direction() -> None:
    """The walls move farther than mutual information sees; one direction of the model knows how far."""
    before, after = (40.0, 52.0), (28.0, 44.0)
    distance = np.linalg.norm(from_middle() * SPACING[2], axis=-1)
    stretch = np.interp(distance, (0, *after, CHEST), (0, *before, CHEST)) / distance.clip(1e-6)
    known = (np.eye(2, 3), (stretch - 1)[..., np.newaxis] * from_middle())

    assert worst_dice(contraction(before, after), heart_model()) < 0.8
    assert worst_dice(contraction(before, after), heart_model(a_to_b=known)) > 0.95
    assert worst_dice(contraction(after, before), heart_model(b_to_a=known)) > 0.95
