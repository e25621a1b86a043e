"""G, F and T (section 2.1 of the paper), what they are made of, and spatial transforms in TensorFlow."""

from fire_tf.compat.environment import check_environment
from fire_tf.compat.quiet import import_tensorflow

check_environment()
import_tensorflow()
