"""What is seen of validation pairs, on models whose answers are made up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from tiny_fire import awaken, tiny_model
from tiny_fire import pairs as pairs_of_waves

from fire_tf.config.schema import LearningRates, Stage
from fire_tf.geometry.point_maps import grid_points
from fire_tf.geometry.reading import pull
from fire_tf.training.collapse import PATIENCE, signs, validations_of
from fire_tf.training.observation import Observation, observe

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

SIZE = (48, 40)
SPACING = (2.0, 2.0)
SHIFT = 5.0
LONG = {"affine": PATIENCE, "nonrigid": PATIENCE, "synthesis": PATIENCE}

Synthesis = Callable[[np.ndarray], np.ndarray]


class MadeUp(KnownModel):
    """Shifts A by so many voxels onto B and back; ``synthesis`` is both F, ``channels`` what G gives, of an image."""

    def __init__(
        self,
        shift: float = SHIFT,
        back: float | None = None,
        synthesis: Synthesis = lambda images: -images,
        channels: Synthesis = lambda images: np.concatenate([images, -images], axis=-1),
    ):
        there = turned(0, (shift, 0.0))
        home = inverse_affine(there) if back is None else turned(0, (back, 0.0))
        still = np.zeros((*SIZE, 2))
        super().__init__(SIZE, SPACING, (there, still), (home, still))
        self.synthesis, self.channels = synthesis, channels

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        return super().estimate_pair(a, b) | {"synth_b": self.synthesis(a), "synth_a": self.synthesis(b)}

    def features(self, a: np.ndarray, b: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(self.channels(a)), tf.constant(self.channels(b))


def pairs(count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """B is the negative of A's tissue, and A lies 5 voxels further on along the first axis."""
    there = grid_points(SIZE) - np.array([SHIFT, 0.0])
    fixed = [brain_like(SIZE, seed + number) for number in range(count)]
    b = [np.where(grey > 0, (500 - grey) / 600, -1).astype(np.float32) for grey in fixed]
    a = [pull(np.where(grey > 0, (grey - 500) / 600, -1), there, outside=-1.0) for grey in fixed]
    return np.stack(a)[..., np.newaxis], np.stack(b)[..., np.newaxis]


def opposite(images: np.ndarray) -> np.ndarray:
    """What F ought to give."""
    return np.where(images > -1, -images, -1)


def seen_of(model: KnownModel, count: int = 4) -> Observation:
    return observe(model, [pairs(count)], SPACING)[0]  # type: ignore[arg-type]


def test_what_registers_well_is_seen_to() -> None:
    seen = seen_of(MadeUp(synthesis=opposite))
    assert seen.mi > 1.5 * seen.mi_before > 0
    assert seen.consistency_mm == pytest.approx(0.0, abs=1e-6)
    assert (seen.folded, seen.outside, seen.dead_features) == (0, 0, 0)
    assert seen.contrast_a == pytest.approx(1.0, abs=0.01)
    assert seen.contrast_b == pytest.approx(1.0, abs=0.01)
    assert min(seen.correlation_a, seen.correlation_b) > 0.99
    still = seen_of(MadeUp(0.0, synthesis=opposite))
    assert still.mi == still.mi_before == pytest.approx(seen.mi_before)


def test_inverse_consistency_is_in_mm() -> None:
    assert seen_of(MadeUp(SHIFT, back=-4.0)).consistency_mm == pytest.approx(2.0 * (SHIFT - 4.0))


def test_folding_is_counted() -> None:
    model = MadeUp()
    folding = np.zeros((*SIZE, 2))
    folding[..., 0] = -2.0 * np.arange(SIZE[0])[:, np.newaxis]  # p + u = -p, turned round
    model.phis["a_to_b"] = (model.phis["a_to_b"][0], folding)
    assert seen_of(model).folded == pytest.approx(50.0)  # one direction, all of it


