"""Images of many frames or channels, read and written one at a time: memory for one of them is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from fire_tf.geometry.nifti import read_data, read_with


def frames_of(image: nib.spatialimages.SpatialImage, *, as_stored: bool = False) -> Iterator[np.ndarray]:
    """The volumes of an opened image, in the order of the file, scaled as its header says (or not, ``as_stored``).

    Raises InputError where the file breaks off.
    """
    data: Any = image.dataobj
    if len(image.shape) <= 3 or not isinstance(data, ArrayProxy):
        values = read_data(image, as_stored=as_stored)
        for place in places(image.shape):
            yield values[place]
        return
    scaling = (1.0, 0.0) if as_stored else (data.slope, data.inter)
    # Kept open, a compressed file is read through once.
    kept = ArrayProxy(data.file_like, (data.shape, data.dtype, data.offset, *scaling), keep_file_open=True)
    for place in places(image.shape):
        yield read_with(image, partial(kept.__getitem__, place))


def places(shape: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Indices of the volumes of an image, in the order of the file: the first axis behind the third runs fastest."""
    for place in product(*(range(size) for size in reversed(shape[3:]))):
        yield (..., *place[::-1])


def save_frames(header: nib.Nifti1Header, frames: Iterable[np.ndarray], path: Path) -> None:
    """A NIfTI file of a header and its volumes, which are stored in its type as they are, without its scaling."""
    with nib.openers.Opener(str(path), "wb") as stream:
        offset = int(header["vox_offset"]) or header.single_vox_offset
        header = header.copy()
        header["vox_offset"] = offset
        header.write_to(stream)
        stream.write(b"\0" * (offset - stream.tell()))
        for frame in frames:
            stream.write(np.asarray(frame, header.get_data_dtype()).tobytes(order="F"))
