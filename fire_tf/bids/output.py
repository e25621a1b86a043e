"""The derivatives dataset that results are written into: where it lies, and what it holds besides them."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from fire_tf.bids.dataset import DESCRIPTION
from fire_tf.bids.names import SOURCE
from fire_tf.compat.version import __version__
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_files
from fire_tf.files.tables import read_text

FIGURES = "figures"
"""The folder of what is no part of BIDS: pictures, numbers, and what became of each pair."""
# Transforms have names of BIDS extension proposal 14, which validators do not know yet.
_IGNORED = f"*_xfm.*\n{FIGURES}\n"
_README = f"""Pairs of images, each registered onto the other by fire_tf.

space-B_A: A on the grid of B. from-A_to-B_mode-image_xfm: the transform that made it, an ITK displacement field (LPS,
mm) unless CommandLine in its sidecar asks for another format; desc-affine: its affine part. desc-synthesized: an image
as the model makes it in the other's modality. {FIGURES}/*_summary.html shows all pairs.
"""


def check_output(output: Path, source: Path) -> None:
    """Raise InputError where results on the dataset ``source`` cannot go into ``output``: it is ``source``, or another
    dataset."""
    if output.resolve() == source.resolve():
        raise InputError(f"{output}: is the dataset itself, results need a folder of their own")
    path = output / DESCRIPTION
    if path.is_file():
        try:
            found = json.loads(read_text(path))
            name, links = found.get("Name"), found.get("DatasetLinks")
        except (ValueError, AttributeError):
            raise InputError(f"{path}: cannot be read as a description of a dataset") from None
        own = _description(output, source)
        if (name, links) != (own["Name"], own["DatasetLinks"]):
            raise InputError(f"{output}: holds other results ({name}), give another --output")


def begin_output(output: Path, source: Path) -> None:
    """Write what makes ``output`` a derivatives dataset; what is there of it stays."""
    texts = {
        DESCRIPTION: json.dumps(_description(output, source), indent=2) + "\n",
        ".bidsignore": _IGNORED,
        "README": _README,
    }
    write_files(
        {
            output / name: partial(_write, text=text)
            for name, text in texts.items()
            if not (output / name).exists()
        }
    )


def _description(output: Path, source: Path) -> dict[str, Any]:
    return {
        "Name": "Registered by fire_tf",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fire_tf", "Version": __version__}],
        "DatasetLinks": {SOURCE: os.path.relpath(source.resolve(), output.resolve())},
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
