"""Pairs of two contrasts that are made up, with the map between them."""

import numpy as np
from fake_model import KnownModel, brain_like, labels_of, turned
from scipy.ndimage import gaussian_filter

from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    DisplacementMap,
    InverseMap,
    PointMap,
    grid_points,
)
from fire_tf.geometry.reading import pull
from fire_tf.measures import metrics
from fire_tf.measures.grey_values import GreyValueTable
from fire_tf.registration.pair import Registration, register_pair

SPACING = {2: (2.0, 1.6), 3: (4.0, 4.0, 4.5)}
SHAPE = {2: (84, 96), 3: (40, 44, 36)}
TURN = {2: turned(7, (4.0, -3.0)), 3: turned(7, (2.0, -1.5, 1.0))}


def true_map(ndim: int) -> AffineAfterDisplacement:
    """From voxels of the moving image to voxels of the fixed one: a turn after a smooth displacement."""
    points = grid_points(SHAPE[ndim]) / np.asarray(SHAPE[ndim])
    waves = 0.03 * np.asarray(SHAPE[ndim]) * np.sin(np.pi * points) * np.cos(2 * np.pi * points[..., ::-1])
    return AffineAfterDisplacement(DisplacementMap(waves), AffineMap.centred(TURN[ndim], SHAPE[ndim]))


def textured(shape: tuple[int, ...]) -> np.ndarray:
    """A blob with folds of some centimetres in it: something to hold on to everywhere."""
    blob = brain_like(shape)
    noise = np.random.default_rng(3).normal(size=shape)
    folds = gaussian_filter(noise, 5 / np.asarray(SPACING[len(shape)]))
    return np.where(blob > 0, blob + 100 * folds / folds.std(), 0).clip(0).astype(np.float32)


def other_contrast(image: np.ndarray) -> np.ndarray:
    """The same object with its grey values folded over: neither rising nor falling with the first ones."""
    return np.where(image > 0, 300 + 200 * np.cos(image / 100), 0).astype(np.float32)


def as_image(data: np.ndarray) -> Image:
    spacing = (*SPACING[data.ndim], 1.0)[:3]
    return Image(data.reshape((*data.shape, 1)[:3]), np.diag([*spacing, 1.0]), "made up")


def made_up_pair(ndim: int, to_fixed: PointMap | None = None) -> Pair:
    """The fixed image in another contrast and, as the moving one, the image pulled through a map."""
    image = textured(SHAPE[ndim])
    labels = labels_of(image)
    points = grid_points(SHAPE[ndim])
    positions = points if to_fixed is None else to_fixed(points)
    return Pair(
        name="made up",
        level="easy",
        subject="nobody",
        moving=as_image(pull(image, positions)),
        fixed=as_image(other_contrast(image)),
        moving_labels=pull(labels, positions, nearest=True),
        fixed_labels=labels,
        true_to_fixed=to_fixed,
    )


def imitating_model(ndim: int, **known: tuple[np.ndarray, np.ndarray]) -> KnownModel:
    """A model that knows these transforms, and what either contrast looks like in the other one."""
    model = KnownModel(SHAPE[ndim], SPACING[ndim], **known)
    pair = made_up_pair(ndim)
    aligned = register_pair(model, pair.moving, pair.fixed)
    a, b = aligned.moving.data, aligned.fixed.data
    everywhere = np.ones(a.shape, dtype=bool)
    model.imitate = (GreyValueTable.fit(a, b, everywhere), GreyValueTable.fit(b, a, everywhere))
    return model


def distance(pair: Pair, found: Registration) -> float:
    """Mean distance to the true positions over the object, in mm."""
    to_moving, _ = pair.in_voxels(found.to_moving, found.to_fixed)
    assert isinstance(pair.true_to_fixed, AffineAfterDisplacement)
    truth = InverseMap(pair.true_to_fixed, pair.true_to_fixed.affine)
    return metrics.distance_to_truth(to_moving, truth, pair.fixed_labels > 0, pair.spacing("fixed"))
