"""Packages that only some formats and commands need: imported when they are, named where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fire_tf.files.errors import InputError


@contextmanager
def needed(package: str, extra: str, purpose: str) -> Iterator[None]:
    """Around imports from a ``package`` of an extra: where it is missing, an InputError names pip's command."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(f"{purpose}: needs {package}; pip install 'fire_tf[{extra}]'") from None
