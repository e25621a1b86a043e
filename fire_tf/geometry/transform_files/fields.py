"""Whole transforms as displacement fields in files, in the conventions of four families of tools.

Every field lies on the grid of the image that is warped onto (the target), is float32, and holds
``C_source(T(p)) - C_target(p)`` at each of its voxels p: T is the pull-back from the target's world to the source's
(the image that is warped), C the coordinates of the convention.

=======  =====================================  =====================  ====================  =====================
format   coordinates C                          shape                  NIfTI intent          read by
=======  =====================================  =====================  ====================  =====================
itk      world mm, LPS+                         (X, Y, Z, 1, 3)        1007 vector           ANTs, ITK, 3D Slicer
ras      world mm, RAS+                         (X, Y, Z, 3)           1006 displacement     nitransforms, nibabel
fsl      voxel sizes times voxels, the first    (X, Y, Z, 3)           2006 FNIRT field      FSL's applywarp
         axis turned where the grid is
         right-handed
voxel    voxels                                 (X, Y, Z, 3)           1006 displacement     voxelmorph
=======  =====================================  =====================  ====================  =====================

ITK's field has two components, ``(X, Y, 1, 1, 2)``, for a file of two axes. "fsl" and "voxel" fit images on the
source's own grid alone, for their coordinates are counted on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.nifti import open_image, read_data
from fire_tf.geometry.point_maps import AffineMap, PointMap
from fire_tf.geometry.reading import sample
from fire_tf.geometry.transform_files.itk import LPS, read_affine

_INTENTS = {"itk": 1007, "ras": 1006, "fsl": 2006, "voxel": 1006}


def _fsl(grid: Grid) -> AffineMap:
    """World RAS+ mm to FSL's: voxels times their sizes, the first axis turned if the grid is right-handed."""
    scale = np.diag([*grid.zooms, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        scale[0] = [-grid.zooms[0], 0, 0, grid.zooms[0] * (grid.shape[0] - 1)]
    return AffineMap(scale).after(grid.from_world())


_COORDINATES: dict[str, Callable[[Grid], AffineMap]] = {
    "itk": lambda grid: LPS,
    "ras": lambda grid: AffineMap.identity(3),
    "fsl": _fsl,
    "voxel": Grid.from_world,
}


def field_image(world_map: PointMap, target: Grid, source: Grid, kind: str = "itk") -> nib.Nifti1Image:
    """A map sampled on the target's grid as a displacement field of one of `fire_tf.geometry.names.WARP_FORMATS`.

    ``world_map`` takes world points (RAS+ mm) of the target to the source's.
    """
    to_target, to_source = _COORDINATES[kind](target), _COORDINATES[kind](source)
    vectors = np.empty((*target.shape, 3), np.float32)
    for part, points in target.world_slabs():
        vectors[part] = to_source(world_map(points)) - to_target(points)
    if kind == "itk":
        vectors = vectors[..., np.newaxis, : target.rank]
    image = nib.Nifti1Image(vectors, target.affine)
    image.header.set_intent(_INTENTS[kind], (), kind if kind in ("ras", "voxel") else "")
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(target.affine, code=1)
    image.set_qform(target.affine, code=1, strip_shears=True)
    return image


class Transform(Protocol):
    """A transform that was read, and the map of world points (RAS+ mm) that it means for an image on a grid."""

    def world_map(self, source: Grid) -> PointMap: ...


@dataclass(frozen=True)
class AffineTransform:
    """The same map of world points for every image."""

    matrix: AffineMap

    def world_map(self, source: Grid) -> PointMap:
        return self.matrix


@dataclass(frozen=True)
class FieldTransform:
    """A field (X, Y, Z, 3) on the grid ``target``, of a ``kind`` named above; beyond it the edge's vectors go on."""

    field: np.ndarray
    target: Grid
    kind: str

    def world_map(self, source: Grid) -> PointMap:
        to_target, from_source = (
            _COORDINATES[self.kind](self.target),
            _COORDINATES[self.kind](source).inverse(),
        )
        to_voxels = self.target.from_world()
        return lambda points: from_source(to_target(points) + sample(self.field, to_voxels(points)))


def read_transform(path: str | Path, kind: str | None = None) -> Transform:
    """A transform from a file: ITK's affine (``.mat``) or a displacement field.

    ``kind`` is one of `fire_tf.geometry.names.WARP_FORMATS`; without it the field's NIfTI intent tells.

    Raises:
        InputError: the file cannot be read, or is no transform, or does not say which kind of field it holds.
    """
    if str(path).endswith(".mat"):
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file")
        return AffineTransform(read_affine(path))
    image = open_image(path)
    shape = image.shape
    if len(shape) not in (4, 5) or shape[-1] not in (2, 3) or (len(shape) == 5 and shape[3] != 1):
        raise InputError(f"{path}: has shape {shape}, which is not a displacement field's")
    kind = kind or _kind_of(image.header)
    if kind is None:
        raise InputError(f"{path}: does not say of which kind its vectors are; name it with --warp-format")
    field = read_data(image).astype(np.float32, copy=False).reshape((*shape[:3], shape[-1]))
    if not np.isfinite(field).all():
        raise InputError(f"{path}: holds vectors that are NaN or infinite")
    field = np.concatenate([field, np.zeros((*shape[:3], 3 - shape[-1]), np.float32)], axis=-1)
    return FieldTransform(field, read_grid(image), kind)


def _kind_of(header: nib.spatialimages.SpatialHeader) -> str | None:
    if not isinstance(header, nib.Nifti1Header):
        return None
    code, _, name = header.get_intent("code")
    if code == _INTENTS["ras"]:
        return name if name in ("ras", "voxel") else None
    return {_INTENTS["itk"]: "itk", _INTENTS["fsl"]: "fsl"}.get(code)
