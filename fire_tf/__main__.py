"""``python -m fire_tf`` and ``fire-tf``: lists the commands and runs one, ``fire-tf register --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from fire_tf.compat.version import __version__
from fire_tf.files.errors import InputError, exit_cleanly

COMMANDS = {
    "register": "register two images, a cohort or a beat with a trained model",
    "models": "list the trained models that come along",
    "apply": "resample further images and label maps with a written transform",
    "train": "train FIRE on pairs of images",
    "evaluate": "measure a trained model, and ANTs beside it, on pairs with labels",
    "export": "write a trained model as a SavedModel for TensorFlow Serving",
    "client": "register two images with a model on a server",
    "demo": "the whole way in minutes, on generated heads",
}


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_usage())
    elif given[0] == "--version":
        print(f"fire-tf {__version__}")
    elif given[0] in COMMANDS:
        import_module(f"fire_tf.{given[0]}").main(given[1:], prog=f"fire-tf {given[0]}")
    else:
        raise InputError(f"{given[0]}: no such command; known: {', '.join(COMMANDS)}")


def _usage() -> str:
    lines = [f"  {name:<10}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        ["usage: fire-tf COMMAND [options]", "", *lines, "", "fire-tf COMMAND --help tells its options"]
    )


if __name__ == "__main__":
    main()
