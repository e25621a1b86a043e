"""Two images and a model in, maps in world coordinates out.

A model works on its canvas, a user's images lie anywhere. Between them stand three affines, and the map that
warps the moving image onto the fixed one is (a pull-back, so it starts at the fixed image)

    world of fixed -> canvas of fixed -> (phi) -> canvas of moving -> world of moving.

World points are ``(..., 3)`` in mm, RAS+, also for single slices, whose third canvas index is 0 in both
images. Outside the canvas phi's affine part goes on analytically and its displacement keeps its edge value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from fire_tf.bids.names import contrast
from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import Prepared, prepare, prepare_at
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import (
    AffineAfterDisplacement,
    AffineMap,
    Chain,
    DisplacementMap,
    Extruded,
    PointMap,
    in_voxels,
)
from fire_tf.geometry.reading import pull
from fire_tf.geometry.stacks import SliceMaps, slice_by_slice, slices_last


class PairModel(Protocol):
    """What registering asks of a model (``fire_tf.model.fire.FIRE`` has it)."""

    canvas: tuple[int, ...]
    ndim: int
    preprocessing: Mapping[str, Any]

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Synthesis:
    """An image that the model made on a canvas, in [-1, 1], and the modality that it imitates.

    ``counts`` is that of the image that it was made from (`fire_tf.geometry.canvas.Prepared`).
    """

    data: np.ndarray
    affine: np.ndarray
    modality: str
    counts: np.ndarray | None = None


@dataclass(frozen=True)
class Alignment:
    """How two images lie on each other, and what they look like to the model. Maps take world points of the OUTPUT
    image to world points of the INPUT image.

    ``to_moving`` warps the moving image onto the fixed one, ``to_fixed`` the fixed image onto the moving one.
    ``from_moving`` is the moving image in the fixed image's modality, in its own place; ``from_fixed`` the other
    way round.
    """

    to_moving: PointMap
    to_fixed: PointMap
    from_moving: Synthesis
    from_fixed: Synthesis
    moving: Prepared
    fixed: Prepared


@dataclass(frozen=True)
class Registration(Alignment):
    """What was found for a pair; the affine maps are the maps' affine parts alone.

    ``start`` is where it began, a map as ``to_moving`` is; None: the images on their own axes. ``refined``: whether the
    maps are those of `fire_tf.registration.refine`, and not the networks' own.
    """

    affine_to_moving: AffineMap
    affine_to_fixed: AffineMap
    start: AffineMap | None = None
    refined: bool = False


def modalities(
    model: PairModel, moving_modality: str | None = None, fixed_modality: str | None = None
) -> tuple[str, str]:
    """The moving and the fixed image's modality, by the names that the model has for them.

    Without a name the moving one is the model's A. A suffix of BIDS will do for a name: T1w for T1, and the other way
    round. Raises InputError for others than the model's two.
    """
    names = (str(model.preprocessing["modality_a"]), str(model.preprocessing["modality_b"]))
    moving = names[0] if moving_modality is None else _known(moving_modality, names, "moving")
    fixed = names[1] if moving == names[0] else names[0]
    if fixed_modality is not None and _known(fixed_modality, names, "fixed") != fixed:
        raise InputError(f"fixed modality {fixed_modality!r}: this model registers {moving} and {fixed}")
    return moving, fixed


def _known(name: str, names: tuple[str, str], which: str) -> str:
    """The model's own name for a modality."""
    like = [own for own in names if own == name] or [own for own in names if contrast(own) == contrast(name)]
    if len(like) != 1:
        raise InputError(f"{which} modality {name!r}: this model knows {names[0]!r} and {names[1]!r}")
    return like[0]


def register_pair(
    model: PairModel,
    moving: Image,
    fixed: Image,
    moving_modality: str | None = None,
    start: AffineMap | None = None,
) -> Registration:
    """Register two images in RAS order (``fire_tf.geometry.images.read_image``) with one forward pass of the model.

    ``start`` takes world points of the fixed image about to where they belong in the moving one; without it the model
    sees both images as they lie on their own axes, their fields of view centred.
    """
    moving_name, fixed_name = modalities(model, moving_modality)
    settings = (model.preprocessing["spacing"], model.canvas, model.preprocessing["percentile"])
    on_canvas = {"moving": prepare(moving, *settings), "fixed": prepare(fixed, *settings)}
    if start is not None:
        grid = _started(start, on_canvas["fixed"].affine, moving)
        on_canvas["moving"] = prepare_at(moving, grid, *settings[1:])
    role = {"moving": "a", "fixed": "b"}
    if moving_name != model.preprocessing["modality_a"]:
        role = {"moving": "b", "fixed": "a"}
    image_of = {role[name]: image.data[np.newaxis, ..., np.newaxis] for name, image in on_canvas.items()}
    out = model.estimate_pair(image_of["a"], image_of["b"])
    forward = world_maps(
        canvas_map(out, role["moving"], role["fixed"]), on_canvas["moving"], on_canvas["fixed"]
    )
    inverse = world_maps(
        canvas_map(out, role["fixed"], role["moving"]), on_canvas["fixed"], on_canvas["moving"]
    )
    return Registration(
        to_moving=forward[0],
        affine_to_moving=forward[1],
        to_fixed=inverse[0],
        affine_to_fixed=inverse[1],
        from_moving=_synthesis(out, role["fixed"], on_canvas["moving"], fixed_name),
        from_fixed=_synthesis(out, role["moving"], on_canvas["fixed"], moving_name),
        moving=on_canvas["moving"],
        fixed=on_canvas["fixed"],
        start=start,
    )


