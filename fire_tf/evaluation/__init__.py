"""Pairs with labels, the methods that register them, and the scores."""

from fire_tf.compat.environment import check_environment
from fire_tf.compat.quiet import import_tensorflow

check_environment()
import_tensorflow()
