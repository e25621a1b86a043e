"""XLA's notice about its first compilation, which no setting of TensorFlow 2.15 silences."""

import functools
import os
import sys
import tempfile

import tensorflow as tf

_NOTICE = (b"WARNING: All log messages before absl::InitializeLog()", b"Compiled cluster using XLA!")


@functools.cache
def quieten_xla() -> None:
    """Get XLA's once-in-a-process notice over with, out of sight, unless TF_CPP_MIN_LOG_LEVEL asks to see it.

    Compiles a trivial function while file descriptor 2 leads to a temporary file, and passes on whatever else
    was written there meanwhile.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0":
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            tf.function(tf.negative, jit_compile=True)(0.0)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        held.seek(0)
        for line in held:
            if not any(notice in line for notice in _NOTICE):
                os.write(2, line)
