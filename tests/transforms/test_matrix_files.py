"""Affine transforms of FSL and FreeSurfer: cases computed by hand, and nitransforms' answer."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE

from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.transforms.readers import read_chain, read_transform

SHIFT = "1 0 0 4\n0 1 0 0\n0 0 1 -6\n0 0 0 1\n"
LTA = """type      = {type} # what it is
nxforms   = 1
mean      = 0.0000 0.0000 0.0000
sigma     = 1.0000
1 4 4
{rows}
src volume info
valid = {valid}  # volume info valid
filename = /data/src.mgz
volume = 10 12 14
voxelsize = 2.0 2.0 2.0
xras   = -1.0 0.0 0.0
yras   = 0.0 0.0 -1.0
zras   = 0.0 1.0 0.0
cras   = 1.0 2.0 3.0
dst volume info
valid = 1  # volume info valid
filename = dst.mgz
volume = 20 20 20
voxelsize = 1.0 1.0 1.0
xras   = 1.0 0.0 0.0
yras   = 0.0 1.0 0.0
zras   = 0.0 0.0 1.0
cras   = 0.0 0.0 0.0
subject bert
fscale 0.15
"""
BETWEEN_VOXELS = "2 0 0 -9\n0 2 0 -10\n0 0 2 -13\n0 0 0 1"


def grid(affine: np.ndarray, shape: tuple[int, int, int] = (6, 5, 4)) -> Grid:
    return read_grid(nib.Nifti1Image(np.zeros(shape, np.float32), affine))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("hand", [1, -1])
def test_flirt_shifts_along_the_first_axis_of_its_millimetres(hand: int, tmp_path: Path) -> None:
    """+4 mm from the moving image to the fixed one along FLIRT's x. That runs with the voxels where the grid is
    left-handed (i is read at i - 2) and against them where it is right-handed (at i + 2); world x of the left-handed
    one runs against its voxels, so it is +4 mm in both. Along z -6 mm are undone by +6 mm.
    """
    both = grid(np.diag([hand * 2.0, 2, 2, 1]))
    read = read_transform(write(tmp_path / "flirt.mat", SHIFT))
    np.testing.assert_allclose(read.world_map(both, both)(np.array([2.0, 4, 2])), (6, 4, 8))
    back = read_chain([f"[{tmp_path}/flirt.mat,1]"]).world_map(both, both)
    np.testing.assert_allclose(back(np.array([6.0, 4, 8])), (2, 4, 2))


def test_nitransforms_reads_flirt_as_we_do(tmp_path: Path) -> None:
    fsl = pytest.importorskip("nitransforms.io.fsl")
    text = "0.98 -0.17 0.02 4.5\n0.17 0.97 -0.05 -2.25\n-0.01 0.06 1.03 3\n0 0 0 1\n"
    left_handed = np.diag([-2.0, 2, 2, 1])
    images = [
        nib.Nifti1Image(np.zeros(shape, np.uint8), affine)
        for shape, affine in (((6, 5, 4), left_handed), ((9, 11, 7), OBLIQUE))
    ]
    ours = read_transform(write(tmp_path / "flirt.mat", text)).world_map(*map(read_grid, images))
    theirs = fsl.FSLLinearTransform.from_string(text).to_ras(moving=images[0], reference=images[1])
    np.testing.assert_allclose(ours.homogeneous, theirs, atol=1e-6)


def test_flirt_needs_both_grids_and_stands_alone(tmp_path: Path) -> None:
    write(tmp_path / "flirt.mat", SHIFT)
    both = grid(np.diag([2.0, 2, 2, 1]))
    for named, grids in ((["flirt.mat"], (both, None)), (["flirt.mat", "flirt.mat"], (both, both))):
        with pytest.raises(InputError, match=r"flirt.mat: counts on the grids of both images"):
            read_chain([tmp_path / name for name in named]).world_map(*grids)


def test_freesurfer_between_voxels(tmp_path: Path) -> None:
    """Voxel (6, 7, 9) of the source lies at (1 - 2, 2 + 2 (9 - 7), 3 - 2 (7 - 6)) = (-1, 6, 1), since (5, 6, 7) lies at
    its cras; the matrix sends it to voxel (3, 4, 5) of the target, at (-7, -6, -5). A pull-back takes that place back.
    """
    pytest.importorskip("nitransforms")
    path = write(tmp_path / "a.lta", LTA.format(type=0, rows=BETWEEN_VOXELS, valid=1))
    found = read_transform(path).world_map()(np.array([[-7.0, -6, -5], [-5, -6, -5]]))
    np.testing.assert_allclose(found, [[-1, 6, 1], [-3, 6, 1]], atol=1e-6)


def test_freesurfer_in_the_world(tmp_path: Path) -> None:
    """+30 mm from the source to the target: a point of the target comes from 30 mm less."""
    pytest.importorskip("nitransforms")
    path = write(tmp_path / "a.lta", LTA.format(type=1, rows=SHIFT.replace("4", "30").strip(), valid=0))
    found = read_transform(path).world_map()(np.array([30.0, 2, 3]))
    np.testing.assert_allclose(found, (0, 2, 9), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("a.mat", "1 0 0\n0 1 0\n", "neither ITK's .mat nor FSL's"),
        ("a.mat", SHIFT.replace("4", "nan"), "neither ITK's .mat nor FSL's"),
        ("a.mat", SHIFT.replace("1\n", "2\n"), "neither ITK's .mat nor FSL's"),
        ("a.lta", LTA.format(type=0, rows=BETWEEN_VOXELS, valid=0), "images that it does not describe"),
        (
            "a.lta",
            LTA.format(type=14, rows=BETWEEN_VOXELS, valid=1),
            "cannot be read as one transform of FreeSurfer",
        ),
        ("a.lta", LTA.format(type=1, rows="1 2 3", valid=1), "cannot be read as one transform of FreeSurfer"),
        (
            "a.lta",
            LTA.format(type=1, rows=BETWEEN_VOXELS.replace("2", "0"), valid=1),
            "cannot be read as one",
        ),
        ("a.lta", "", "cannot be read as one transform of FreeSurfer"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(name: str, text: str, cause: str, tmp_path: Path) -> None:
    if name.endswith("lta"):
        pytest.importorskip("nitransforms")
    with pytest.raises(InputError, match=rf"{name}: .*{cause}") as raised:
        read_transform(write(tmp_path / name, text))
    assert "\n" not in str(raised.value)
