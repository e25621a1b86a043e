"""Generated heads, written on first use into the cache folder."""

from __future__ import annotations

import math
from pathlib import Path

from fire_tf.config.schema import DataConfig
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable
from fire_tf.sources import folders
from fire_tf.sources.subjects import SubjectFiles


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The generated subjects of every split."""
    return folders.find_subjects(config, _generated(config))


def _generated(config: DataConfig) -> Path:
    """The folder of generated subjects at the config's spacing, written on first use."""
    # Generated images are no part of what most runs need.
    from fire_tf.phantom.heads import DEFAULT_SHAPE, DEFAULT_SPACING, write_phantom

    spacing = (*config.spacing, config.spacing[0])[:3]
    extent = [size * DEFAULT_SPACING for size in DEFAULT_SHAPE]
    shape = [math.ceil(length / step) for length, step in zip(extent, spacing, strict=True)]
    grid = "x".join(map(str, shape)) + "-" + "x".join(f"{step:g}" for step in spacing)
    root = Path(config.cache) / f"phantom-{config.phantom_subjects}-{grid}"
    if not root.is_dir():
        check_writable(root.parent)
        try:
            write_phantom(root, config.phantom_subjects, shape=shape, spacing=spacing)
        except InputError:
            if not root.is_dir():  # else another process has written the same heads meanwhile
                raise
    return root
