"""A run that is killed with -9 at random steps, in graph mode, ends with the weights of one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like

from fire_tf.model.storage import load_model

CONFIG = """
name: tiny
deterministic: true
data: {{source: folders, root: {root}/data, split: {{train: [s1, s2], validate: [s3]}}, spacing: 4, canvas: [16, 12],
       cache: {root}/cache}}
deformation: {{rotation: [0, 20], translation: [0, 0.1], peak: [0, 1], control_points: 3}}
network: {{filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5,
          affine_steps: 1, nonrigid_filters: 4, nonrigid_dilations: [1], nonrigid_steps: 1,
          shared_transformation: true}}
stages:
  - {{name: aligned, objective: aligned, cycle: [[synthesis]], steps: 30, batch_size: 2, deform: false,
      schedule: cosine, learning_rate: {{synthesis: 1e-3}}}}
  - {{name: paper, objective: paper, cycle: [[affine], [nonrigid], [synthesis]], steps: 240, batch_size: 2,
      learning_rate: {{affine: 1e-3, nonrigid: 1e-3, synthesis: 1e-3}}}}
validation: {{batch_size: 2, batches: 1, every: 7}}
"""
KILLS = 10


@pytest.mark.slow
def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    for seed, name in enumerate(("s1", "s2", "s3")):
        (tmp_path / "data" / name).mkdir(parents=True)
        image = brain_like((16, 12), seed)
        for kind, array in (("T1", image), ("FLAIR", np.where(image > 0, 1000 - image, 0))):
            volume = nib.Nifti1Image(array[..., np.newaxis], np.diag([4.0, 4, 4, 1]))
            nib.save(volume, tmp_path / "data" / name / f"{kind}.nii.gz")
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(root=tmp_path))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _run(config, whole) == 0
    draw, kills = random.Random(1), 0
    while kills < KILLS:
        code = _run(
            config, killed, killed_after=draw.uniform(0.0, 2.0) if kills % 2 else draw.uniform(2.0, 12.0)
        )
        if code == 0:
            break
        kills += 1
    if kills == KILLS:
        assert _run(config, killed) == 0
    assert kills >= 3  # a fast machine may be done before the tenth
    for one, other in zip(load_model(killed).variables, load_model(whole).variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert (killed / "metrics.csv").read_text().count("\n") == (whole / "metrics.csv").read_text().count("\n")


def _run(config: Path, folder: Path, killed_after: float | None = None) -> int:
    """Train, or go on training; ``killed_after``: seconds from the first step that was not there yet."""
    command = [
        sys.executable,
        "-m",
        "fire_tf.train",
        "--config",
        str(config),
        "--output",
        str(folder),
        "--quiet",
    ]
    command += ["--resume"] if (folder / "config.yaml").is_file() else []
    process = subprocess.Popen(command, env={**os.environ, "TF_NUM_INTRAOP_THREADS": "2"})
    if killed_after is None:
        return process.wait()
    before = _rows(folder)
    while _rows(folder) <= before and process.poll() is None:
        time.sleep(0.05)
    try:
        return process.wait(killed_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def _rows(folder: Path) -> int:
    table = folder / "metrics.csv"
    return table.read_text().count("\n") if table.is_file() else 0
