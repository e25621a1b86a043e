"""G, F and T (section 2.1 of the paper), what they are made of, and spatial transforms in TensorFlow."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
