"""Leaving a term out: its part of the weights stays where it was, everything else learns."""

import pytest
from tiny_fire import equal, pairs, smallest_model, values

from fire_tf.model.fire import FIRE
from fire_tf.model.losses import Losses
from fire_tf.training.ablation import NOTHING, TERMS, leave_one_out, ratios

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


def test_ratios_are_those_to_the_whole_objective() -> None:
    whole = dict.fromkeys(TERMS, 2.0)
    found = ratios({NOTHING: whole} | {name: {**whole, name: 5.0} for name in TERMS})
    assert list(found) == list(TERMS)
    for left_out, terms in found.items():
        assert terms == {name: 2.5 if name == left_out else 1.0 for name in TERMS}
