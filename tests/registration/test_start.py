"""Starts of a registration's own: turns that no model was trained on."""

import numpy as np
import pytest
from fake_model import KnownModel, inverse_affine, turned
from made_up_pairs import textured

from fire_tf.files.doubts import Doubt
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.registration.pair import register_pair
from fire_tf.registration.start import degrees, register_from_start

SHAPE, SPACING = {2: (84, 96), 3: (40, 44, 36)}, {2: (1.6, 1.6), 3: (4.0, 4.0, 4.0)}


class Faithful(KnownModel):
    """Both modalities look the same."""

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        return {**super().estimate_pair(a, b), "synth_b": a, "synth_a": b}


def pair(ndim: int, turn: float) -> tuple[Image, Image]:
    image = textured(SHAPE[ndim])
    away = AffineMap.centred(inverse_affine(turned(turn, (4.0, -3.0, 2.0)[:ndim])), SHAPE[ndim])
    moved = pull(image, away(grid_points(SHAPE[ndim])))
    affine = np.diag([*(*SPACING[ndim], 1.0)[:3], 1.0])
    moving, fixed = (
        Image(data.reshape((*data.shape, 1)[:3]), affine, name) for data, name in ((moved, "m"), (image, "f"))
    )
    return moving, fixed


@pytest.mark.parametrize(("ndim", "turn"), [(2, 42), (2, -28), (3, 42)])
def test_a_model_that_turns_nothing_starts_from_the_turn(ndim: int, turn: float) -> None:
    model = Faithful(SHAPE[ndim], SPACING[ndim])
    found = register_from_start(model, *pair(ndim, turn))
    assert found.start is not None
    assert degrees(found.start) == pytest.approx(abs(turn), abs=7)
    assert degrees(found.affine_to_moving.after(found.affine_to_fixed)) == pytest.approx(0, abs=1e-3)
    linear = found.affine_to_moving.matrix[:, :3]
    expected = turned(turn, (0.0, 0.0, 0.0))[:, :3]
    assert np.abs(linear - expected).max() < 0.12  # 7 degrees


def test_small_turns_are_left_to_the_model() -> None:
    model = Faithful(SHAPE[2], SPACING[2])
    assert register_from_start(model, *pair(2, 12)).start is None


def test_a_model_that_knows_the_turn_is_not_led_astray() -> None:
    """Its answer from another start would be wrong: it turns by what it knows once more."""
    known, still = turned(42, (4.0, -3.0)), np.zeros((*SHAPE[2], 2))
    model = Faithful(SHAPE[2], SPACING[2], a_to_b=(known, still), b_to_a=(inverse_affine(known), still))
    images = pair(2, 42)
    found, alone = register_from_start(model, *images), register_pair(model, *images)
    assert found.start is None
    np.testing.assert_array_equal(found.affine_to_moving.matrix, alone.affine_to_moving.matrix)


def test_measures_that_disagree_leave_the_answer_and_raise_a_doubt() -> None:
    """Synthesised images that are inverted correlate the less the better the images lie on each other."""
    model = KnownModel(SHAPE[2], SPACING[2])
    with pytest.warns(Doubt, match=r"m and f: whether they are turned by about 40 degrees"):
        found = register_from_start(model, *pair(2, 42))
    assert found.start is None


def test_hearts_and_blank_slices_take_no_turn() -> None:
    moving, fixed = pair(2, 42)
    model = Faithful(SHAPE[2], SPACING[2])
    blank = Image(np.zeros_like(fixed.data), fixed.affine, "blank")
    assert register_from_start(model, moving, blank).start is None
    model.preprocessing["slice_axis"] = "thickest"
    assert register_from_start(model, moving, fixed).start is None
