"""Pairs side by side: the same results, through the networks together, within the memory there is."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fake_model import bending_model
from tiny_fire import CANVAS, tiny_model

from fire_tf.cohorts.attending import Outcome, Work
from fire_tf.cohorts.manifest import Row
from fire_tf.cohorts.overlap import Room, SharedModel, attend_side_by_side
from fire_tf.registration.user_images import Options


def wait_until(true: object) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


class Recorded:
    """A model that holds its first pair back until others wait, and counts the pairs of each call."""

    def __init__(self, model: object, wait_for: int):
        self.canvas, self.ndim, self.preprocessing = model.canvas, model.ndim, model.preprocessing
        self.model, self.wait_for, self.shared, self.counts = model, wait_for, None, []

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        if not self.counts:
            wait_until(lambda: len(self.shared._waiting) == self.wait_for)
        self.counts.append(len(a))
        return self.model.estimate_pair(a, b)


def test_pairs_that_wait_go_through_the_networks_together() -> None:
    """7 of them: the first alone, then 4, then the last 2 in a batch of 4, each with its own answer."""
    model = tiny_model(2, steps=1)
    random = np.random.default_rng(0)
    pairs = random.uniform(-1, 1, (7, 2, 1, *CANVAS[2], 1)).astype(np.float32)
    alone = [model.estimate_pair(*pair) for pair in pairs]
    recorded = Recorded(model, wait_for=6)
    recorded.shared = SharedModel(recorded, together=4)
    with ThreadPoolExecutor(7) as threads:
        found = list(threads.map(lambda pair: recorded.shared.estimate_pair(*pair), pairs))
    assert recorded.counts == [1, 4, 4]
    for one, other in zip(found, alone, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_allclose(values, other[name], atol=1e-4, err_msg=name)
    assert np.abs(alone[0]["affine_a_to_b"] - alone[1]["affine_a_to_b"]).max() > 1e-3  # they do differ


def test_one_by_one_answers_are_the_very_same() -> None:
    model = tiny_model(2, steps=1)
    pairs = np.random.default_rng(0).uniform(-1, 1, (4, 2, 1, *CANVAS[2], 1)).astype(np.float32)
    shared = SharedModel(model)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pair: shared.estimate_pair(*pair), pairs))
    for one, pair in zip(found, pairs, strict=True):
        for name, values in model.estimate_pair(*pair).items():
            np.testing.assert_array_equal(values, one[name])


def test_what_fails_in_the_networks_is_told_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bending_model()

    def full(a: np.ndarray, b: np.ndarray) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(model, "estimate_pair", full, raising=False)
    recorded = Recorded(model, wait_for=2)
    recorded.shared = SharedModel(recorded, together=2)
    image = np.zeros((1, *model.canvas, 1), np.float32)
    with ThreadPoolExecutor(3) as threads:
        told = [threads.submit(recorded.shared.estimate_pair, image, image) for _ in range(3)]
    assert [str(one.exception()) for one in told] == ["full"] * 3


def test_a_pair_waits_for_room_and_begins_alone_whatever_it_needs() -> None:
    room, order = Room(10.0), []

    def work(name: str, needed: float, hold: threading.Event) -> None:
        with room.for_one(needed):
            order.append(name)
            hold.wait(timeout=10)

    first, free = threading.Event(), threading.Event()
    free.set()
    with ThreadPoolExecutor(3) as threads:
        threads.submit(work, "large", 99.0, first)
        wait_until(lambda: order == ["large"])
        threads.submit(work, "small", 1.0, free)
        time.sleep(0.05)
        assert order == ["large"]
        first.set()
    assert order == ["large", "small"]


def test_where_the_caller_stops_no_other_pair_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def attend(work: Work, model: object, row: Row) -> Outcome:
        begun.append(row.name)
        time.sleep(0.02)
        return Outcome(row.name)

    monkeypatch.setattr("fire_tf.cohorts.overlap.attend", attend)
    rows = [Row(f"p{number}", Path("m"), Path("f")) for number in range(50)]
    outcomes = attend_side_by_side(Work("c_", Options(), {}), rows, model=bending_model())
    assert [next(outcomes).name, next(outcomes).name] == ["p0", "p1"]
    outcomes.close()
    assert len(begun) < 10