def _started(start: AffineMap, fixed_canvas: np.ndarray, moving: Image) -> np.ndarray:
    """The moving canvas, (4, 4) to the world, on which a start has been made: the fixed one, taken through it.

    Planes of single slices are taken for one plane.
    """
    to_voxels = np.linalg.inv(moving.affine) @ start.homogeneous @ fixed_canvas
    if moving.data.shape[2] == 1:
        to_voxels[2] = (0, 0, 1, 0)
    return moving.affine @ to_voxels


def is_stack(model: PairModel, image: Image) -> bool:
    """Whether a model takes an image slice by slice: a stack, for one that was trained on slices of stacks."""
    return model.ndim == 2 and of_stacks(model) and image.data.shape[2] > 1


def as_trained(model: PairModel, image: Image) -> Image:
    """An image in RAS order with its axes as the model saw them: the thickest last, for one of stacks."""
    return slices_last(image) if of_stacks(model) else image


def of_stacks(model: PairModel) -> bool:
    """Whether a model was trained on stacks, the slices of which it saw with the thickest axis last."""
    return model.preprocessing.get("slice_axis", "last") == "thickest"


def register_stack(
    register: Callable[[Image, Image], Registration], moving: Image, fixed: Image, size: Sequence[float]
) -> Alignment:
    """Two stacks on one grid, slices last, the slices of which ``register`` registers one by one.

    ``size`` is the in-plane size in mm of what it is shown, the same part of all slices, around the middle.

    Raises InputError where the stacks lie on different grids.
    """
    found = slice_by_slice(lambda part: register(part.of(moving), part.of(fixed)), moving, fixed, size)
    to_voxels = AffineMap(fixed.affine).inverse()
    return Alignment(
        to_moving=SliceMaps(tuple(one.to_moving for one in found), to_voxels),
        to_fixed=SliceMaps(tuple(one.to_fixed for one in found), to_voxels),
        from_moving=_stacked_synthesis([one.from_moving for one in found]),
        from_fixed=_stacked_synthesis([one.from_fixed for one in found]),
        moving=_stacked([one.moving for one in found]),
        fixed=_stacked([one.fixed for one in found]),
    )


def _stacked(slices: Sequence[Prepared]) -> Prepared:
    """Single slices of a stack as a volume. The first one's affine is the stack's: its third axis is the step."""
    first = slices[0]
    return Prepared(
        data=np.stack([one.data for one in slices], axis=-1),
        affine=first.affine,
        spacing=(*first.spacing, float(np.linalg.norm(first.affine[:3, 2]))),
        grey_range=np.stack([one.grey_range for one in slices], axis=-1),
    )


def _stacked_synthesis(slices: Sequence[Synthesis]) -> Synthesis:
    return replace(slices[0], data=np.stack([one.data for one in slices], axis=-1))


def canvas_map(
    out: Mapping[str, np.ndarray], source: str, target: str, place: int = 0
) -> AffineAfterDisplacement:
    """What the model found, for the pair at a ``place`` of its batch, from the target's canvas to the source's, in
    voxels. Either is "a" or "b"."""
    name = f"{source}_to_{target}"
    displacement = out[f"nonrigid_{name}"][place]
    affine = AffineMap.centred(out[f"affine_{name}"][place], displacement.shape[:-1])
    return AffineAfterDisplacement(DisplacementMap(displacement), affine)


def world_maps(
    phi: AffineAfterDisplacement, source: Prepared, target: Prepared
) -> tuple[PointMap, AffineMap]:
    """A map from the target's canvas voxels to the source's as one between their worlds, and its affine part."""
    into = AffineMap(target.affine).inverse()
    onward = AffineMap(source.affine)
    whole = Chain((into, Extruded(phi, target.data.ndim), onward))
    return whole, onward.after(phi.affine.extruded(3)).after(into)


def between_canvases(world_map: PointMap, target: Prepared, source: Prepared) -> PointMap:
    """A map from the target's world to the source's as one between their canvas voxels."""
    return in_voxels(world_map, target.affine, source.affine, target.data.ndim)


def counting(fixed: np.ndarray | None, moving: np.ndarray | None, positions: np.ndarray) -> np.ndarray:
    """Where two images on each other count both: (*canvas) of the fixed one, whose voxels lie at ``positions``
    (*canvas, n) of the moving one's canvas."""
    both = np.ones(positions.shape[:-1], dtype=bool) if fixed is None else fixed
    return both if moving is None else both & pull(moving, positions, nearest=True)


def _synthesis(out: Mapping[str, np.ndarray], role: str, of: Prepared, modality: str) -> Synthesis:
    return Synthesis(np.asarray(out[f"synth_{role}"][0, ..., 0]), of.affine, modality, of.counts)
