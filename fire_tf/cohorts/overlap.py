"""Pairs side by side in one process: while one is in the networks, others are read, laid back and written.

Threads attend a pair each, from its files to its files; they share the networks, through which those that wait for
them may go together, and the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Lock

import numpy as np

from fire_tf.cohorts.attending import Outcome, Work, attend
from fire_tf.cohorts.manifest import Row
from fire_tf.compat.memory import free_memory
from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError
from fire_tf.registration.pair import PairModel
from fire_tf.registration.user_images import memory_needed

_BESIDE = 2  # pairs that are read or written while others are in the networks
_SHARE = 0.5  # of the free memory, for pairs: the networks take their part of it too


def attend_side_by_side(
    work: Work, rows: Sequence[Row], *, model: PairModel, together: int = 1
) -> Iterator[Outcome]:
    """What becomes of each pair, in their order. ``together``: see `SharedModel`.

    Where the caller stops, so do the pairs that have not begun.
    """
    one = partial(_attend, work, SharedModel(model, together), Room(_SHARE * free_memory()))
    pool = ThreadPoolExecutor(together + _BESIDE)
    try:
        yield from pool.map(one, rows)
    finally:
        pool.shutdown(cancel_futures=True)


def _attend(work: Work, model: PairModel, room: Room, row: Row) -> Outcome:
    needed = 0.0
    with suppress(InputError), collected():  # which `attend` is told again
        needed = memory_needed(row.moving, row.fixed)
    with room.for_one(needed):
        return attend(work, model, row)


class Room:
    """Bytes of memory that pairs share: one that finds no room beside the others waits until it does, or is alone."""

    def __init__(self, size: float):
        self._size, self._taken = size, 0.0
        self._changed = Condition()

    @contextmanager
    def for_one(self, needed: float) -> Iterator[None]:
        """Wait for the room that a pair needs, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + needed <= self._size)
            self._taken += needed
        try:
            yield
        finally:
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()


@dataclass(eq=False)
class _Request:
    """A pair on its way through the networks, (1, *canvas, 1) each, and what came of it."""

    a: np.ndarray
    b: np.ndarray
    answer: dict[str, np.ndarray] = field(default_factory=dict)
    error: Exception | None = None


class SharedModel:
    """A `PairModel` for several threads. The networks run for one of them at a time, or for several that wait.

    together: how many pairs may go through the networks at once. One by one, or else in a full batch, the last of them
    repeated where fewer wait: for each size of batches the networks are traced anew. A pair's answer depends on the
    others of its batch by what float32 rounds, up to some 1e-5 voxels.
    """

    def __init__(self, model: PairModel, together: int = 1):
        self.canvas, self.ndim, self.preprocessing = model.canvas, model.ndim, model.preprocessing
        self._model, self._together = model, together
        self._waiting: deque[_Request] = deque()
        self._running = Lock()

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """The model's own, for a pair."""
        mine = _Request(a, b)
        self._waiting.append(mine)
        with self._running:
            while not (mine.answer or mine.error):  # by somebody who came before
                count = min(self._together, len(self._waiting))
                self._answer([self._waiting.popleft() for _ in range(count)])
        if mine.error:
            raise mine.error
        return mine.answer

    def _answer(self, requests: Sequence[_Request]) -> None:
        batch = list(requests)
        if len(batch) > 1:
            batch += [batch[-1]] * (self._together - len(batch))
        try:
            images = (np.concatenate([getattr(one, name) for one in batch]) for name in "ab")
            found = self._model.estimate_pair(*images)
        except Exception as error:  # each thread's to tell
            for request in requests:
                request.error = error
            return
        for place, request in enumerate(requests):
            request.answer = {name: values[place : place + 1] for name, values in found.items()}
