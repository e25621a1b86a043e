"""Transforms read from files, this package's own and those of other tools: one table tells which, and how.

=================================  ==============================================================================
known by                           read as
=================================  ==============================================================================
``.mat``, binary                   ITK's and ANTs' affine; through SimpleITK its other transforms
``.mat``, text                     FSL's affine (FLIRT)
``.tfm``, ``.txt``, ``.h5``        ITK's transforms and composites, through SimpleITK
``.lta``                           FreeSurfer's affine, through nitransforms
``.x5``                            nitransforms' X5, through its version 25
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

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib

from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path
from fire_tf.geometry.nifti import open_image
from fire_tf.transforms.chains import Inverse, TransformChain
from fire_tf.transforms.fields import (
    INTENTS,
    AffineTransform,
    FieldTransform,
    Transform,
    check_shape,
    field_of,
)
from fire_tf.transforms.itk import read_affine
from fire_tf.transforms.itk_files import read_itk
from fire_tf.transforms.matrix_files import is_text, read_fsl, read_lta
from fire_tf.transforms.x5 import read_x5

_INVERTED = re.compile(r"\[(?P<file>.+),\s*(?P<inverted>[01])\s*\]")


def read_transform(path: str | Path, kind: str | None = None) -> Transform:
    """A transform from a file, by its suffix or by the first of `READERS` that knows it.

    ``kind`` is one of `fire_tf.geometry.names.WARP_FORMATS` for a field that does not say itself what it holds.

    Raises:
        InputError: the file cannot be read, is no transform that is known here, or holds what ``kind`` is not.
    """
    path = user_path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix in _READ_BY_SUFFIX:
        return _READ_BY_SUFFIX[path.suffix](path)
    marks = _marks(path)
    reader = next((reader for reader in READERS if reader.knows(marks)), None)
    if kind and (reader is None or reader.plain):
        return _read_field(path, kind)
    if reader is None:
        raise InputError(f"{path}: does not say of which kind its vectors are; name it with --warp-format")
    return reader.read(path)


def read_chain(named: Sequence[str | Path], kind: str | None = None) -> TransformChain:
    """Transforms from files, each named as FILE or, for its inverse, ``[FILE,1]``, in ANTs' order.

    ``kind`` is that of a single field which does not say so itself; see `read_transform`.

    Raises InputError for what `read_transform` refuses, and for a ``kind`` beside several transforms.
    """
    if kind and len(named) > 1:
        raise InputError("--warp-format names the kind of one field, it does not go with several transforms")
    steps: list[Transform] = []
    for text in named:
        path, inverted = split_name(text)
        read = read_transform(path, kind)
        steps.append(Inverse(read, str(path)) if inverted else read)
    return TransformChain(tuple(steps))


def split_name(named: str | Path) -> tuple[Path, bool]:
    """The file of a transform's name, and whether its inverse is meant."""
    match = _INVERTED.fullmatch(str(named))
    return (user_path(match["file"]), match["inverted"] == "1") if match else (user_path(named), False)


class Marks(NamedTuple):
    """What tells the tool and the kind of a field in NIfTI: its file's name and its intent."""

    file: str
    code: int = 0
    intent: str = ""
    parameter: float = 0.0


def _marks(path: Path) -> Marks:
    image = open_image(path, vectors=True)
    check_shape(image.shape, str(path))
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return Marks(path.name)
    name = header["intent_name"].item().decode("latin-1").strip("\0 ")
    return Marks(path.name, int(header["intent_code"]), name, float(header["intent_p1"]))


def _read_mat(path: Path) -> Transform:
    """By scipy, which is always there, where it is ITK's affine."""
    if is_text(path):
        return read_fsl(path)
    return AffineTransform(found) if (found := read_affine(path)) else read_itk(path)


_READ_BY_SUFFIX: dict[str, Callable[[Path], Transform]] = {
    ".mat": _read_mat,
    ".tfm": read_itk,
    ".txt": read_itk,
    ".h5": read_itk,
    ".lta": read_lta,
    ".x5": read_x5,
}


def _read_field(path: Path, kind: str, *, positions: bool = False) -> FieldTransform:
    return field_of(open_image(path, vectors=True), kind, str(path), positions=positions)


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
