"""What TensorFlow's C++ side says that no setting silences: at its import (from 2.18 on) and XLA's first compilation.

Unless TF_CPP_MIN_LOG_LEVEL asks to see it. Real failures reach Python as exceptions.
"""

import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from fire_tf.compat.environment import brings_keras_3, check_environment
from fire_tf.compat.seeds import accept_float_bounds

_NOTICES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)|.*Compiled cluster using XLA!|[IWE]0000 |"
    rb"To enable the following instructions:"
)


@contextmanager
def without_notices() -> Iterator[None]:
    """File descriptor 2 leads to a temporary file meanwhile; what is no notice is passed on at the end."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _NOTICES.match(line):
                    os.write(2, line)


@functools.cache
def import_tensorflow() -> None:
    """Check that the networks can work here, and load TensorFlow; what every room does first that needs it.

    Raises UnsupportedEnvironmentError.
    """
    check_environment()
    if "tensorflow" not in sys.modules:
        with without_notices():
            import tensorflow  # noqa: F401
    if brings_keras_3():
        accept_float_bounds()


@functools.cache
def quieten_xla() -> None:
    """Get XLA's once-in-a-process notice over with: compiles a trivial function out of sight."""
    import tensorflow as tf

    with without_notices():
        tf.function(tf.negative, jit_compile=True)(0.0)
