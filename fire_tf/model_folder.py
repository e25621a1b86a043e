"""A trained model on disk: a folder with ``fire.keras`` and ``preprocessing.json``."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from fire_tf.errors import InputError
from fire_tf.model import FIRE


def save_model(model: FIRE, folder: Path) -> None:
    """Write ``fire.keras`` and ``preprocessing.json`` (what the images must look like) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "fire.keras")
    (folder / "preprocessing.json").write_text(json.dumps(model.preprocessing, indent=2))


def load_model(folder: str | Path) -> FIRE:
    """Load a model from its folder, or from the run folder that holds it; compiled as it was saved.

    Raises:
        InputError: the folder holds no model of this package.
    """
    folder = Path(folder)
    for candidate in (folder, folder / "model"):
        if (candidate / "fire.keras").is_file() and (candidate / "preprocessing.json").is_file():
            model = tf.keras.models.load_model(candidate / "fire.keras")
            model.preprocessing = json.loads((candidate / "preprocessing.json").read_text())
            return model
    raise InputError(
        f"{folder}: not a fire_tf model (no fire.keras and preprocessing.json in it or in its model/)"
    )
