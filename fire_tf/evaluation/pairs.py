"""Pairs to be measured on: read from a folder of pairs, or as they were acquired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.config.schema import DataConfig, Split
from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.files.tables import read_table
from fire_tf.geometry.images import Image, grid_difference, read_image
from fire_tf.geometry.nifti import open_image, read_data, with_normal
from fire_tf.geometry.placing import world_affine
from fire_tf.geometry.point_maps import InverseMap, PointMap, in_voxels, split_affine
from fire_tf.geometry.stacks import slices_last
from fire_tf.sources.find import find_subjects


@dataclass(frozen=True)
class Pair:
    """A moving and a fixed image with labels, and the true map where it is known.

    Images are in RAS order, ``(X, Y, Z)`` with Z = 1 for a slice; label maps have the pair's ``ndim`` axes
    and so have the points of every map, in voxels. ``true_to_fixed`` takes the moving grid to the fixed one
    (the moving image was made by pulling it through this map), ``true_to_moving`` is its inverse.
    """

    name: str
    level: str
    subject: str
    moving: Image
    fixed: Image
    moving_labels: np.ndarray
    fixed_labels: np.ndarray
    true_to_fixed: PointMap | None = None
    true_to_moving: PointMap | None = None

    @property
    def ndim(self) -> int:
        """2 for a pair of single slices, else 3."""
        return self.fixed_labels.ndim

    def array(self, which: str) -> np.ndarray:
        """The ``moving`` or ``fixed`` image with the pair's ``ndim`` axes."""
        image: Image = getattr(self, which)
        return image.data.reshape(image.data.shape[: self.ndim])

    def spacing(self, which: str) -> tuple[float, ...]:
        """Voxel size in mm of the ``moving`` or ``fixed`` image, one per axis."""
        image: Image = getattr(self, which)
        return tuple(float(size) for size in image.spacing[: self.ndim])

    def swapped(self) -> Pair:
        """The same pair with the roles of moving and fixed exchanged."""
        return replace(
            self,
            moving=self.fixed,
            fixed=self.moving,
            moving_labels=self.fixed_labels,
            fixed_labels=self.moving_labels,
            true_to_fixed=self.true_to_moving,
            true_to_moving=self.true_to_fixed,
        )

    def in_voxels(self, to_moving: PointMap, to_fixed: PointMap) -> tuple[PointMap, PointMap]:
        """Maps between the two images' worlds (mm, RAS+, 3D points) as maps between their voxels."""
        moving, fixed = self.moving.affine, self.fixed.affine
        return in_voxels(to_moving, fixed, moving, self.ndim), in_voxels(to_fixed, moving, fixed, self.ndim)


def read_pairs(folder: Path) -> Iterator[Pair]:
    """The pairs listed in ``folder/pairs.csv`` (columns ``folder, level, subject``).

    Each one's folder holds ``moving``, ``fixed``, ``moving_seg``, ``fixed_seg`` and, where the truth is
    known, ``gt`` (``.nii.gz``): ``T(x) - x`` in mm along the grid's axes, ``moving(x) = original(T(x))``.
    """
    table = folder / "pairs.csv"
    if not table.is_file():
        raise InputError(f"{table}: no such file; it lists the pairs of the folder")
    columns, rows = read_table(table)
    if not rows or "folder" not in columns:
        raise InputError(f"{table}: expected a column 'folder' and at least one pair")
    seen: set[tuple[str, str]] = set()
    for number, row in rows:
        place = row["folder"], row.get("level", "")
        if not row["folder"] or place in seen:
            raise InputError(f"{table}: line {number} names no folder, or the same as a line before it")
        seen.add(place)
    for _, row in rows:
        yield _read_pair(folder / user_path(row["folder"]), row)


def acquired_pairs(config: DataConfig, split: Split, moving_modality: str) -> Iterator[Pair]:
    """The two images of each subject of a split that has unaligned ones, as they are on their own grids, neither
    deformed, the axis of their slices (`DataConfig.slice_axis`) last.

    Raises InputError where the split holds no subject, and for one without label maps of both images.
    """
    subjects = find_subjects(config)[split]
    if not subjects:
        raise InputError(f"split {split}: the config names no subject for it")
    for files in subjects:
        read = []
        for key, path, labels in zip("ab", (files.a, files.b), files.own_labels, strict=True):
            if labels is None:
                raise InputError(
                    f"{path}: has no label map (data.labels_{key}), so there is nothing to score"
                )
            read.append(_read_labelled(path, labels, thickest_last=config.slice_axis == "thickest"))
        (a, a_labels), (b, b_labels) = read
        pair = Pair(files.subject, "as acquired", files.subject, a, b, a_labels, b_labels)
        yield pair if moving_modality == config.modality_a else pair.swapped()


def _read_labelled(path: Path, labels: Path, *, thickest_last: bool = False) -> tuple[Image, np.ndarray]:
    """An image, and its label map on the same grid, with two axes where it is a single slice."""
    image, map_ = read_image(path).cleared(), read_image(labels, labels=True)
    if fault := grid_difference(map_, image):
        raise InputError(f"{labels}: {fault}")
    if thickest_last:
        image, map_ = slices_last(image), slices_last(map_)
    return image, map_.data[:, :, 0] if map_.data.shape[2] == 1 else map_.data


def _read_pair(folder: Path, row: Mapping[str, str]) -> Pair:
    images, labels = {}, {}
    for name in ("moving", "fixed"):
        images[name], labels[name] = _read_labelled(folder / f"{name}.nii.gz", folder / f"{name}_seg.nii.gz")
    truth: tuple[PointMap | None, PointMap | None] = (None, None)
    if (folder / "gt.nii.gz").is_file():
        truth = _read_truth(folder / "gt.nii.gz", images["moving"], labels["moving"].ndim)
    return Pair(
        row["folder"],
        row.get("level") or "pairs",
        row.get("subject") or "",
        images["moving"],
        images["fixed"],
        labels["moving"],
        labels["fixed"],
        *truth,
    )


def _read_truth(path: Path, moving: Image, ndim: int) -> tuple[PointMap, PointMap]:
    """The true map and its inverse, in voxels, from a displacement in mm along the axes of a RAS grid."""
    file = open_image(path, vectors=True)
    displacement = read_data(file).astype(np.float64)
    expected = (*moving.data.shape[:ndim], ndim)
    if displacement.shape != expected:
        raise InputError(f"{path}: has shape {displacement.shape}, expected {expected}")
    affine = world_affine(file)
    if (axes := nib.aff2axcodes(affine))[:ndim] != ("R", "A", "S")[:ndim]:
        raise InputError(f"{path}: its axes run {axes}, expected RAS")
    if fault := grid_difference(replace(moving, affine=with_normal(affine, moving.data.shape)), moving):
        raise InputError(f"{path}: {fault}")
    to_fixed = split_affine(displacement / moving.spacing[:ndim])
    return to_fixed, InverseMap(to_fixed, to_fixed.affine)
