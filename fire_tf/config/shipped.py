"""The trained models that come along with the package, and what each says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fire_tf.files.tables import read_text

WEIGHTS = Path(__file__).parent.parent / "weights"
"""A folder for each model: ``fire.keras``, ``preprocessing.json``, ``config.yaml`` and its card, ``README.md``."""

_TRAINED_ON = re.compile(r"^\*\*Trained on\*\*\s+(.+?)(?:\n\s*\n|\n- |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class ShippedModel:
    """A model by its name.

    modalities: A and B. spacing: of its images in mm, one number an axis. stacks: whether a 2D one takes stacks slice
    by slice. trained_on: the sentence of its card.
    """

    name: str
    modalities: tuple[str, str]
    spacing: tuple[float, ...]
    stacks: bool
    trained_on: str

    @property
    def ndim(self) -> int:
        """2 for slices, 3 for volumes."""
        return len(self.spacing)

    def in_short(self) -> str:
        """The name, and what images it is for."""
        kind = "stacks of slices" if self.stacks else {2: "single slices", 3: "volumes"}[self.ndim]
        return f"{self.name} ({' and '.join(self.modalities)}, {kind} at {voxels(self.spacing)})"


def voxels(sizes: Iterable[float]) -> str:
    """Voxel sizes as people write them."""
    return f"{' x '.join(f'{size:.3g}' for size in sizes)} mm"


def shipped_models(folder: Path = WEIGHTS) -> list[ShippedModel]:
    """The models that come along, by name."""
    return [_read(path.parent) for path in sorted(folder.glob("*/preprocessing.json"))]


def _read(folder: Path) -> ShippedModel:
    settings = json.loads(read_text(folder / "preprocessing.json"))
    found = _TRAINED_ON.search(read_text(folder / "README.md"))
    if found is None:
        raise ValueError(f"{folder / 'README.md'}: has no paragraph that begins with **Trained on**")
    return ShippedModel(
        folder.name,
        (settings["modality_a"], settings["modality_b"]),
        tuple(settings["spacing"]),
        settings["slice_axis"] == "thickest" and len(settings["spacing"]) == 2,
        " ".join(found[1].split()),
    )
