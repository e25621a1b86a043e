"""Names of files in BIDS: ``sub-01_ses-02_desc-brain_T1w.nii.gz``, entities with their labels, then a suffix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fire_tf.files.errors import InputError

SOURCE = "input"
"""What the URIs of derivatives call the dataset that their images are of."""
_NAME = re.compile(r"((?:[a-z0-9]+-[A-Za-z0-9+]+_)*)([A-Za-z0-9]+)")
_DERIVED = ("space", "res", "den", "desc")
"""Of images that somebody made from others: without its name, such an image is not meant."""
_AFTER_SPACE = ("split", "recording", "chunk", "atlas", "seg", "scale", "res", "den", "label", "desc")
"""The entities that stand behind ``space`` in a name."""


@dataclass(frozen=True)
class BidsImage:
    """An image of a dataset. folder: where it lies inside the dataset."""

    path: Path
    folder: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def uri(self) -> str:
        """What derivatives call the image."""
        return f"bids:{SOURCE}:{(self.folder / self.path.name).as_posix()}"

    @property
    def acquisition(self) -> str:
        """The image's name without its suffix and without what was made of it: sub-01_ses-02_run-1."""
        return self.renamed("", **dict.fromkeys(_DERIVED)).removesuffix("_")

    def renamed(self, suffix: str, **entities: str | None) -> str:
        """The name, without extension, of what is made from this image: with entities added, or (None) left out."""
        kept = {**self.entities, **entities}
        first = [name for name in kept if name not in (*entities, *_AFTER_SPACE)]
        last = [name for name in _AFTER_SPACE if name in kept]
        order = [*first, *(name for name in entities if name not in last), *last]
        return "_".join([*(f"{name}-{kept[name]}" for name in order if kept[name] is not None), suffix])


class Selector(NamedTuple):
    """Which image of a participant is meant: by its suffix, and by some of its entities."""

    entities: Mapping[str, str]
    suffix: str

    def __str__(self) -> str:
        return "_".join([*(f"{name}-{label}" for name, label in self.entities.items()), self.suffix])

    def takes(self, image: BidsImage) -> bool:
        """Whether an image bears the suffix and the labels, and is not one that was made from what is meant."""
        made = [name for name in _DERIVED if name in image.entities and name not in self.entities]
        return (
            image.suffix == self.suffix
            and not made
            and all(image.entities.get(name) == label for name, label in self.entities.items())
        )

    def others(self, image: BidsImage) -> Mapping[str, str]:
        """The entities of an image that the selector leaves open: those of an image's partner are the same."""
        return {name: label for name, label in image.entities.items() if name not in self.entities}


def read_selector(text: str, option: str) -> Selector:
    """``T1w`` or ``desc-brain_T1w`` as a selector; raises InputError, naming the ``option``, for anything else."""
    found = parse_name(text)
    if not found or "sub" in found[0]:
        raise InputError(
            f"{option} {text}: expected a suffix of BIDS, with entities before it where wanted (T1w, desc-brain_T1w)"
        )
    return Selector(*found)


def parse_name(stem: str) -> tuple[dict[str, str], str] | None:
    """Entities and suffix of a name without its extension; None for one that is not of BIDS."""
    found = _NAME.fullmatch(stem)
    if not found:
        return None
    pairs = [part.partition("-") for part in found[1].split("_") if part]
    return {name: label for name, _, label in pairs}, found[2]


def contrast(name: str) -> str:
    """What a modality's name says of its contrast: "T1" of T1, T1w and desc-brain_T1w."""
    return name.rpartition("_")[2].removesuffix("w")
