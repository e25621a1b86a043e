"""Register two images with a trained model, in both directions.

    python -m fire_tf.register --model runs/t1_flair_2d --moving T1.nii.gz --fixed FLAIR.nii.gz --output-prefix P_

Written are, on the grids of the two images as they were given:

    P_Warped.nii.gz, P_InverseWarped.nii.gz                 moving on the fixed grid, fixed on the moving grid
    P_CompositeWarp.nii.gz, P_InverseCompositeWarp.nii.gz   the whole maps, ITK displacement fields (LPS, mm)
    P_Affine.mat, P_InverseAffine.mat                       their affine parts alone, for ITK and ANTs
    P_SynthesizedB.nii.gz, P_SynthesizedA.nii.gz            each image in the other's modality, in its own place
    P_qc.json, P_qc.png                                     numbers and a picture to judge the result by

A model of hearts takes stacks slice by slice: each slice has an affine part of its own, and no ``.mat`` is written.
``--all-frames`` registers every frame of a 4D image, ``--batch`` every pair of a table; see `fire_tf.cine` and
`fire_tf.cohort` for what they write.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from fire_tf.errors import InputError, exit_cleanly
from fire_tf.grids import Grid, read_grid
from fire_tf.images import (
    BACKGROUND,
    Image,
    Source,
    check_memory,
    name_of,
    open_image,
    read_image,
    take_frame,
)
from fire_tf.outputs import check_writable, split_prefix
from fire_tf.pointmaps import AffineMap, Chain, PointMap
from fire_tf.quality import file_hash, provenance, quality
from fire_tf.registered import RegisteredImages, write_registration
from fire_tf.registration import (
    Alignment,
    PairModel,
    Registration,
    Synthesis,
    as_trained,
    is_stack,
    modalities,
    register_pair,
    register_stack,
)
from fire_tf.warp_formats import FORMATS

if TYPE_CHECKING:
    from fire_tf.model import FIRE

_BYTES_PER_VOXEL = 40  # of either image: itself, both results and a field, besides what the networks take


@dataclass(frozen=True)
class Options:
    """How pairs are registered.

    moving_modality: the moving image's; by default it is the model's modality A.
    affine_only: leave the non-rigid part out. refined: improve the model's answer on the pair itself
    (`fire_tf.refine`). frame: which frame of 4D images is meant, counted from 0. warp_format: of the written fields,
    one of `fire_tf.warp_formats.FORMATS`.
    """

    moving_modality: str | None = None
    affine_only: bool = False
    refined: bool = False
    frame: int | None = None
    warp_format: str = "itk"


def register_images(
    model: PairModel, moving: Source, fixed: Source, options: Options | None = None
) -> RegisteredImages:
    """Register two images, each given as a path or as a nibabel image.

    Raises InputError for images that cannot be registered and for a modality that the model does not know.
    """
    options = options or Options()
    names = modalities(model, options.moving_modality)
    opened = [take_frame(open_image(source), options.frame) for source in (moving, fixed)]
    moving_grid, fixed_grid = read_grid(opened[0]), read_grid(opened[1])
    labels = name_of(opened[0]), name_of(opened[1])
    voxels = math.prod(moving_grid.shape) + math.prod(fixed_grid.shape)
    check_memory(voxels * _BYTES_PER_VOXEL, f"registering {labels[0]} and {labels[1]}")
    still = AffineMap.identity(3)
    overlap = fixed_grid.covered_by(moving_grid, still)
    if not overlap:
        raise InputError(f"{labels[0]} and {labels[1]}: their fields of view are disjoint in the world")
    images = as_trained(model, read_image(opened[0])), as_trained(model, read_image(opened[1]))
    started = time.perf_counter()
    found = _register(model, images, names[0], options)
    seconds = time.perf_counter() - started
    return RegisteredImages(
        registration=found,
        moving_grid=moving_grid,
        fixed_grid=fixed_grid,
        warped=_warp(images[0], found.to_moving, fixed_grid),
        inverse_warped=_warp(images[1], found.to_fixed, moving_grid),
        from_moving=_place(found.from_moving, moving_grid, found.fixed.grey_range),
        from_fixed=_place(found.from_fixed, fixed_grid, found.moving.grey_range),
        modalities=names,
        quality={
            "moving": labels[0],
            "fixed": labels[1],
            "moving_sha256": file_hash(labels[0]),
            "fixed_sha256": file_hash(labels[1]),
            "seconds": round(seconds, 3),
            **quality(found),
            "field_of_view_overlap_before": round(overlap, 4),
            "field_of_view_overlap": round(fixed_grid.covered_by(moving_grid, found.to_moving), 4),
        },
    )


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
    found = register_pair(model, moving, fixed, moving_modality)
    # An end slice of a stack may be blank, and has nothing to refine.
    if options.refined and all((image.data > BACKGROUND).any() for image in (found.moving, found.fixed)):
        # scipy's optimisers take a while to load, which most runs do not need.
        from fire_tf.refine import refine, search_for

        found = refine(found, search_for(model))
    if options.affine_only:
        found = replace(found, to_moving=found.affine_to_moving, to_fixed=found.affine_to_fixed)
    return found


def _warp(image: Image, world_map: PointMap, grid: Grid) -> nib.Nifti1Image:
    """An image pulled through a map from the grid's world to its own."""
    to_image = Chain((world_map, AffineMap(image.affine).inverse()))
    return grid.image(grid.read_from(image.data, to_image, float(image.data.min())))


