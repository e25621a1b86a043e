"""elastix, a second reference beside ANTs (Klein et al. 2010; needs ``itk-elastix``).

elastix' own default parameter maps, ``affine`` and then ``bspline`` from there: Mattes mutual information over samples
drawn anew for each iteration, adaptive stochastic gradient descent (Klein et al. 2009), four resolutions with
smoothing pyramids, bending energy beside the B-spline. What is not the default's is in `ElastixSettings`
(docs/tables.md says how it was found). The affine has the starts that ANTs has, and of its ends the one with the most
mutual information is kept.

elastix gives one direction; the other is its inverse, found point by point, which its times do not hold. The seed and
the number of threads are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import center_of_mass

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineMap, InverseMap, fit_affine, grid_points, split_affine
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND, normalise
from fire_tf.measures.mutual_information import MutualInformation
from fire_tf.measures.timing import Stopwatch

_RESOLUTIONS = 4
_PERCENTILE = 99.5  # of the grey values, which becomes 1 where ends are compared


class ElastixSettings(NamedTuple):
    """What depends on the images.

    angles, centred: the starts, as `fire_tf.baselines.ants.AntsSettings` has them. grid: mm between the B-spline's
    controls at the last resolution. iterations: of each resolution. samples: of each iteration.
    """

    angles: tuple[float, ...]
    centred: bool
    grid: float
    iterations: int
    samples: int


SETTINGS: Mapping[str, ElastixSettings] = {
    "heads": ElastixSettings((0.0, -20.0, 20.0), centred=True, grid=10.0, iterations=256, samples=2048),
    "hearts": ElastixSettings((0.0,), centred=False, grid=10.0, iterations=256, samples=2048),
}


class Elastix:
    """elastix' affine, the best of all starts, and its B-spline from there."""

    def __init__(
        self, settings: ElastixSettings = SETTINGS["heads"], *, seed: int = 1, threads: int = 1
    ) -> None:
        self._settings, self._seed, self._threads = settings, seed, threads
        self._itk = _import_itk()

    def __call__(self, pair: Pair) -> list[Result]:
        moving, fixed = (self._image(pair, which) for which in ("moving", "fixed"))
        watch = Stopwatch()
        affine = self._best_affine(pair, moving, fixed)
        affine_times = watch.read()
        grid = {"FinalGridSpacingInPhysicalUnits": str(self._settings.grid)}
        field = self._field(self._register("bspline", pair, moving, fixed, affine, grid), fixed)
        times = watch.read()
        linear = _in_voxels(affine, pair)
        # Axes of ITK's arrays run the other way. Like every sampled map, its affine part goes on beyond the grid.
        displacement = np.moveaxis(field.T, 0, -1) / pair.spacing("fixed")
        points = grid_points(displacement.shape[:-1])
        ratio = np.divide(pair.spacing("fixed"), pair.spacing("moving"))
        forward = split_affine((points + displacement) * ratio - points)
        return [
            Result("elastix affine", linear, linear.inverse(), affine_times),
            Result("elastix B-spline", forward, InverseMap(forward, forward.affine), times),
        ]

    def _image(self, pair: Pair, which: str) -> Any:
        """The image on its own axes: elastix' physical points are then voxel indices times the spacing."""
        image = self._itk.image_from_array(np.ascontiguousarray(pair.array(which).astype(np.float32).T))
        image.SetSpacing(list(pair.spacing(which)))
        return image

    def _best_affine(self, pair: Pair, moving: Any, fixed: Any) -> AffineMap:
        """The affine, in mm, with the most mutual information over all starts."""
        source, target = (normalise(pair.array(which), _PERCENTILE) for which in ("moving", "fixed"))
        information, points = MutualInformation(target.ravel()), grid_points(target.shape)
        ends, corners = [], grid_points((2,) * pair.ndim)
        for angle in self._settings.angles:
            found = self._register("affine", pair, moving, fixed, self._start(pair, angle), {})
            ends.append(fit_affine(corners, self._values(found, corners)))
        return max(
            ends,
            key=lambda end: information(
                pull(source, _in_voxels(end, pair)(points), outside=BACKGROUND).ravel()
            )[0],
        )

    def _start(self, pair: Pair, angle: float) -> AffineMap:
        """A turn by ``angle`` degrees in the first two axes about the centre of mass of ``fixed``, which goes to that
        of ``moving`` where the settings say so; in mm."""
        centre, other = (
            np.multiply(center_of_mass(pair.array(which) - pair.array(which).min()), pair.spacing(which))
            for which in ("fixed", "moving")
        )
        linear = np.eye(pair.ndim)
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        linear[:2, :2] = [[cosine, -sine], [sine, cosine]]
        end = other if self._settings.centred else centre
        return AffineMap(np.concatenate([linear, (end - linear @ centre)[:, np.newaxis]], axis=1))

    def _register(
        self, kind: str, pair: Pair, moving: Any, fixed: Any, start: AffineMap, own: Mapping[str, str]
    ) -> Any:
        """The transform, ITK's, that elastix finds from a start by its default settings for a ``kind`` of it."""
        parameters = self._itk.ParameterObject.New()
        settings = parameters.GetDefaultParameterMap(kind, _RESOLUTIONS)
        numbers = {
            "AutomaticTransformInitialization": "false",
            "MaximumNumberOfIterations": str(self._settings.iterations),
            "NumberOfSpatialSamples": str(self._settings.samples),
            "RandomSeed": str(self._seed),
            "WriteResultImage": "false",
        }
        for name, value in (numbers | dict(own)).items():
            settings[name] = [value]
        parameters.AddParameterMap(settings)
        method = self._itk.ElastixRegistrationMethod.New(FixedImage=fixed, MovingImage=moving)
        method.SetParameterObject(parameters)
        method.SetInitialTransformParameterObject(self._as_parameters(start))
        method.SetNumberOfThreads(self._threads)
        try:
            method.UpdateLargestPossibleRegion()
        except RuntimeError as error:  # "Too many samples map outside moving image buffer"
            cause = " ".join(str(error).split())[-120:]
            cast_doubt(f"{pair.name}: elastix ({kind}) gave up, its start counts: {cause}")
            return self._itk_affine(start)
        return method.ConvertToItkTransform(method.GetCombinationTransform())

    def _itk_affine(self, affine: AffineMap) -> Any:
        found = self._itk.AffineTransform[self._itk.D, len(affine.matrix)].New()
        found.SetMatrix(self._itk.matrix_from_array(np.ascontiguousarray(affine.matrix[:, :-1])))
        found.SetTranslation(list(affine.matrix[:, -1]))
        return found

    def _as_parameters(self, affine: AffineMap) -> Any:
        """An affine in mm as elastix' parameters. (The bending energy takes no transform of ITK as a start.)"""
        ndim = len(affine.matrix)
        numbers = {
            "TransformParameters": [*affine.matrix[:, :-1].ravel(), *affine.matrix[:, -1]],
            "CenterOfRotationPoint": [0.0] * ndim,
            "NumberOfParameters": [ndim * (ndim + 1)],
            "FixedImageDimension": [ndim],
            "MovingImageDimension": [ndim],
        }
        words = {
            name: [repr(float(value)) if name[0] in "TC" else str(value) for value in values]
            for name, values in numbers.items()
        }
        parameters = self._itk.ParameterObject.New()
        parameters.AddParameterMap(
            {"Transform": ["AffineTransform"], "HowToCombineTransforms": ["Compose"], **words}
        )
        return parameters

    def _values(self, transform: Any, points: np.ndarray) -> np.ndarray:
        """Where ITK's transform takes points (..., n), in mm."""
        flat = points.reshape(-1, points.shape[-1])
        return np.array([list(transform.TransformPoint(list(point))) for point in flat]).reshape(points.shape)

    def _field(self, transform: Any, grid_of: Any) -> np.ndarray:
        """A transform's displacements in mm on an image's grid, in the order that ITK's arrays have."""
        ndim = grid_of.GetImageDimension()
        kind = self._itk.Image[self._itk.Vector[self._itk.F, ndim], ndim]
        sampled = self._itk.TransformToDisplacementFieldFilter[kind, self._itk.D].New(
            Transform=transform, ReferenceImage=grid_of, UseReferenceImage=True
        )
        sampled.Update()
        return self._itk.array_from_image(sampled.GetOutput())


def _in_voxels(affine: AffineMap, pair: Pair) -> AffineMap:
    """An affine in mm as a map from fixed to moving voxels."""
    moving, fixed = (AffineMap(np.diag([*pair.spacing(which), 1.0])) for which in ("moving", "fixed"))
    return moving.inverse().after(affine).after(fixed)


def _import_itk() -> ModuleType:
    try:
        import itk

        _ = itk.ElastixRegistrationMethod  # loaded only now
    except (ImportError, AttributeError):
        raise InputError("baselines elastix: needs itk-elastix; pip install 'fire_tf[elastix]'") from None
    return itk
