"""What goes wrong because of the input, and how a command says so."""

import difflib
import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from fire_tf.files.doubts import in_lines

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


class InputError(ValueError):
    """A file, option or value of the user's cannot be used; the message, one line, names it and says why."""


def nearest(name: object, known: Iterable[object]) -> str:
    """The known name that looks most like ``name``."""
    return difflib.get_close_matches(str(name), [str(entry) for entry in known], n=1, cutoff=0.0)[0]


def exit_cleanly(main: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a command's ``main``: an `InputError` becomes one line on stderr, without a traceback,
    and so does each doubt (`fire_tf.files.doubts`).

    Exit codes: 2 after an `InputError`, 130 after Ctrl-C, 141, without a word, where nobody reads the output any more
    (``| head``). Other exceptions are faults of the program and keep their traceback.
    """

    @functools.wraps(main)
    def command(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            try:
                result = main(*args, **kwargs)
            except SystemExit:  # argparse's, behind its help
                _flush_output()
                raise
            _flush_output()
            return result
        except InputError as error:
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            raise _end(EXIT_INPUT_ERROR) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise _end(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            raise _end(EXIT_BROKEN_PIPE) from None

    return in_lines(command)


def _flush_output() -> None:
    """What is left would otherwise be found unwritable when the interpreter ends, which has its own words for it."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"standard output: cannot be written to ({error.strerror})") from error


def _end(code: int) -> SystemExit:
    """The exit with a code, outputs that nobody takes led to nowhere: the interpreter flushes them once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return SystemExit(code)
