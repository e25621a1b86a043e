"""A registration on the grids of the two files, and the files that it is written as."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import nibabel as nib

from fire_tf.bids.derivatives import PairFiles
from fire_tf.files.outputs import write_together
from fire_tf.formats.images import save_image
from fire_tf.geometry.grids import Grid
from fire_tf.measures.metrics import map_positions
from fire_tf.registration.pair import Alignment, Registration, between_canvases
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk import write_affine
from fire_tf.transforms.writers import write_map

_DRAWING = Lock()  # matplotlib does not promise that figures may be drawn side by side


@dataclass(frozen=True)
class RegisteredImages:
    """The result on the grids of the two files; ``registration`` holds the maps between their worlds."""

    registration: Alignment
    moving_grid: Grid
    fixed_grid: Grid
    warped: nib.Nifti1Image
    inverse_warped: nib.Nifti1Image
    from_moving: nib.Nifti1Image
    from_fixed: nib.Nifti1Image
    quality: dict[str, Any]

    def fields(self, kind: str = "itk") -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
        """The whole maps as displacement fields: moving to fixed on the fixed grid, and the inverse."""
        found, moving, fixed = self.registration, self.moving_grid, self.fixed_grid
        forward = field_image(found.to_moving, fixed, moving, kind)
        return forward, field_image(found.to_fixed, moving, fixed, kind)


def write_registration(
    result: RegisteredImages,
    prefix: str,
    warp_format: str = "itk",
    provenance: Mapping[str, Any] | None = None,
    inputs: Iterable[Path] = (),
    further: Sequence[str] = (),
    derivatives: PairFiles | None = None,
) -> list[Path]:
    """Write everything that `fire_tf.register` names; all files appear together at the end, or none.

    ``provenance`` is added to the numbers in ``qc.json``; ``further``: see `write_files`. ``derivatives``: where
    images and transforms go in a BIDS dataset, with sidecars. Raises InputError where the disk refuses, and where a
    file would take the place of either image or of one of ``inputs``.
    """

    def write(folder: Path) -> Mapping[str, Path] | None:
        write_files(result, folder, "", warp_format, further)
        numbers = {**result.quality, **(provenance or {})}
        (folder / "qc.json").write_text(json.dumps(numbers, indent=2) + "\n")
        if derivatives is None:
            return None
        return derivatives.describe(folder, result.registration.from_moving.modality, provenance or {})

    return write_together(prefix, write, [result.quality["moving"], result.quality["fixed"], *inputs])


def write_files(
    result: RegisteredImages, folder: Path, stem: str, warp_format: str, further: Sequence[str] = ()
) -> None:
    """Write images, transforms and picture into a folder; names begin with ``stem``.

    ``further`` are those of `fire_tf.geometry.names.FURTHER_FORMATS` that the whole maps are written in too.
    """
    found = result.registration
    forward, inverse = result.fields(warp_format)
    moving, fixed = result.moving_grid, result.fixed_grid
    outputs = {
        f"Warped{fixed.suffix}": result.warped,
        f"InverseWarped{moving.suffix}": result.inverse_warped,
        f"Synthesized{found.from_moving.modality}{moving.suffix}": result.from_moving,
        f"Synthesized{found.from_fixed.modality}{fixed.suffix}": result.from_fixed,
        "CompositeWarp.nii.gz": forward,
        "InverseCompositeWarp.nii.gz": inverse,
    }
    for name, image in outputs.items():
        save_image(image, folder / f"{stem}{name}")
    for name in further:
        write_map(found.to_moving, fixed, moving, folder / f"{stem}Composite.{name}")
        write_map(found.to_fixed, moving, fixed, folder / f"{stem}InverseComposite.{name}")
    if isinstance(found, Registration):  # every slice of a stack has affine parts of its own
        write_affine(found.affine_to_moving, folder / f"{stem}Affine.mat", result.fixed_grid.rank)
        write_affine(found.affine_to_fixed, folder / f"{stem}InverseAffine.mat", result.moving_grid.rank)
    draw_alignment(found, folder / f"{stem}qc.png", result.quality["warnings"])


def draw_alignment(found: Alignment, path: Path, warnings: Sequence[str] = ()) -> None:
    """Draw what was found for two images, on the model's canvases (`fire_tf.pictures.registration`)."""
    # matplotlib takes a while to load, which Python callers that draw nothing need not wait for.
    from fire_tf.pictures.registration import RegistrationPicture, draw_registration

    to_moving = between_canvases(found.to_moving, found.fixed, found.moving)
    shown = RegistrationPicture(
        moving=found.moving.data,
        fixed=found.fixed.data,
        from_moving=found.from_moving.data,
        from_fixed=found.from_fixed.data,
        positions=map_positions(to_moving, found.fixed.data.shape),
        spacing=found.fixed.spacing,
        names=(found.from_fixed.modality, found.from_moving.modality),
        warnings=warnings,
    )
    with _DRAWING:
        draw_registration(shown, path)
