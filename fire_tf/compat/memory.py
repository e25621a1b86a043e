"""How much memory this process may still take: of the machine, its control group, its SLURM job, ``ulimit -v``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

_UNITS = {
    "": 2.0**20,
    "K": 2.0**10,
    "M": 2.0**20,
    "G": 2.0**30,
    "T": 2.0**40,
}  # SLURM's numbers are megabytes

# Of control groups' first and second version: where they lie below /sys/fs/cgroup, the files with the limit and with
# what is in use, and what of that the kernel gives back by itself.
_VERSIONS = {
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": (".", "memory.max", "memory.current", "inactive_file"),
}


def free_memory(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> float:
    """Bytes that this process may still take; infinite where nothing says so. ``root`` is that of the file system."""
    return max(
        0.0,
        min(
            [math.inf, *_of_machine(root), *_of_groups(root), *_of_slurm(root, environment), *_of_shell(root)]
        ),
    )


def _of_machine(root: Path) -> Iterator[float]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield 1024.0 * int(line.split()[1])


def _of_groups(root: Path) -> Iterator[float]:
    """What is left in the process' control group, and in each of those above it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in {"memory", ""} & set(controllers.split(",")):
            place, limit, usage, reclaimed = _VERSIONS[name]
            group = PurePosixPath(path.lstrip("/"))
            # A container may be told a path of the machine that it does not see: its own limit then lies at the top.
            for part in (group, *group.parents):
                folder = root / "sys/fs/cgroup" / place / part
                given, used = _text(folder / limit).strip(), _text(folder / usage).strip()
                if given.isdecimal() and used.isdecimal():
                    found = re.search(rf"^{reclaimed} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
                    yield float(given) - float(used) + float(found[1] if found else 0)


def _of_slurm(root: Path, environment: Mapping[str, str]) -> Iterator[float]:
    """What the job was granted on this node, less what this process has; 0 stands for all of the node."""
    cpus = environment.get("SLURM_CPUS_ON_NODE") or environment.get("SLURM_CPUS_PER_TASK") or "1"
    for name, count in (("SLURM_MEM_PER_NODE", "1"), ("SLURM_MEM_PER_CPU", cpus)):
        granted = re.fullmatch(r"(\d+)([KMGT]?)B?", environment.get(name, "").strip().upper())
        if granted and int(granted[1]) and count.isdecimal():
            yield int(granted[1]) * _UNITS[granted[2]] * int(count) - _pages(root, 1)


def _of_shell(root: Path) -> Iterator[float]:
    with suppress(ImportError):  # Windows
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield limit - _pages(root, 0)


def _pages(root: Path, which: int) -> float:
    """Bytes of this process: its address space (0), or what of it lies in memory (1)."""
    numbers = _text(root / "proc/self/statm").split()
    return float(numbers[which]) * os.sysconf("SC_PAGE_SIZE") if numbers else 0.0


def _text(path: Path) -> str:
    """A file's content, nothing where it cannot be read."""
    with suppress(OSError):
        return path.read_text()
    return ""
