"""Pairs with labels, the methods that register them, and the scores."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
