"""Two real processes that train together: as one would with the whole batch, and on from where one was killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import train_command, write_run

from fire_tf.files.errors import InputError
from fire_tf.training.workers import any_worker, is_chief, join_workers

import tensorflow as tf  # isort: skip

# At rates at which Adam, whose first steps go by a gradient's sign, does not make much of rounding.
STAGES = """
stages: [{name: paper, objective: paper, cycle: [[affine, nonrigid, synthesis]], steps: STEPS, batch_size: 2,
          learning_rate: {affine: 1e-6, nonrigid: 1e-6, synthesis: 1e-6}}]
validation: {batch_size: 2, batches: 1, every: 5}
"""
NETWORK = """
network: {filters: [2, 3, 4], residual_blocks: 1, affine_filters: [], affine_maps: 3, affine_units: 5, affine_steps: 0,
          nonrigid_filters: 4, nonrigid_dilations: [1], nonrigid_steps: 0, shared_transformation: true}
"""


def _start(config: Path, folder: Path, *options: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(train_command(config, folder, *options), env={**os.environ, **environment})


def _start_two(
    config: Path, folder: Path, told: list[dict[str, str]], *options: str
) -> list[subprocess.Popen]:
    options = ("--set", "distribute=multi_worker", *options)
    return [_start(config, folder, *options, **of_one) for of_one in told]


def _by_tensorflow() -> list[dict[str, str]]:
    """The environments of two workers on ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


def _by_slurm() -> list[dict[str, str]]:
    """What srun would set for two tasks on this machine."""
    of_step = {"NODELIST": "localhost", "TASKS_PER_NODE": "2", "NUM_TASKS": "2"}
    of_all = {f"SLURM_STEP_{name}": value for name, value in of_step.items()}
    of_all |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NODEID": "0"}
    return [{**of_all, "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(2)]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _checkpoint(folder: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names}


def test_two_workers_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    config = write_run(tmp_path, STAGES.replace("STEPS", "20"), NETWORK)
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    processes = [_start(config, whole), *_start_two(config, shared, _by_tensorflow())]
    assert [process.wait() for process in processes] == [0, 0, 0]
    for one, other in zip(_rows(shared), _rows(whole), strict=True):
        for name in set(one) - {"seconds", "stage"}:
            if other[name]:
                assert float(one[name]) == pytest.approx(float(other[name]), rel=2e-5, abs=1e-5), name
    expected, found = _checkpoint(whole), _checkpoint(shared)
    means = [name for name in expected if "/_variables/" in name]  # Adam's, of the gradient and of its square
    optimizers = {name.partition("/_variables/")[0] for name in means}
    assert len(optimizers) == 3
    for optimizer in optimizers:
        names = [name for name in means if name.startswith(f"{optimizer}/")]
        apart = [np.linalg.norm(found[name] - expected[name]) for name in names]
        sizes = [np.linalg.norm(expected[name]) for name in names]
        assert np.linalg.norm(apart) <= 1e-3 * np.linalg.norm(sizes), optimizer
        for name, one, size in zip(names, apart, sizes, strict=True):
            # Rounding takes a point into the next voxel, where the slope is another one: a bias of two numbers feels
            # that more than all together do. Where the gradient is 0, what is there is rounding.
            assert one <= 5e-3 * size or np.abs(expected[name]).max() < 1e-6, name
    assert sorted(path.name for path in shared.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.slow
def test_all_go_on_where_one_was_killed(tmp_path: Path) -> None:
    config = write_run(tmp_path, STAGES.replace("STEPS", "40"), NETWORK)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert [process.wait() for process in _start_two(config, whole, _by_slurm())] == [0, 0]
    processes = _start_two(config, killed, _by_slurm())
    while not (killed / "metrics.csv").is_file():
        time.sleep(0.2)
    time.sleep(1.0)
    processes[1].send_signal(signal.SIGKILL)
    assert processes[1].wait() == -signal.SIGKILL
    assert processes[0].wait(timeout=300) == 1  # says so and ends by itself
    assert [process.wait() for process in _start_two(config, killed, _by_slurm(), "--resume")] == [0, 0]
    expected = _checkpoint(whole)
    for name, value in _checkpoint(killed).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert [row["step"] for row in _rows(killed)] == [row["step"] for row in _rows(whole)]


def test_one_process_is_its_own_chief_and_agrees_with_itself() -> None:
    strategy = join_workers("none")
    assert is_chief(strategy)
    assert any_worker(strategy, True, False) == [True, False]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "distribute: multi_worker: neither TF_CONFIG nor SLURM's variables"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG: expected"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "TF_CONFIG: expected"),
    ],
)
def test_workers_nobody_names_are_refused(environment: dict[str, str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        join_workers("multi_worker", environment)
