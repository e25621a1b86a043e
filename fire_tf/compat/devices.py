"""Which device computes, and how TensorFlow uses a GPU."""

from __future__ import annotations

import argparse

from fire_tf.compat.quiet import import_tensorflow
from fire_tf.files.errors import InputError


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """``--device``, for `use_device`."""
    parser.add_argument(
        "--device", metavar="cpu|gpu|gpu:N", help="what computes (default: all that TensorFlow finds)"
    )


def use_device(name: str | None) -> None:
    """Let TensorFlow see the device of this name alone, or all for None; to be called before it makes anything.

    A GPU's memory is taken as it is needed, so that processes can share one. Its 32-bit products keep all their bits:
    TF32 would round coordinates and the equations that T solves to 11 bits, a tenth of a voxel on a canvas of 200.

    Raises:
        InputError: there is no such device.
    """
    import_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if name is not None:
        kind, _, number = name.lower().partition(":")
        chosen = gpus[int(number or 0) :][:1] if kind == "gpu" and (number or "0").isdecimal() else []
        if not chosen and name.lower() != "cpu":
            known = ", ".join(["cpu", *(f"gpu:{index}" for index in range(len(gpus)))])
            raise InputError(f"--device {name}: no such device; TensorFlow finds {known}")
        gpus = chosen
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
