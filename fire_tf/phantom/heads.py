"""A labelled head phantom: generated T1, FLAIR and IR images of skull-stripped brains, written as NIfTI.

    python -m fire_tf.phantom heads --output DIR --subjects 8

writes DIR/sub-01/{T1,FLAIR,IR,seg,tissues}.nii.gz and so on, and DIR/participants.tsv: the layout that the
data source "folders" reads. The anatomy is random per subject (`fire_tf.phantom.anatomy`), the contrasts follow from
the signal equations and relaxation times at 3 T (`fire_tf.phantom.mr_signal`). A seed gives the same brain on every
grid; the noise is drawn per voxel.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_together
from fire_tf.phantom.anatomy import TISSUE_NAMES, Anatomy, tissue_fractions
from fire_tf.phantom.brain_shapes import CENTRE
from fire_tf.phantom.mr_signal import SEQUENCES, TISSUES, Tissue, rician_noise
from fire_tf.phantom.shapes import WaveField

DEFAULT_SHAPE = (128, 160, 144)
DEFAULT_SPACING = 1.28
STRUCTURES = {1: "BS", 2: "CE", 3: "WM"}
"""Values of `seg`: brain stem, cerebellum, cerebral white matter."""

_STRUCTURE_OF_TISSUE = {
    "brain_stem": 1,
    "cerebellar_cortex": 2,
    "cerebellar_white_matter": 2,
    "white_matter": 3,
    "hyperintensity": 3,
}
_FINEST = 1.3  # mm: coarser voxels are averages of finer ones, so that folds keep their partial volumes
_BOX = ((-76.0, 76.0), (-110.0, 78.0), (-68.0, 80.0))  # mm: holds every brain, nothing is computed outside it
_INTENSITY = 1000  # of the 99.9th percentile of the brain
_NOISE = 0.015  # standard deviation, in fractions of the 99.9th percentile
_BIAS = 0.05  # standard deviation of the logarithm of the bias field
_TEXTURE = 0.015  # the same of the tissue's own variation, common to all modalities
_CONSTANTS = 0.02  # relative standard deviation of T1 and T2 between subjects


@dataclass(frozen=True)
class Phantom:
    """One subject on its grid; every array has the grid's shape (X, Y, Z), axes R-A-S.

    images: modality -> uint16, 0 outside the brain, 1000 = 99.9th percentile of the brain.
    seg: uint8, `STRUCTURES` and 0. tissues: uint8, indices into `fire_tf.phantom.anatomy.TISSUE_NAMES`.
    affine: (4, 4) voxel index -> mm, RAS+.
    """

    images: dict[str, np.ndarray]
    seg: np.ndarray
    tissues: np.ndarray
    affine: np.ndarray

    def volumes(self) -> dict[str, float]:
        """Volumes in ml of the brain (with its cerebrospinal fluid) and of each structure."""
        voxel = abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0
        counts = {"brain": np.count_nonzero(self.tissues)}
        counts |= {name: np.count_nonzero(self.seg == value) for value, name in STRUCTURES.items()}
        return {name: voxel * count for name, count in counts.items()}


def generate_subject(
    seed: int,
    shape: Sequence[int] = DEFAULT_SHAPE,
    spacing: float | Sequence[float] = DEFAULT_SPACING,
) -> Phantom:
    """Draw one subject.

    seed: decides the anatomy (the same on every grid), the bias fields and the noise.
    shape: voxels along R, A, S. spacing: mm, one number or three. The grid is centred on the head.
    Raises ValueError for a shape or spacing that is not three positive numbers.
    """
    grid, steps = _check_grid(shape, spacing)
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.draw(rng)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = [c - 0.5 * (n - 1) * s for c, n, s in zip(CENTRE, grid, steps, strict=True)]
    box = _brain_box(grid, steps, affine)
    fractions = _sample_fractions(anatomy, box, steps, affine)
    images = _acquire(fractions, _axes(box, 1, steps, affine), rng)
    tissues = np.where(fractions[0] < 0.5, 1 + fractions[1:].argmax(0), 0).astype(np.uint8)
    return Phantom(
        images={name: _embed(image, box, grid) for name, image in images.items()},
        seg=_embed(_structures(tissues), box, grid),
        tissues=_embed(tissues, box, grid),
        affine=affine,
    )


def _check_grid(
    shape: Sequence[int], spacing: float | Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    steps = tuple(float(s) for s in np.broadcast_to(np.asarray(spacing, float), (3,)))
    grid = tuple(int(n) for n in shape)
    if len(grid) != 3 or min(grid) < 1:
        raise ValueError(f"shape must be three positive integers, got {tuple(shape)}")
    if min(steps) <= 0 or not np.all(np.isfinite(steps)):
        raise ValueError(f"spacing must be positive, in mm, got {spacing}")
    return grid, steps


def _brain_box(grid: tuple[int, ...], steps: tuple[float, ...], affine: np.ndarray) -> tuple[slice, ...]:
    """The part of the grid that can hold brain."""
    box = []
    for count, step, origin, (low, high) in zip(grid, steps, affine[:3, 3], _BOX, strict=True):
        first = min(max(int(np.floor((low - origin) / step)), 0), count - 1)
        last = max(min(int(np.ceil((high - origin) / step)), count - 1), first)
        box.append(slice(first, last + 1))
    return tuple(box)


def _axes(
    box: tuple[slice, ...], finer: int, steps: tuple[float, ...], affine: np.ndarray
) -> list[np.ndarray]:
    """Coordinates in mm (float32), along each axis, of the voxels of `box`, each cut into `finer` parts."""
    axes = []
    for part, step, origin in zip(box, steps, affine[:3, 3], strict=True):
        index = (np.arange(part.start * finer, part.stop * finer) + 0.5) / finer - 0.5
        axes.append((origin + step * index).astype(np.float32))
    return axes


def _sample_fractions(
    anatomy: Anatomy, box: tuple[slice, ...], steps: tuple[float, ...], affine: np.ndarray
) -> np.ndarray:
    """Tissue fractions (tissue, *box); voxels coarser than `_FINEST` are averaged from finer ones."""
    finer = max(int(np.ceil(max(steps) / _FINEST)), 1)
    if finer == 1 and min(part.stop - part.start for part in box) < 2:
        finer = 2  # gradients need two samples along each axis
    fractions = tissue_fractions(_axes(box, finer, steps, affine), anatomy)
    for axis in (1, 2, 3):
        count = fractions.shape[axis] // finer
        split = (*fractions.shape[:axis], count, finer, *fractions.shape[axis + 1 :])
        fractions = fractions.reshape(split).mean(axis + 1)
    return fractions


def _structures(tissues: np.ndarray) -> np.ndarray:
    table = np.array([_STRUCTURE_OF_TISSUE.get(name, 0) for name in TISSUE_NAMES], np.uint8)
    return table[tissues]


def _acquire(
    fractions: np.ndarray, axes: list[np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The images of all sequences: signals mixed in every voxel, bias field, noise, scaling to uint16."""
    brain = fractions[0] < 0.5
    constants = {name: _vary(tissue, rng) for name, tissue in TISSUES.items()}
    texture = np.exp(_TEXTURE * WaveField.draw(rng, 9.0, 12, spread=0.4).on_grid(axes))
    images = {}
    for name, sequence in SEQUENCES.items():
        signals = [0.0] + [sequence.signal(constants[tissue]) for tissue in TISSUE_NAMES[1:]]
        mixed = np.tensordot(np.asarray(signals, np.float32), fractions, 1)
        bias = np.exp(_BIAS * WaveField.draw(rng, 220.0, 4, spread=0.3).on_grid(axes))
        clean = mixed * texture * bias
        top = float(np.percentile(clean[brain], 99.9)) if brain.any() else 1.0
        noisy = rician_noise(clean, _NOISE * top, rng)
        images[name] = _to_uint16(noisy, brain)
    return images


