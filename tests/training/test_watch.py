"""The callback that shows a registration improving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import KnownModel, brain_like, labels_of, turned
from matplotlib.image import imread

from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import grid_points
from fire_tf.geometry.reading import pull
from fire_tf.training.watch import WatchRegistration

SIZE = (40, 36)
STRUCTURES = {1: "dark", 2: "middle", 3: "bright"}
SHIFT = 6.0

Pair = tuple[tuple[Image, Image], tuple[np.ndarray, np.ndarray]]
"""Images and labels, moving and fixed."""


@pytest.fixture
def pair() -> Pair:
    """The moving image is the fixed one, 6 voxels further on along the first axis."""
    grey = brain_like(SIZE)
    labels = labels_of(grey)
    there = grid_points(SIZE) - np.array([SHIFT, 0.0])
    fixed = np.where(grey > 0, (grey - 500) / 300, -1).astype(np.float32)
    moving, moving_labels = pull(fixed, there, outside=-1.0), pull(labels, there, nearest=True)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    images = Image(moving[..., np.newaxis], affine, "m"), Image(fixed[..., np.newaxis], affine, "f")
    return images, (moving_labels, labels)


def model_that_shifts(voxels: float) -> KnownModel:
    still = np.zeros((*SIZE, 2))
    there, back = turned(0, (voxels, 0.0)), turned(0, (-voxels, 0.0))
    return KnownModel(SIZE, (2.0, 2.0), (there, still), (back, still))


def watch(pair: Pair, path: Path, shifts: list[float], **options: Any) -> WatchRegistration:
    """What the callback has seen of a model that shifts further after every epoch."""
    callback = WatchRegistration(*pair, STRUCTURES, path, **options)
    for epoch, shift in enumerate(shifts):
        callback.model = model_that_shifts(shift)
        if epoch:
            callback.on_epoch_end(epoch - 1)
        else:
            callback.on_train_begin()
    return callback


def test_dice_grows_with_the_registration_and_every_look_is_shown(pair: Pair, tmp_path: Path) -> None:
    shown: list[Path] = []
    callback = watch(pair, tmp_path / "watch.png", [0.0, 3.0, SHIFT], show=shown.append)
    assert callback.dice[0] < callback.dice[1] < callback.dice[2] == 1
    assert shown == [tmp_path / "watch.png"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["watch.png"]


def test_the_picture_has_a_column_for_each_look(pair: Pair, tmp_path: Path) -> None:
    """Its last moving image is the fixed image beside it, its first one is not."""
    shapes = []
    for looks in (1, 3):
        watch(pair, tmp_path / "watch.png", [0.0, 3.0, SHIFT][-looks:])
        shapes.append(imread(tmp_path / "watch.png").shape)
    assert shapes[1][1] == 2 * shapes[0][1]  # 4 columns against 2
    assert shapes[0][0] == shapes[1][0]


def test_training_anew_begins_anew(pair: Pair, tmp_path: Path) -> None:
    callback = watch(pair, tmp_path / "watch.png", [0.0, SHIFT])
    callback.on_train_begin()
    assert callback.dice == [1.0]


def test_a_structure_that_neither_slice_holds_does_not_count(pair: Pair, tmp_path: Path) -> None:
    callback = WatchRegistration(*pair, {**STRUCTURES, 9: "absent"}, tmp_path / "watch.png")
    callback.model = model_that_shifts(SHIFT)
    callback.on_train_begin()
    assert callback.dice == [1.0]


def test_volumes_are_watched_as_slices_are(tmp_path: Path) -> None:
    grey = brain_like((16, 20, 12))
    affine, labels = np.diag([2.0, 2.0, 2.0, 1.0]), labels_of(grey)
    image, still = Image(grey, affine, "v"), (np.eye(3, 4), np.zeros((16, 20, 12, 3)))
    callback = WatchRegistration((image, image), (labels, labels), STRUCTURES, tmp_path / "watch.png")
    callback.model = KnownModel((16, 20, 12), (2.0, 2.0, 2.0), still, still)
    callback.on_train_begin()
    assert callback.dice == [1.0]
    assert imread(tmp_path / "watch.png").ndim == 3
