"""What a command costs as a user starts it: in a process of its own, from its start to its end."""

from __future__ import annotations

import os
import subprocess
import time
from typing import NamedTuple


class Cost(NamedTuple):
    """Wall-clock seconds, CPU seconds (user and system, of all threads) and peak resident memory in MiB."""

    wall: float
    cpu: float
    memory: float


def cost(command: list[str], **environment: str) -> Cost:
    """Run a command, which must succeed; ``environment`` is added to ours."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    )
    # Popen.wait would leave no way to ask for the memory of this process alone.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
