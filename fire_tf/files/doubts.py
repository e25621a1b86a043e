"""What was done though it may be wrong: Python's warnings, of a kind of their own, one line each.

`warnings.warn(message, Doubt)` raises one; the message names the file, the value and the cause.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Doubt(UserWarning):
    """An input that is used, or a result that is given, with a doubt that its user has to know of."""


@contextmanager
def collected() -> Iterator[list[str]]:
    """The messages of the doubts that are raised meanwhile, which are not shown; other warnings go on their way."""
    messages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", Doubt)
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, Doubt):
                messages.append(str(message))
            else:
                show(message, category, *where)

        warnings.showwarning = keep
        yield messages


def in_lines(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a command: each doubt is one line on stderr, ``warning: ...``, as often as it is raised."""

    @functools.wraps(command)
    def with_lines(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with warnings.catch_warnings():
            warnings.simplefilter("always", Doubt)
            show = warnings.showwarning

            def print_line(message: Warning | str, category: type[Warning], *where: Any) -> None:
                if issubclass(category, Doubt):
                    print("warning:", " ".join(str(message).split()), file=sys.stderr)
                else:
                    show(message, category, *where)

            warnings.showwarning = print_line
            return command(*args, **kwargs)

    return with_lines
