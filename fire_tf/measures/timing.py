"""How long something takes."""

from __future__ import annotations

import time
from typing import NamedTuple


class Times(NamedTuple):
    """Wall-clock and CPU seconds."""

    seconds: float
    cpu_seconds: float


NOT_TIMED = Times(float("nan"), float("nan"))


class Stopwatch:
    """Wall-clock and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Times:
        """Seconds until now."""
        return Times(time.perf_counter() - self._wall, time.process_time() - self._cpu)
