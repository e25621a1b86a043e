"""CPU seconds of a convolution and its gradients with TensorFlow's own kernels and with oneDNN's.

    python benchmarks/onednn.py

Each in a process of its own. TensorFlow takes oneDNN by itself on CPUs with AVX-512 for networks (VNNI) alone; fire_tf
asks for it everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

CASES = {"2D, 2 x 192², 16 channels": (2, 192, 192, 16), "3D, 2 x 64³, 8 channels": (2, 64, 64, 64, 8)}


def measure(shape: tuple[int, ...], repeats: int = 5) -> float:
    """CPU seconds of kernel 3, as many channels out as in."""
    import tensorflow as tf

    images = tf.random.normal(shape)
    kernel = tf.random.normal((3,) * (len(shape) - 2) + (shape[-1],) * 2)

    @tf.function
    def gradients() -> list[tf.Tensor]:
        return tf.gradients(tf.nn.convolution(images, kernel, padding="SAME"), [images, kernel])

    gradients()
    began = time.process_time()
    for _ in range(repeats):
        gradients()
    return (time.process_time() - began) / repeats


def main() -> None:
    if len(sys.argv) > 1:
        print(*map(measure, CASES.values()))
        return
    found = []
    for chosen in "01":
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": chosen, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "measure"]
        output = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        found.append([float(line) for line in output.split()])
    for name, own, onednn in zip(CASES, *found, strict=True):
        print(f"{name}: {own:.3f} s, with oneDNN {onednn:.3f} s, {own / onednn:.1f} times as fast")


if __name__ == "__main__":
    main()
