"""A picture made small, for a page that shows thousands of them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from fire_tf.files.outputs import write_file

LARGEST = 20_000  # bytes
_WIDTH = 720  # pixels: the titles in pictures of slices can just be read
_QUALITIES = (75, 60, 45, 30)


def write_thumbnail(picture: Path, path: Path) -> None:
    """A picture as a WebP of at most `LARGEST` bytes: as large and as good as goes into them."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_WIDTH, image.height))
    content = _fitting(image)
    while content is None:
        image = image.resize((image.width * 2 // 3, image.height * 2 // 3))
        content = _fitting(image)
    write_file(path, lambda beside: beside.write_bytes(content))


def _fitting(image: Image.Image) -> bytes | None:
    for quality in _QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=quality)
        if stream.tell() <= LARGEST:
            return stream.getvalue()
    return None
