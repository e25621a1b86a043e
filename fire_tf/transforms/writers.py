"""Whole transforms in files of other tools, beside NIfTI: one table tells which, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib

from fire_tf.files.errors import InputError
from fire_tf.formats.library import simple_itk
from fire_tf.geometry.grids import Grid
from fire_tf.geometry.point_maps import PointMap
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk_files import write_h5
from fire_tf.transforms.x5 import write_x5, x5_library


class Writer(NamedTuple):
    """What writes a field of one of `fire_tf.geometry.names.WARP_FORMATS`, and the library that it needs."""

    kind: str
    write: Callable[[nib.Nifti1Image, Path], None]
    library: Callable[[str], Any] = str


WRITERS = {
    ".h5": Writer("itk", write_h5, simple_itk),
    ".x5": Writer("ras", write_x5, x5_library),
    ".nii": Writer("itk", nib.save),
    ".nii.gz": Writer("itk", nib.save),
}
"""By the end of a file's name; those of `fire_tf.geometry.names.FURTHER_FORMATS` are among them."""


def write_map(world_map: PointMap, target: Grid, source: Grid, path: Path) -> None:
    """A map of world points (RAS+ mm), from the target's to the source's, as the file that its name says."""
    writer = writer_of(path)
    writer.write(field_image(world_map, target, source, writer.kind), path)


def writer_of(path: Path) -> Writer:
    """What writes a file; raises InputError for a name of another kind, and where its library is missing."""
    writer = next((writer for end, writer in WRITERS.items() if path.name.endswith(end)), None)
    if writer is None:
        raise InputError(f"{path}: a transform is written as {', '.join(WRITERS)}")
    writer.library(str(path))
    return writer


def check_formats(names: Sequence[str]) -> None:
    """Raise InputError where the library of one of `fire_tf.geometry.names.FURTHER_FORMATS` is missing."""
    for name in names:
        WRITERS[f".{name}"].library(name)
