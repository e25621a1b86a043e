"""Names that users choose by, kept apart so that a command's help need not load what they stand for."""

WARP_FORMATS = ("itk", "ras", "fsl", "voxel")
"""Conventions of a displacement field in a file; `fire_tf.transforms.fields` says what they mean."""

INTERPOLATIONS = ("linear", "nearest")
"""How an image is read between its voxels."""
