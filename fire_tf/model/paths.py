"""Where trained models lie: in a folder of their own, in the run that made them, or in the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fire_tf.config.shipped import WEIGHTS
from fire_tf.files.errors import InputError
from fire_tf.files.paths import user_path

MODEL, PREPROCESSING = "fire.keras", "preprocessing.json"
_SHIPPED = WEIGHTS


def find_model(folder: str | Path) -> Path:
    """The folder of a model: ``folder`` itself, ``model/`` in it where it is a run, or one that comes along.

    Raises:
        InputError: the folder holds no model of this package.
    """
    for candidate in _candidates(user_path(folder)):
        if (candidate / MODEL).is_file() and (candidate / PREPROCESSING).is_file():
            return candidate
    shipped = ", ".join(sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MODEL}")))
    raise InputError(
        f"{folder}: not a fire_tf model (no {MODEL} and {PREPROCESSING} in it or in its model/), "
        f"and not one of those that come along: {shipped}"
    )


def run_config(folder: str | Path) -> Path:
    """The config that was saved with a model: in its own folder or in the run's."""
    for candidate in _candidates(user_path(folder)):
        if (candidate / "config.yaml").is_file():
            return candidate / "config.yaml"
    raise InputError(f"{folder}: has no config.yaml, so it is neither a run nor a model")


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    yield folder / "model"
    if folder.name == str(folder):  # a bare name
        yield _SHIPPED / folder
