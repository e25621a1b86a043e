"""Write a trained model as a SavedModel for TensorFlow Serving.

    python -m fire_tf.export --model runs/t1_flair_2d --output served/fire

writes ``served/fire/<version>/``, the version being one more than the highest that is there. It loads in a process
that has nothing but TensorFlow; `fire_tf.serving.saved_model.signatures` tells its signatures, ``fire_tf.client`` uses
them. The folder appears whole or not at all, so a running server may watch ``served/fire``.

``--canvas 256x256`` adds a canvas, for images larger than the one that the model was trained on, or a smaller one,
which is quicker; may be repeated. An image is registered on the smallest canvas that holds it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from fire_tf.files.errors import InputError, exit_cleanly
from fire_tf.files.outputs import check_writable
from fire_tf.files.paths import user_path


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model", type=user_path, required=True, help="run folder, or the model folder in it"
    )
    parser.add_argument(
        "--output", type=user_path, required=True, help="folder of the versions, as a server is given it"
    )
    parser.add_argument(
        "--canvas", action="append", default=[], metavar="SIZE", help="a further canvas: 192x224"
    )
    parser.add_argument("--version", type=int, help="number of the version (default: the next one)")
    return parser


def _canvas(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
        raise InputError(f"--canvas {text}: expected sizes in voxels, for example 192x224")
    return tuple(map(int, text.split("x")))


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.export") -> None:
    """The command; see the module's docstring."""
    chosen = _parser(prog).parse_args(arguments)
    canvases = [_canvas(text) for text in chosen.canvas]
    check_writable(chosen.output)
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.serving.saved_model.export import export_folder

    print(export_folder(chosen.model, chosen.output, canvases=canvases, version=chosen.version))


if __name__ == "__main__":
    main()
