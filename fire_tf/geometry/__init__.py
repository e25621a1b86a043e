"""Images, grids and maps of points, in NumPy; no TensorFlow."""
