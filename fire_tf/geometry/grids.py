"""The voxel grids of users' files: where results are laid, and the headers that they keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from fire_tf.formats.images import suffix_of
from fire_tf.geometry.nifti import Source, open_image, with_normal
from fire_tf.geometry.placing import world_affine
from fire_tf.geometry.point_maps import AffineMap, Chain, PointMap, grid_slabs
from fire_tf.geometry.reading import pull

PARALLEL = 20.0
"""Degrees between the planes of two slices up to which they are taken for one plane."""


@dataclass(frozen=True)
class Grid:
    """The voxel grid of a file: ``shape`` (X, Y, Z), ``affine`` (4, 4) to RAS+ mm, and what its header says.

    ``file_shape`` is what the file calls its shape without frames; it may lack Z. ``zooms`` are its voxel sizes.
    ``suffix`` ends the names of results that lie on it, in the file's own format where that can hold them.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    file_shape: tuple[int, ...]
    zooms: tuple[float, float, float]
    header: nib.Nifti1Header
    suffix: str = ".nii.gz"

    @property
    def rank(self) -> int:
        """2 for a file of two axes in an axial plane, which ITK takes for a 2D image; else 3."""
        return 2 if len(self.file_shape) == 2 and np.allclose(self.affine[2, :2], 0) else 3

    @property
    def single_slice(self) -> bool:
        """Whether one axis has but one voxel."""
        return 1 in self.shape

    def from_world(self) -> AffineMap:
        """World points (RAS+ mm) to voxels of this grid."""
        return AffineMap(self.affine).inverse()

    def world_slabs(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The world points (RAS+ mm) of the voxels, in parts; see `fire_tf.geometry.point_maps.grid_slabs`."""
        for part, points in grid_slabs(self.shape):
            yield part, AffineMap(self.affine)(points)

    def read_from(
        self, data: np.ndarray, to_data: PointMap, outside: float = 0.0, *, nearest: bool = False
    ) -> np.ndarray:
        """``data`` (X', Y', Z') read on this grid, linearly (float32) or ``nearest`` (its own type): ``shape``.

        ``to_data`` maps world points (RAS+ mm) to voxels of ``data``.
        """
        values = np.empty(self.shape, data.dtype if nearest else np.float32)
        for part, points in self.world_slabs():
            values[part] = pull(data, to_data(points), nearest=nearest, outside=outside)
        return values

    def image(self, values: np.ndarray, dtype: np.dtype | type | None = None) -> nib.Nifti1Image:
        """An image (*shape[, frames]) with this grid's header, stored as ``dtype`` (default: as it comes)."""
        header = self.header.copy()
        header.set_data_dtype(values.dtype if dtype is None else dtype)
        header.set_intent("none")
        header["cal_min"], header["cal_max"] = 0, 0
        header["scl_slope"], header["scl_inter"] = np.nan, np.nan
        frames = values.shape[3:]
        # A 2D image with frames needs its third axis.
        shape = self.file_shape if not frames else self.shape
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        return kind(values.reshape((*shape, *frames)), header.get_best_affine(), header)

    def covered_by(self, other: Grid, world_map: PointMap) -> float:
        """The part of this field of view, 0 to 1, that ``world_map`` sends into the ``other`` one, judged at up to 32
        places per axis."""
        steps = [np.linspace(0, size - 1, min(size, 32)) for size in self.shape]
        points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).astype(np.float64)
        found = Chain((AffineMap(self.affine), world_map, other.from_world()))(points)
        inside = (found >= -0.5) & (found <= np.asarray(other.shape) - 0.5)
        return float(inside.all(axis=-1).mean())

    def angle_to(self, other: Grid) -> float:
        """Between the planes of two single slices, 0 to 90 degrees; 0 where either is a volume."""
        if not (self.single_slice and other.single_slice):
            return 0.0
        return float(np.degrees(np.arccos(min(1.0, abs(self._normal() @ other._normal())))))

    def _normal(self) -> np.ndarray:
        """At right angles to the plane of a single slice, of length 1."""
        axes = np.delete(
            self.affine[:3, :3], [axis for axis in range(3) if self.shape[axis] == 1][-1], axis=1
        )
        normal = np.cross(axes[:, 0], axes[:, 1])
        return normal / np.linalg.norm(normal)

    def distance_to(self, other: Grid) -> float:
        """Between the nearest points of the two fields of view, in mm; that of a single slice is its plane."""
        # scipy's optimisers take a while to load, which most runs do not need.
        from scipy.optimize import lsq_linear

        sizes = np.array([*self.shape, *other.shape])
        last = np.where(sizes == 1, 1e-6, sizes - 0.5)  # in voxels; lsq_linear wants some room
        axes = np.concatenate([self.affine[:3, :3], -other.affine[:3, :3]], axis=1)
        found = lsq_linear(
            axes, other.affine[:3, 3] - self.affine[:3, 3], (np.where(sizes == 1, 0.0, -0.5), last)
        )
        return float(np.sqrt(2 * found.cost))


def read_grid(source: Source) -> Grid:
    """The grid of an image; raises InputError as `fire_tf.geometry.nifti.open_image` does."""
    image = open_image(source, vectors=True)
    shape = (*image.shape, 1)[:3]
    header = _header(image)
    zooms = (*(float(size) for size in image.header.get_zooms()[:3]), 1.0)[:3]
    # Trailing axes of one voxel stay; frames do not belong to the grid.
    file_shape = image.shape if all(size == 1 for size in image.shape[3:]) else image.shape[:3]
    return Grid(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        affine=with_normal(world_affine(image), shape),
        file_shape=tuple(int(size) for size in file_shape),
        zooms=(zooms[0], zooms[1], zooms[2]),
        header=header,
        suffix=suffix_of(image),
    )


def _header(image: nib.spatialimages.SpatialImage) -> nib.Nifti1Header:
    """The header of an image as one of a single NIfTI file; other formats give their affine alone."""
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        plain = nib.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine).header
        plain.set_xyzt_units("mm")
        return plain
    # from_header() would forget codes and units on the way from a .hdr/.img pair.
    kind = nib.Nifti2Header if isinstance(header, nib.Nifti2Header) else nib.Nifti1Header
    copy = kind(header.binaryblock, endianness=header.endianness, check=False).as_byteswapped("<")
    copy["magic"], copy["vox_offset"] = kind.single_magic, 0
    return copy


def keep_time_step(result: nib.Nifti1Image, source: nib.spatialimages.SpatialImage) -> None:
    """Give a 4D result the time between frames, and its unit, of the image that it was made from."""
    zooms = source.header.get_zooms()
    if result.ndim < 4 or len(zooms) < 4:
        return
    result.header["pixdim"][4] = zooms[3]
    if isinstance(source.header, nib.Nifti1Header):
        space, time = int(result.header["xyzt_units"]) & 7, int(source.header["xyzt_units"]) & ~7
        result.header["xyzt_units"] = space | time
