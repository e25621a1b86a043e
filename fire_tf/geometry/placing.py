"""Where a file lies in the world: one rule for all commands, and what other tools make of the same file.

The rule is ITK's, and so that of ANTs. The sform counts where its code is set, except where the qform's is set too and
puts the voxels elsewhere: then the qform, unless the sform is the scanner's (code 1) and its axes are at right angles.
Where neither code is set, nibabel's guess counts: the first axis runs to the left, the second to the front, the third
up, about the middle of the image. Metres and micrometres become millimetres.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.doubts import cast_doubt

_MM = {1: 1e3, 3: 1e-3}  # by NIfTI's code of the unit: metres and micrometres; all else are millimetres
_APART = 0.01  # of a voxel, between the places that two forms give to one corner
_SKEW = 1e-4  # ITK's: cosine between axes up to which they are at right angles
_SIZES = 1e-3  # mm, ITK's: between the sizes that sform and pixdim give to a voxel

Image = nib.spatialimages.SpatialImage


def world_affine(image: Image) -> np.ndarray:
    """(4, 4), voxels of an opened image to world mm (RAS+), by the rule above."""
    affine = np.array(image.affine, dtype=np.float64)
    header: Any = image.header
    if isinstance(header, nib.Nifti1Header):
        if _qform_counts(image):
            affine = np.array(header.get_qform(), dtype=np.float64)
        affine[:3] *= _unit(header)
    return affine


def warn_of_place(image: Image, name: str) -> None:
    """Raise a `Doubt` of a user's file that does not tell its place, or that other tools place elsewhere."""
    cause = _cause_of_doubt(image) if image.get_filename() else ""
    if cause:
        cast_doubt(f"{name}: {cause}", stacklevel=3)


def _cause_of_doubt(image: Image) -> str:
    header: Any = image.header
    if not isinstance(header, nib.AnalyzeHeader):
        return ""
    if not isinstance(header, nib.Nifti1Header) or not (header["sform_code"] > 0 or header["qform_code"] > 0):
        axes = "".join(nib.aff2axcodes(image.affine))
        return f"tells no orientation (neither qform nor sform): taken for {axes}; ITK and ANTs take it for another"
    if len(image.shape) == 2 and not np.allclose(world_affine(image)[2, :2], 0):
        return "is a file of two axes whose plane is not axial: ITK and ANTs cannot read it"
    if _qform_counts(image):
        gap = _gap(image) * _unit(header)
        mirrored = np.linalg.det(image.affine) * np.linalg.det(header.get_qform()) < 0
        who = "; ITK and ANTs may take either, they are mirror images" if mirrored else ", as ITK and ANTs do"
        return f"its sform and qform lie {gap:.3g} mm apart: read by the qform{who}; nibabel and FSL take the sform"
    if header["sform_code"] > 0 and not right_angled(image.affine):
        return "the axes of its sform are not at right angles: ITK and ANTs cannot read it"
    sizes, others = _sizes(image.affine), np.asarray(header["pixdim"][1:4])
    if header["sform_code"] > 0 and np.abs(sizes - others)[: len(image.shape)].max() > _SIZES:
        return (
            f"has voxels of {_text(sizes)} by its sform, which counts here, and of {_text(others)} by its pixdim, "
            "which ITK and ANTs take"
        )
    return ""


def _text(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _unit(header: nib.Nifti1Header) -> float:
    return _MM.get(int(header["xyzt_units"]) & 7, 1.0)


def _sizes(affine: np.ndarray) -> np.ndarray:
    return np.linalg.norm(affine[:3, :3], axis=0)


def _qform_counts(image: Image) -> bool:
    """Whether the qform is taken though there is a sform."""
    header: Any = image.header
    scanner = header["sform_code"] == 1 and right_angled(image.affine)
    return _gap(image) > _APART * _sizes(image.affine)[:2].min() and not scanner


def right_angled(affine: np.ndarray) -> bool:
    """Whether the axes of an affine (4, 4) stand at right angles, as ITK demands."""
    axes = affine[:3, :3] / (_sizes(affine) + 1e-30)
    return np.allclose(axes @ axes.T, np.eye(3), atol=_SKEW)


def _gap(image: Image) -> float:
    """How far apart sform and qform put a corner of the image at most, in the header's unit; 0 where one is not set."""
    header: Any = image.header
    if not (header["sform_code"] > 0 and header["qform_code"] > 0):
        return 0.0
    corners = np.array(list(product(*[(0, size - 1) for size in (*image.shape, 1, 1)[:3]], [1])))
    apart = corners @ (header.get_sform() - header.get_qform()).T
    return float(np.nan_to_num(np.linalg.norm(apart, axis=-1).max()))
