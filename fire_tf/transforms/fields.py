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

ITK's field has two components, ``(X, Y, 1, 1, 2)``, for a file of two axes, and two equal slices for a file of one
slice: ITK would take one slice for a field of two dimensions and forget where it lies. "fsl" and "voxel" fit images on
the source's own grid alone, for their coordinates are counted on it.

`fire_tf.transforms.readers` tells which files are read, those of other tools too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import nibabel as nib
import numpy as np

from fire_tf.geometry.grids import Grid
from fire_tf.geometry.placing import right_angled
from fire_tf.geometry.point_maps import AffineMap, PointMap
from fire_tf.geometry.reading import sample
from fire_tf.transforms.itk import LPS

INTENTS = {"itk": 1007, "ras": 1006, "fsl": 2006, "voxel": 1006}


def _fsl(grid: Grid) -> AffineMap:
    """World RAS+ mm to FSL's: voxels times their sizes, the first axis turned if the grid is right-handed."""
    scale = np.diag([*grid.zooms, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        scale[0] = [-grid.zooms[0], 0, 0, grid.zooms[0] * (grid.shape[0] - 1)]
    return AffineMap(scale).after(grid.from_world())


COORDINATES: dict[str, Callable[[Grid], AffineMap]] = {
    "itk": lambda grid: LPS,
    "ras": lambda grid: AffineMap.identity(3),
    "fsl": _fsl,
    "voxel": Grid.from_world,
}


def field_image(world_map: PointMap, target: Grid, source: Grid, kind: str = "itk") -> nib.Nifti1Image:
    """A map sampled on the target's grid as a displacement field of one of `fire_tf.geometry.names.WARP_FORMATS`.

    ``world_map`` takes world points (RAS+ mm) of the target to the source's.
    """
    to_target, to_source = COORDINATES[kind](target), COORDINATES[kind](source)
    vectors = np.empty((*target.shape, 3), np.float32)
    for part, points in target.world_slabs():
        vectors[part] = to_source(world_map(points)) - to_target(points)
    if kind == "itk":
        vectors = vectors[..., np.newaxis, : target.rank]
        if len(target.file_shape) > 2 and target.shape[2] == 1:
            vectors = np.repeat(vectors, 2, axis=2)
    image = nib.Nifti1Image(vectors, target.affine)
    image.header.set_intent(INTENTS[kind], (), kind if kind in ("ras", "voxel") else "")
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(target.affine, code=1)
    # A qform has no shears, and ITK would take it rather than refuse what it cannot read.
    image.set_qform(target.affine, code=int(right_angled(target.affine)), strip_shears=True)
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
            COORDINATES[self.kind](self.target),
            COORDINATES[self.kind](source).inverse(),
        )
        to_voxels = self.target.from_world()
        return lambda points: from_source(to_target(points) + sample(self.field, to_voxels(points)))
