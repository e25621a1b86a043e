"""Transforms read from files, this package's own and those of other tools: one table tells which, and how.

=================================  ==============================================================================
known by                           read as
=================================  ==============================================================================
``.mat``                           ITK's and ANTs' affine
intent 1007 without a name         ITK's displacements (world mm, LPS+)
intent 1006, named ras or voxel    displacements in world mm (RAS+) or in voxels
intent 2006                        FSL's relative warps
intent name NREG_TRANS             NiftyReg: positions or displacements (world mm, RAS+); splines and velocities
                                   are refused
intent name Mapping; a file        SPM's deformations: positions (world mm, RAS+)
``y_*``, ``iy_*`` without intent
a file ``u_*``, ``v_*``            SPM's velocities: refused
intents 2007 to 2018               coefficients of FNIRT and topup: refused
=================================  ==============================================================================

Vectors that grow by 1 mm for each mm are positions; where they should be displacements, the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.nifti import open_image, read_data
from fire_tf.transforms.fields import COORDINATES, INTENTS, AffineTransform, FieldTransform, Transform
from fire_tf.transforms.itk import LPS, read_affine

_AS_POSITIONS = 0.25  # how far from 1 the slope of vectors may be that are positions


def read_transform(path: str | Path, kind: str | None = None) -> Transform:
    """A transform from a file, by the first of `READERS` that knows it: ITK's affine (``.mat``) or a field.

    ``kind`` is one of `fire_tf.geometry.names.WARP_FORMATS` for a field that does not say itself what it holds.

    Raises:
        InputError: the file cannot be read, is no transform that is known here, or holds what ``kind`` is not.
    """
    path = user_path(path)
    marks = _marks(path)
    reader = next((reader for reader in READERS if reader.knows(marks)), None)
    if kind and (reader is None or reader.plain):
        return _read_field(path, kind)
    if reader is None:
        raise InputError(f"{path}: does not say of which kind its vectors are; name it with --warp-format")
    return reader.read(path)


class Marks(NamedTuple):
    """What tells the tool and the kind of a transform: its file's name and, in NIfTI, its intent."""

    file: str
    code: int = 0
    intent: str = ""
    parameter: float = 0.0


def _marks(path: Path) -> Marks:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".mat":
        return Marks(path.name)
    image = open_image(path, vectors=True)
    shape = image.shape
    if len(shape) not in (4, 5) or shape[-1] not in (2, 3) or (len(shape) == 5 and shape[3] != 1):
        raise InputError(f"{path}: has shape {shape}, which is not a displacement field's")
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return Marks(path.name)
    name = header["intent_name"].item().decode("latin-1").strip("\0 ")
    return Marks(path.name, int(header["intent_code"]), name, float(header["intent_p1"]))


def _read_field(path: Path, kind: str, *, positions: bool = False) -> FieldTransform:
    """A field of a ``kind`` named above, or ``positions``: the points C_source(T(p)) themselves."""
    image, grid = open_image(path, vectors=True), read_grid(path)
    shape = image.shape
    field = read_data(image).astype(np.float32).reshape((*shape[:3], shape[-1]))
    if not np.isfinite(field).all():
        raise InputError(f"{path}: holds vectors that are NaN or infinite")
    field = np.concatenate([field, np.zeros((*shape[:3], 3 - shape[-1]), np.float32)], axis=-1)
    to_target, places = COORDINATES[kind](grid), np.empty_like(field)
    for part, points in grid.world_slabs():
        places[part] = to_target(points)
    if positions:
        field = field - places
    elif _look_like(field, places) or (kind == "itk" and _look_like(field, LPS(places))):
        raise InputError(f"{path}: holds positions, it seems, where displacements ({kind}) were expected")
    return FieldTransform(field, grid, kind, str(path))


def _look_like(field: np.ndarray, places: np.ndarray) -> bool:
    """Whether vectors grow by 1 for each mm (or voxel) along every axis of a grid, as positions do."""
    spread = places.reshape(-1, 3) - places.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    known = np.ptp(spread, axis=0) > 0
    slopes = (spread * field.reshape(-1, 3)).sum(axis=0)[known] / (spread**2).sum(axis=0)[known]
    return bool((np.abs(slopes - 1) < _AS_POSITIONS).all())


def _refuse(path: Path, *, what: str) -> Transform:
    raise InputError(f"{path}: holds {what}, which is not read here")


class Reader(NamedTuple):
    """Which files are known by their marks, and what reads them. ``plain``: ``--warp-format`` may say otherwise."""

    knows: Callable[[Marks], bool]
    read: Callable[[Path], Transform]
    plain: bool = False


def _unnamed(marks: Marks) -> bool:
    return marks.code in (0, INTENTS["itk"]) and not marks.intent


_itk, _ras, _voxel, _fsl = (partial(_read_field, kind=kind) for kind in ("itk", "ras", "voxel", "fsl"))
_positions = partial(_read_field, kind="ras", positions=True)
_spline, _velocity, _coefficients = (
    partial(_refuse, what=what)
    for what in (
        "a spline or a velocity of NiftyReg",
        "a velocity of SPM, by its name",
        "coefficients of FNIRT or topup",
    )
)

READERS = (
    Reader(lambda m: m.file.endswith(".mat"), lambda path: AffineTransform(read_affine(path))),
    Reader(lambda m: m.intent == "NREG_TRANS" and m.parameter == 0, _positions),
    Reader(lambda m: m.intent == "NREG_TRANS" and m.parameter == 1, _ras),
    Reader(lambda m: m.intent == "NREG_TRANS", _spline),
    Reader(lambda m: m.intent == "Mapping", _positions),
    Reader(lambda m: m.code == 0 and m.file.startswith(("y_", "iy_")), _positions, plain=True),
    Reader(lambda m: _unnamed(m) and m.file.startswith(("u_", "v_")), _velocity, plain=True),
    Reader(lambda m: m.code in (*range(2007, 2010), *range(2016, 2019)), _coefficients),
    Reader(lambda m: (m.code, m.intent) == (INTENTS["ras"], "ras"), _ras, plain=True),
    Reader(lambda m: (m.code, m.intent) == (INTENTS["voxel"], "voxel"), _voxel, plain=True),
    Reader(lambda m: m.code == INTENTS["fsl"], _fsl, plain=True),
    Reader(lambda m: m.code == INTENTS["itk"] and not m.intent, _itk, plain=True),
)
"""The first that knows a file reads it. A further format is a further line."""
