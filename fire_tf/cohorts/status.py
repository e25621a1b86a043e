"""What became of a pair, in a file of its own: ``P_NAME_status.json``.

It is written when a pair is begun, before any of its files is replaced, and again at its end, so that a job that is
killed leaves no file that says more than is there. A pair is done if its status says so, its files are there in the
size in which they were written, and it would be made from the same again: the content of both images and of the model,
the options, the version of the package.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fire_tf.cohorts.manifest import Row
from fire_tf.files.outputs import split_prefix, write_file
from fire_tf.geometry.nifti import open_image
from fire_tf.registration.pair import PairModel, modalities
from fire_tf.registration.quality import file_hash
from fire_tf.registration.user_images import Options

THUMBNAIL = "thumb.webp"
"""The ending of the name of a pair's picture for the page of all."""


@dataclass(frozen=True)
class Status:
    """made_from: see the function. numbers: the pair's quality. outputs: see `sizes`.
    moving, fixed: absolute paths."""

    state: Literal["running", "done", "failed"]
    moving: str
    fixed: str
    made_from: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    outputs: Mapping[str, int] = field(default_factory=dict)

    def of(self, row: Row) -> bool:
        """Whether this is about the images that a manifest names now."""
        return (self.moving, self.fixed) == (str(row.moving.absolute()), str(row.fixed.absolute()))


def path_of(prefix: str, name: str, ending: str) -> Path:
    """Where one of a pair's files lies, by the ending of its name."""
    folder, stem = split_prefix(prefix)
    return folder / f"{stem}{name}_{ending}"


def status_path(prefix: str, name: str) -> Path:
    """Where the status of a pair lies."""
    return path_of(prefix, name, "status.json")


def begun(row: Row) -> Status:
    """The status of a pair that is being registered."""
    return Status("running", str(row.moving.absolute()), str(row.fixed.absolute()))


def read_status(path: Path) -> Status | None:
    """A pair's status; None where there is none, or none that can be read: then it has to be registered (again)."""
    try:
        return Status(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_status(path: Path, status: Status) -> None:
    """Write a status, whole or not at all."""
    text = json.dumps(asdict(status), indent=2) + "\n"
    write_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def made_from(row: Row, model: PairModel, options: Options, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result depends on: hashes (SHA-256) of the images and of the model, its settings, options, version.

    ``provenance`` is what `fire_tf.registration.quality.provenance` gives. Raises InputError for images that are not
    there and a modality that the model does not know.
    """
    settings = json.dumps(dict(model.preprocessing), sort_keys=True, default=str)
    moving_modality, _ = modalities(model, row.moving_modality or options.moving_modality, row.fixed_modality)
    chosen = asdict(replace(options, moving_modality=moving_modality))
    return {
        "moving_sha256": _hashes(row.moving),
        "fixed_sha256": _hashes(row.fixed),
        "model_sha256": provenance.get("model_sha256"),
        "preprocessing_sha256": hashlib.sha256(settings.encode()).hexdigest(),
        "options": json.loads(json.dumps(chosen)),  # as a status gives them back, lists for tuples
        "fire_tf": provenance.get("versions", {}).get("fire_tf"),
    }


def _hashes(image: Path) -> list[str | None]:
    """Of an image's file, or of its files: header and voxels may lie apart."""
    return [file_hash(part.filename) for part in open_image(image).file_map.values() if part.filename]


def is_done(path: Path, source: Mapping[str, Any]) -> bool:
    """Whether the status at ``path`` says that a pair was made from ``source``, and its files are there."""
    status = read_status(path)
    if status is None or status.state != "done" or status.made_from != source:
        return False
    return all(_size(path.parent / name) == size for name, size in status.outputs.items())


def sizes(files: Sequence[Path], folder: Path) -> dict[str, int]:
    """Files that were written, by their paths seen from the status' folder, with their sizes in bytes."""
    return {os.path.relpath(path, folder): path.stat().st_size for path in files}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
