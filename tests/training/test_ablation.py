"""Leaving a term out: its part of the weights stays where it was, everything else learns."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tiny_fire import equal, pairs, smallest_model, values

from fire_tf.model.fire import FIRE
from fire_tf.model.losses import Losses
from fire_tf.training.ablation import NOTHING, TERMS, draw_ablation, leave_one_out

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


def one_variable_each(
    model: FIRE, data: dict[str, tf.Tensor], objective: str, terms: frozenset[str]
) -> Losses:
    """Term k is the squared distance of the k-th weight array from one; whatever the images."""
    chosen = model.trainable_variables[: len(TERMS)]
    computed = {
        name: tf.reduce_mean((variable - 1.0) ** 2) * tf.ones(data["a"].shape[0])
        for name, variable in zip(TERMS, chosen, strict=True)
    }
    rest = tf.add_n([tf.reduce_sum(variable) for variable in model.trainable_variables])
    return Losses(**{name: value + 0.0 * rest for name, value in computed.items()})


def test_a_term_that_is_left_out_does_not_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FIRE, "compute_losses", one_variable_each)
    model = smallest_model()
    before = values(model.trainable_variables)
    start = one_variable_each(model, pairs(), "paper", frozenset())._asdict()
    found = leave_one_out(model, [pairs()] * 3, pairs(seed=1), rate=1e-2)
    assert list(found) == [NOTHING, *TERMS]
    for left_out, terms in found.items():
        for name in TERMS:
            if name == left_out:
                assert terms[name] == pytest.approx(float(start[name][0]))
            else:  # also not touched by what the runs before it have learnt
                assert terms[name] == pytest.approx(found[NOTHING][name])
                assert terms[name] < float(start[name][0]) - 1e-3
    assert equal(values(model.trainable_variables), before)


def test_ratios_are_drawn(tmp_path: Path) -> None:
    whole = dict.fromkeys(TERMS, 2.0)
    found = {NOTHING: whole} | {name: {**whole, name: 5.0} for name in TERMS}
    draw_ablation(found, tmp_path / "ablation.png")
    picture = imread(tmp_path / "ablation.png")[..., :3]
    red = (picture[..., 0] > 0.3) & (picture[..., 2] < 0.3)
    blue = (picture[..., 2] > 0.3) & (picture[..., 0] < 0.3)
    assert red.sum() > 1000
    assert np.count_nonzero(blue) < 100
