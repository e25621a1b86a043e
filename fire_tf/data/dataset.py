"""Training pairs as a tf.data pipeline, and the same samples undeformed for evaluation.

An element is a dict of float32 tensors (with a batch axis in front):

    a, b          (*canvas, 1)  the two images in [-1, 1], background -1
    displacement  (*canvas, n)  D(x) - x in voxels, the drawn deformation of one of them
    affine        (n, n + 1)    its affine part A in centred voxel coordinates: D(x) = A(x + u(x))
    moves_a       ()            1.0 if `a` is the deformed image, else 0.0
    shaded_a, shaded_b          (*canvas, 1)  the two images under a drawn shading each, where one is asked for

Both images first get a common transform C (augmentation), one of them D as well: if the stored pair is (p,
q), then ``b(x) = q(C(x))`` and ``a(x) = p(C(D(x)))``, so that ``b o D`` matches `a`. Every image is
interpolated once.

Where images are unaligned and training needs an aligned pair, (p, q) is one of them twice, drawn for every
element. Else it is the subject's (A, B), or, of a cine, whose images are phases of one heart, two different phases
of a patient in any order, drawn as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from fire_tf.compat.quiet import quieten_xla
from fire_tf.config.schema import DataConfig, DeformationConfig, ShadingConfig
from fire_tf.data import deformations
from fire_tf.data.cache import load_split
from fire_tf.data.shading import draw_shading, shade
from fire_tf.data.stock import Stock, load_stock
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.networks.spatial import identity_grid, sample_one

_PARALLEL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
"""Elements made at the same time: as many as this process has cores."""
_AHEAD = 2  # batches kept ready


@dataclass(frozen=True)
class Sample:
    """One stored pair: `a`, `b` (*canvas) float32 in [-1, 1]; `labels` (*canvas) valid for both, or None. Unaligned
    images have none.

    `name` tells the slice too ("sub-01_z070"); `spacing` is in mm, one number per canvas axis.
    """

    subject: str
    name: str
    a: np.ndarray
    b: np.ndarray
    labels: np.ndarray | None
    spacing: tuple[float, ...]


def load_subjects(config: DataConfig, split: str) -> list[Sample]:
    """All samples of a split ("train", "validate", "test"), subject by subject, slices from the bottom up.

    Raises InputError for images that cannot be used and for a split that holds none.
    """
    samples = []
    for subject in load_split(config, split):
        for index, position in enumerate(subject.slices):
            name = subject.subject + (f"_z{position:03d}" if len(config.canvas) == 2 else "")
            labels = None if subject.labels is None else subject.labels[index]
            a, b = subject.a[index].astype(np.float32), subject.b[index].astype(np.float32)
            samples.append(Sample(subject.subject, name, a, b, labels, tuple(map(float, subject.spacing))))
    return samples


class Pairs:
    """Freshly deformed pairs of a split; element i depends on (seed, i) alone. Compiled once, whatever is asked of it.

    deformation, common: ranges of D and of C; None leaves it out.
    moving: the image that is deformed: "a", "b", or "either" (drawn).
    aligned: whether the images of a pair must lie on each other but for D; registered ones always do.
    shading: ranges of the shading of `shaded_a` and `shaded_b`; None leaves the two out.
    mirror: axes along which both images are mirrored before anything else, each in half of the draws.
    """

    def __init__(
        self,
        config: DataConfig,
        deformation: DeformationConfig | None,
        common: DeformationConfig | None,
        *,
        split: str,
        moving: str,
        seed: int,
        aligned: bool = False,
        shading: ShadingConfig | None = None,
        mirror: Sequence[int] = (),
    ):
        if moving not in ("a", "b", "either"):
            raise ValueError(f"moving must be 'a', 'b' or 'either', got {moving!r}")
        quieten_xla()
        stock = load_stock(config, split)
        self.count = len(stock.first)
        twice = aligned and config.pairing == "unaligned"
        pairing = "same" if twice else "different" if config.cine else "stored"
        self._draw = _Draw(stock, deformation, common, moving, seed, pairing, shading, tuple(mirror))

    def batches(
        self, batch_size: int, start: int = 0, *, repeat: bool = True, share: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Batches from element number ``start`` on, so that a run goes on where it stopped.

        Without end (full batches), or, without ``repeat``, every sample once, the last batch as it comes. With
        ``share`` (i, n) the elements ``start + i``, ``start + i + n``, ... alone: n workers draw all of them.
        """
        if batch_size < 1 or start < 0:
            raise ValueError(f"expected batch_size >= 1 and start >= 0, got {batch_size} and {start}")
        # The order of steps: numbers are counted, not images, so skipping costs nothing; everything random
        # is then made from (seed, number), so parallel workers cannot change it; the element is drawn,
        # warped and only then batched, and prefetching comes last, so that batches are made while the model
        # trains.
        numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max if repeat else max(start, self.count))
        index, of = share
        draw = tf.autograph.experimental.do_not_convert(self._draw)
        elements = numbers.shard(of, index).map(draw, num_parallel_calls=_PARALLEL, deterministic=True)
        return elements.batch(batch_size, drop_remainder=repeat).prefetch(_AHEAD)


def build_dataset(
    config: DataConfig,
    deformation: DeformationConfig | None,
    common: DeformationConfig | None,
    *,
    batch_size: int,
    repeat: bool,
    start: int = 0,
    **options: Any,
) -> tf.data.Dataset:
    """The batches of `Pairs`, whose ``options`` these are."""
    return Pairs(config, deformation, common, **options).batches(batch_size, start, repeat=repeat)


