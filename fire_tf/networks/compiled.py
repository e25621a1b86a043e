"""XLA for chains of small operations, and where it is not to be; graphs that TensorFlow leaves as they are.

In graphs, that is: a model that registers but one pair runs eagerly, where compiling would take longer than it saves,
and a SavedModel may have to run where there is no XLA (`uncompiled`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import tensorflow as tf

from fire_tf.compat.quiet import quieten_xla

_uncompiled: ContextVar[bool] = ContextVar("uncompiled", default=False)


@contextmanager
def uncompiled() -> Iterator[None]:
    """What is traced meanwhile has neither XLA nor gradients of its own: a SavedModel that is imported is warned of
    for each gradient that it does not hold."""
    token = _uncompiled.set(True)
    try:
        yield
    finally:
        _uncompiled.reset(token)


def is_uncompiled() -> bool:
    """Whether this is inside of `uncompiled`."""
    return _uncompiled.get()


def one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of tensors compiled by XLA, for graphs."""
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def run(*arguments: Any) -> Any:
        with tf.init_scope():
            quieten_xla()
        return compiled(*arguments)

    return run


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of tensors as one kernel in graphs, and as another its gradient.

    The gradient is made from the arguments: what autodiff would store in between is computed again, which costs less
    than to write and read it.
    """

    def backward(arguments: Sequence[tf.Tensor], upstream: Sequence[tf.Tensor]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            values = function(*arguments)
        return tape.gradient(values, arguments, upstream)

    forward_kernel, backward_kernel = one_kernel(function), one_kernel(backward)

    @wraps(function)
    def run(*arguments: tf.Tensor) -> Any:
        if tf.executing_eagerly() or is_uncompiled():
            return function(*arguments)

        @tf.custom_gradient
        def running(*arguments: tf.Tensor) -> Any:
            return forward_kernel(*arguments), lambda *upstream: backward_kernel(arguments, upstream)

        return running(*arguments)

    return run


def as_traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which runs graphs, without TensorFlow's optimizer of graphs where there is no GPU.

    On a CPU that takes as long as all else of a training step's first call, and the steps are no faster for it
    (docs/performance.md). A GPU needs it: it chooses the layout of convolutions.
    """
    options = tf.config.optimizer

    @wraps(function)
    def run(*arguments: Any) -> Any:
        before = options.get_experimental_options()["disable_meta_optimizer"]
        if before or tf.config.list_logical_devices("GPU"):
            return function(*arguments)
        options.set_experimental_options({"disable_meta_optimizer": True})
        try:
            return function(*arguments)
        finally:
            options.set_experimental_options({"disable_meta_optimizer": False})

    return run
