"""Register two images with a trained model, in both directions.

    python -m fire_tf.register --model runs/t1_flair_2d --moving T1.nii.gz --fixed FLAIR.nii.gz --output-prefix P_

Written are, on the grids of the two images as they were given:

    P_Warped.nii.gz, P_InverseWarped.nii.gz                 moving on the fixed grid, fixed on the moving grid
    P_CompositeWarp.nii.gz, P_InverseCompositeWarp.nii.gz   the whole maps, ITK displacement fields (LPS, mm)
    P_Affine.mat, P_InverseAffine.mat                       their affine parts alone, for ITK and ANTs
    P_SynthesizedB.nii.gz, P_SynthesizedA.nii.gz            each image in the other's modality, in its own place
    P_qc.json, P_qc.png                                     a few numbers and a picture to judge the result by
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.errors import exit_cleanly
from fire_tf.figures import draw_registration
from fire_tf.images import Image, read_image
from fire_tf.itk import displacement_field, write_affine
from fire_tf.methods import Stopwatch
from fire_tf.pointmaps import AffineMap, Chain, PointMap, grid_points, pull
from fire_tf.quality import quality
from fire_tf.registration import PairModel, Registration, Synthesis, modalities, register_pair


@dataclass(frozen=True)
class Grid:
    """The voxel grid of a file: ``shape`` (X, Y, Z), ``affine`` (4, 4) to RAS+ mm, and what its header says.

    ``file_shape`` is what the file calls its shape; it may lack Z or have axes of one voxel more.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    file_shape: tuple[int, ...]
    header: nib.Nifti1Header

    @property
    def rank(self) -> int:
        """2 for a file of two axes in an axial plane, which ITK takes for a 2D image; else 3."""
        return 2 if len(self.file_shape) == 2 and np.allclose(self.affine[2, :2], 0) else 3

    def read_from(self, data: np.ndarray, to_data: PointMap, outside: float) -> nib.Nifti1Image:
        """``data`` read linearly on this grid; ``to_data`` maps this grid's voxels to voxels of ``data``."""
        values = pull(data, to_data(grid_points(self.shape)), outside=outside).reshape(self.file_shape)
        header = self.header.copy()
        header.set_data_dtype(np.float32)
        header["cal_min"], header["cal_max"] = 0, 0
        return nib.Nifti1Image(values, self.affine, header)


def read_grid(path: Path) -> Grid:
    """The grid of a file that ``fire_tf.images.read_image`` accepts."""
    file: nib.Nifti1Image = nib.load(path)  # type: ignore[assignment]
    shape = (*file.shape, 1)[:3]
    affine = np.array(file.affine, dtype=np.float64)
    if shape[2] == 1 and not affine[:3, 2].any():
        # Some writers leave the third direction of a slice empty.
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / np.linalg.norm(normal)
    header = nib.Nifti1Header.from_header(file.header)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine, tuple(file.shape), header)


@dataclass(frozen=True)
class RegisteredImages:
    """The result on the grids of the two files; ``registration`` holds the maps between their worlds."""

    registration: Registration
    moving_grid: Grid
    fixed_grid: Grid
    warped: nib.Nifti1Image
    inverse_warped: nib.Nifti1Image
    from_moving: nib.Nifti1Image
    from_fixed: nib.Nifti1Image
    modalities: tuple[str, str]
    quality: dict[str, float | str]


def register_images(
    model: PairModel, moving: Path, fixed: Path, moving_modality: str | None = None
) -> RegisteredImages:
    """Register two files. Without ``moving_modality`` the moving image is taken for the model's modality A.

    Raises InputError for images that cannot be registered and for a modality that the model does not know.
    """
    names = modalities(model, moving_modality)
    images = read_image(moving), read_image(fixed)
    moving_grid, fixed_grid = read_grid(moving), read_grid(fixed)
    watch = Stopwatch()
    found = register_pair(model, *images, names[0])
    seconds = watch.read().seconds
    percentile = float(model.preprocessing["percentile"])
    return RegisteredImages(
        registration=found,
        moving_grid=moving_grid,
        fixed_grid=fixed_grid,
        warped=_warp(images[0], found.to_moving, fixed_grid),
        inverse_warped=_warp(images[1], found.to_fixed, moving_grid),
        from_moving=_place(found.from_moving, moving_grid, _grey_range(images[1], percentile)),
        from_fixed=_place(found.from_fixed, fixed_grid, _grey_range(images[0], percentile)),
        modalities=names,
        quality={"moving": str(moving), "fixed": str(fixed), "seconds": round(seconds, 3), **quality(found)},
    )


