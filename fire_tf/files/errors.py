"""What goes wrong because of the input, and how a command says so."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fire_tf.files.doubts import in_lines

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class InputError(ValueError):
    """A file, option or value of the user's cannot be used; the message, one line, names it and says why."""


def exit_cleanly(main: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a command's ``main``: an `InputError` becomes one line on stderr, without a traceback,
    and so does each doubt (`fire_tf.files.doubts`).

    Exit codes: 2 after an `InputError`, 130 after Ctrl-C. Other exceptions are faults of the program and keep
    their traceback.
    """

    @functools.wraps(main)
    def command(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return main(*args, **kwargs)
        except InputError as error:
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            raise SystemExit(EXIT_INPUT_ERROR) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return in_lines(command)
