"""Masks: a painted lesion, which misleads without one and is not seen with one."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel
from made_up_pairs import (
    SHAPE,
    SPACING,
    as_image,
    distance,
    imitating_model,
    made_up_pair,
    textured,
    true_map,
)

from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import grid_points
from fire_tf.geometry.reading import pull
from fire_tf.registration.masks import masked
from fire_tf.registration.pair import register_pair
from fire_tf.registration.refine import refine
from fire_tf.registration.user_images import Options, register_images


def as_file(image: Image, values: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(values.reshape(image.data.shape).astype(np.float32), image.affine)


def around(centre: tuple[float, ...], radius: float) -> np.ndarray:
    """A ball in mm about a place in voxels, (*shape) bool."""
    apart = (grid_points(SHAPE[len(centre)]) - centre) * SPACING[len(centre)]
    return np.linalg.norm(apart, axis=-1) < radius


def test_a_lesion_misleads_refining_unless_it_is_masked() -> None:
    """It is painted over structure of the moving image and drawn in the fixed one at another place."""
    pair = made_up_pair(2, true_map(2))
    model = imitating_model(2)
    clean = refine(register_pair(model, pair.moving, pair.fixed))
    moving_lesion, fixed_lesion = around((44, 50), 16), around((56, 60), 16)
    images = []
    for image, lesion in ((pair.moving, moving_lesion), (pair.fixed, fixed_lesion)):
        painted = np.where(lesion[..., None], image.data.max() * 1.2, image.data).astype(np.float32)
        images.append(replace(image, data=painted))
    misled = refine(register_pair(model, *images))
    masks = [as_file(images[0], ~moving_lesion), as_file(images[1], ~fixed_lesion)]
    kept = refine(register_pair(model, *(masked(*both) for both in zip(images, masks, strict=True))))
    assert distance(pair, clean) < 0.25
    assert distance(pair, misled) > 0.62
    assert distance(pair, kept) < 0.55


@pytest.mark.parametrize("ndim", [2, 3])
def test_nothing_of_a_lesion_is_seen(ndim: int) -> None:
    """Whatever grey values it has: the networks' images, the answer's numbers."""
    image = textured(SHAPE[ndim])
    centre = tuple(size / 2 for size in SHAPE[ndim])
    lesion = around(centre, 12)
    files = [as_file(as_image(image), np.where(lesion, value, image)) for value in (0, 900)]
    mask = as_file(as_image(image), ~lesion)
    other = as_file(as_image(image), image)
    model = KnownModel(SHAPE[ndim], SPACING[ndim])
    results = [register_images(model, file, other, Options(moving_mask=mask)) for file in files]
    first, second = (result.registration.moving for result in results)
    np.testing.assert_allclose(first.data, second.data, atol=1e-6)
    assert (first.data[lesion] > -0.9).all()  # filled from around, no hole
    np.testing.assert_array_equal(first.counts, ~lesion)
    reached = [result.quality["similarity"] for result in results]
    assert reached[0] == reached[1] == pytest.approx(-1, abs=1e-3)  # of images that are inverted
    unmasked = register_images(model, files[1], other)
    assert unmasked.quality["similarity"] > -0.99
    warped = results[1].warped.get_fdata().reshape(SHAPE[ndim])
    np.testing.assert_allclose(warped[lesion], 900)  # what is written is the image as it was given


def test_beyond_a_field_of_view_is_air() -> None:
    image = as_image(textured(SHAPE[2]))
    view = np.zeros(SHAPE[2])
    view[20:60, 30:70] = 1
    seen = masked(image, as_file(image, view))
    np.testing.assert_array_equal(seen.data[view == 0], 0)
    np.testing.assert_array_equal(seen.data[view > 0], image.data[view > 0])


def test_what_counts_of_the_moving_image_is_seen_through_the_answer() -> None:
    """A lesion that the model knows to lie elsewhere in the fixed image does not count there."""
    pair = made_up_pair(2)
    shift = np.column_stack([np.eye(2), [6.0, 0.0]])
    back = np.column_stack([np.eye(2), [-6.0, 0.0]])
    still = np.zeros((*SHAPE[2], 2))
    model = KnownModel(SHAPE[2], SPACING[2], a_to_b=(shift, still), b_to_a=(back, still))
    moved = pull(pair.moving.data[..., 0], grid_points(SHAPE[2]) - (6, 0))
    lesion = around((50, 48), 14)
    painted = np.where(lesion, 900, moved)
    mask = as_file(pair.moving, ~lesion)
    fixed = as_file(pair.fixed, pair.moving.data)
    result = register_images(model, as_file(pair.moving, painted), fixed, Options(moving_mask=mask))
    assert result.quality["similarity"] == pytest.approx(-1, abs=1e-3)


def test_masks_that_do_not_fit_are_refused() -> None:
    image = as_image(textured(SHAPE[2]))
    with pytest.raises(InputError, match=r"has shape \(5, 5, 1\), its image"):
        masked(image, nib.Nifti1Image(np.ones((5, 5, 1), np.float32), image.affine))
    elsewhere = image.affine.copy()
    elsewhere[0, 3] += 3
    with pytest.raises(InputError, match="lies on another grid than its image made up"):
        masked(image, nib.Nifti1Image(np.ones(image.data.shape, np.float32), elsewhere))
    with pytest.raises(InputError, match="marks nothing"):
        masked(image, as_file(image, np.zeros(SHAPE[2])))