def _vary(tissue: Tissue, rng: np.random.Generator) -> Tissue:
    """The tissue with this subject's T1 and T2."""
    factors = 1.0 + _CONSTANTS * rng.standard_normal(2)
    return tissue._replace(t1=tissue.t1 * factors[0], t2=tissue.t2 * factors[1])


def _to_uint16(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    if not brain.any():
        return np.zeros(image.shape, np.uint16)
    scaled = np.rint(image * (_INTENSITY / np.percentile(image[brain], 99.9)))
    return np.where(brain, np.clip(scaled, 1, 65535), 0).astype(np.uint16)


def _embed(part: np.ndarray, box: tuple[slice, ...], grid: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(grid, part.dtype)
    whole[box] = part
    return whole


# --- files ------------------------------------------------------------------------------------------------


def write_phantom(
    root: str | Path,
    subjects: int,
    *,
    shape: Sequence[int] = DEFAULT_SHAPE,
    spacing: float | Sequence[float] = DEFAULT_SPACING,
    seed: int = 0,
) -> Path:
    """Write `subjects` generated subjects as NIfTI under the new folder `root`, and return it.

    The folder appears only when it is complete. Subject i depends on (seed, i) alone.
    Raises InputError where `root` exists and is not empty, ValueError for a bad number, shape or spacing.
    """
    root = Path(root)
    if subjects < 1:
        raise ValueError(f"subjects must be at least 1, got {subjects}")
    _check_grid(shape, spacing)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: exists and is not an empty folder")
    write_together(
        f"{root.parent}/", lambda beside: _write_subjects(beside / root.name, subjects, shape, spacing, seed)
    )
    return root


def _write_subjects(
    folder: Path, subjects: int, shape: Sequence[int], spacing: float | Sequence[float], seed: int
) -> None:
    folder.mkdir()
    rows = []
    for index in range(1, subjects + 1):
        name = f"sub-{index:02d}"
        phantom = generate_subject(subject_seed(seed, index), shape, spacing)
        _write_subject(folder / name, phantom)
        volumes = {f"{key}_ml": f"{value:.1f}" for key, value in phantom.volumes().items()}
        rows.append({"participant_id": name, "source": f"generated, seed {seed}", **volumes})
    with open(folder / "participants.tsv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def subject_seed(seed: int, index: int) -> int:
    """The seed of subject `index` in a set written with `seed`: unrelated between sets and subjects."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _write_subject(folder: Path, phantom: Phantom) -> None:
    folder.mkdir()
    for name, array in {**phantom.images, "seg": phantom.seg, "tissues": phantom.tissues}.items():
        image = nib.Nifti1Image(array, phantom.affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}.nii.gz")
