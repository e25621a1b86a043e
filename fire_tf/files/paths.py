"""Paths as users write them, and which of them mean one file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fire_tf.files.errors import InputError


def expanded(text: str) -> str:
    """A path with the ``~`` or ``~name`` that it begins with as a shell would write it.

    A file or folder whose own name begins with a tilde is meant where it is there, and made absolute: libraries would
    take it for a home.
    """
    if not text.startswith("~"):
        return text
    first = text.split(os.sep)[0]
    if first == "~" or not os.path.lexists(first):
        text = os.path.expanduser(text)
    return os.path.join(os.getcwd(), text) if text.startswith("~") else text


def user_path(text: str | Path) -> Path:
    """A path that a user wrote; see `expanded`."""
    return Path(expanded(str(text)))


def check_apart(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise InputError for an output that is one of the inputs or a second output, however either is spelt."""
    taken = {_identity(path): f"the input {path}" for path in inputs}
    for path in outputs:
        if (same := taken.get(_identity(path))) is not None:
            raise InputError(f"{path}: cannot be written, it is the same file as {same}")
        taken[_identity(path)] = f"the output {path}"


def _identity(path: str | Path) -> object:
    """Equal for two names of one file: links are followed, also hard ones."""
    path = user_path(path)
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