def _place(synthesis: Synthesis, grid: Grid, grey_range: np.ndarray) -> nib.Nifti1Image:
    """A synthesised image on the grid of the file it was made from, in the grey values of the other one."""
    low, high = grey_range
    data = low + (high - low) * (synthesis.data + 1) / 2
    volume = data.reshape((*data.shape, 1)[:3])
    return grid.image(grid.read_from(volume, AffineMap(synthesis.affine).inverse(), float(np.min(low))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.register", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="run folder, or the model folder in it")
    parser.add_argument("--moving", type=Path, help="image to be warped")
    parser.add_argument("--fixed", type=Path, help="image that it is warped onto")
    parser.add_argument(
        "--batch", type=Path, metavar="MANIFEST", help="CSV of many pairs: moving, fixed[, name]"
    )
    parser.add_argument("--output-prefix", required=True, help="what the names of all files begin with")
    parser.add_argument("--moving-modality", help="modality of the moving image (default: the model's A)")
    parser.add_argument("--affine-only", action="store_true", help="leave the non-rigid part out")
    parser.add_argument("--refine", action="store_true", help="improve the result on the pair itself; slower")
    parser.add_argument(
        "--frame", type=int, help="frame of 4D images, from 0; with --all-frames the fixed one's"
    )
    parser.add_argument("--all-frames", action="store_true", help="register every frame of a 4D moving image")
    parser.add_argument(
        "--warp-format",
        choices=FORMATS,
        default="itk",
        help="convention of the written fields (default: itk)",
    )
    parser.add_argument("--threads", type=int, help="threads of the networks (default: TensorFlow's choice)")
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    chosen = _parser().parse_args(arguments)
    given = [name for name in ("moving", "fixed") if getattr(chosen, name)]
    if len(given) != (0 if chosen.batch else 2):
        raise InputError("give --moving and --fixed, or --batch and neither of them")
    if chosen.batch and chosen.all_frames:
        raise InputError("--batch and --all-frames do not go together")
    check_writable(split_prefix(chosen.output_prefix)[0])
    options = Options(
        chosen.moving_modality, chosen.affine_only, chosen.refine, chosen.frame, chosen.warp_format
    )
    model, file = _load(chosen.model, chosen.threads, once=not (chosen.batch or chosen.all_frames))
    made_with = provenance(["python", "-m", "fire_tf.register", *(arguments or sys.argv[1:])], file)
    if chosen.batch:
        from fire_tf.cohort import register_cohort

        if not register_cohort(model, chosen.batch, chosen.output_prefix, options, made_with):
            raise SystemExit(1)
        return
    if chosen.all_frames:
        from fire_tf.cine import write_frames

        paths = write_frames(model, chosen.moving, chosen.fixed, chosen.output_prefix, options, made_with)
    else:
        result = register_images(model, chosen.moving, chosen.fixed, options)
        paths = write_registration(result, chosen.output_prefix, options.warp_format, made_with)
    for path in paths:
        print(path)


def _load(folder: Path, threads: int | None, once: bool) -> tuple[FIRE, Path]:
    """The model and its file. A model that runs but once runs eagerly: tracing costs more than it saves."""
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads}: expected at least 1")
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf import model_folder

    file = model_folder.find_model(folder) / "fire.keras"
    if threads is not None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = model_folder.load_model(folder, compiled=False)
    model.run_eagerly = once
    return model, file


if __name__ == "__main__":
    main()
