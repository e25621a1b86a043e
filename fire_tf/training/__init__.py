"""A run: its stages, and what it writes."""

from fire_tf.compat.environment import check_environment
from fire_tf.compat.quiet import import_tensorflow

check_environment()
import_tensorflow()