def _warp(image: Image, world_map: PointMap, grid: Grid) -> nib.Nifti1Image:
    """An image pulled through a map from the grid's world to its own."""
    to_image = Chain((AffineMap(grid.affine), world_map, AffineMap(image.affine).inverse()))
    return grid.read_from(image.data, to_image, float(image.data.min()))


def _place(synthesis: Synthesis, grid: Grid, grey_range: tuple[float, float]) -> nib.Nifti1Image:
    """A synthesised image on the grid of the file it was made from, in the grey values of the other one."""
    low, high = grey_range
    data = low + (high - low) * (synthesis.data + 1) / 2
    volume = data.reshape((*data.shape, 1)[:3])
    return grid.read_from(volume, AffineMap(synthesis.affine).inverse().after(AffineMap(grid.affine)), low)


def _grey_range(image: Image, percentile: float) -> tuple[float, float]:
    """The grey values of an image that stand for -1 and 1, as ``fire_tf.images.normalise`` takes them."""
    low = float(image.data.min())
    return low, float(np.percentile(image.data[image.data > low], percentile))


def write_registration(result: RegisteredImages, prefix: str) -> list[Path]:
    """Write everything that the module's docstring names; all files appear together at the end, or none."""
    # A prefix may end in "/": then it is a folder, and the names stand alone.
    folder, stem = Path(os.path.dirname(prefix) or "."), os.path.basename(prefix)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".register_") as beside:
        _write_files(result, Path(beside))
        targets = {path: folder / f"{stem}{path.name}" for path in sorted(Path(beside).iterdir())}
        for path, target in targets.items():
            os.replace(path, target)
    return list(targets.values())


def _write_files(result: RegisteredImages, folder: Path) -> None:
    found, moving, fixed = result.registration, result.moving_grid, result.fixed_grid
    outputs = {
        "Warped": result.warped,
        "InverseWarped": result.inverse_warped,
        f"Synthesized{found.from_moving.modality}": result.from_moving,
        f"Synthesized{found.from_fixed.modality}": result.from_fixed,
        "CompositeWarp": displacement_field(found.to_moving, fixed.shape, fixed.affine, fixed.rank),
        "InverseCompositeWarp": displacement_field(found.to_fixed, moving.shape, moving.affine, moving.rank),
    }
    for name, image in outputs.items():
        nib.save(image, folder / f"{name}.nii.gz")
    write_affine(found.affine_to_moving, folder / "Affine.mat", fixed.rank)
    write_affine(found.affine_to_fixed, folder / "InverseAffine.mat", moving.rank)
    (folder / "qc.json").write_text(json.dumps(result.quality, indent=2) + "\n")
    draw_registration(found, folder / "qc.png", result.modalities)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.register", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="run folder, or the model folder in it")
    parser.add_argument("--moving", type=Path, required=True, help="image to be warped")
    parser.add_argument("--fixed", type=Path, required=True, help="image that it is warped onto")
    parser.add_argument("--output-prefix", required=True, help="what the names of all files begin with")
    parser.add_argument("--moving-modality", help="modality of the moving image (default: the model's A)")
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    # TensorFlow takes seconds to load, which a request for help need not wait for.
    from fire_tf.model_folder import load_model

    result = register_images(
        load_model(options.model), options.moving, options.fixed, options.moving_modality
    )
    for path in write_registration(result, options.output_prefix):
        print(path)


if __name__ == "__main__":
    main()
