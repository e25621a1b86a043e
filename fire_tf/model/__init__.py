"""FIRE itself: the objective, `fit`, and models on disk."""

from fire_tf.compat.environment import check_environment
from fire_tf.compat.quiet import import_tensorflow

check_environment()
import_tensorflow()
