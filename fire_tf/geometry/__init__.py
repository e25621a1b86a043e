"""Images, grids, maps of points and transform files, in NumPy; no TensorFlow."""
