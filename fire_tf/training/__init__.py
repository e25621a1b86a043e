"""A run: its stages, and what it writes."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
