"""Means that say what they rest on; NaN is a value that does not exist, and left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """``mean``, ``sd`` (of the sample, 0 of a single value) and ``count`` of the finite ones; of none NaN and 0."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return {"mean": float("nan"), "sd": float("nan"), "count": 0}
    deviation = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return {"mean": float(known.mean()), "sd": deviation, "count": int(known.size)}
