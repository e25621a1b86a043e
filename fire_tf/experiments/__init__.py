"""What `fire_tf.evaluate` and `fire_tf.demo` do as a whole: models, pairs, baselines and tables put together."""
