"""Arrays that are too large to be read whole, where NumPy stored them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np


@dataclass(frozen=True)
class StoredArray:
    """An array of an ``.npz`` file that is not compressed, its parts to be read one by one."""

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Number ``index`` of its parts of this shape. Raises OSError where the file is no longer what it was."""
        count = int(np.prod(shape))
        offset = self.offset + index * count * self.dtype.itemsize
        part = np.fromfile(self.path, self.dtype, count, offset=offset)
        if part.size < count:
            raise OSError(f"{self.path}: is shorter than when it was opened")
        return part.reshape(shape)

    @classmethod
    def found(cls, path: Path, name: str) -> StoredArray:
        """Where the array of this name is (PKWARE's APPNOTE 4.3.7: a local header, then the file)."""
        with path.open("rb") as stream, ZipFile(stream) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                header = member.tell()
            stream.seek(info.header_offset + 26)
            names = int.from_bytes(stream.read(2), "little") + int.from_bytes(stream.read(2), "little")
        return cls(path, info.header_offset + 30 + names + header, dtype, shape)