class _Draw:
    """The map from an element's number to the element; see the module's docstring for what it holds.

    Only the drawing uses TensorFlow's random numbers; what follows from them is compiled into one kernel
    by XLA, which makes an element three times faster (a chain of small operations on every voxel).
    """

    def __init__(
        self,
        stock: Stock,
        deformation: DeformationConfig | None,
        common: DeformationConfig | None,
        moving: str,
        seed: int,
        pairing: str,
        shading: ShadingConfig | None,
        mirror: tuple[int, ...],
    ):
        self.stock, self.moving, self.seed, self.pairing, self.mirror = stock, moving, seed, pairing, mirror
        self.deformation, self.common, self.shading = deformation, common, shading
        self.canvas = stock.stored.canvas
        self._make = tf.function(self._element, jit_compile=True, autograph=False)
        self._shade = tf.function(shade, jit_compile=True, autograph=False)

    def __call__(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(self.seed, tf.int64), number])
        seeds = tf.random.experimental.stateless_split(seed, 3)
        index = self._sample_index(number)
        # Folded in and not split off, so that a cine's phases leave all other draws as they are.
        pair = self._pair(index, tf.random.experimental.stateless_fold_in(seed, 3))
        sample = [self.stock.image(number) for number in pair]
        sample.append(tf.gather(self.stock.extent, index))
        if self.mirror:
            sample = self._mirrored(sample, tf.random.experimental.stateless_fold_in(seed, 6))
        drawn = [
            None if ranges is None else deformations.draw_parameters(ranges, self.canvas, seed)
            for ranges, seed in ((self.common, seeds[0]), (self.deformation, seeds[1]))
        ]
        element = self._make(*sample, *drawn, self._moves_a(seeds[2]))
        if self.shading is not None:
            for which, name in enumerate("ab"):
                fresh = tf.random.experimental.stateless_fold_in(seed, 4 + which)
                shading = draw_shading(self.shading, self.canvas, fresh)
                element[f"shaded_{name}"] = self._shade(element[name], shading)
        return element

    def _mirrored(self, sample: Sequence[tf.Tensor], seed: tf.Tensor) -> list[tf.Tensor]:
        """Images (*canvas) and the extent (k, n) of their object, turned round along a drawn choice of axes."""
        turned = tf.random.stateless_uniform([len(self.mirror)], seed) < 0.5
        *images, extent = sample
        for which, axis in enumerate(self.mirror):
            images = [tf.where(turned[which], tf.reverse(image, [axis]), image) for image in images]
            sign = 1.0 - 2.0 * tf.one_hot(axis, len(self.canvas))
            extent = tf.where(turned[which], extent * sign, extent)
        return [*images, extent]

    def _sample_index(self, number: tf.Tensor) -> tf.Tensor:
        """Every sample once per epoch, in an order that depends on the seed and the epoch."""
        count = tf.constant(len(self.stock.first), tf.int64)
        epoch_seed = tf.stack([tf.constant(self.seed, tf.int64), -1 - number // count])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), epoch_seed)
        return order[number % count]

    def _pair(self, index: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The numbers of a sample's two images."""
        first, count = tf.gather(self.stock.first, index), tf.gather(self.stock.count, index)
        if self.pairing == "stored":
            return first, first + 1
        seeds = tf.random.experimental.stateless_split(seed, 2)
        one = tf.random.stateless_uniform([], seeds[0], 0, count, tf.int64)
        if self.pairing == "same":
            return first + one, first + one
        step = tf.random.stateless_uniform([], seeds[1], 1, count, tf.int64)
        return first + one, first + (one + step) % count

    def _moves_a(self, seed: tf.Tensor) -> tf.Tensor:
        if self.moving == "either":
            return tf.random.stateless_uniform([], seed) < 0.5
        return tf.constant(self.moving == "a")

    def _element(
        self,
        a: tf.Tensor,
        b: tf.Tensor,
        extent: tf.Tensor,
        common: deformations.Parameters | None,
        deformation: deformations.Parameters | None,
        moves_a: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        outer, outer_field = self._transform(common, self.common, extent)
        extent = deformations.undone(outer, extent)
        affine, field = self._transform(deformation, self.deformation, extent)
        displacement = deformations.displacement(affine, field)
        still = deformations.displacement(outer, outer_field)
        if deformation is None:
            moved = still
        elif common is None:
            moved = displacement
        else:
            moved = deformations.compose(outer, outer_field, displacement)
        return {
            "a": _read(a, tf.where(moves_a, moved, still)),
            "b": _read(b, tf.where(moves_a, still, moved)),
            "displacement": displacement,
            "affine": affine,
            "moves_a": tf.cast(moves_a, tf.float32),
        }

    def _transform(
        self, drawn: deformations.Parameters | None, ranges: DeformationConfig | None, extent: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The drawn affine (n, n + 1) and field u (*canvas, n), the identity where nothing was drawn."""
        n = len(self.canvas)
        if drawn is None or ranges is None:
            return tf.eye(n, n + 1), tf.zeros([*self.canvas, n])
        affine = deformations.affine_matrix(drawn)
        # The affine alone is clipped: the margin is what u may add to it.
        affine = deformations.keep_inside(affine, extent, self.canvas, margin=drawn.peak)
        field = deformations.smooth_field(drawn.control, drawn.peak, self.canvas, ranges.control_points)
        return affine, field


def _read(image: tf.Tensor, displacement: tf.Tensor) -> tf.Tensor:
    """The image (*canvas) at every voxel's displaced place, (*canvas, 1) float32; background outside."""
    image = tf.cast(image, tf.float32)[..., tf.newaxis]
    return sample_one(image, identity_grid(displacement.shape[:-1]) + displacement, fill=BACKGROUND)
