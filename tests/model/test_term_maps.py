"""The maps of the loss terms add up to the terms."""

import numpy as np
import pytest
from tiny_fire import CANVAS, awaken, pairs, tiny_model

from fire_tf.model.fire import FIRE
from fire_tf.model.objectives import PAPER_TERMS
from fire_tf.model.term_maps import term_maps


@pytest.fixture(scope="module")
def model() -> FIRE:
    return awaken(tiny_model(2))


def images() -> tuple[np.ndarray, np.ndarray]:
    data = pairs(2, batch=1)
    return data["a"].numpy()[0, ..., 0], data["b"].numpy()[0, ..., 0]


def test_both_directions_add_up_to_the_terms_of_training(model: FIRE) -> None:
    """Exchanging both the images and the networks turns A -> B into B -> A."""
    a, b = images()
    exchanged = FIRE(
        model.encoder,
        model.decoder_ba,
        model.decoder_ab,
        model.transformation_ba,
        model.transformation_ab,
        model.canvas,
    )
    forward, backward = term_maps(model, a, b), term_maps(exchanged, b, a)
    computed = model.compute_losses(pairs(2, batch=1), "paper", PAPER_TERMS)._asdict()
    assert set(forward) == PAPER_TERMS
    for name, found in forward.items():
        assert found.value > 1e-3
        assert found.value + backward[name].value == pytest.approx(float(computed[name][0]), rel=1e-3), name


def test_maps_lie_on_the_grid_of_what_is_compared(model: FIRE) -> None:
    maps = term_maps(model, *images())
    assert list(maps)[:2] == ["syn_acc", "syn_fea"]
    for name, found in maps.items():
        grid = model.grid.shape if name in ("syn_fea", "syn_align") else CANVAS[2]
        if name == "r_smooth":
            assert found.left.shape == (*model.grid.shape, 2)
            assert found.error.shape == tuple(size - 2 for size in model.grid.shape)
        else:
            assert found.error.shape == tuple(grid)
            assert found.left.shape == found.right.shape
        assert found.left.shape[-1] == {"syn_fea": 4, "syn_align": 4, "r_smooth": 2}.get(name, 1)
