"""Names that users choose by, kept apart so that a command's help need not load what they stand for."""

from argparse import ArgumentTypeError

WARP_FORMATS = ("itk", "ras", "fsl", "voxel")
"""Conventions of a displacement field in a file; `fire_tf.transforms.fields` says what they mean."""

FURTHER_FORMATS = ("h5", "x5")
"""Files of other tools that whole transforms are written in too; `fire_tf.transforms.writers` does."""

INTERPOLATIONS = ("linear", "nearest", "cubic", "label-gaussian")
"""How an image is read between its voxels; `fire_tf.geometry.interpolation` says what they mean."""


def further_formats(text: str) -> tuple[str, ...]:
    """``h5,x5`` as names, for a command's parser."""
    names = tuple(text.split(","))
    if not set(names) <= set(FURTHER_FORMATS):
        raise ArgumentTypeError(f"{text!r}: expected {' or '.join(FURTHER_FORMATS)}, or both with a comma")
    return names
