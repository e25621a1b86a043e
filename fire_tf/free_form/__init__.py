"""Free-form deformations, and the search for the one under which two images are most alike; no TensorFlow."""
