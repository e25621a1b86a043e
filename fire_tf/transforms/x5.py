"""X5, nitransforms' own files: whole transforms as fields of displacements in world mm (RAS+), or as matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.extras import needed
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.transforms.chains import TransformChain
from fire_tf.transforms.fields import AffineTransform, Transform, field_of

_DAMAGED = (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError)
_REPRESENTED = ("displacements", "deformations")


def read_x5(path: Path) -> Transform:
    """The file's first chain, or its only transform. Raises InputError for what cannot be read, B-splines too."""
    x5 = x5_library(str(path))
    try:
        nodes = x5.from_filename(path)
        steps = tuple(_transform(nodes[i], str(path)) for i in _order(path, len(nodes)))
    except _DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as X5 ({type(error).__name__}: {error})") from None
    return TransformChain(steps)


def write_x5(field: nib.Nifti1Image, path: Path) -> None:
    """A field of the format "ras" (`fire_tf.transforms.fields`) as a chain of one transform."""
    x5 = x5_library(str(path))
    vectors = np.asanyarray(field.dataobj)
    domain = x5.X5Domain(grid=True, size=vectors.shape[:3], mapping=field.affine, coordinates="cartesian")
    node = x5.X5Transform(
        type="nonlinear",
        subtype="densefield",
        representation="displacements",
        transform=vectors,
        dimension_kinds=("space", "space", "space", "vector"),
        domain=domain,
    )
    x5.to_filename(path, [node])
    import h5py

    with h5py.File(path, "a") as file:
        file.create_group("TransformChain").create_dataset("0", data="0")


def x5_library(purpose: str) -> Any:
    """nitransforms' module for X5, which its versions for numpy below 2 do not have.

    Raises InputError, which begins with the ``purpose``, where it is not there.
    """
    with needed("nitransforms", "formats", purpose):
        pass
    try:
        from nitransforms.io import x5
    except ImportError:
        raise InputError(
            f"{purpose}: X5 needs nitransforms 25 and numpy 2, which go with Python 3.12 or newer; here is numpy "
            f"{np.__version__}"
        ) from None
    return x5


def _order(path: Path, count: int) -> list[int]:
    import h5py  # nitransforms brings it

    with h5py.File(path) as file:
        if "TransformChain" in file:
            return [int(i) for i in file["TransformChain/0"][()].decode().split("/")]
    if count != 1:
        raise InputError(f"{path}: holds {count} transforms and no chain of them")
    return [0]


def _transform(node: Any, name: str) -> Transform:
    values = node.transform
    if node.type == "linear" and values.shape == (4, 4):
        return AffineTransform(AffineMap(values))
    if node.type == "nonlinear" and node.subtype != "bspline" and node.representation in _REPRESENTED:
        image = nib.Nifti1Image(values.astype(np.float32), node.domain.mapping)
        return field_of(image, "ras", name, positions=node.representation == "deformations")
    raise InputError(f"{name}: holds a transform of X5 that is not read here ({node.type}, {node.subtype})")