def test_pairs_of_several_batches_count_alike() -> None:
    a, b = pairs(4)
    model = MadeUp(synthesis=opposite)
    whole, drawn = observe(model, [(a, b)], SPACING)  # type: ignore[arg-type]
    split, again = observe(model, [(a[:1], b[:1]), (a[1:], b[1:])], SPACING)  # type: ignore[arg-type]
    assert split == pytest.approx(whole)
    assert len(drawn) == len(again) == 2
    np.testing.assert_array_equal(again[1].moving, a[1, ..., 0])
    np.testing.assert_array_equal(again[1].from_fixed, opposite(b[1, ..., 0]))
    assert drawn[0].names == ("T1", "FLAIR")


def test_a_pair_that_shows_nothing_is_no_fault() -> None:
    nothing = np.full((1, *SIZE, 1), -1.0, np.float32)
    seen, drawn = observe(MadeUp(), [(nothing, nothing)], SPACING)  # type: ignore[arg-type]
    assert (seen.mi, seen.folded, seen.correlation_a) == pytest.approx((0, 0, 0), abs=1e-6)
    assert np.isnan(seen.contrast_a)
    assert len(drawn) == 1


def test_answers_that_are_not_finite_are_a_sign_at_once() -> None:
    seen, drawn = observe(MadeUp(synthesis=lambda images: images * np.nan), [pairs()], SPACING)  # type: ignore[arg-type]
    assert np.isnan(seen).all()
    assert not drawn
    assert list(signs(seen, dict.fromkeys(LONG, 0), ("T1", "FLAIR"))) == ["not finite"]


def flat(images: np.ndarray) -> np.ndarray:
    return np.where(images > -1, 0.3, -1)


def always_the_same(images: np.ndarray) -> np.ndarray:
    mean = (brain_like(SIZE, 99)[np.newaxis, ..., np.newaxis] - 500) / 600
    return np.broadcast_to(mean, images.shape)


def constant(images: np.ndarray) -> np.ndarray:
    return np.full_like(images, -0.4)


@pytest.mark.parametrize("synthesis", [flat, always_the_same, constant])
@pytest.mark.parametrize("count", [1, 4])
def test_a_mean_image_is_a_sign(synthesis: Synthesis, count: int) -> None:
    if synthesis is always_the_same and count == 1:
        pytest.skip("one pair cannot tell the same image for all of them from its own")
    found = signs(seen_of(MadeUp(synthesis=synthesis), count), LONG, ("T1", "FLAIR"))
    assert list(found) == ["mean a", "mean b"]
    assert "synthesised FLAIR has" in found["mean b"]


def test_one_direction_alone_may_give_the_mean_image() -> None:
    model = MadeUp(synthesis=opposite)
    right = model.estimate_pair
    model.estimate_pair = lambda a, b: right(a, b) | {"synth_a": flat(b)}  # type: ignore[method-assign]
    assert list(signs(seen_of(model), LONG, ("T1", "FLAIR"))) == ["mean a"]


@pytest.mark.parametrize(
    "synthesis", [opposite, lambda images: 0.5 * opposite(images), lambda images: -opposite(images)]
)
def test_pale_and_wrong_images_that_follow_what_they_are_of_are_no_sign(synthesis: Synthesis) -> None:
    assert signs(seen_of(MadeUp(synthesis=synthesis)), LONG, ("T1", "FLAIR")) == {}


@pytest.mark.parametrize(("shift", "leaves"), [(SHIFT, False), (12.0, False), (30.0, True), (400.0, True)])
def test_transforms_that_leave_the_field_of_view_are_a_sign(shift: float, leaves: bool) -> None:
    seen = seen_of(MadeUp(shift, synthesis=opposite))
    assert ("outside" in signs(seen, LONG, ("T1", "FLAIR"))) == leaves
    if shift == 400.0:
        assert seen.outside == 100


