"""Outlines of labels that were warped."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from fire_tf.geometry.point_maps import AffineMap
from fire_tf.pictures.outlines import Labelled, Warped, draw_outlines, draw_progress


@pytest.mark.parametrize("size", [(40, 36), (20, 24, 6)])
def test_outlines_lie_where_the_map_brings_the_labels(size: tuple[int, ...], tmp_path: Path) -> None:
    """A shift of 8 voxels to the right: in colour what was warped, in white the target's own, which a perfect map
    covers."""
    labels = np.zeros(size, np.uint8)
    labels[(slice(10, 16), slice(10, 20), slice(3, None))[: len(size)]] = 1
    grey, spacing = np.zeros(size, np.float32), (2.0, 2.0, 5.0)[: len(size)]
    moving = Labelled(grey, labels, spacing)
    fixed = Labelled(grey, np.roll(labels, -8, axis=0), spacing)
    shifted = np.eye(len(size) + 1)
    shifted[0, -1] = 8
    still, found = AffineMap.identity(len(size)), AffineMap(shifted)

    def white(to_moving: AffineMap) -> int:
        rows = [
            [Warped("a onto b", moving, fixed, to_moving)],
            [Warped("b onto a", fixed, moving, to_moving.inverse())],
        ]
        draw_outlines(rows, {1: "LV"}, tmp_path / "outlines.png")
        picture = imread(tmp_path / "outlines.png")[..., :3]
        blue = (picture[..., 2] > 0.6) & (picture[..., 0] < 0.3)
        assert blue.sum() > 50
        return int((picture.min(axis=-1) > 0.5).sum())

    assert white(still) > white(found) + 100


def test_progress_of_volumes_is_that_of_the_slice_with_most_structures(tmp_path: Path) -> None:
    """A block of equal slices, of which one is labelled, beside that slice alone."""
    image = np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32)
    labels = np.zeros((20, 24, 6), np.uint8)
    labels[8:12, 9:15, 4] = 1
    pictures = []
    for n, shown in ((2, labels[..., 4]), (3, labels)):
        grey = image if n == 2 else np.repeat(image[..., np.newaxis], 6, axis=2)
        own, shifted = Labelled(grey, shown, (1.0,) * n), np.eye(n + 1)
        shifted[0, -1] = 2
        looks = [
            Warped(str(k), own, own, map_)
            for k, map_ in enumerate((AffineMap.identity(n), AffineMap(shifted)))
        ]
        draw_progress(looks, {1: "LV"}, tmp_path / "watch.png")
        pictures.append(imread(tmp_path / "watch.png"))
    np.testing.assert_allclose(*pictures, atol=0.02)  # percentiles of repeated values differ a little
