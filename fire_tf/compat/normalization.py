"""Instance normalisation, from whichever package has it.

tensorflow-addons 0.23 ends with TensorFlow 2.15; Keras' own group normalisation with as many groups as channels is the
same layer: the same epsilon, and the same two variables in the same order, so that weights go from one to the other.
"""

import warnings
from typing import Any

from fire_tf.compat.environment import brings_keras_3
from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
import tensorflow as tf  # noqa: E402

EPSILON = 1e-3
_NOTICE = r"\s*TensorFlow Addons \(TFA\) has ended development"


def instance_normalization(**options: Any) -> tf.keras.layers.Layer:
    """A layer that brings every channel of every sample to mean 0 and variance 1, then scales and shifts it.

    In float32 whatever Keras' policy: sums over a volume's voxels leave the range of half precision.
    """
    options["dtype"] = "float32"
    if brings_keras_3():
        return tf.keras.layers.GroupNormalization(groups=-1, epsilon=EPSILON, **options)
    with warnings.catch_warnings():
        # It warns twice that its development has ended, which tells a user nothing to act on.
        warnings.filterwarnings("ignore", message=_NOTICE, category=UserWarning)
        import tensorflow_addons as tfa

    return tfa.layers.InstanceNormalization(epsilon=EPSILON, **options)