def border(images: np.ndarray) -> np.ndarray:
    """Channels that know where they are and nothing of the image, as padding alone makes them."""
    frame = np.pad(np.zeros((SIZE[0] - 4, SIZE[1] - 4)), 2, constant_values=1.0)
    return np.broadcast_to(frame[np.newaxis, ..., np.newaxis], (len(images), *SIZE, 3))


@pytest.mark.parametrize(
    ("channels", "dead"),
    [
        (border, 100),
        (lambda images: 0 * images, 100),
        (lambda images: np.concatenate([images, border(images)], axis=-1), 75),
        (lambda images: np.concatenate([images, images**2, border(images)[..., :1]], axis=-1), 100 / 3),
        (lambda images: 0.05 * images, 0),
    ],
)
def test_features_that_no_image_changes_are_a_sign(channels: Synthesis, dead: float) -> None:
    seen = seen_of(MadeUp(synthesis=opposite, channels=channels))
    assert seen.dead_features == pytest.approx(dead)
    assert ("features" in signs(seen, LONG, ("T1", "FLAIR"))) == (dead > 50)


def test_networks_that_were_not_trained_for_long_show_no_sign() -> None:
    collapsed = seen_of(MadeUp(400.0, synthesis=flat, channels=border))
    names = ("T1", "FLAIR")
    assert set(signs(collapsed, LONG, names)) == {"mean a", "mean b", "features", "outside"}
    assert signs(collapsed, dict.fromkeys(LONG, PATIENCE - 1), names) == {}
    assert set(signs(collapsed, LONG | {"synthesis": 0}, names)) == {"outside"}
    assert set(signs(collapsed, LONG | {"affine": 0}, names)) == {"mean a", "mean b", "features", "outside"}
    assert "outside" not in signs(collapsed, LONG | {"affine": 0, "nonrigid": 0}, names)


def test_validations_count_from_the_first_stage_that_trains_a_group() -> None:
    def stage(name: str, objective: str, cycle: tuple[tuple[str, ...], ...], steps: int) -> Stage:
        return Stage(name, objective, cycle, steps, 1, LearningRates())  # type: ignore[arg-type]

    stages = (
        stage("one", "aligned", (("synthesis",),), 25),
        stage("two", "known", (("affine",), ("nonrigid",)), 10),
        stage("three", "paper", (("affine",), ("synthesis",)), 30),
    )
    assert validations_of(stages, 10, stages[0], 1) == {"affine": 0, "nonrigid": 0, "synthesis": 2}
    assert validations_of(stages, 10, stages[1], 0) == {"affine": 1, "nonrigid": 1, "synthesis": 3}
    assert validations_of(stages, 10, stages[2], 2) == {"affine": 4, "nonrigid": 1, "synthesis": 6}


def test_signs_on_networks_whose_weights_are_gone() -> None:
    """The real networks: G, F or T alone at weights that say nothing."""
    model = awaken(tiny_model(filters=(4, 4, 8)))
    model.preprocessing = {"modality_a": "T1", "modality_b": "FLAIR"}
    a, b = (pairs_of_waves()[name].numpy() for name in "ab")

    def observed() -> Observation:
        return observe(model, [(a, b)], SPACING)[0]

    alive = observed()
    assert min(alive.contrast_a, alive.contrast_b) > 0.1
    assert alive.dead_features == 0
    assert alive.outside < 25
    before = model.get_weights()
    for layer in (model.decoder_ab, model.decoder_ba):
        layer.last.kernel.assign(tf.zeros_like(layer.last.kernel))
    seen = observed()
    assert (seen.contrast_a, seen.contrast_b, seen.dead_features) == pytest.approx((0, 0, 0), abs=1e-3)
    model.set_weights(before)
    for variable in model.encoder.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    assert observed().dead_features == 100
    model.set_weights(before)
    bias = model.transformation_ab.affine.parameters.bias
    bias.assign(tf.fill(bias.shape, 1e3))
    assert observed().outside > 25
