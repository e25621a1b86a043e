"""What the files of a registration are called in a BIDS derivatives dataset, and what their sidecars say.

For T1w as the moving and FLAIR as the fixed image:

    sub-01_space-FLAIR_T1w, sub-01_space-T1w_FLAIR                                    each warped onto the other
    sub-01_from-T1w_to-FLAIR_mode-image_xfm, sub-01_from-FLAIR_to-T1w_mode-image_xfm  the whole maps
    sub-01_from-T1w_to-FLAIR_mode-image_desc-affine_xfm, ...                          their affine parts
    sub-01_space-T1w_desc-synthesized_FLAIR, sub-01_space-FLAIR_desc-synthesized_T1w  each in the other's modality

A file lies in the folder, and bears the entities, of the image that is resampled by it or to it: from-FLAIR_to-T1w and
space-T1w_FLAIR those of the FLAIR image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fire_tf.bids.dataset import Pair
from fire_tf.bids.names import BidsImage
from fire_tf.files.errors import InputError
from fire_tf.files.tables import read_text

# Left out of names: what an image's name says of its grid, on which results do not lie.
_NO_GRID: dict[str, str | None] = dict.fromkeys(("space", "res", "den"))


class Derivative(NamedTuple):
    """A file of a dataset: its path there without extension, and what its sidecar says of it alone."""

    stem: Path
    sidecar: Mapping[str, Any]


@dataclass(frozen=True)
class PairFiles:
    """The files of a pair, whose first image is the moving one, in the dataset ``output`` (absolute)."""

    output: Path
    pair: Pair

    def describe(self, folder: Path, modality: str, provenance: Mapping[str, Any]) -> dict[str, Path]:
        """Write sidecars into a folder that `fire_tf.registration.results.write_files` filled; returns where its images
        and transforms go, and they.

        ``modality``: what the moving image was synthesized in. ``provenance`` as of
        `fire_tf.registration.quality.provenance`.

        Raises:
            InputError: a file there is of other images, another selection's.
        """
        targets: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            kind, _, extension = path.name.partition(".")
            made = self._derivative(kind, modality)
            if made is None:
                continue
            place = self.output / made.stem
            targets[path.name] = place.with_name(f"{place.name}.{extension}")
            sidecar = place.with_name(f"{place.name}.json")
            if sidecar not in targets.values():  # a transform in several formats has one
                _check_free(sidecar, made.sidecar["Sources"])
                text = json.dumps({**made.sidecar, **_software(provenance)}, indent=2) + "\n"
                (folder / f"{kind}.json").write_text(text)
                targets[f"{kind}.json"] = sidecar
        return targets

    def _derivative(self, kind: str, modality: str) -> Derivative | None:
        """What a file is in the dataset, by its name of a single run; None for what does not belong there."""
        moving, fixed = self.pair
        if kind.startswith("Synthesized"):
            return _synthesized(*((moving, fixed) if kind == f"Synthesized{modality}" else (fixed, moving)))
        image, onto = (fixed, moving) if kind.startswith("Inverse") else (moving, fixed)
        kind = kind.removeprefix("Inverse")
        return _MAKERS[kind](image, onto) if kind in _MAKERS else None


def _check_free(sidecar: Path, sources: Sequence[str]) -> None:
    """Raise InputError where a sidecar lies there already and names other sources."""
    there = _read(sidecar).get("Sources", sources)
    if there != sources:
        raise InputError(
            f"{sidecar}: is of {', '.join(map(str, there))}; --output: give each selection its own"
        )


def _warped(image: BidsImage, onto: BidsImage) -> Derivative:
    return Derivative(
        image.folder / image.renamed(image.suffix, **{**_NO_GRID, "space": onto.suffix}),
        {
            "Description": f"{image.suffix} resampled on the grid of {onto.suffix}",
            "Sources": [image.uri, f"bids::{_transform(image, onto).stem.as_posix()}.nii.gz"],
            "SpatialReference": onto.uri,
            "SkullStripped": _is_stripped(image),
        },
    )


def _transform(image: BidsImage, onto: BidsImage, desc: str | None = None) -> Derivative:
    way = {"from": image.suffix, "to": onto.suffix, "mode": "image"}
    what = f"{desc.capitalize()} part of the transform" if desc else "Transform"
    return Derivative(
        image.folder / image.renamed("xfm", **_NO_GRID, **way, desc=desc),
        {
            "Description": f"{what} that resamples {image.suffix} on the grid of {onto.suffix}",
            "Sources": [image.uri, onto.uri],
            "SpatialReference": onto.uri,
        },
    )


def _synthesized(image: BidsImage, other: BidsImage) -> Derivative:
    way = {**_NO_GRID, "space": image.suffix}
    return Derivative(
        image.folder / image.renamed(other.suffix, **way, desc="synthesized"),
        {
            "Description": f"{image.suffix} made to look like {other.suffix} by the model, in its own place",
            "Sources": [image.uri, other.uri],
            "SpatialReference": image.uri,
            "SkullStripped": _is_stripped(image),
        },
    )


_MAKERS: Mapping[str, Callable[[BidsImage, BidsImage], Derivative]] = {
    "Warped": _warped,
    "CompositeWarp": _transform,
    "Composite": _transform,
    "Affine": partial(_transform, desc="affine"),
}


def _is_stripped(image: BidsImage) -> bool:
    """Whether an image's own sidecar calls it so, or else its name: BIDS demands the word of every derivative."""
    name = image.path.name.partition(".")[0]
    said = _read(image.path.with_name(f"{name}.json")).get("SkullStripped")
    return said if isinstance(said, bool) else image.entities.get("desc") == "brain"


def _read(sidecar: Path) -> dict[str, Any]:
    """What a sidecar says, nothing where it is not there or is none."""
    with suppress(InputError, ValueError):
        said = json.loads(read_text(sidecar))
        if isinstance(said, dict):
            return said
    return {}


def _software(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Software": "fire_tf",
        "SoftwareVersion": provenance.get("versions", {}).get("fire_tf"),
        "Model": provenance.get("model"),
        "ModelSHA256": provenance.get("model_sha256"),
        "CommandLine": provenance.get("command"),
    }
