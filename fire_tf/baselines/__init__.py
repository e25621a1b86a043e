"""Registration tools that FIRE is measured against, each a method of `fire_tf.evaluation.methods`."""
