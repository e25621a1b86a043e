"""Whether label maps hold the structures that are to be measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from fire_tf.files.errors import InputError

_SHOWN = 12  # values that a line lists


class LabelMaps(NamedTuple):
    """The two label maps of a pair; of aligned images both are the same."""

    name: str
    moving: np.ndarray
    fixed: np.ndarray


def check_labels(pairs: Iterable[LabelMaps], structures: Mapping[int, str], smallest: int) -> None:
    """Raise InputError, naming the values found, where no map holds ``smallest`` voxels of a structure, and for a pair
    of which one map holds structures and the other one none, but other values."""
    expected = f"of the structures {', '.join(f'{value} ({name})' for value, name in structures.items())}"
    found: set[int] = set()
    scored, names = False, []
    for name, *maps in pairs:
        names.append(name)
        counts = [_counts(labels) for labels in maps]
        known = [counted.keys() & structures.keys() for counted in counts]
        for which, counted, own, others in zip(("moving", "fixed"), counts, known, known[::-1], strict=True):
            if counted and not own and others:
                raise InputError(f"{name}: its {which} label map holds {_listed(counted)}, none {expected}")
            found |= counted.keys()
            scored |= any(counted[value] >= smallest for value in own)
    if names and not scored:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InputError(
            f"{names[0]}{more}: the label maps hold {_listed(found)}, and none of them {smallest} voxels of one "
            f"{expected} (data.structures)"
        )


def _counts(labels: np.ndarray) -> dict[int, int]:
    """Voxels of every label but 0."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}


def _listed(values: Iterable[int]) -> str:
    shown = sorted(values)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"the values {', '.join(map(str, shown[:_SHOWN]))}{more}" if shown else "nothing but 0"
