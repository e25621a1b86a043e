"""Where a registration starts from: an affine of a user's, or a turn of its own.

Models learn turns of up to 20 degrees or so. Where the images are most alike after a larger one, about their centres of
mass and by mutual information, a second pass starts from there; its answer is taken if both mutual information and the
synthesised images say that it is the better one.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from scipy.ndimage import center_of_mass, uniform_filter
from scipy.spatial.transform import Rotation

from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.free_form.objective import Comparison
from fire_tf.geometry.canvas import Prepared
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.intensities.grey_values import foreground
from fire_tf.registration.pair import PairModel, Registration, between_canvases, of_stacks, register_pair
from fire_tf.registration.quality import similarities
from fire_tf.transforms.fields import AffineTransform
from fire_tf.transforms.readers import read_transform

_VOLUMES = 0.2, 5.0  # between which the change of volume of a start lies
_LARGEST = 50.0  # degrees: of the turns that are tried first
_TURNS = {
    2: ([(0, 0, turn) for turn in range(-50, 51, 10)],),
    3: (
        [turn for turn in product(range(-40, 41, 20), repeat=3) if np.linalg.norm(turn) <= _LARGEST],
        [sign * turn for turn in 10 * np.eye(3) for sign in (-1, 0, 1)],
    ),
}
"""Axes times degrees, by the number of axes: all of them, then those about the best of these, are tried."""
_LEAST = 20.0  # degrees: smaller turns are left to the model
_POINTS = {2: 5.0, 3: 8.0}  # mm between the points that are compared
_SMOOTHING, _MARGIN = 4.0, 12.0  # mm: sigma of both images; around the tissue
_BETTER = 0.02  # in nats and in correlation, that a second answer must be better by
_CLEARLY = 0.1  # likewise, by which one of the two must say so for a doubt where the other does not


def read_start(path: Path) -> AffineMap:
    """An affine from a file: world points (RAS+ mm) of the fixed image to those of the moving one.

    Raises InputError for what is no affine, for a mirror image, and for one that shrinks or grows an image as no start
    would.
    """
    transform = read_transform(path)
    if not isinstance(transform, AffineTransform):
        raise InputError(
            f"{path}: holds a displacement field, or no map of the world, where an affine of ITK was expected"
        )
    volume = float(np.linalg.det(transform.matrix.matrix[:, :-1]))
    if volume < 0:
        raise InputError(f"{path}: mirrors the image (determinant {volume:.3g}), which is no start")
    if not _VOLUMES[0] <= volume <= _VOLUMES[1]:
        raise InputError(f"{path}: changes the volume by a factor of {volume:.3g}, which is no start")
    return transform.matrix


def degrees(affine: AffineMap) -> float:
    """The turn of an affine of points (..., 3), which mirrors nothing."""
    left, _, right = np.linalg.svd(affine.matrix[:, :-1])
    return float(np.degrees(Rotation.from_matrix(left @ right).magnitude()))


def register_from_start(
    model: PairModel,
    moving: Image,
    fixed: Image,
    moving_modality: str | None = None,
    start: AffineMap | None = None,
) -> Registration:
    """`register_pair` from a given start; without one a second time from a turn of its own, where that is better.

    A `Doubt` says so where either of the two clearly says so and the other does not; the first is then kept. Models
    of stacks see patients that lie still between two phases, and take no turns.
    """
    first = register_pair(model, moving, fixed, moving_modality, start)
    if start is not None or of_stacks(model):
        return first
    comparison = _comparison(first.moving, first.fixed)
    if comparison is None:
        return first
    turn, size = _best_turn(first.moving, first.fixed, comparison)
    if size < _LEAST:
        return first
    places = AffineMap(first.moving.affine), AffineMap(first.fixed.affine).inverse()
    turned = places[0].after(turn.extruded(3)).after(places[1])
    second = register_pair(model, moving, fixed, moving_modality, turned)
    gains = np.subtract(_agreement(second), _agreement(first))
    if (gains > _BETTER).all():
        return second
    if gains.max() > _CLEARLY:
        cast_doubt(
            f"{moving.path} and {fixed.path}: whether they are turned by about {size:.0f} degrees against each other "
            "is not clear; registered as if not (--initial-transform says it)"
        )
    return first


def _agreement(found: Registration) -> tuple[float, float]:
    """How alike the images are: mutual information, and the mean correlation with the synthesised images."""
    onto_fixed = between_canvases(found.to_moving, found.fixed, found.moving)
    comparison = _comparison(found.moving, found.fixed)
    return comparison.similarity(onto_fixed) if comparison else 0.0, float(np.mean(similarities(found)))


def _comparison(moving: Prepared, fixed: Prepared) -> Comparison | None:
    """Of two images, coarsely, about the fixed one's tissue; None where either has none."""
    tissue = foreground(fixed.data)
    if not tissue.any() or not foreground(moving.data).any():
        return None
    reach = [max(1, round(2 * _MARGIN / size)) for size in fixed.spacing]
    near = uniform_filter(tissue.astype(np.float32), reach) > 1e-6
    if fixed.counts is not None:
        near &= fixed.counts
    if not near.any():
        return None
    return Comparison(moving, fixed, near, step=_POINTS[fixed.data.ndim], smoothing=_SMOOTHING)


def _best_turn(moving: Prepared, fixed: Prepared, comparison: Comparison) -> tuple[AffineMap, float]:
    """The turn about the centres of mass, from fixed to moving voxels, under which the images are most alike; and its
    size in degrees."""
    centres = [center_of_mass(foreground(image.data)) for image in (fixed, moving)]

    def about_centres(turn: np.ndarray) -> AffineMap:
        ndim = fixed.data.ndim
        matrix = Rotation.from_rotvec(turn, degrees=True).as_matrix()[:ndim, :ndim]
        linear = matrix * np.asarray(fixed.spacing) / np.asarray(moving.spacing)[:, np.newaxis]
        return AffineMap(np.column_stack([linear, centres[1] - linear @ centres[0]]))

    best = np.zeros(3)
    for turns in _TURNS[fixed.data.ndim]:
        best = max(
            (best + turn for turn in turns), key=lambda turn: comparison.similarity(about_centres(turn))
        )
    return about_centres(best), float(np.linalg.norm(best))
