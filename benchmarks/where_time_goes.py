"""Where the time of a training step goes: its convolutions, and what else there is.

    python benchmarks/where_time_goes.py [--config t1_flair_2d t1_flair_3d] [--repeats 5]

Every step of every stage of a config is run on made-up images. Of each: seconds; how many of them its convolutions
would take at the rate of the fastest of a few large ones, measured in the same minute; and shares of the time that
TensorFlow's profiler gives to kinds of operations, which run on several cores. Then T alone, forward and gradient, over
its convolutions alone.
"""

from __future__ import annotations

import argparse
import glob
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2  # TensorFlow 2.15
from training_steps import batch

from fire_tf import load_config
from fire_tf.model.build import build_model

# In this order, the first that an operation's name holds.
KINDS = {
    "convolutions": ("Conv2D", "Conv3D"),
    "matrix products, solving": ("MatMul", "MatrixSolve", "Transpose"),
    "kernels of XLA": ("Start",),
    "normalisation": ("FusedBatchNorm", "Split", "Concat"),
    "sums by voxel": ("SegmentSum",),
    "padding, slices": ("Pad", "Slice", "SpaceToBatch", "BatchToSpace"),
    "element by element": ("",),
}


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """The median of a few runs, after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for value in tf.nest.flatten(run()):
            value.numpy()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))


def convolutions(graph: tf.Graph) -> list[tf.Operation]:
    """The convolutions of a graph and of its gradient."""
    return [op for op in graph.get_operations() if op.type.startswith(("Conv2D", "Conv3D"))]


def operations(convolution: tf.Operation) -> float:
    """Floating point operations of one: two for each product."""
    shapes = [tensor.shape for tensor in (*convolution.inputs, *convolution.outputs)]
    if "BackpropFilter" in convolution.type:
        kernel, image = shapes[-1], shapes[2]
    elif "BackpropInput" in convolution.type:
        kernel, image = shapes[1], shapes[2]
    else:
        kernel, image = shapes[1], shapes[-1]
    return 2.0 * np.prod(kernel) * np.prod(image[:-1])


def alone(found: list[tf.Operation]) -> Callable[[], Any]:
    """A function of nothing but these convolutions, on noise."""
    noise: dict[tuple[int, ...], tf.Tensor] = {}
    calls = []
    for op in found:
        inputs = [
            tf.constant(op.outputs[0].shape)  # the sizes of what it is a gradient by
            if tensor.dtype == tf.int32
            else noise.setdefault(tuple(tensor.shape), tf.random.normal(tensor.shape))
            for tensor in op.inputs
        ]
        calls.append((op, inputs))

    @tf.function(autograph=False)
    def run() -> list[tf.Tensor]:
        values = []
        for op, inputs in calls:
            arguments = dict(zip([argument.name for argument in op.op_def.input_arg], inputs, strict=True))
            attributes = {
                a.name: op.get_attr(a.name) for a in op.op_def.attr if a.name not in ("T", "Tshape")
            }
            with tf.control_dependencies(values[-1:]):
                values.append(getattr(tf.raw_ops, op.type)(**arguments, **attributes))
        return [value[..., :1] for value in values]

    return run


def peak(ndim: int) -> float:
    """Floating point operations a second of the fastest of a few large convolutions."""
    rates = []
    for width in (32, 64, 128):
        shape = [1, *([256] * 2 if ndim == 2 else [48] * 3), width]
        image, kernel = tf.random.normal(shape), tf.random.normal([3] * ndim + [width] * 2)
        run = tf.function(lambda image=image, kernel=kernel: tf.nn.convolution(image, kernel, padding="SAME"))
        rates.append(2.0 * np.prod(kernel.shape) * np.prod(shape[:-1]) / seconds(run, 5))
    return max(rates)


def shares(run: Callable[[], Any]) -> dict[str, float]:
    """The share of each kind of operations in the time that the profiler saw."""
    folder = tempfile.mkdtemp()
    tf.profiler.experimental.start(folder)
    run()
    tf.profiler.experimental.stop()
    space = xplane_pb2.XSpace()
    with open(glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)[0], "rb") as stream:
        space.ParseFromString(stream.read())
    found: Counter[str] = Counter()
    for plane in (plane for plane in space.planes if "CPU" in plane.name):
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            kind = names[event.metadata_id].rpartition(":")[2].lstrip("_")
            if ":" in names[event.metadata_id] and kind[:1].isupper() and kind not in ("Process", "Run"):
                found[next(k for k, parts in KINDS.items() if any(part in kind for part in parts))] += (
                    event.duration_ps
                )
    return {kind: found[kind] / found.total() for kind in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", nargs="+", default=["t1_flair_2d", "t1_flair_3d"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| config, objective | group | step, s | convolutions at their peak | " + " | ".join(KINDS) + " |")
    for name in options.config:
        config = load_config(name)
        model = build_model(config)
        for stage in config.stages:
            adam = tf.keras.optimizers.Adam
            optimizers = {f"{group}_optimizer": adam(1e-6) for group in ("affine", "nonrigid", "synthesis")}
            model.compile(**optimizers, objective=stage.objective, cycle=stage.cycle)
            data = batch(config.data.canvas, stage.batch_size)
            for groups, step in zip(stage.cycle, model._steps, strict=True):
                taken = seconds(lambda step=step, data=data: step(data)["loss"], options.repeats)
                graph = step.get_concrete_function(data).graph
                ideal = sum(map(operations, convolutions(graph))) / peak(model.ndim)
                kinds = " | ".join(
                    f"{share:.0%}" for share in shares(lambda step=step, data=data: step(data)).values()
                )
                row = [f"{name} {stage.objective}", ", ".join(groups), f"{taken:.2f}", f"{ideal / taken:.2f}"]
                print("|", " | ".join([*row, kinds]), "|", flush=True)
        transformation(model, config.stages[0].batch_size, options.repeats)


def transformation(model: Any, size: int, repeats: int) -> None:
    """T forward and gradient beside its convolutions, all by themselves."""
    features = [tf.random.normal([size, *model.grid.shape, model.encoder.filters[-1]]) for _ in "ab"]
    t = model.transformation_ab

    @tf.function(autograph=False)
    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(features)
            phi = t(features)
            total = tf.reduce_sum(phi.affine**2) + tf.reduce_sum(phi.nonrigid**2)
        return total, tape.gradient(total, [*features, *t.trainable_variables])

    own = alone(convolutions(run.get_concrete_function().graph))
    whole, part = (min(seconds(each, repeats) for _ in range(2)) for each in (run, own))
    print(f"T of {model.ndim}D: {whole:.3f} s, {whole / part:.2f} times its convolutions' own", flush=True)


if __name__ == "__main__":
    main()
