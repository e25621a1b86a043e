"""A folder of small pairs and a config that trains small networks on them, for tests of whole trainings."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from fake_model import brain_like

_CONFIG = """
name: tiny
deterministic: true
data: {{source: folders, root: {root}/data, split: {{train: [s1, s2], validate: [s3]}}, spacing: 4, canvas: [16, 12],
       cache: {root}/cache}}
deformation: {{rotation: [0, 20], translation: [0, 0.1], peak: [0, 1], control_points: 3}}
"""
NETWORK = """
network: {filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5,
          affine_steps: 1, nonrigid_filters: 4, nonrigid_dilations: [1], nonrigid_steps: 1,
          shared_transformation: true}
"""


def write_run(root: Path, stages: str, network: str = NETWORK) -> Path:
    """Three subjects in ``root``, and the path of a config with these ``stages`` and this ``network``, in YAML."""
    for seed, name in enumerate(("s1", "s2", "s3")):
        (root / "data" / name).mkdir(parents=True)
        image = brain_like((16, 12), seed)
        for kind, array in (("T1", image), ("FLAIR", np.where(image > 0, 1000 - image, 0))):
            volume = nib.Nifti1Image(array[..., np.newaxis], np.diag([4.0, 4, 4, 1]))
            nib.save(volume, root / "data" / name / f"{kind}.nii.gz")
    config = root / "tiny.yaml"
    config.write_text(_CONFIG.format(root=root) + network + stages)
    return config


def train_command(config: Path, folder: Path, *options: str) -> list[str]:
    """The command of a process that trains by ``config`` into ``folder``."""
    command = [sys.executable, "-m", "fire_tf.train", "--config", str(config), "--output", str(folder)]
    return [*command, "--quiet", *options]
