"""The one door to voxelmorph and neurite.

Write ``from fire_tf.compat.voxelmorph import ne, vxm``. Nothing else in the package imports these two, because neither
imports as it is:

- neurite 0.2 decorates constructors at import with ``inspect.getargspec(func)``, which Python 3.11 no longer
  has, and unpacks four values; ``getfullargspec`` gives seven, of which they are the first four.
- neurite and voxelmorph choose PyTorch, not TensorFlow, where ``NEURITE_BACKEND`` or ``VXM_BACKEND`` says so.
- neurite imports scikit-learn for one principal component analysis that we never call, which takes a second of
  every start; where it cannot be imported, neurite goes on without it.

Each change lasts while the imports run and is undone afterwards.
"""

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fire_tf.compat.quiet import import_tensorflow

_BACKEND_VARIABLES = ("NEURITE_BACKEND", "VXM_BACKEND")


@contextmanager
def _four_value_getargspec() -> Iterator[None]:
    """Give `inspect` a ``getargspec`` of four values; Python 3.10 has one, but it warns at every call."""
    own = vars(inspect).get("getargspec")

    def getargspec(func: Callable[..., Any]) -> tuple[Any, ...]:
        return tuple(inspect.getfullargspec(func)[:4])

    vars(inspect)["getargspec"] = getargspec
    try:
        yield
    finally:
        if own is None:
            del vars(inspect)["getargspec"]
        else:
            vars(inspect)["getargspec"] = own


@contextmanager
def _tensorflow_backend() -> Iterator[None]:
    """Hide the variables with which a user may have chosen PyTorch for other programs."""
    hidden = {name: os.environ.pop(name) for name in _BACKEND_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _without_sklearn() -> Iterator[None]:
    """Make ``import sklearn`` fail, and neurite silent about it, unless sklearn is loaded already."""
    if "sklearn" in sys.modules:
        yield
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*sklearn", category=UserWarning)
            yield
    finally:
        del sys.modules["sklearn"]


import_tensorflow()
with _four_value_getargspec(), _tensorflow_backend(), _without_sklearn():
    import neurite as ne
    import voxelmorph as vxm

__all__ = ["ne", "vxm"]
