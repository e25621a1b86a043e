"""Images as three-dimensional arrays in RAS order.

The first axis runs left to right, the second back to front, the third foot to head, as near as the axes of the file
allow; an affine maps voxels to world millimetres (RAS+). A two-dimensional image is a volume of one slice, its
singleton axis last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.nifti import (
    Source,
    count_frames,
    name_of,
    open_image,
    read_data,
    split_frames,
    with_normal,
)
from fire_tf.geometry.placing import world_affine
from fire_tf.intensities.air import clear, fill_outside

_ON_GRID = 0.1  # of a voxel, that a label map may be off its image: headers are rounded


@dataclass(frozen=True)
class Image:
    """An image as read: `data` (X, Y, Z) in RAS order, `affine` (4, 4) from its voxels to world mm (RAS+).

    `counts` (X, Y, Z) is where its grey values count, None everywhere.
    """

    data: np.ndarray
    affine: np.ndarray
    path: str
    counts: np.ndarray | None = None

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along the three axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def cleared(self) -> Image:
        """The image as models and measures see it: all air at its lowest grey value (`fire_tf.intensities.air`)."""
        return replace(self, data=clear(self.data)[0])


def read_image(source: Source, *, labels: bool = False) -> Image:
    """Read an image (or, with `labels`, a label map of whole numbers) and bring it to RAS order.

    Air that is NaN is given a grey value, which a `Doubt` tells. Raises InputError, naming the file and the cause, for
    whatever cannot be registered.
    """
    image = open_image(source)
    data, affine = _as_volume(read_data(image), world_affine(image), name_of(image))
    data = (_check_labels if labels else _check_intensities)(data, name_of(image))
    orientation = io_orientation(affine)
    affine = affine @ inv_ornt_aff(orientation, data.shape)
    data = np.ascontiguousarray(apply_orientation(data, orientation))
    return _slice_axis_last(Image(data, affine, name_of(image)))


def read_frames(source: Source) -> list[Image]:
    """Read every frame of a 4D image (x, y, z, frame), each as `read_image` gives it.

    Raises InputError, naming the file and the cause.
    """
    image = open_image(source)
    if count_frames(image) < 2:
        raise InputError(
            f"{name_of(image)}: has shape {image.shape}, expected a 4D image of two or more frames"
        )
    return [read_image(frame) for frame in split_frames(image)]


def grid_difference(labels: Image, image: Image) -> str:
    """Why a label map does not lie on the grid of an image, to a tenth of a voxel; nothing where it does.

    Single slices are compared within their plane: like everything else, this does not count on where it lies.
    """
    shape = image.data.shape
    if labels.data.shape != shape:
        return f"has shape {labels.data.shape}, its image {shape}"
    corners = np.array(list(product(*((0, size - 1) for size in shape))), np.float64)
    matrix = np.linalg.inv(image.affine) @ labels.affine
    off = np.abs(corners @ (matrix[:3, :3].T - np.eye(3)) + matrix[:3, 3])[:, np.asarray(shape) > 1]
    if off.max(initial=0.0) <= _ON_GRID:
        return ""
    return f"lies on another grid than its image {image.path}: their voxels are up to {off.max():.3g} voxels apart"


def _as_volume(data: np.ndarray, affine: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Three axes: singleton ones are added to a 2D image and dropped from the end of a 4D one."""
    shape = data.shape
    if any(size != 1 for size in shape[3:]):
        raise InputError(
            f"{name}: has shape {shape}, expected one 2D or 3D image; a frame of a 4D image must be named"
        )
    data = data.reshape((*shape[:3], 1)[:3])
    return data, with_normal(affine, data.shape)


def _check_intensities(data: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        data = np.asarray(data, dtype=np.float32)
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        data, air = fill_outside(data)
        within = data.size - int(np.isfinite(data).sum())
        if within:
            raise InputError(f"{name}: holds {within} voxels that are NaN or infinite")
        message = f"{name}: {bad} voxels outside the object are NaN, and are read as air ({air:g})"
        cast_doubt(message)
    if data.min() == data.max():
        raise InputError(f"{name}: is constant (every voxel is {data.flat[0]:g})")
    return data


def _check_labels(data: np.ndarray, name: str) -> np.ndarray:
    if not np.all(np.isfinite(data)):
        raise InputError(f"{name}: holds NaN or infinite labels")
    rounded = np.rint(data)
    if np.any(np.abs(rounded - data) > 1e-3) or rounded.min() < 0:
        raise InputError(f"{name}: holds values that are not labels (whole numbers from 0)")
    return rounded.astype(np.min_scalar_type(int(rounded.max())))


def _slice_axis_last(image: Image) -> Image:
    """A single coronal or sagittal slice becomes (X, Y, 1): its plane's two axes first."""
    singles = [axis for axis, size in enumerate(image.data.shape) if size == 1]
    if len(singles) != 1 or singles[0] == 2:
        return image
    order = [axis for axis in range(3) if axis != singles[0]] + singles
    affine = image.affine[:, [*order, 3]]
    return Image(np.ascontiguousarray(image.data.transpose(order)), affine, image.path)
