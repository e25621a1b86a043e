"""Grey values: which are air, which is background, and what a model is shown of them; no TensorFlow."""
