"""What was done though it may be wrong: Python's warnings, of a kind of their own, one line each.

`cast_doubt` raises one; the message names the file, the value and the cause.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Doubt(UserWarning):
    """An input that is used, or a result that is given, with a doubt that its user has to know of."""


# Of this thread: pairs that are registered side by side have each their own doubts, and Python's filters of warnings,
# which all threads share, might lose some.
_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


def cast_doubt(message: str, *, stacklevel: int = 2) -> None:
    """Tell who listens (`collected`, a command), or else raise a `Doubt` as a warning; ``stacklevel`` as warnings' own,
    seen from the caller."""
    tell = _listener.get()
    if tell is not None:
        tell(message)
    else:
        warnings.warn(message, Doubt, stacklevel=stacklevel + 1)


@contextmanager
def collected() -> Iterator[list[str]]:
    """The messages of the doubts that are cast meanwhile, by this thread, which are not shown."""
    messages: list[str] = []
    with _told_to(messages.append):
        yield messages


def in_lines(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a command: each doubt is one line on stderr, ``warning: ...``, once however often it is cast."""

    @functools.wraps(command)
    def with_lines(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        said = set()

        def say(message: str) -> None:
            line = " ".join(message.split())
            if line not in said:  # frames of one file share its header's doubts
                print("warning:", line, file=sys.stderr)
            said.add(line)

        with _told_to(say):
            return command(*args, **kwargs)

    return with_lines


@contextmanager
def _told_to(tell: Callable[[str], object]) -> Iterator[None]:
    token = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(token)
