"""Images that do not fit into memory are drawn from the files of the cache, and are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from balls import COMMON, DEFORMATION, assert_same, balls, elements, volumes

from fire_tf.config.schema import DataConfig
from fire_tf.data import stock
from fire_tf.data.cache import load_split
from fire_tf.data.dataset import Pairs
from fire_tf.data.stock import load_stock


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return balls(tmp_path)


@pytest.mark.parametrize("solid", [False, True])
def test_streamed_elements_are_the_same(
    config: DataConfig,
    solid: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = volumes(config) if solid else config
    expected = elements(settings, 6)
    monkeypatch.setattr(stock, "free_memory", lambda: 0.0)
    assert load_stock(settings, "train").images is None
    for one, other in zip(elements(settings, 6), expected, strict=True):
        assert_same(one, other)


def test_a_third_of_memory_decides(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = sum(len(subject.a) for subject in load_split(config, "train"))
    taken = samples * 2 * 32 * 32 * 2  # images of 32 x 32 float16
    for free, in_memory in ((3 * taken, True), (3 * taken - 3, False)):
        monkeypatch.setattr(stock, "free_memory", lambda free=free: free)
        assert (load_stock(config, "train").images is not None) == in_memory


def test_every_image_by_its_number(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "free_memory", lambda: 0.0)
    found = load_stock(config, "train")
    expected = [
        image
        for subject in load_split(config, "train")
        for a, b in zip(subject.a, subject.b, strict=True)
        for image in (a, b)
    ]
    for number, image in enumerate(expected):
        np.testing.assert_array_equal(found.image(tf.constant(number)), image)


def test_workers_draw_all_elements_among_them(config: DataConfig) -> None:
    options = {"split": "train", "moving": "either", "seed": 3}
    pairs = Pairs(config, DEFORMATION, COMMON, **options)
    together = next(iter(pairs.batches(6, 4)))["a"].numpy()
    shares = [next(iter(pairs.batches(2, 4, share=(index, 3))))["a"].numpy() for index in range(3)]
    np.testing.assert_array_equal(np.stack(shares, axis=1).reshape(together.shape), together)


def test_a_file_cut_short_amid_a_training_is_named(
    config: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stock, "free_memory", lambda: 0.0)
    found = load_stock(replace(config, split={"train": ("s0",)}), "train")
    (path,) = Path(config.cache).glob("s0-*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"s0-.*npz: is shorter than when it was opened"):
        found.stored.read(int(found.count[0]) + 1)
