"""A trained model on disk: a folder with ``fire.keras`` and ``preprocessing.json``.

The latter also says which format the folder has and which version wrote it. Formats:

1. Up to version 0.1, which did not write the number: metrics lie among the weights, and ``slices_last`` tells hearts.
2. No metrics; ``slice_axis`` and ``search`` in the place of ``slices_last``.
"""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from fire_tf.compat.version import __version__
from fire_tf.files.errors import InputError
from fire_tf.files.tables import read_text
from fire_tf.model.fire import FIRE
from fire_tf.model.paths import MODEL, PREPROCESSING, find_model

FORMAT = 2


def save_model(model: FIRE, folder: Path) -> None:
    """Write ``fire.keras`` and ``preprocessing.json`` (what the images must look like) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    content = {"format": FORMAT, "written_by": f"fire_tf {__version__}", **model.preprocessing}
    (folder / PREPROCESSING).write_text(json.dumps(content, indent=2) + "\n")


def load_model(folder: str | Path, *, compiled: bool = True) -> FIRE:
    """Load a model from its folder, from the run folder that holds it, or by the name of one that comes along.

    ``compiled`` brings back the optimizers and the objective it was saved with; registering needs neither.

    Raises:
        InputError: the folder holds no model of this package, or one of a newer version's format.
    """
    folder = find_model(folder)
    try:
        preprocessing = json.loads(read_text(folder / PREPROCESSING))
        _check_format(preprocessing, folder)
        model = _read(folder / MODEL, compiled)
    except InputError:
        raise
    # Keras has no error of its own for a file that it cannot read: it raises whatever its parts happen to raise.
    except Exception as error:
        raise InputError(f"{folder}: its model cannot be read ({_in_short(error)})") from error
    if not isinstance(model, FIRE) or not isinstance(preprocessing, dict):
        raise InputError(f"{folder}: not a fire_tf model (it holds another network, or no settings)")
    fault = _fault(preprocessing, model.ndim)
    if fault:
        raise InputError(f"{folder / PREPROCESSING}: {fault}")
    model.preprocessing = _of_now(preprocessing)
    return model


def load_to_register(
    folder: str | Path, *, threads: int | None = None, once: bool = False
) -> tuple[FIRE, Path]:
    """A model without its optimizers, and its file.

    Args:
        threads: how many the networks may use, to be set before TensorFlow runs; None leaves the choice to it.
        once: the model is to run but once, and so eagerly: tracing costs more than it saves.

    Raises:
        InputError: the folder holds no model of this package, or a number of threads that cannot be.
    """
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads {threads}: expected at least 1")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = load_model(folder, compiled=False)
    model.run_eagerly = once
    return model, find_model(folder) / MODEL


def _check_format(preprocessing: Mapping[str, Any], folder: Path) -> None:
    found = preprocessing.get("format", 1)
    if not isinstance(found, int) or found > FORMAT:
        raise InputError(
            f"{folder}: was written by {preprocessing.get('written_by', 'a newer fire_tf')} in format {found}, and "
            f"fire_tf {__version__} reads formats up to {FORMAT}: pip install --upgrade fire_tf"
        )


def _of_now(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what concerns the folder alone, in today's keys."""
    settings = {name: value for name, value in preprocessing.items() if name not in ("format", "written_by")}
    hearts = settings.pop("slices_last", None)
    if hearts is not None:
        settings |= (
            {"slice_axis": "thickest", "search": "hearts"}
            if hearts
            else {"slice_axis": "last", "search": "heads"}
        )
    return settings


def _fault(preprocessing: Mapping[str, Any], ndim: int) -> str | None:
    """What is wrong with the settings that registering asks for, or None."""

    def positive(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf

    spacing = preprocessing.get("spacing")
    checks = {
        "modality_a": ("a name", isinstance(preprocessing.get("modality_a"), str)),
        "modality_b": ("a name", isinstance(preprocessing.get("modality_b"), str)),
        "percentile": (
            "a number up to 100",
            positive(preprocessing.get("percentile")) and preprocessing["percentile"] <= 100,
        ),
        "spacing": (
            f"{ndim} lengths in mm",
            isinstance(spacing, list) and len(spacing) == ndim and all(map(positive, spacing)),
        ),
    }
    for key, (expected, right) in checks.items():
        if not right:
            found = f"is {preprocessing[key]!r}" if key in preprocessing else "is missing"
            return f"{key} {found}, expected {expected}"
    return None


def _read(path: Path, compiled: bool) -> tf.keras.Model:
    """``tf.keras.models.load_model``, several times faster.

    Keras reads the weights at random places of the zip file, each of which is sought from its beginning.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as unpacked:
        config = _with_keras_of_here(json.loads(archive.read("config.json")))
        if not compiled:
            config["compile_config"] = None
        model = tf.keras.saving.deserialize_keras_object(config)
        model.load_weights(archive.extract("model.weights.h5", unpacked))
    return model


def _with_keras_of_here(config: Any) -> Any:
    """A saved config with the modules' names of the Keras 2 that is installed: ``keras`` or ``tf_keras``."""
    if isinstance(config, list):
        return [_with_keras_of_here(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    found = {name: _with_keras_of_here(entry) for name, entry in config.items()}
    package, dot, path = str(found.get("module") or "").partition(".")
    if package in ("keras", "tf_keras"):
        found["module"] = tf.keras.Model.__module__.split(".")[0] + dot + path
    return found


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
