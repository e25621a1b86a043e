"""Subjects on disk, ready to train on, and the pairs that are drawn from them."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
