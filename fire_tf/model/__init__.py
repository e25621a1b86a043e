"""FIRE itself: the objective, `fit`, and models on disk."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
