"""`apply --composite` and `--jacobian`: what is written of a transform itself."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.apply import main
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.names import WARP_FORMATS
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk import write_affine
from fire_tf.transforms.readers import read_transform

TURN = AffineMap(np.array([[0, -1.1, 0, 3], [1, 0, 0.1, -4], [0, 0.2, 0.9, 5.0]]))


def bend(points: np.ndarray) -> np.ndarray:
    return points + 2 * np.sin(points[..., [1, 2, 0]] / 9)


def image_at(corner: float, shape: tuple[int, int, int]) -> nib.Nifti1Image:
    affine = np.diag([-2.0, 2, 2.5, 1])
    affine[:3, 3] = -corner, corner, corner
    return nib.Nifti1Image(np.ones(shape, np.float32), affine)


@pytest.fixture
def grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Grid, Grid]:
    """fixed.nii and moving.nii, turn.mat, and bend.nii.gz in each format."""
    monkeypatch.chdir(tmp_path)
    images = {"fixed.nii": image_at(-20, (18, 20, 16)), "moving.nii": image_at(-25, (22, 19, 21))}
    for name, image in images.items():
        nib.save(image, name)
    fixed, moving = map(read_grid, images)
    write_affine(TURN, Path("turn.mat"), 3)
    for kind in WARP_FORMATS:
        nib.save(field_image(bend, fixed, moving, kind), f"{kind}.nii.gz")
    return fixed, moving


@pytest.mark.parametrize("name", ["whole.nii.gz", "whole.h5", "whole.x5"])
def test_a_chain_is_written_as_one_transform(name: str, grids: tuple[Grid, Grid]) -> None:
    pytest.importorskip({"h5": "SimpleITK", "x5": "nitransforms.io.x5"}.get(name[-2:], "numpy"))
    main(f"--transform itk.nii.gz turn.mat --reference fixed.nii --composite {name}".split())
    points = AffineMap(grids[0].affine)(grid_points(grids[0].shape))
    found = read_transform(name).world_map()(points)
    np.testing.assert_allclose(found, TURN(bend(points)), atol=1e-4)


@pytest.mark.parametrize("kind", ["fsl", "voxel"])
def test_fields_on_grids_are_converted_with_the_grid_of_the_source(
    kind: str, grids: tuple[Grid, Grid]
) -> None:
    options = "--reference fixed.nii --source moving.nii --composite whole.nii.gz"
    main(f"--transform {kind}.nii.gz {options}".split())
    points = AffineMap(grids[0].affine)(grid_points(grids[0].shape))
    np.testing.assert_allclose(read_transform("whole.nii.gz").world_map()(points), bend(points), atol=1e-4)


def test_the_determinant_and_its_logarithm(
    grids: tuple[Grid, Grid], capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice the size along x, and mirrored by the inverse of a mirror: 2, and no logarithm."""
    write_affine(AffineMap(np.diag([2.0, 1, 1, 1])), Path("wide.mat"), 3)
    write_affine(AffineMap(np.diag([-2.0, 1, 1, 1])), Path("mirror.mat"), 3)
    options = "--reference fixed.nii --jacobian det.nii.gz --log-jacobian log.nii.gz"
    main(f"--transform wide.mat {options}".split())
    for name, expected in (("det.nii.gz", 2), ("log.nii.gz", np.log(2))):
        image = nib.load(name)
        np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6)
        np.testing.assert_allclose(image.affine, grids[0].affine)
    assert capsys.readouterr().err == ""
    main(f"--transform mirror.mat {options}".split())
    np.testing.assert_allclose(nib.load("det.nii.gz").get_fdata(), -2, rtol=1e-6)
    assert np.isnan(nib.load("log.nii.gz").get_fdata()).all()
    assert "warning: the map folds at 5760 voxels (100 %)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("--transform turn.mat --reference fixed.nii", "nothing to do"),
        (
            "--transform turn.mat --reference fixed.nii --composite a.mat",
            "a.mat: a transform is written as .h5",
        ),
        ("--transform turn.mat --reference fixed.nii --jacobian a.h5", "a.h5: an image is written as"),
        ("--transform turn.mat --reference fixed.nii --jacobian turn.mat", "the same file as the input"),
        ("--transform fsl.nii.gz --reference fixed.nii --composite a.nii.gz", "name it with --source"),
        (
            "--transform turn.mat --reference fixed.nii --composite a.nii --jacobian a.nii",
            "same file as the output",
        ),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(
    options: str, cause: str, grids: tuple[Grid, Grid], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(options.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert sorted(Path().iterdir()) == before
