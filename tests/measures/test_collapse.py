"""What is left of images and features where a training has collapsed: by hand, and on images that show nothing."""

import numpy as np
import pytest

from fire_tf.measures.collapse import Contrast, dead_percent, outside_percent, relative_contrast


def contrast(images: np.ndarray, tissue: np.ndarray) -> Contrast:
    found = Contrast()
    for image, mask in zip(images, tissue, strict=True):
        found.add(image, mask)
    return found


def test_contrast_by_hand() -> None:
    """Voxel 0 is tissue of both images, voxel 1 of the first, voxel 2 of the second, voxel 3 of none."""
    images = np.array([[1.0, 3.0, -9.0, -9.0], [3.0, -9.0, 9.0, -9.0]])
    tissue = np.array([[True, True, False, False], [True, False, True, False]])
    found = contrast(images, tissue)
    assert found.over_space() == pytest.approx(np.sqrt((1 + 1 + 9 + 9) / 4))
    assert found.over_pairs() == pytest.approx(np.sqrt((1 + 1 + 0 + 0) / 4))


def test_contrast_of_what_is_not_there() -> None:
    nothing, one = Contrast(), contrast(np.ones((1, 4)), np.ones((1, 4), bool))
    empty = contrast(np.ones((2, 4)), np.zeros((2, 4), bool))
    for value in (nothing.over_space(), nothing.over_pairs(), one.over_pairs(), empty.over_space()):
        assert np.isnan(value)
    assert one.over_space() == 0
    assert np.isnan(relative_contrast(nothing, nothing))


def test_relative_contrast_is_small_for_flat_mean_and_constant_images_alone() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(0, 0.3, (6, 20, 20))
    tissue = rng.random((6, 20, 20)) < 0.7
    silhouettes = tissue * rng.uniform(-0.5, 0.5, (6, 1, 1))  # flat, each of a grey value of its own
    the_same = np.broadcast_to(real.mean(axis=0), real.shape)
    for images, expected in (
        (real, 1.0),
        (-0.5 * real, 0.5),
        (silhouettes, 0.0),
        (the_same, 0.0),
        (np.full(real.shape, 0.2), 0.0),
    ):
        assert relative_contrast(contrast(images, tissue), contrast(real, tissue)) == pytest.approx(
            expected, abs=1e-6
        )
    one = contrast(0.5 * real[:1], tissue[:1])  # of a single pair space alone can say something
    assert relative_contrast(one, contrast(real[:1], tissue[:1])) == pytest.approx(0.5)


def test_outside_counts_from_half_a_voxel_off_the_canvas() -> None:
    positions = np.array([[0.0, 0.0], [-0.4, 5.4], [-0.6, 2.0], [3.0, 5.6], [3.6, 2.0], [2.0, 2.0]])
    assert outside_percent(positions, (4, 6)) == pytest.approx(50.0)


def test_a_channel_is_dead_if_no_image_changes_it() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (3, 5, 4, 4))
    features[..., 1] = 0
    features[..., 2] = features[:1, ..., 2]  # differs from place to place alone
    features[..., 3] *= 1e-2
    assert dead_percent(features, 1e-3) == pytest.approx(50.0)
    assert dead_percent(features, 1e-1) == pytest.approx(75.0)
