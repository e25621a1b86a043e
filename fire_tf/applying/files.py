"""Transforms from files applied to images, and what is written of the transforms themselves: from files to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np

from fire_tf.applying.images import writers_of_images
from fire_tf.applying.maps import determinant_image, determinants, log_determinant_image
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, write_files
from fire_tf.files.paths import check_apart
from fire_tf.formats.images import check_output_name, save_image
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.nifti import open_image
from fire_tf.geometry.placing import warn_of_place
from fire_tf.transforms.chains import TransformChain
from fire_tf.transforms.readers import read_chain, split_name
from fire_tf.transforms.writers import write_map, writer_of


@dataclass(frozen=True)
class Task:
    """What to make, by transforms named as in `read_chain` (``kind`` too), on the grid of the image ``reference``.

    images: by each output its input, read by ``interpolation``, ``fill`` and ``channels`` (`applying.images.resample`).
    composite: files for the whole transform (`fire_tf.transforms.writers`). jacobian, log_jacobian: files for the
    determinant. source: the image that is warped, for what counts on its grid (default: the first of the inputs).
    """

    transforms: Sequence[str | Path]
    reference: Path
    kind: str | None = None
    source: Path | None = None
    images: Mapping[Path, Path] = field(default_factory=dict)
    interpolation: str = "linear"
    fill: float = 0.0
    channels: bool = False
    composite: Sequence[Path] = ()
    jacobian: Path | None = None
    log_jacobian: Path | None = None


def apply_to_files(task: Task) -> list[Path]:
    """Do a task; returns what was written.

    All files appear together when the last one is made. Raises InputError for files that cannot be read or written,
    and for an output that is one of the inputs or another output; nothing is written then.
    """
    maps = [path for path in (task.jacobian, task.log_jacobian) if path]
    outputs = [*task.images, *task.composite, *maps]
    if not outputs:
        raise InputError("nothing to do: give --input and --output, --composite or --jacobian")
    sources = list(task.images.values()) + ([task.source] if task.source else [])
    check_apart(outputs, [*(split_name(named)[0] for named in task.transforms), task.reference, *sources])
    for path in outputs:
        check_writable(path.parent)
    for path in task.composite:
        writer_of(path)
    for path in maps:
        check_output_name(path)
    target, chain = read_grid(task.reference), read_chain(task.transforms, task.kind)
    writers = writers_of_images(
        chain, target, task.images, task.interpolation, task.fill, channels=task.channels
    )
    write_files({**writers, **_writers_of_maps(task, chain, target)})
    for path in dict.fromkeys([task.reference, *task.images.values()]):
        warn_of_place(open_image(path, vectors=True, by_frames=True), str(path))
    return outputs


def _writers_of_maps(task: Task, chain: TransformChain, target: Grid) -> dict[Path, Callable[[Path], object]]:
    """What writes the transform itself and its determinants, by output."""
    if not (task.composite or task.jacobian or task.log_jacobian):
        return {}
    named = task.source or next(iter(task.images.values()), None)
    source = read_grid(named) if named else None
    world_map = chain.world_map(source, target)

    @cache
    def found() -> np.ndarray:
        return determinants(world_map, target)

    # The files that composites are written in count on no grid of the source.
    writers: dict[Path, Callable[[Path], object]] = {
        path: partial(write_map, world_map, target, source or target) for path in task.composite
    }
    if task.jacobian:
        writers[task.jacobian] = lambda path: save_image(determinant_image(found(), target), path)
    if task.log_jacobian:
        writers[task.log_jacobian] = lambda path: save_image(log_determinant_image(found(), target), path)
    return writers
