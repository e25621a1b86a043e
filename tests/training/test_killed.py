"""A run that is killed with -9 at random steps, in graph mode, ends with the weights of one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import train_command, write_run

from fire_tf.model.storage import load_model

STAGES = """
stages:
  - {name: aligned, objective: aligned, cycle: [[synthesis]], steps: 30, batch_size: 2, deform: false,
      schedule: cosine, learning_rate: {synthesis: 1e-3}}
  - {name: paper, objective: paper, cycle: [[affine], [nonrigid], [synthesis]], steps: 240, batch_size: 2,
      learning_rate: {affine: 1e-3, nonrigid: 1e-3, synthesis: 1e-3}}
validation: {batch_size: 2, batches: 1, every: 7}
"""
KILLS = 10


@pytest.mark.slow
def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    config = write_run(tmp_path, STAGES)
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
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    command = train_command(config, folder, *resume)
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
