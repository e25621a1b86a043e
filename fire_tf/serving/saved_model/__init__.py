"""What is exported: a model's signatures on a ladder of canvases, and the folder they are written to."""

from fire_tf.compat.quiet import import_tensorflow

import_tensorflow()
