"""A model with known transforms, for tests of what lies around the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.geometry.point_maps import AffineMap, grid_points

Imitation = Callable[[np.ndarray], np.ndarray]


class KnownModel:
    """Answers ``estimate_pair`` with given transforms; synthesised images are what ``imitate`` makes of a and of b, by
    default the inputs, inverted."""

    def __init__(
        self,
        canvas: tuple[int, ...],
        spacing: tuple[float, ...],
        a_to_b: tuple[np.ndarray, np.ndarray] | None = None,
        b_to_a: tuple[np.ndarray, np.ndarray] | None = None,
        imitate: tuple[Imitation, Imitation] = (np.negative, np.negative),
    ):
        ndim = len(canvas)
        still = (np.eye(ndim, ndim + 1), np.zeros((*canvas, ndim)))
        self.canvas, self.ndim = canvas, ndim
        self.preprocessing = {
            "modality_a": "T1",
            "modality_b": "FLAIR",
            "spacing": list(spacing),
            "percentile": 99.5,
        }
        self.imitate = imitate
        self.phis = {"a_to_b": a_to_b or still, "b_to_a": b_to_a or still}

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        out = {"synth_b": self.imitate[0](a), "synth_a": self.imitate[1](b)}
        for name, (affine, nonrigid) in self.phis.items():
            out[f"affine_{name}"] = np.stack([affine] * len(a))
            out[f"nonrigid_{name}"] = np.stack([nonrigid] * len(a))
        return out


def turned(degrees: float, shift: tuple[float, ...]) -> np.ndarray:
    """An affine (n, n + 1) in centred voxel coordinates: a turn in the first plane, then a shift."""
    angle, ndim = np.deg2rad(degrees), len(shift)
    matrix = np.eye(ndim, ndim + 1)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:, -1] = shift
    return matrix


def inverse_affine(matrix: np.ndarray) -> np.ndarray:
    """The (n, n + 1) matrix that undoes another one."""
    return AffineMap(matrix).inverse().matrix


def brain_like(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A smooth, asymmetric, positive blob on a background of 0: (*shape) float32."""
    centre = (np.asarray(shape) - 1) / 2
    points = (grid_points(shape) - centre) / (0.36 * np.asarray(shape))
    phases = np.random.default_rng(seed).uniform(0, 3, size=(2, len(shape)))
    texture = np.sin(3 * points + phases[0]).sum(-1) + np.cos(2 * points[..., ::-1] + phases[1]).sum(-1)
    inside = (points**2).sum(-1) < 1
    return np.where(inside, 500 + 80 * texture, 0).astype(np.float32)


def labels_of(image: np.ndarray) -> np.ndarray:
    """Three structures cut from an image by its grey values: (*shape) uint8."""
    cuts = np.quantile(image[image > 0], [1 / 3, 2 / 3])
    return np.where(image > 0, 1 + np.digitize(image, cuts), 0).astype(np.uint8)


SLICE_SIZE = (20, 18)
SLICE_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SLICE_TURN = turned(10, (1.0, -2.0))


def bending_model() -> KnownModel:
    """A model of slices that turns and bends."""
    field = 1.2 * np.sin(grid_points(SLICE_SIZE) / 3)
    there, back = (SLICE_TURN, field), (inverse_affine(SLICE_TURN), -field)
    return KnownModel(SLICE_SIZE, (2.0, 2.0), there, back)


def two_slices(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Two slices, a.nii.gz and b.nii.gz, in a folder that becomes the working one; commands have `bending_model`."""
    model = bending_model()
    monkeypatch.setattr("fire_tf.model.storage.find_model", lambda folder: Path(folder))
    monkeypatch.setattr("fire_tf.model.storage.load_model", lambda folder, compiled: model)
    for seed, name in enumerate("ab"):
        nib.save(nib.Nifti1Image(brain_like(SLICE_SIZE, seed), SLICE_AFFINE), folder / f"{name}.nii.gz")
    monkeypatch.chdir(folder)
    return folder
