"""Keras' seeds on Python 3.12, which no longer takes 1e9 for a whole number.

tf-keras 2.18 draws the seed of every initial value with ``randint(1, 1e9)`` once ``tf.keras.utils.set_random_seed`` was
called; later ones say ``int(1e9)``.
"""

import random
from importlib import import_module
from types import SimpleNamespace


class _Random(random.Random):
    def randint(self, a: float, b: float) -> int:
        """As ever, and of bounds that are whole numbers written as floats."""
        return super().randint(int(a), int(b))


def accept_float_bounds() -> None:
    """Let tf-keras draw its seeds from a generator that takes such bounds; the numbers are the same."""
    names = {name: getattr(random, name) for name in dir(random) if not name.startswith("_")}
    lenient = SimpleNamespace(**{**names, "Random": _Random, "randint": _Random().randint})
    vars(import_module("tf_keras.src.utils.tf_utils"))["random"] = lenient
