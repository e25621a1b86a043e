"""The picture of several pairs."""

from pathlib import Path

import numpy as np
import pytest
from fake_model import brain_like
from matplotlib.image import imread

from fire_tf.geometry.point_maps import grid_points
from fire_tf.pictures.registration import RegistrationPicture, draw_pairs


def pair(size: tuple[int, ...], shift: float, seed: int = 0) -> RegistrationPicture:
    image = np.where(brain_like(size, seed) > 0, (brain_like(size, seed) - 500) / 600, -1)
    positions = grid_points(size) + np.eye(len(size))[0] * shift
    return RegistrationPicture(image, image, -image, -image, positions, (2.0,) * len(size), ("T1", "FLAIR"))


def drawn(pairs: list[RegistrationPicture], path: Path) -> np.ndarray:
    draw_pairs(pairs, "step 7", path)
    return imread(path)[..., :3]


@pytest.mark.parametrize(("size", "rows"), [((40, 36), 1), ((20, 24, 16), 3)])
def test_a_row_for_each_pair_and_plane(size: tuple[int, ...], rows: int, tmp_path: Path) -> None:
    one, two = (drawn([pair(size, 2.0)] * count, tmp_path / "pairs.png") for count in (1, 2))
    assert two.shape[0] - one.shape[0] == pytest.approx(rows * 2.7 * 110, abs=2)
    assert two.shape[1] == one.shape[1]


def test_the_warped_image_is_drawn_where_the_transform_puts_it(tmp_path: Path) -> None:
    """Of six panels beside each other the third and the last change with the transform."""
    still, moved = (drawn([pair((40, 36), shift)], tmp_path / "pairs.png") for shift in (0.0, 6.0))
    changed = [
        bool((left != right).any())
        for left, right in zip(
            np.array_split(still, 6, axis=1), np.array_split(moved, 6, axis=1), strict=True
        )
    ]
    assert changed == [False, False, True, False, False, True]


def test_a_volume_without_tissue_is_drawn(tmp_path: Path) -> None:
    empty = pair((8, 8, 8), 0.0)._replace(fixed=-np.ones((8, 8, 8)))
    assert drawn([empty], tmp_path / "pairs.png").std() > 0
