"""Three subjects with a ball each, and what training draws from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.config.schema import DataConfig, DeformationConfig
from fire_tf.data.dataset import build_dataset

DEFORMATION = DeformationConfig(
    rotation=(5.0, 20.0),
    translation=(0.0, 0.2),
    scale=(0.9, 1.1),
    shear=(-0.05, 0.05),
    peak=(0.5, 1.5),
    control_points=4,
)
COMMON = DeformationConfig(rotation=(0.0, 10.0), translation=(0.0, 0.1), peak=(0.0, 1.0), control_points=4)


def write_subject(folder: Path, seed: int) -> None:
    """A smooth ball with a slanted inside, a second contrast of it, labels: 20 x 24 x 10 voxels of 2 mm."""
    folder.mkdir(parents=True)
    grid = np.indices((20, 24, 10)).transpose(1, 2, 3, 0) - np.array([9.5, 11.5, 4.5])
    radius = np.linalg.norm(grid / [7, 8, 5], axis=-1)
    inside = np.clip((1 - radius) * 4, 0, 1)
    a = inside * (500 + (30 - 5 * seed) * grid[..., 0] + 20 * grid[..., 2])
    b = inside * (600 - 20 * grid[..., 1])
    labels = (radius < 0.9).astype(np.uint8) * (1 + (grid[..., 0] > 0))
    for name, data in (
        ("T1", a.astype(np.float32)),
        ("FLAIR", b.astype(np.float32)),
        ("seg", labels.astype(np.uint8)),
    ):
        nib.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(folder / f"{name}.nii.gz")


def balls(tmp_path: Path) -> DataConfig:
    """Write the subjects; s0 and s1 are for training."""
    for index in range(3):
        write_subject(tmp_path / "images" / f"s{index}", index)
    return DataConfig(
        source="folders",
        root=str(tmp_path / "images"),
        labels="seg",
        split={"train": ("s0", "s1"), "test": ("s2",)},
        spacing=(2.0,),
        canvas=(32,),
        cache=str(tmp_path / "cache"),
    )


def volumes(config: DataConfig) -> DataConfig:
    return replace(config, ndim=3, spacing=(2.0, 2.0, 2.0), canvas=(32, 32, 16))


def elements(config: DataConfig, count: int, **changes: Any) -> list[dict[str, np.ndarray]]:
    arguments: dict[str, Any] = {
        "split": "train",
        "batch_size": 1,
        "moving": "either",
        "seed": 3,
        "repeat": True,
        "deformation": DEFORMATION,
        "common": COMMON,
    } | changes
    dataset = build_dataset(config, arguments.pop("deformation"), arguments.pop("common"), **arguments)
    return [
        {name: value[0] for name, value in batch.items()} for batch in dataset.take(count).as_numpy_iterator()
    ]


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
