"""How far the tools that own a format move points from where `apply` moves them, with the same file.

    python benchmarks/format_owners.py --transform WARP.nii.gz AFFINE.mat --moving M.nii.gz --fixed F.nii.gz

The transforms, as one (for .mat its affine part), are written in every format that has an owner here.
Printed is the largest distance, in mm, of 1,000 points that lie anywhere inside the fixed image's grid, and of 1,000 of
its voxels: between voxels nitransforms reads fields by cubic splines, and all others linearly.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from fire_tf.apply import main as apply
from fire_tf.files.errors import InputError, exit_cleanly
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import AffineMap, PointMap, fit_affine
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk import LPS, write_affine
from fire_tf.transforms.readers import read_chain
from fire_tf.transforms.writers import write_map

POINTS = 1000


def by_ants(file: str, points: np.ndarray) -> np.ndarray:
    import ants
    import pandas

    table = pandas.DataFrame(LPS(points), columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, [file])
    return LPS(moved[["x", "y", "z"]].to_numpy())


def by_simple_itk(file: str, points: np.ndarray) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    if file.endswith(".nii.gz"):
        transform = sitk.DisplacementFieldTransform(sitk.ReadImage(file, sitk.sitkVectorFloat64))
    else:
        transform = sitk.ReadTransform(file)
    return LPS(np.array([transform.TransformPoint(point) for point in LPS(points).tolist()]))


def by_nitransforms(file: str, points: np.ndarray) -> np.ndarray:
    from nitransforms.io.itk import ITKDisplacementsField
    from nitransforms.linear import Affine
    from nitransforms.manip import TransformChain
    from nitransforms.nonlinear import DenseFieldTransform

    if file.endswith(".mat"):
        return Affine.from_filename(file, fmt="itk").map(points)
    if file.endswith((".h5", ".x5")):
        return TransformChain.from_filename(file, fmt=file[-2:]).map(points)
    is_itk = "itk" in Path(file).name
    return DenseFieldTransform(ITKDisplacementsField.from_filename(file) if is_itk else nib.load(file)).map(
        points
    )


class Owner(NamedTuple):
    module: str
    move: Callable[[str, np.ndarray], np.ndarray]


ANTS, SIMPLE_ITK, NITRANSFORMS = (
    Owner("ants", by_ants),
    Owner("SimpleITK", by_simple_itk),
    Owner("nitransforms", by_nitransforms),
)
OWNERS = {
    "itk.nii.gz": (ANTS, SIMPLE_ITK, NITRANSFORMS),
    "ras.nii.gz": (NITRANSFORMS,),
    "all.h5": (ANTS, SIMPLE_ITK, NITRANSFORMS),
    "all.x5": (NITRANSFORMS,),
    "affine.mat": (ANTS, SIMPLE_ITK, NITRANSFORMS),
}


def write_all(world_map: PointMap, target: Grid, source: Grid, folder: Path) -> Iterable[str]:
    """Every file of `OWNERS` that can be written here."""
    for name in OWNERS:
        if name == "affine.mat":
            inside = points_in(target)
            write_affine(fit_affine(inside, world_map(inside)), folder / name, 3)
        elif name.endswith(".nii.gz"):
            nib.save(field_image(world_map, target, source, name[:3]), folder / name)
        else:
            try:
                write_map(world_map, target, source, folder / name)
            except InputError as error:
                print(error)
                continue
        yield name


def points_in(grid: Grid, *, on_voxels: bool = False) -> np.ndarray:
    """World points (RAS+ mm) of the grid, drawn alike everywhere but on the outermost voxels."""
    drawn = np.random.default_rng(0).uniform(1, np.asarray(grid.shape) - 2, (POINTS, 3))
    return AffineMap(grid.affine)(np.rint(drawn) if on_voxels else drawn)


def apart(file: Path, owner: Owner, points: np.ndarray) -> float:
    """The largest distance between where ``owner`` and the command `apply` move points with a file, in mm."""
    given, moved = file.with_name("given.csv"), file.with_name("moved.csv")
    np.savetxt(given, LPS(points), "%.9f", delimiter=",", header="x,y,z", comments="")
    apply(["--transform", str(file), "--points", str(given), "--output", str(moved)])
    ours = LPS(np.loadtxt(moved, delimiter=",", skiprows=1))
    return float(np.linalg.norm(owner.move(str(file), points) - ours, axis=-1).max())


def compare(
    world_map: PointMap, target: Grid, source: Grid, folder: Path
) -> Iterator[tuple[str, float, float]]:
    """Of each file and owner: both in words, the distance anywhere, and the distance on voxels."""
    for name in write_all(world_map, target, source, folder):
        for owner in OWNERS[name]:
            if find_spec(owner.module):
                places = (points_in(target), points_in(target, on_voxels=True))
                anywhere, on_voxels = (apart(folder / name, owner, points) for points in places)
                yield f"{name} {owner.module}", anywhere, on_voxels


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--transform", nargs="+", required=True, help="as for apply")
    parser.add_argument("--moving", required=True, help="image that they warp")
    parser.add_argument("--fixed", required=True, help="image that it is warped onto")
    chosen = parser.parse_args(arguments)
    source, target = read_grid(chosen.moving), read_grid(chosen.fixed)
    with tempfile.TemporaryDirectory() as folder:
        lines = list(
            compare(read_chain(chosen.transform).world_map(source, target), target, source, Path(folder))
        )
    print(f"{'file, owner':24} {'anywhere':>10} {'on voxels':>10}  mm")
    for name, anywhere, on_voxels in lines:
        print(f"{name:24} {anywhere:10.6f} {on_voxels:10.6f}")


if __name__ == "__main__":
    main()
