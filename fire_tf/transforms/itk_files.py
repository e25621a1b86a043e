"""ITK's transform files of every kind, through SimpleITK: ``.tfm`` and ``.txt``, ``.h5`` of composites, ``.mat``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.formats.itk_images import from_itk, to_itk
from fire_tf.formats.library import cause_of, simple_itk
from fire_tf.geometry.grids import Grid
from fire_tf.geometry.point_maps import AffineMap, Chain, Extruded, PointMap
from fire_tf.transforms.chains import TransformChain
from fire_tf.transforms.fields import AffineTransform, Transform, field_of
from fire_tf.transforms.itk import LPS

_WRITING = Lock()  # ITK's own HDF5 crashes where two threads, of pairs side by side, write at once


def read_itk(path: Path) -> Transform:
    """Any transform of ITK in two or three dimensions. Raises InputError for what is none, and without SimpleITK."""
    sitk = simple_itk(str(path))
    try:
        return _transform(sitk.ReadTransform(str(path)), str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as a transform of ITK ({cause_of(error)})") from None


def write_h5(field: nib.Nifti1Image, path: Path) -> None:
    """A field of the format "itk" (`fire_tf.transforms.fields`) as ITK's composite transform, in double precision."""
    sitk = simple_itk(str(path))
    vectors = sitk.Cast(to_itk(field), sitk.sitkVectorFloat64)
    composite = sitk.CompositeTransform([sitk.DisplacementFieldTransform(vectors)])
    with _WRITING:
        sitk.WriteTransform(composite, str(path))


def _transform(read: Any, name: str) -> Transform:
    sitk = simple_itk(name)
    read = read.Downcast()
    if isinstance(read, sitk.CompositeTransform):
        # ITK keeps them in the order in which they were added, and the last one is the first for a point.
        steps = (read.GetNthTransform(i) for i in reversed(range(read.GetNumberOfTransforms())))
        return TransformChain(tuple(_transform(step, name) for step in steps))
    if isinstance(read, sitk.DisplacementFieldTransform):
        return field_of(from_itk(read.GetDisplacementField()), "itk", name)
    if read.IsLinear():
        return AffineTransform(_lps(_affine_of(read)))
    return PointwiseTransform(read)


def _affine_of(read: Any) -> AffineMap:
    """The matrix of a linear transform, in LPS, whatever parameters it has."""
    rank = read.GetDimension()
    offset = np.array(read.TransformPoint([0.0] * rank))
    columns = [np.array(read.TransformPoint(unit)) - offset for unit in np.eye(rank).tolist()]
    return AffineMap(np.column_stack([*columns, offset])).extruded(3)


def _lps(matrix: AffineMap) -> AffineMap:
    return LPS.after(matrix).after(LPS)


@dataclass(frozen=True)
class PointwiseTransform:
    """A transform that is neither affine nor a field (a B-spline, ...), asked for each point."""

    transform: Any

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> PointMap:
        return Chain((LPS, Extruded(self._moved, self.transform.GetDimension()), LPS))

    def _moved(self, points: np.ndarray) -> np.ndarray:
        flat = points.reshape(-1, points.shape[-1]).tolist()
        return np.reshape([self.transform.TransformPoint(point) for point in flat], points.shape)
