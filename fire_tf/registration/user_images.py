"""Two images as users give them, registered and laid back on their own grids."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fire_tf.files.doubts import cast_doubt, collected
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import PARALLEL, Grid, read_grid
from fire_tf.geometry.images import Image, read_image
from fire_tf.geometry.nifti import Source, check_memory, name_of, open_image, take_frames
from fire_tf.geometry.placing import warn_of_place
from fire_tf.geometry.point_maps import AffineMap, Chain, PointMap
from fire_tf.intensities.air import clear
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.registration.limits import doubts, spacing_doubts
from fire_tf.registration.masks import masked
from fire_tf.registration.pair import (
    Alignment,
    PairModel,
    Registration,
    Synthesis,
    as_trained,
    is_stack,
    modalities,
    register_stack,
)
from fire_tf.registration.quality import file_hash, quality
from fire_tf.registration.results import RegisteredImages, write_registration
from fire_tf.registration.rigid import made_rigid
from fire_tf.registration.start import degrees, register_from_start

_TOUCHING = 1e-2  # mm between fields of view
_BYTES_PER_VOXEL = 40  # of either image: itself, both results and a field, besides what the networks take


@dataclass(frozen=True)
class Options:
    """How pairs are registered.

    moving_modality: the moving image's; by default it is the model's modality A.
    affine_only: leave the non-rigid part out. rigid: all but turns and shifts (`fire_tf.registration.rigid`). refined:
    improve the model's answer on the pair itself (`fire_tf.registration.refine`). frame: which frame of 4D images is
    meant, counted from 0. warp_format: of the written fields, one of `fire_tf.geometry.names.WARP_FORMATS`.
    further_formats: files that they are written in too, of `fire_tf.geometry.names.FURTHER_FORMATS`. start: an affine
    that is about right, from the fixed image's world to the moving one's (RAS+ mm). moving_mask, fixed_mask: what
    counts of either image (`fire_tf.registration.masks`).
    """

    moving_modality: str | None = None
    affine_only: bool = False
    refined: bool = False
    frame: int | None = None
    warp_format: str = "itk"
    further_formats: Sequence[str] = ()
    rigid: bool = False
    start: AffineMap | None = None
    moving_mask: Source | None = None
    fixed_mask: Source | None = None

    def of_single_pairs(self) -> str:
        """The option that a series of pairs, or a stack, does not take; nothing where there is none."""
        given = {
            "--rigid": self.rigid,
            "--initial-transform": self.start is not None,
            "--moving-mask": self.moving_mask is not None,
            "--fixed-mask": self.fixed_mask is not None,
        }
        return next((name for name, value in given.items() if value), "")


def register_images(
    model: PairModel, moving: Source, fixed: Source, options: Options | None = None
) -> RegisteredImages:
    """Register two images, each given as a path or as a nibabel image.

    What is doubtful about them, or about the result, is said by a `Doubt` each and in ``quality["warnings"]``. Raises
    InputError for images that cannot be registered and for a modality that the model does not know.
    """
    options = options or Options()
    with collected() as found:
        result = _registered(model, moving, fixed, options)
    names = str(result.quality["moving"]), str(result.quality["fixed"])
    found += doubts(
        result.registration, result.quality, names, model, affine_only=options.affine_only or options.rigid
    )
    for doubt in found:
        cast_doubt(doubt)
    return replace(result, quality={**result.quality, "warnings": found})


def _registered(model: PairModel, moving: Source, fixed: Source, options: Options) -> RegisteredImages:
    moving_modality, _ = modalities(model, options.moving_modality)
    opened = take_frames([open_image(source) for source in (moving, fixed)], options.frame)
    moving_grid, fixed_grid = read_grid(opened[0]), read_grid(opened[1])
    labels = name_of(opened[0]), name_of(opened[1])
    check_memory(_bytes(moving_grid, fixed_grid), f"registering {labels[0]} and {labels[1]}")
    _check_planes(moving_grid, fixed_grid, labels)
    overlap = fixed_grid.covered_by(moving_grid, AffineMap.identity(3))
    images = as_trained(model, read_image(opened[0])), as_trained(model, read_image(opened[1]))
    seen, air = _seen(model, images, options)
    for doubt in [line for image in images for line in spacing_doubts(image, model)]:
        cast_doubt(doubt)
    started = time.perf_counter()
    found = _register(model, seen, moving_modality, options)
    found, more = _made(found, options)
    seconds = time.perf_counter() - started
    _doubt_places(
        opened, moving_grid, fixed_grid, overlap
    )  # only now: what is refused is refused in one line
    return RegisteredImages(
        registration=found,
        moving_grid=moving_grid,
        fixed_grid=fixed_grid,
        warped=_warp(images[0], air[0], found.to_moving, fixed_grid),
        inverse_warped=_warp(images[1], air[1], found.to_fixed, moving_grid),
        from_moving=_place(found.from_moving, moving_grid, found.fixed.grey_range),
        from_fixed=_place(found.from_fixed, fixed_grid, found.moving.grey_range),
        quality={
            **_origin(labels),
            "seconds": round(seconds, 3),
            **quality(found),
            **more,
            "field_of_view_overlap_before": round(overlap, 4),
            "field_of_view_overlap": round(fixed_grid.covered_by(moving_grid, found.to_moving), 4),
        },
    )


def _seen(
    model: PairModel, images: tuple[Image, Image], options: Options
) -> tuple[tuple[Image, Image], list[float]]:
    """Two images as the model is to see them, without what masks leave out, and the grey value of either's air."""
    option = options.of_single_pairs()
    if option and any(is_stack(model, image) for image in images):
        raise InputError(f"{option}: not for stacks, whose slices are registered one by one")
    cleared = [clear(image.data) for image in images]
    seen = [replace(image, data=data) for image, (data, _) in zip(images, cleared, strict=True)]
    for place, mask in enumerate((options.moving_mask, options.fixed_mask)):
        if mask is not None:
            seen[place] = masked(seen[place], mask)
    return (seen[0], seen[1]), [air for _, air in cleared]


