"""Pairs of a cohort on the workers of a Dask cluster: on this machine, or on those of any scheduler.

The workers see the same files under the same paths. Each loads the model once; what a worker had begun when it was lost
is begun again by another, which writes the same files anew.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fire_tf.cohorts.attending import Outcome, Work, attend, fail
from fire_tf.cohorts.manifest import Row
from fire_tf.compat.version import __version__
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import split_prefix
from fire_tf.registration.pair import PairModel
from fire_tf.registration.quality import file_hash

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 10  # seconds within which a scheduler has to answer


class Needed(NamedTuple):
    """The model that a worker has to have, as a user names it, with its hash and the version of fire_tf."""

    folder: Path
    threads: int | None
    sha256: str | None
    version: str = __version__


def attend_on_cluster(
    work: Work, rows: Sequence[Row], *, model: Path, threads: int | None, where: str
) -> Iterator[Outcome]:
    """What becomes of each pair, as it is known.

    Args:
        model: as for `fire_tf.model.storage.load_to_register`, found by each worker.
        threads: of the networks, on each worker.
        where: "local:N" for N workers on this machine, or the address of a scheduler.

    Raises:
        InputError: no such scheduler answers, or the first worker has not this model or this version.
    """
    needed = Needed(
        model.absolute() if model.exists() else model, threads, work.provenance.get("model_sha256")
    )
    work = replace(work, prefix=_absolute(work.prefix), inputs=[path.absolute() for path in work.inputs])
    rows = [replace(row, moving=row.moving.absolute(), fixed=row.fixed.absolute()) for row in rows]
    with _client(where) as client:
        from distributed import as_completed

        client.submit(_ready, needed, pure=False).result()
        row_of = dict(zip(client.map(_attend, rows, work=work, needed=needed, pure=False), rows, strict=True))
        for future in as_completed(list(row_of)):
            row = row_of.pop(future)
            error = future.exception()
            # The worker was lost several times over this pair: its memory, most likely.
            yield future.result() if error is None else fail(work, row, error)
            future.release()


def _absolute(prefix: str) -> str:
    folder, stem = split_prefix(prefix)
    return f"{folder.absolute()}/{stem}"


@contextmanager
def _client(where: str) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError('--dask needs more than is installed: pip install "fire_tf[cluster]"') from None
    local = re.fullmatch(r"local:([1-9][0-9]*)", where)
    if not local and not re.fullmatch(r"([a-z]+://)?(?!local:)[^/:]+:[0-9]+", where):
        raise InputError(f"--dask {where}: expected local:N or the address of a scheduler, tcp://host:8786")
    if local:
        # One pair at a time for each, as much memory as there is, and nothing that listens for browsers.
        workers = {"n_workers": int(local[1]), "threads_per_worker": 1, "memory_limit": 0}
        with LocalCluster(**workers, dashboard_address=None) as cluster, Client(cluster) as client:
            yield client
            # TensorFlow is slow to go, and nannies would warn of each worker that they kill in the end.
            logging.getLogger("distributed.nanny").setLevel(logging.ERROR)
        return
    try:
        client = Client(where, timeout=_PATIENCE)
    except OSError as error:
        raise InputError(f"--dask {where}: no scheduler answers ({error})") from None
    with client:
        yield client


def _ready(needed: Needed) -> None:
    """Load the model where that has not been done."""
    _model(needed)


def _attend(row: Row, work: Work, needed: Needed) -> Outcome:
    return attend(work, _model(needed), row)


@lru_cache(maxsize=1)
def _model(needed: Needed) -> PairModel:
    """The model, once a worker; raises InputError where it is another one than the command was told, or fire_tf is."""
    # TensorFlow, which the command itself does without.
    from fire_tf.model.storage import load_to_register

    model, file = load_to_register(needed.folder, threads=needed.threads)
    if (file_hash(file), __version__) != (needed.sha256, needed.version):
        raise InputError(
            f"{file}: is another model on this worker, or fire_tf is {__version__} and not {needed.version}"
        )
    return model
