"""Transform files of several tools, each known by its marks: the points that it means, or one line."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.readers import read_transform

SHAPE = (8, 9, 7)
AFFINE = np.array([[0, -1.5, 0, 10], [2, 0, 0, -20], [0, 0, 1.25, 30], [0, 0, 0, 1.0]])
TURN = np.array([[0.98, -0.17, 0.02, 4.5], [0.17, 0.97, -0.05, -2.25], [-0.01, 0.06, 1.03, 3.0]])


def bent(points: np.ndarray) -> np.ndarray:
    return AffineMap(TURN)(points) + np.sin(points[..., ::-1] / 9)


@pytest.fixture
def grid() -> Grid:
    return read_grid(nib.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE))


def world() -> np.ndarray:
    return AffineMap(AFFINE)(grid_points(SHAPE))


def save(path: Path, vectors: np.ndarray, code: int = 1007, name: str = "", kind: float = 0) -> Path:
    image = nib.Nifti1Image(vectors.astype(np.float32)[..., np.newaxis, :], AFFINE)
    image.header.set_intent(code, (), name)
    image.header["intent_p1"] = kind
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("file", "marks", "positions"),
    [
        ("y_t1.nii", {"name": "Mapping"}, True),  # SPM's
        ("renamed.nii.gz", {"name": "Mapping"}, True),
        ("iy_t1.nii", {"code": 0}, True),  # as SPM's segmentation writes them
        ("def.nii.gz", {"name": "NREG_TRANS", "kind": 0}, True),
        ("disp.nii.gz", {"name": "NREG_TRANS", "kind": 1}, False),
    ],
)
def test_fields_of_other_tools(file: str, marks: dict, positions: bool, grid: Grid, tmp_path: Path) -> None:
    points = world()
    path = save(tmp_path / file, bent(points) - (0 if positions else points), **marks)
    np.testing.assert_allclose(read_transform(path).world_map(grid)(points), bent(points), atol=1e-4)
    # Beyond the field the displacement of its edge goes on, not the position.
    beyond = AffineMap(AFFINE)(np.array([[20.0, 4, 3]]))
    edge = AffineMap(AFFINE)(np.array([[7.0, 4, 3]]))
    found = read_transform(path).world_map(grid)(beyond)
    np.testing.assert_allclose(found - beyond, bent(edge) - edge, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "marks", "cause"),
    [
        ("cpp.nii.gz", {"name": "NREG_TRANS", "kind": 2}, "a spline or a velocity of NiftyReg"),
        ("vel.nii.gz", {"name": "NREG_TRANS", "kind": 5}, "a spline or a velocity of NiftyReg"),
        ("u_rc1t1.nii", {"code": 0}, "a velocity of SPM"),
        ("coef.nii.gz", {"code": 2007}, "coefficients of FNIRT"),
        ("some.nii.gz", {"name": "Of a new tool"}, "does not say of which kind"),
    ],
)
def test_what_cannot_be_read_is_named(file: str, marks: dict, cause: str, tmp_path: Path) -> None:
    path = save(tmp_path / file, np.zeros((*SHAPE, 3)), **marks)
    with pytest.raises(InputError, match=rf"{file}: .*{cause}"):
        read_transform(path)


@pytest.mark.parametrize(
    ("code", "kind", "sign"),
    [(1007, None, 1), (1007, "itk", -1), (0, "ras", 1), (2006, None, 0), (0, "voxel", 2)],
)
def test_positions_are_not_taken_for_displacements(
    code: int, kind: str | None, sign: int, tmp_path: Path
) -> None:
    """In RAS, in LPS, in FSL's millimetres, in voxels: positions without a mark that says so."""
    points = bent(world())
    coordinates = {
        1: points,
        -1: points * [-1, -1, 1],
        0: AffineMap(AFFINE).inverse()(points) * [-2, 1.5, 1.25] + [14, 0, 0],
        2: AffineMap(AFFINE).inverse()(points),
    }[sign]
    with pytest.raises(InputError, match="holds positions, it seems"):
        read_transform(save(tmp_path / "w.nii.gz", coordinates, code), kind)


def test_a_name_alone_gives_way_to_what_the_user_says(grid: Grid, tmp_path: Path) -> None:
    nib.save(field_image(bent, grid, grid), tmp_path / "u_warp.nii.gz")
    points = world()
    found = read_transform(tmp_path / "u_warp.nii.gz", "itk").world_map(grid)(points)
    np.testing.assert_allclose(found, bent(points), atol=1e-4)
    # An intent that says ITK is believed whatever the file is called.
    nib.save(field_image(bent, grid, grid), tmp_path / "y_warp.nii.gz")
    found = read_transform(tmp_path / "y_warp.nii.gz").world_map(grid)(points)
    np.testing.assert_allclose(found, bent(points), atol=1e-4)


def test_a_tool_of_its_own_does_not_give_way(tmp_path: Path) -> None:
    path = save(tmp_path / "cpp.nii.gz", np.zeros((*SHAPE, 3)), name="NREG_TRANS", kind=2)
    with pytest.raises(InputError, match="NiftyReg"):
        read_transform(path, "ras")
