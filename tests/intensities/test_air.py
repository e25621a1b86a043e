"""Air is found whatever was done to an image, and what was not spoilt comes back untouched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from fire_tf.config.schema import DataConfig
from fire_tf.data.cache import load_subject
from fire_tf.files.doubts import Doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import prepare
from fire_tf.geometry.images import Image, read_image
from fire_tf.intensities.air import clear, find_air
from fire_tf.intensities.grey_values import BACKGROUND, normalise
from fire_tf.sources.subjects import SubjectFiles

SIZE = 64
X, Y = np.meshgrid(*[np.arange(SIZE) - (SIZE - 1) / 2] * 2, indexing="ij")


def brain() -> np.ndarray:
    """Air of exactly 0 around an ellipse of 100 to 1000, a third of it dark."""
    random = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(random.normal(size=(SIZE, SIZE)), 2)
    tissue = 100 + 900 * np.clip((texture - texture.min()) / np.ptp(texture), 0, 1)
    return np.where((X / 17) ** 2 + (Y / 22) ** 2 < 1, tissue, 0).astype(np.float32)


def standardised(image: np.ndarray) -> np.ndarray:
    inside = image > 0
    return np.where(inside, (image - image[inside].mean()) / image[inside].std(), 0)


def speckled(image: np.ndarray, low: float, high: float) -> np.ndarray:
    drawn = np.random.default_rng(1).uniform(size=image.shape)
    return np.where(drawn < 0.0005, high, np.where(drawn > 0.9995, low, image))


def with_voxel(image: np.ndarray, value: float) -> np.ndarray:
    spoilt = image.copy()
    spoilt[3, 2] = value
    return spoilt


def noisy_air(image: np.ndarray, sigma: float, both_signs: bool) -> np.ndarray:
    noise = np.random.default_rng(2).normal(0, sigma, (2, SIZE, SIZE))
    return np.where(image > 0, image, noise[0] if both_signs else np.hypot(*noise))


def resampled(image: np.ndarray) -> np.ndarray:
    return ndimage.shift(ndimage.shift(image, (0.33, 0.4), order=3), (-0.33, -0.4), order=3)


SPOILT: dict[
    str, tuple[Callable[[np.ndarray], np.ndarray], float]
] = {  # and how far grey values in [-1, 1] may go
    "a voxel of -1000": (lambda image: with_voxel(image, -1000), 1e-6),
    "a voxel of -1e6": (lambda image: with_voxel(image, -1e6), 1e-6),
    "a voxel of 1e5": (lambda image: with_voxel(image, 1e5), 0.02),
    "salt and pepper": (lambda image: speckled(image, 0, 1000), 0.05),
    "salt and pepper of a type's ends": (lambda image: speckled(image, -32768, 32767), 0.05),
    "padding of -1024": (lambda image: np.where(np.hypot(X, Y) > 32, -1024, image), 1e-6),
    "padding of -3024, air at -1000": (
        lambda image: np.where(np.hypot(X, Y) > 32, -3024, image - 1000),
        1e-6,
    ),
    "padding around noise": (
        lambda image: np.where(np.hypot(X, Y) > 32, -3024, noisy_air(image, 9, True)),
        0.05,
    ),
    "an offset of 1000": (lambda image: image + 1000, 1e-6),
    "an offset of -317": (lambda image: image - 317, 1e-6),
    "standardised in the brain": (standardised, 0.3),  # the true 0 is lost: the darkest tissue becomes -1
    "standardised in the brain, and scaled": (lambda image: 40 + 300 * standardised(image), 0.3),
    "standardised": (lambda image: (image - image.mean()) / image.std(), 1e-5),
    "splines": (resampled, 0.35),  # at the rim, where they overshoot
    "whole numbers up to 255": (lambda image: np.rint(image * 0.255), 0.01),
    "1e-6 times": (lambda image: image * 1e-6, 1e-6),
    "1e6 times": (lambda image: image * 1e6, 1e-6),
    "noise of both signs": (lambda image: noisy_air(image, 20, True), 0.05),
    "Rician noise": (lambda image: noisy_air(image, 20, False), 0.2),
}


def spoilt(kind: str) -> np.ndarray:
    return SPOILT[kind][0](brain()).astype(np.float32)


@pytest.mark.parametrize("kind", SPOILT)
def test_the_same_head_has_the_same_grey_values(kind: str) -> None:
    image, tolerance = spoilt(kind), SPOILT[kind][1]
    expected, found = normalise(brain(), 99.5), normalise(clear(image)[0], 99.5)
    inside = ndimage.binary_erosion(brain() > 0, iterations=2)
    off = np.abs(found - expected)
    assert np.quantile(off[inside], 0.99) <= tolerance
    air = ~ndimage.binary_dilation(brain() > 0, iterations=8)
    assert np.mean(found[air] > BACKGROUND + 0.02) < 0.002  # but for a voxel or two


@pytest.mark.parametrize("kind", SPOILT)
def test_cleared_images_stay_as_they_are(kind: str) -> None:
    once, _ = clear(spoilt(kind))
    np.testing.assert_array_equal(clear(once)[0], once)


def test_what_is_not_spoilt_comes_back_as_it_is() -> None:
    for image in (
        brain(),
        brain() - 500,
        brain()[20:40, 15:50],
        np.rint(brain()),
        np.zeros((5, 5), np.float32),
    ):
        assert clear(image)[0] is image


def test_an_image_without_air_keeps_its_lowest_value_unless_that_lies_far_below() -> None:
    tissue = np.random.default_rng(0).normal(100, 20, (40, 40, 8)).astype(np.float32)
    assert clear(tissue)[0] is tissue
    tissue[3, 4, 5] = -1e6
    low = clear(tissue)[0].min()
    assert -400 < low < 40


def test_air_is_where_it_was_put() -> None:
    assert find_air(spoilt("an offset of -317")).value == -317
    between = find_air(spoilt("standardised in the brain"))
    assert between.low < -1
    assert between[:2] == (0, 0)
    noisy = find_air(spoilt("noise of both signs"))
    assert abs(noisy.value) < 5
    assert 60 < noisy.reach < 110  # 3 to 5 times the noise


def test_the_graph_and_the_cache_see_what_registering_sees(tmp_path: Path) -> None:
    import tensorflow as tf

    from fire_tf.serving.saved_model.signatures import checked, normalised

    images = {kind: spoilt(kind) for kind in SPOILT}
    outside = np.hypot(X / 17, Y / 22) > 1.1
    images["NaN"] = np.where(outside, np.nan, brain()).astype(np.float32)
    batch = np.stack(list(images.values()))[..., np.newaxis]
    graph = tf.function(
        lambda x: normalised(checked(x, "image"), 99.5), [tf.TensorSpec([None, None, None, 1])]
    )
    served = graph(tf.constant(batch)).normalised.numpy()[..., 0]
    config = DataConfig(
        source="folders", root=str(tmp_path), ndim=2, spacing=(1.0,), canvas=(SIZE, SIZE), cache=str(tmp_path)
    )
    for index, (kind, image) in enumerate(images.items()):
        path = tmp_path / f"{index}.nii.gz"
        nib.Nifti1Image(image[..., None], np.eye(4)).to_filename(path)
        with pytest.warns(Doubt, match="are NaN, and are read as air") if kind == "NaN" else nullcontext():
            registered = prepare(read_image(path).cleared(), (1, 1), (SIZE, SIZE), 99.5).data
            cached = load_subject(config, SubjectFiles(str(index), path, path)).a[0]
        np.testing.assert_allclose(served[index], registered, atol=1e-5, err_msg=kind)
        np.testing.assert_array_equal(cached, registered.astype(np.float16), err_msg=kind)


def test_nan_of_the_object_is_refused(tmp_path: Path) -> None:
    def written(image: np.ndarray) -> Path:
        nib.Nifti1Image(image[..., None], np.eye(4)).to_filename(tmp_path / "image.nii.gz")
        return tmp_path / "image.nii.gz"

    air = np.where(brain() > 0, brain(), np.nan).astype(np.float32)
    ventricle = (X / 5) ** 2 + (Y / 7) ** 2
    dark = np.where(ventricle < 1, np.nan, np.where(ventricle < 2, 120, air)).astype(np.float32)
    bright = np.where(ventricle < 1, np.nan, np.where(ventricle < 2, 900, air)).astype(np.float32)
    single = brain()
    single[32, 32] = np.nan
    single[31:34, 31:34] += 300
    for image in (air, dark):  # a hole with a dark rim was 0 before every 0 became NaN
        with pytest.warns(Doubt, match=rf"image.nii.gz: {np.isnan(image).sum()} voxels"):
            assert np.isfinite(read_image(written(image)).data).all()
    for image, count in ((bright, np.isnan(bright).sum() - np.isnan(air).sum()), (single, 1)):
        with pytest.raises(InputError, match=rf"holds {count} voxels that are NaN"):
            read_image(written(image))
    with pytest.raises(InputError, match="NaN or infinite"):
        read_image(written(np.full((SIZE, SIZE), np.nan, np.float32)))


def test_specks_do_not_move_the_canvas() -> None:
    image = np.zeros((90, 90, 1), np.float32)
    image[10:40, 12:40, 0] = brain()[17:47, 18:46]
    speckled = image.copy()
    speckled[80, 85, 0] = 400
    places = [
        prepare(Image(data, np.eye(4), "image").cleared(), (1, 1), (48, 48), 99.5).affine
        for data in (image, speckled)
    ]
    np.testing.assert_array_equal(*places)
