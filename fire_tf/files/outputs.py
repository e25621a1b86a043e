"""Writing results so that a reader never meets half of them: beside their place first, renamed at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from fire_tf.files.errors import InputError
from fire_tf.files.paths import check_apart, expanded, user_path


def split_prefix(prefix: str) -> tuple[Path, str]:
    """The folder of a prefix and what the names in it begin with; a prefix that ends in "/" is a folder."""
    prefix = expanded(prefix)
    return Path(os.path.dirname(prefix) or "."), os.path.basename(prefix)


def check_writable(folder: Path) -> None:
    """Raise InputError if nothing can be written into a folder, or it cannot be made; makes nothing."""
    folder = user_path(folder)
    # A link that leads nowhere is there, and no folder can be made in its place.
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise InputError(f"{folder}: cannot be written to ({existing} is not a folder)")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to (no permission)")


def unused_folder(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... where it exists already."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in chain([folder], numbered) if not path.exists())


def write_together(
    prefix: str,
    write: Callable[[Path], Mapping[str, Path] | None],
    inputs: Iterable[str | Path] = (),
) -> list[Path]:
    """Let ``write`` fill a folder, then put ``prefix`` before the names of its files; returns the paths.

    For some of the names ``write`` may return other paths, on the same disk, that the files go to. All files appear at
    the end, or none. Raises InputError where the disk refuses, and where a file would take the place of one of the
    ``inputs``.
    """
    folder, stem = split_prefix(prefix)
    with _beside(folder) as beside:
        elsewhere = write(beside) or {}
        targets = {
            path: elsewhere.get(path.name, folder / f"{stem}{path.name}") for path in sorted(beside.iterdir())
        }
        check_apart(targets.values(), inputs)
        for target in elsewhere.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        for path, target in targets.items():
            os.replace(path, target)
    return list(targets.values())


def write_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Let each function write one file; all appear at the end, or none. Raises InputError where the disk refuses."""
    with ExitStack() as stack:
        done = {}
        for path, write in writers.items():
            path = user_path(path)
            done[path] = stack.enter_context(_beside(path.parent)) / path.name
            write(done[path])
        for path, beside in done.items():
            os.replace(beside, path)


def write_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write one file, which appears at ``path`` whole or not at all."""
    write_files({Path(path): write})


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder in ``folder``, which is made where it is missing, that goes again in the end."""
    with (
        _refusals_named(folder),
        _made(folder),
        tempfile.TemporaryDirectory(dir=folder, prefix=".fire_tf_") as made,
    ):
        yield Path(made).absolute()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder with those above it, made where they are missing; where the body fails, these are taken away again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # somebody else has put something into it
                path.rmdir()
        raise


@contextmanager
def _refusals_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror or error})") from error
