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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.nifti import read_data
from fire_tf.geometry.placing import right_angled
from fire_tf.geometry.point_maps import AffineMap, PointMap
from fire_tf.geometry.reading import sample
from fire_tf.transforms.itk import LPS

_AS_POSITIONS = 0.25  # how far from 1 the slope of vectors may be that are positions

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

ON_GRIDS = ("fsl", "voxel")
"""Conventions that count on the grid of an image."""

ON_A_GRID_NOT_GIVEN = (
    "counts on the grid of the image that is warped, which is not known here: name it with --source, or put this "
    "transform where it meets that image (a last one, or a first one inverted)"
)


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
    """A transform that was read, and the map of world points (RAS+ mm) that it means between the grids of two images.

    ``source`` is that of the image that is warped, ``target`` the one that it is warped onto. Most transforms need
    neither; those that count on a grid raise InputError where it is not given.
    """

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> PointMap: ...


@dataclass(frozen=True)
class AffineTransform:
    """The same map of world points for every image."""

    matrix: AffineMap

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> PointMap:
        return self.matrix


@dataclass(frozen=True)
class FieldMap:
    """World points ``p -> C_source^-1(C_target(p) + field(p))``; beyond the field the edge's vectors go on."""

    field: np.ndarray
    to_voxels: AffineMap
    to_target: AffineMap
    from_source: AffineMap

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.from_source(self.to_target(points) + sample(self.field, self.to_voxels(points)))

    def covers(self, points: np.ndarray) -> np.ndarray:
        """Which points (..., 3) lie on the field's grid, to half a voxel; an axis of one voxel has no end: (...)."""
        voxels, sizes = self.to_voxels(points), np.asarray(self.field.shape[:3])
        return (((voxels >= -0.5) & (voxels <= sizes - 0.5)) | (sizes <= 2)).all(axis=-1)


@dataclass(frozen=True)
class FieldTransform:
    """A field (X, Y, Z, 3) on the grid ``grid``, of a ``kind`` named above; ``name`` is its file's."""

    field: np.ndarray
    grid: Grid
    kind: str
    name: str = "the field"

    def world_map(self, source: Grid | None = None, target: Grid | None = None) -> FieldMap:
        coordinates = COORDINATES[self.kind]
        if source is None:
            if self.kind in ON_GRIDS:
                raise InputError(f"{self.name}: {ON_A_GRID_NOT_GIVEN}")
            source = self.grid  # any will do
        return FieldMap(
            self.field, self.grid.from_world(), coordinates(self.grid), coordinates(source).inverse()
        )


def check_shape(shape: Sequence[int], name: str) -> None:
    """Raise InputError for another shape than a field's."""
    if len(shape) not in (4, 5) or shape[-1] not in (2, 3) or (len(shape) == 5 and shape[3] != 1):
        raise InputError(f"{name}: has shape {tuple(shape)}, which is not a displacement field's")


def field_of(
    image: nib.spatialimages.SpatialImage, kind: str, name: str, *, positions: bool = False
) -> FieldTransform:
    """An opened image as a field of a ``kind`` named above, or of ``positions``: the points C_source(T(p)) themselves.

    Raises InputError, which calls it ``name``, for another shape than a field's, for vectors that are not finite, and
    for positions where displacements were expected.
    """
    check_shape(image.shape, name)
    grid, shape = read_grid(image), image.shape
    field = read_data(image).astype(np.float32).reshape((*shape[:3], shape[-1]))
    if not np.isfinite(field).all():
        raise InputError(f"{name}: holds vectors that are NaN or infinite")
    field = np.concatenate([field, np.zeros((*shape[:3], 3 - shape[-1]), np.float32)], axis=-1)
    to_target, places = COORDINATES[kind](grid), np.empty_like(field)
    for part, points in grid.world_slabs():
        places[part] = to_target(points)
    if positions:
        field = field - places
    elif _look_like(field, places) or (kind == "itk" and _look_like(field, LPS(places))):
        raise InputError(f"{name}: holds positions, it seems, where displacements ({kind}) were expected")
    return FieldTransform(field, grid, kind, name)


def _look_like(field: np.ndarray, places: np.ndarray) -> bool:
    """Whether vectors grow by 1 for each mm (or voxel) along every axis of a grid, as positions do."""
    spread = places.reshape(-1, 3) - places.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    known = np.ptp(spread, axis=0) > 0
    slopes = (spread * field.reshape(-1, 3)).sum(axis=0)[known] / (spread**2).sum(axis=0)[known]
    return bool((np.abs(slopes - 1) < _AS_POSITIONS).all())
