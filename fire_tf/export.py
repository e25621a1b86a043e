"""Write a trained model as a SavedModel for TensorFlow Serving.

    python -m fire_tf.export --model runs/t1_flair_2d --output served/fire

writes ``served/fire/<version>/``, the version being one more than the highest that is there. It loads in a process
that has nothing but TensorFlow; `fire_tf.served` tells its signatures, `fire_tf.client` uses them. The folder appears
whole or not at all, so a running server may watch ``served/fire``.

``--canvas 256x256`` adds a canvas, for images larger than the one that the model was trained on, or a smaller one,
which is quicker; may be repeated. An image is registered on the smallest canvas that holds it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fire_tf._version import __version__
from fire_tf.errors import InputError, exit_cleanly
from fire_tf.outputs import check_writable, write_together
from fire_tf.predict_messages import PredictionLog, Value, predict_request, to_tensor

if TYPE_CHECKING:
    from fire_tf.model import FIRE

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")  # where TensorFlow Serving looks for them


def export_model(
    model: FIRE,
    output: str | Path,
    *,
    canvases: Iterable[Sequence[int]] = (),
    version: int | None = None,
    source: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``output/<version>/`` and return it.

    Args:
        canvases: sizes in voxels that the SavedModel also serves, beside the model's own.
        version: a number that is not there yet; by default one more than the highest.
        source: what the signature ``describe`` says besides, for example the hash of the model's file.

    Raises:
        InputError: a canvas that the model cannot have, a version that exists, a model that does not know its
            images (``model.preprocessing`` is empty), or a folder that cannot be written to.
    """
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.canvases import on_canvas
    from fire_tf.served import ServedFIRE

    if not model.preprocessing:
        raise InputError(
            "the model does not know spacing, modalities and percentile: set model.preprocessing"
        )
    output = Path(output)
    number = _next_version(output) if version is None else version
    if number < 0 or (output / str(number)).exists():
        raise InputError(f"{output}/{number}: this version exists, or is no version")
    ladder = sorted({model.canvas, *map(tuple, canvases)}, key=lambda canvas: (np.prod(canvas), canvas))
    description = {
        "fire_tf": __version__,
        "canvas": model.canvas,
        "canvases": ladder,
        "preprocessing": model.preprocessing,
        **(source or {}),
    }
    served = ServedFIRE([on_canvas(model, canvas) for canvas in ladder], description)
    write_together(f"{output}/", lambda beside: _write(served, ladder, beside / str(number)))
    return output / str(number)


def _next_version(output: Path) -> int:
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def _write(served: Any, canvases: Sequence[Sequence[int]], folder: Path) -> None:
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # a notebook would be told of the folder that is renamed afterwards
    try:
        tf.saved_model.save(
            served,
            str(folder),
            signatures=served.signatures(),
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
    finally:
        logger.setLevel(level)
    (folder / WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for log in warmup_requests(canvases):
            writer.write(log.SerializeToString())


def warmup_requests(canvases: Iterable[Sequence[int]]) -> Iterable[Any]:
    """A request to every signature on every canvas, which a server runs before it answers others.

    The first run of a graph takes many times longer than the next ones.
    """
    for canvas in canvases:
        # A slope, because constant images are refused.
        image = np.linspace(0, 1, int(np.prod(canvas)), dtype=np.float32).reshape((1, *canvas, 1))
        encoded = to_tensor(image).SerializeToString()
        plain: dict[str, Value] = {"moving": image, "fixed": image}
        requests: dict[str, dict[str, Value]] = {
            "serving_default": plain,
            "warp_only": plain,
            "register_bytes": {"moving_bytes": encoded, "fixed_bytes": encoded},
        }
        for signature, inputs in requests.items():
            # Which model is meant the server knows: it is loading it.
            yield PredictionLog(predict_log={"request": predict_request("", signature, inputs)})


def _canvas(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
        raise InputError(f"--canvas {text}: expected sizes in voxels, for example 192x224")
    return tuple(map(int, text.split("x")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.export", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="run folder, or the model folder in it")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the versions, as a server is given it"
    )
    parser.add_argument(
        "--canvas", action="append", default=[], metavar="SIZE", help="a further canvas: 192x224"
    )
    parser.add_argument("--version", type=int, help="number of the version (default: the next one)")
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    chosen = _parser().parse_args(arguments)
    canvases = [_canvas(text) for text in chosen.canvas]
    check_writable(chosen.output)
    from fire_tf import model_folder
    from fire_tf.quality import file_hash

    file = model_folder.find_model(chosen.model) / "fire.keras"
    model = model_folder.load_model(chosen.model, compiled=False)
    source = {"model_sha256": file_hash(file)}
    print(export_model(model, chosen.output, canvases=canvases, version=chosen.version, source=source))


if __name__ == "__main__":
    main()
