"""Checks that the environment can work and keeps TensorFlow quiet, before TensorFlow is imported.

Reads the installed versions from the packages' metadata, which costs milliseconds and imports nothing.
"""

import os
import sys
from importlib import metadata
from types import TracebackType
from typing import NamedTuple

SUPPORTED_PYTHON = ((3, 10), (3, 11))


class Requirement(NamedTuple):
    """A distribution and the leading parts of the version that works, for example ``keras`` and ``2.15``."""

    name: str
    version: str
    fix: str


REQUIREMENTS = (
    Requirement("keras", "2.15", "pip install tensorflow==2.15.1 keras==2.15.0"),
    Requirement("voxelmorph", "0.2", "pip install voxelmorph==0.2"),
    Requirement("neurite", "0.2", "pip install neurite==0.2"),
)


class UnsupportedEnvironmentError(ImportError):
    """`fire_tf` cannot work here; the message is one line that names the fix."""


def find_fault() -> str | None:
    """One line that says what does not fit and how to mend it, or None."""
    if sys.version_info[:2] not in SUPPORTED_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return (
            f"fire_tf needs Python 3.10 or 3.11, found {found} (TensorFlow 2.15 has no wheels for it): "
            "python3.11 -m venv .venv"
        )
    for requirement in REQUIREMENTS:
        found = _installed_version(requirement.name)
        wanted = requirement.version.split(".")
        if found.split(".")[: len(wanted)] != wanted:
            return f"fire_tf needs {requirement.name} {requirement.version}, found {found}: {requirement.fix}"
    return None


def check_environment() -> None:
    """Raise `UnsupportedEnvironmentError` where `fire_tf` cannot work."""
    fault = find_fault()
    if fault is not None:
        _report_in_one_line()
        raise UnsupportedEnvironmentError(fault)


def quieten_tensorflow() -> None:
    """Ask TensorFlow's C++ side for silence, unless the user has chosen a level.

    3 and not 2: TensorFlow 2.15 logs the double registration of cuDNN, cuFFT and cuBLAS as errors, though it
    is harmless and happens on every machine. Real failures reach Python as exceptions.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _report_in_one_line() -> None:
    """Let an uncaught `UnsupportedEnvironmentError` end the program with its line alone.

    The import system's frames would bury the line that matters. Every other exception goes to the hook that
    was there before.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, UnsupportedEnvironmentError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = hook
