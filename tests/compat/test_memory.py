"""What a process may still take, on made-up machines."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from fire_tf.compat.memory import free_memory

GIB = 2**30
MIB = 2**20


def machine(root: Path, files: dict[str, str | int]) -> Path:
    """16 GiB available, and this process has 4096 pages in memory."""
    usual = {
        "proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {16 * MIB} kB\n",
        "proc/self/statm": "9000 4096 1 1 0 1 0",
    }
    for name, content in {**usual, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


V2 = "sys/fs/cgroup/system.slice/job.scope"
V1 = "sys/fs/cgroup/memory/slurm/uid_0/job_1"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 16 * GIB, id="the machine"),
        pytest.param(
            {"proc/self/cgroup": "0::/system.slice/job.scope"}
            | {
                f"{V2}/memory.max": 4 * GIB,
                f"{V2}/memory.current": 3 * GIB,
                f"{V2}/memory.stat": f"anon 1\ninactive_file {GIB}",
            },
            2 * GIB,
            id="version 2: what is cached can be given back",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/system.slice/job.scope",
                f"{V2}/memory.max": "max",
                f"{V2}/memory.current": GIB,
            }
            | {
                "sys/fs/cgroup/system.slice/memory.max": 5 * GIB,
                "sys/fs/cgroup/system.slice/memory.current": 2 * GIB,
            },
            3 * GIB,
            id="version 2: the limit of the group above",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": 512 * MIB,
                "sys/fs/cgroup/memory.current": 500 * MIB,
            },
            12 * MIB,
            id="version 2 in a container",
        ),
        pytest.param(
            {"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/slurm/uid_0/job_1\n0::/"}
            | {f"{V1}/memory.limit_in_bytes": 8 * GIB, f"{V1}/memory.usage_in_bytes": 7 * GIB}
            | {f"{V1}/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB // 2}"},
            1.5 * GIB,
            id="version 1",
        ),
        pytest.param(
            {"proc/self/cgroup": "4:memory:/docker/abc"}
            | {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": GIB,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": 2 * GIB,
            },
            0,
            id="version 1 in a container that does not see its path",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            }
            | {"sys/fs/cgroup/memory/memory.usage_in_bytes": GIB},
            16 * GIB,
            id="version 1 without a limit",
        ),
    ],
)
def test_control_groups(files: dict[str, str | int], expected: float, tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, files), {}) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, 4 * GIB),
        ({"SLURM_MEM_PER_NODE": "4G"}, 4 * GIB),
        ({"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"}, 2 * GIB),
        ({"SLURM_MEM_PER_CPU": "512"}, GIB / 2),
        ({"SLURM_MEM_PER_NODE": "65536"}, None),  # more than the machine has
        ({"SLURM_MEM_PER_NODE": "0"}, None),  # all of the node
        ({"SLURM_MEM_PER_NODE": "some"}, None),
    ],
)
def test_slurm(environment: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    """What this process has, 16 MiB, is taken off what the job may have."""
    found = free_memory(machine(tmp_path, {}), environment)
    assert found == (16 * GIB if expected is None else expected - 16 * MIB)


def test_where_nothing_tells_nothing_is_refused(tmp_path: Path) -> None:
    assert free_memory(tmp_path, {}) == math.inf


def test_a_limit_of_the_shell_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from fire_tf.compat.memory import free_memory; print(free_memory())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**28 < float(ended.stdout) < 2**30
