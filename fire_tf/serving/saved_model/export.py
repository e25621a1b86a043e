"""A trained model as a SavedModel in a folder of versions, as TensorFlow Serving watches it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fire_tf.compat.version import __version__
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_together
from fire_tf.model.fire import FIRE
from fire_tf.model.paths import MODEL, find_model
from fire_tf.model.storage import load_model
from fire_tf.networks.compiled import uncompiled
from fire_tf.registration.quality import file_hash
from fire_tf.serving.messages import PredictionLog, Value, predict_request, to_tensor
from fire_tf.serving.saved_model.canvases import on_canvas
from fire_tf.serving.saved_model.signatures import ServedFIRE

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
        "preprocessing": dict(model.preprocessing),  # and not the wrapper that Keras puts around it
        **(source or {}),
    }
    served = ServedFIRE([on_canvas(model, canvas) for canvas in ladder], description)
    write_together(f"{output}/", lambda beside: _write(served, ladder, beside / str(number)))
    return output / str(number)


def _next_version(output: Path) -> int:
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def _write(served: Any, canvases: Sequence[Sequence[int]], folder: Path) -> None:
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # a notebook would be told of the folder that is renamed afterwards
    try:
        with uncompiled():  # a server may have no XLA
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


def export_folder(
    folder: str | Path,
    output: str | Path,
    *,
    canvases: Iterable[Sequence[int]] = (),
    version: int | None = None,
) -> Path:
    """`export_model` of the model in a folder, whose hash the signature ``describe`` then says."""
    source = {"model_sha256": file_hash(find_model(folder) / MODEL)}
    model = load_model(folder, compiled=False)
    return export_model(model, output, canvases=canvases, version=version, source=source)
