"""One pair of a cohort, from its row in the manifest to its files and its status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from fire_tf.cohorts.manifest import Row
from fire_tf.cohorts.status import (
    THUMBNAIL,
    Status,
    begun,
    is_done,
    made_from,
    path_of,
    sizes,
    status_path,
    write_status,
)
from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError
from fire_tf.pictures.thumbnail import write_thumbnail
from fire_tf.registration.pair import PairModel
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, register_images


@dataclass(frozen=True)
class Work:
    """What is the same for all pairs: see `fire_tf.cohorts.cohort.register_cohort`. inputs: no file of a result may
    take their place."""

    prefix: str
    options: Options
    provenance: Mapping[str, Any]
    resume: bool = False
    inputs: Sequence[Path] = ()


class Outcome(NamedTuple):
    """What became of a pair: nothing to do, an error or "", and what is doubtful."""

    name: str
    skipped: bool = False
    error: str = ""
    doubts: Sequence[str] = ()


def attend(work: Work, model: PairModel, row: Row) -> Outcome:
    """Register a pair and write its files and its status, unless it is done and ``work`` resumes."""
    path = status_path(work.prefix, row.name)
    status = begun(row)
    try:
        with collected() as doubts:
            source = made_from(row, model, work.options, work.provenance)
            if work.resume and is_done(path, source):
                return Outcome(row.name, skipped=True)
            status = replace(status, made_from=source)
            write_status(path, status)
            write_status(path, _registered(work, model, row, status))
    # Whatever goes wrong with one pair, a night's work on the others must not be lost.
    except Exception as error:
        return fail(work, row, error, status, doubts)
    return Outcome(row.name, doubts=doubts)


def fail(
    work: Work, row: Row, error: Exception, status: Status | None = None, doubts: Sequence[str] = ()
) -> Outcome:
    """Note that a pair has failed. ``status``: what is known of it besides."""
    line = " ".join(str(error).split())
    if not isinstance(error, InputError):
        line = f"{type(error).__name__}: {line}"
    with suppress(InputError):  # the disk, say, which was the fault to begin with
        path = status_path(work.prefix, row.name)
        write_status(path, replace(status or begun(row), state="failed", error=line))
    return Outcome(row.name, error=line, doubts=doubts)


def _registered(work: Work, model: PairModel, row: Row, status: Status) -> Status:
    options = replace(work.options, moving_modality=row.moving_modality or work.options.moving_modality)
    result = register_images(model, row.moving, row.fixed, options)
    prefix = f"{work.prefix}{row.name}_"
    files = write_registration(
        result,
        prefix,
        options.warp_format,
        work.provenance,
        work.inputs,
        options.further_formats,
        row.derivatives,
    )
    thumbnail = path_of(work.prefix, row.name, THUMBNAIL)
    write_thumbnail(path_of(work.prefix, row.name, "qc.png"), thumbnail)
    return replace(
        status, state="done", numbers=result.quality, outputs=sizes([*files, thumbnail], thumbnail.parent)
    )
