"""The images that training draws from: in memory, or, where they would take too much of it, read as they are drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf.compat.memory import free_memory
from fire_tf.config.schema import DataConfig
from fire_tf.data.cache import StoredSubject, store_split

_PART = 1 / 3  # of the free memory, that the images may take


class Stock(NamedTuple):
    """All s samples of a split. Its m images are numbered sample by sample: a and b, or every phase of a beat."""

    first: tf.Tensor  # (s,) number of each sample's first image
    count: tf.Tensor  # (s,) and how many it has
    extent: tf.Tensor  # (s, k, n) centred voxel coordinates of the object's extreme points
    stored: StoredImages
    images: tf.Tensor | None  # (m, *canvas) float16, or None where they are too many for the memory

    def image(self, number: tf.Tensor) -> tf.Tensor:
        """The image (*canvas) of this number, float16."""
        if self.images is not None:
            return tf.gather(self.images, number)
        image = tf.numpy_function(self.stored.read, [number], tf.float16, stateful=False)
        return tf.ensure_shape(image, self.stored.canvas)


def load_stock(config: DataConfig, split: str) -> Stock:
    """The images of a split. Raises InputError as `fire_tf.data.cache.load_split` does."""
    subjects = [subject for subject in store_split(config, split) if len(subject.extent)]
    stored = StoredImages(subjects)
    count = np.concatenate([np.full(len(subject.extent), subject.images_a_sample) for subject in subjects])
    with tf.device("CPU:0"):
        return Stock(
            tf.constant(np.cumsum(count) - count),
            tf.constant(count),
            tf.constant(np.concatenate([subject.extent for subject in subjects])),
            stored,
            tf.constant(stored.read_all()) if stored.nbytes <= _PART * free_memory() else None,
        )


class StoredImages:
    """The images of all subjects by their numbers, in the files of the cache."""

    def __init__(self, subjects: list[StoredSubject]):
        self.canvas = subjects[0].images[0].shape[-subjects[0].extent.shape[-1] :]
        self._subjects = subjects
        counts = [len(subject.extent) * subject.images_a_sample for subject in subjects]
        self._first = np.cumsum([0, *counts])

    @property
    def nbytes(self) -> int:
        """What all of them take in memory."""
        return int(self._first[-1]) * int(np.prod(self.canvas)) * 2

    def read(self, number: int) -> np.ndarray:
        """One image (*canvas), float16."""
        subject = int(np.searchsorted(self._first, number, side="right")) - 1
        index, arrays = int(number - self._first[subject]), self._subjects[subject].images
        return arrays[index % len(arrays)].read(index // len(arrays), self.canvas)

    def read_all(self) -> np.ndarray:
        """All of them (m, *canvas)."""
        return np.stack([self.read(number) for number in range(self._first[-1])])
