"""Several transforms as one: in ANTs' order, inverted where that is asked for, with one resampling."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like
from volumes import OBLIQUE

from fire_tf.applying.images import apply_transform
from fire_tf.files.doubts import Doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import AffineMap, PointMap, grid_points
from fire_tf.transforms.chains import TOLERANCE
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk import write_affine
from fire_tf.transforms.readers import read_chain

SHAPE = (20, 22, 18)
SIMILAR = np.diag([2.0, 2, 2.5, 1])
SIMILAR[:3, 3] = (-19, -20, -21)
TURN = AffineMap(np.array([[0, -1.1, 0, 3], [1, 0, 0.1, -4], [0, 0.2, 0.9, 5.0]]))
"""A quarter turn and more: it does not commute with a bend."""


def bend(points: np.ndarray) -> np.ndarray:
    return points + 2 * np.sin(points[..., [1, 2, 0]] / 9) + np.array([1.0, -2, 0.5])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """turn.mat, bend.nii.gz (of each convention too) and image.nii.gz, on one grid."""
    monkeypatch.chdir(tmp_path)
    nib.save(nib.Nifti1Image(brain_like(SHAPE), SIMILAR), "image.nii.gz")
    write_affine(TURN, Path("turn.mat"), 3)
    for kind in ("itk", "ras", "fsl", "voxel"):
        nib.save(field_image(bend, grid(), grid(), kind), f"{kind}.nii.gz")
    return tmp_path


def grid() -> Grid:
    return read_grid(nib.Nifti1Image(np.zeros(SHAPE, np.float32), SIMILAR))


def inner_points() -> np.ndarray:
    """World points, well inside the grid whichever way it is turned or bent."""
    return np.random.default_rng(0).uniform(-9, 9, (50, 3))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["itk.nii.gz", "turn.mat"], lambda p: TURN(bend(p))),
        (["turn.mat", "itk.nii.gz"], lambda p: bend(TURN(p))),
        (["turn.mat", "[turn.mat,1]"], lambda p: p),
        (["[turn.mat, 1]", "itk.nii.gz", "[turn.mat,0]"], lambda p: TURN(bend(TURN.inverse()(p)))),
    ],
)
def test_points_go_through_the_first_one_first(named: list[str], expected: PointMap, folder: Path) -> None:
    found = read_chain(named).world_map()(inner_points())
    np.testing.assert_allclose(found, expected(inner_points()), atol=0.03)  # the bend is sampled at 2 mm


@pytest.mark.parametrize("kind", ["itk", "ras", "fsl", "voxel"])
def test_the_inverse_of_a_field_takes_points_back(kind: str, folder: Path) -> None:
    points = inner_points()
    there = read_chain([f"{kind}.nii.gz"]).world_map(source=grid())
    back = read_chain([f"[{kind}.nii.gz,1]"]).world_map(target=grid())
    np.testing.assert_allclose(there(back(points)), points, atol=2 * TOLERANCE)
    np.testing.assert_allclose(back(there(points)), points, atol=1e-3)
    both = read_chain([f"[{kind}.nii.gz,1]", "[turn.mat,1]"]).world_map(target=grid())
    np.testing.assert_allclose(both(points), TURN.inverse()(back(points)), atol=1e-9)


def test_the_inverse_of_an_affine_is_exact(folder: Path) -> None:
    found = read_chain(["turn.mat", "[turn.mat,1]"]).world_map()
    assert isinstance(found, AffineMap)
    np.testing.assert_allclose(found.homogeneous, np.eye(4), atol=1e-14)


def test_fields_on_grids_that_nobody_knows_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"fsl.nii.gz: counts on the grid"):
        read_chain(["fsl.nii.gz", "turn.mat"]).world_map(grid(), grid())
    with pytest.raises(InputError, match="does not go with several"):
        read_chain(["itk.nii.gz", "turn.mat"], "ras")


def test_where_a_field_folds_there_is_no_inverse(folder: Path) -> None:
    """x -> 12 sin(x / 4): nothing comes to lie beyond 12 mm."""

    def folded(points: np.ndarray) -> np.ndarray:
        return np.concatenate([12 * np.sin(points[..., :1] / 4), points[..., 1:]], axis=-1)

    nib.save(field_image(folded, grid(), grid()), "folded.nii.gz")
    back = read_chain(["[folded.nii.gz,1]"])
    points = np.array([[3.0, 1, 2], [16, 1, 2]])
    with pytest.warns(Doubt, match="folded.nii.gz: has no inverse to 0.0001 mm at some points"):
        found = back.world_map()(points)
    np.testing.assert_allclose(folded(found[:1]), points[:1], atol=0.2)
    assert np.isnan(found[1]).all()
    with pytest.warns(Doubt, match="no inverse"):
        image = apply_transform(back, "image.nii.gz", grid(), fill=-7.0)
    assert (image.get_fdata()[0] == -7).all()  # x = -19 mm
    assert np.isfinite(image.get_fdata()).all()


def test_a_single_slice_is_inverted_within_its_plane(tmp_path: Path) -> None:
    flat = read_grid(nib.Nifti1Image(np.zeros((24, 20, 1), np.float32), OBLIQUE))

    def slide(points: np.ndarray) -> np.ndarray:
        voxels = flat.from_world()(points)
        voxels[..., :2] += np.sin(voxels[..., 1::-1] / 4)
        return AffineMap(OBLIQUE)(voxels)

    nib.save(field_image(slide, flat, flat), tmp_path / "slide.nii.gz")
    points = AffineMap(OBLIQUE)(grid_points((24, 20, 1))[6:18, 5:15])
    found = read_chain([f"[{tmp_path}/slide.nii.gz,1]"]).world_map()(points)
    np.testing.assert_allclose(slide(found), points, atol=0.1)
    np.testing.assert_allclose(flat.from_world()(found)[..., 2], 0, atol=1e-3)


@pytest.mark.parametrize(
    "named",
    [["itk.nii.gz", "turn.mat"], ["turn.mat", "itk.nii.gz"], ["[turn.mat,1]", "itk.nii.gz", "turn.mat"]],
)
def test_ants_composes_as_we_do(named: list[str], folder: Path) -> None:
    """Images and points, of a pair that does not commute."""
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    inverted = [text.startswith("[") for text in named]
    files = [text.strip("[],1") if which else text for text, which in zip(named, inverted, strict=True)]
    image = ants.image_read("image.nii.gz")
    theirs = ants.apply_transforms(image, image, files, whichtoinvert=inverted, interpolator="linear").numpy()
    ours = apply_transform(read_chain(named), "image.nii.gz", grid()).get_fdata()
    inner = np.s_[4:-4, 4:-4, 4:-4]
    assert np.abs(theirs - ours)[inner].max() < 1e-3 * np.ptp(ours)
    assert np.ptp(ours[inner]) > 100
    points = inner_points()
    table = pandas.DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, files, whichtoinvert=inverted)
    ours = read_chain(named).world_map()(points)
    np.testing.assert_allclose(moved[["x", "y", "z"]] * [-1, -1, 1], ours, atol=1e-3)
