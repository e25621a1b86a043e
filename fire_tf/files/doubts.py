"""What was done though it may be wrong: Python's warnings, of a kind of their own, one line each.

`warnings.warn(message, Doubt)` raises one; the message names the file, the value and the cause.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TextIO, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Doubt(UserWarning):
    """An input that is used, or a result that is given, with a doubt that its user has to know of."""


@contextmanager
def collected() -> Iterator[list[str]]:
    """The messages of the doubts that are raised meanwhile, which are not shown; other warnings go on their way."""
    messages: list[str] = []
    with _given_to(messages.append):
        yield messages


def in_lines(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a command: each doubt is one line on stderr, ``warning: ...``, once however often it is raised."""

    @functools.wraps(command)
    def with_lines(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        said = set()

        def say(message: str) -> None:
            line = " ".join(message.split())
            if line not in said:  # frames of one file share its header's doubts
                print("warning:", line, file=sys.stderr)
            said.add(line)

        with _given_to(say):
            return command(*args, **kwargs)

    return with_lines


@contextmanager
def _given_to(take: Callable[[str], object]) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", Doubt)
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, Doubt):
                take(str(message))
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
