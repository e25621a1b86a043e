"""Images of noise, and where their voxels lie in the world."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (9, 11, 7)
OBLIQUE = np.array(
    [[1.9, 0.3, -0.2, -20], [-0.35, 2.1, 0.25, 5], [0.2, -0.3, 2.4, 11], [0, 0, 0, 1]], dtype=float
)


def volume(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 100, shape).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]