def _made(found: Alignment, options: Options) -> tuple[Alignment, dict[str, Any]]:
    """A registration as the options want it, and the numbers of where it started and what became of it."""
    numbers: dict[str, Any] = {}
    if isinstance(found, Registration):
        if options.refined:
            numbers["refined"] = found.refined
        if found.start is not None:
            numbers["start"] = {
                "given": options.start is not None,
                "degrees": round(degrees(found.start), 1),
            }
        if options.rigid:
            found, numbers["rigid_removed"] = made_rigid(found)
    return found, numbers


def memory_needed(moving: Source, fixed: Source) -> float:
    """Bytes that registering two images takes, besides what the networks take; raises InputError for what is none."""
    return _bytes(read_grid(moving), read_grid(fixed))


def _bytes(moving: Grid, fixed: Grid) -> float:
    return _BYTES_PER_VOXEL * float(math.prod(moving.shape) + math.prod(fixed.shape))


def _check_planes(moving: Grid, fixed: Grid, names: tuple[str, str]) -> None:
    angle = fixed.angle_to(moving)
    if angle > PARALLEL:
        raise InputError(
            f"{names[0]} and {names[1]}: their planes are at an angle of {angle:.0f} degrees, expected parallel "
            f"ones (up to {PARALLEL:g} degrees)"
        )


def _doubt_places(
    opened: Sequence[nib.spatialimages.SpatialImage], moving: Grid, fixed: Grid, overlap: float
) -> None:
    """Raise a `Doubt` of images that other tools place elsewhere, that lie apart (models centre both and do not see
    their places), or that have two axes beside three. ``overlap``: of their fields of view, 0 to 1."""
    for image in opened:
        warn_of_place(image, name_of(image))
    names = [name_of(image) for image in opened]
    apart = 0.0 if overlap else fixed.distance_to(moving)
    if apart > _TOUCHING:
        what = "plane" if fixed.single_slice and moving.single_slice else "field of view"
        cast_doubt(
            f"{names[0]}: its {what} lies {apart:.3g} mm from that of {names[1]}; where the two lie in the world is "
            "not used to register them",
            stacklevel=3,
        )
    if fixed.rank != moving.rank:
        cast_doubt(
            f"{names[0]} and {names[1]}: a file of two axes and one of three; ITK and ANTs cannot resample one on "
            "the other",
            stacklevel=3,
        )


def _origin(paths: tuple[str, str]) -> dict[str, str | None]:
    """Which files the numbers are of."""
    moving, fixed = paths
    return {
        "moving": moving,
        "fixed": fixed,
        "moving_sha256": file_hash(moving),
        "fixed_sha256": file_hash(fixed),
    }


def _register(
    model: PairModel, images: tuple[Image, Image], moving_modality: str, options: Options
) -> Alignment:
    register = partial(_register_pair, model, moving_modality, options)
    found: Alignment
    if any(is_stack(model, image) for image in images):
        steps = zip(model.canvas, model.preprocessing["spacing"], strict=True)
        found = register_stack(register, *images, [size * spacing for size, spacing in steps])
    else:
        found = register(*images)
    for image, prepared in zip(images, (found.moving, found.fixed), strict=True):
        if not (prepared.data > BACKGROUND).any():
            raise InputError(f"{image.path}: shows nothing but background where the model looks")
    return found


def _register_pair(
    model: PairModel, moving_modality: str, options: Options, moving: Image, fixed: Image
) -> Registration:
    found = register_from_start(model, moving, fixed, moving_modality, options.start)
    # An end slice of a stack may be blank, and has nothing to refine.
    if options.refined and all((image.data > BACKGROUND).any() for image in (found.moving, found.fixed)):
        # scipy's optimisers take a while to load, which most runs do not need.
        from fire_tf.registration.refine import refine, search_for

        found = refine(found, search_for(model))
        if not found.refined:
            cast_doubt(
                f"{moving.path} and {fixed.path}: nothing was found by refining that is better in every respect; the "
                "result is the networks' own answer"
            )
    if options.affine_only:
        found = replace(found, to_moving=found.affine_to_moving, to_fixed=found.affine_to_fixed)
    return found


def _warp(image: Image, air: float, world_map: PointMap, grid: Grid) -> nib.Nifti1Image:
    """An image pulled through a map from the grid's world to its own; air outside it."""
    to_image = Chain((world_map, AffineMap(image.affine).inverse()))
    return grid.image(grid.read_from(image.data, to_image, air))


def _place(synthesis: Synthesis, grid: Grid, grey_range: np.ndarray) -> nib.Nifti1Image:
    """A synthesised image on the grid of the file it was made from, in the grey values of the other one."""
    low, high = grey_range
    data = low + (high - low) * (synthesis.data + 1) / 2
    volume = data.reshape((*data.shape, 1)[:3])
    return grid.image(grid.read_from(volume, AffineMap(synthesis.affine).inverse(), float(np.min(low))))


def register_and_write(
    model: PairModel,
    moving: Source,
    fixed: Source,
    prefix: str,
    options: Options | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[Path]:
    """`register_images`, and everything that is written of it under names that begin with ``prefix``."""
    chosen = options or Options()
    result = register_images(model, moving, fixed, chosen)
    return write_registration(result, prefix, chosen.warp_format, provenance, further=chosen.further_formats)
