"""SimpleITK, which comes with the extra ``formats``."""

from __future__ import annotations

import re
from typing import Any

from fire_tf.files.extras import needed


def simple_itk(purpose: str) -> Any:
    """The module; raises InputError, which begins with the ``purpose``, where it is not installed."""
    with needed("SimpleITK", "formats", purpose):
        import SimpleITK
    return SimpleITK


def cause_of(error: RuntimeError) -> str:
    """What ITK complains of, in a line: the last one of its message."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return re.sub(r"\(0x[0-9a-f]+\)", "", lines[-1].strip())
