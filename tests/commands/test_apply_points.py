"""`apply --points`: which way points go, how far from their targets they end, and what is refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.apply import main
from fire_tf.applying.point_files import read_points
from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.names import WARP_FORMATS
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.itk import write_affine

SHIFT = np.array([30.0, 4, -6])
"""mm, RAS+, from the moving image's anatomy to the fixed image's: the wrong direction is 61 mm off."""

ON_MOVING = np.array([[1.0, 2, 3], [-14, 9, 11.5], [7, -11, -4]])


def move(options: str) -> None:
    main(options.split())


def grid_at(centre: np.ndarray) -> Grid:
    matrix = np.diag([3.0, 3, 4, 1])
    matrix[:3, 3] = centre - np.array([28.5, 28.5, 26])
    return read_grid(nib.Nifti1Image(np.zeros((20, 20, 14), np.float32), matrix))


def write_csv(path: Path, points: np.ndarray) -> Path:
    rows = "".join(f"{-x},{-y},{z}\n" for x, y, z in points)  # ANTs' points are LPS+
    path.write_text("x,y,z\n" + rows)
    return path


def register(folder: Path, kind: str) -> None:
    """What a registration writes of a shift, and a .mat of the same."""
    moving, fixed = grid_at(np.zeros(3)), grid_at(SHIFT)
    nib.save(field_image(lambda p: p - SHIFT, fixed, moving, kind), folder / "P_CompositeWarp.nii.gz")
    nib.save(field_image(lambda p: p + SHIFT, moving, fixed, kind), folder / "P_InverseCompositeWarp.nii.gz")
    write_affine(AffineMap(np.column_stack([np.eye(3), -SHIFT])), folder / "P_Affine.mat", 3)


@pytest.mark.parametrize("kind", WARP_FORMATS)
def test_points_go_the_way_that_the_images_go(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    register(tmp_path, kind)
    write_csv(tmp_path / "moving.csv", ON_MOVING)
    move("--registration P_ --points moving.csv --from moving --output fixed.csv")
    printed = capsys.readouterr()
    np.testing.assert_allclose(read_points("fixed.csv").points, ON_MOVING + SHIFT, atol=1e-3)
    assert printed.out == (
        "fixed.csv\n3 points of the moving image, moved to the fixed one by P_InverseCompositeWarp.nii.gz\n"
    )
    assert printed.err == ""
    move("--registration P_ --points fixed.csv --from fixed --output back.csv --targets moving.csv")
    np.testing.assert_allclose(read_points("back.csv").points, ON_MOVING, atol=1e-3)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "3 points of the fixed image, moved to the moving one by P_CompositeWarp.nii.gz",
        "TRE (in the files' order): mean 0.00 mm, median 0.00, largest 0.00; before: mean 30.85 mm, median 30.85, "
        "largest 30.85",
    ]


def test_transforms_pull_points_back_as_in_ants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    register(tmp_path, "itk")
    write_csv(tmp_path / "fixed.csv", ON_MOVING + SHIFT)
    for names in ("P_CompositeWarp.nii.gz", "P_Affine.mat", "[P_InverseCompositeWarp.nii.gz,1]"):
        main(["--transform", names, "--points", "fixed.csv", "--output", "moving.csv"])
        np.testing.assert_allclose(read_points("moving.csv").points, ON_MOVING, atol=1e-3)
        assert (
            f"3 points of the fixed image, pulled back to the moving one by {names}"
            in capsys.readouterr().out
        )
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    theirs = ants.apply_transforms_to_points(3, pandas.read_csv("fixed.csv"), ["P_CompositeWarp.nii.gz"])
    np.testing.assert_allclose(
        theirs[["x", "y", "z"]] * [-1, -1, 1], read_points("moving.csv").points, atol=1e-3
    )


def test_targets_are_found_by_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_affine(AffineMap.identity(3), tmp_path / "still.mat", 3)
    (tmp_path / "p.csv").write_text("x,y,z,label\n0,0,0,a\n10,0,0,b\n")
    (tmp_path / "t.csv").write_text("x,y,z,label\n10,0,2,b\n0,0,1,a\n")
    files = [
        f"{option}={tmp_path / name}" for option, name in (("--points", "p.csv"), ("--targets", "t.csv"))
    ]
    main(["--transform", str(tmp_path / "still.mat"), "--output", str(tmp_path / "o.csv"), *files])
    assert "TRE (by label): mean 1.50 mm, median 1.50, largest 2.00;" in capsys.readouterr().out


def test_points_beside_the_field_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(tmp_path, "itk")
    write_csv(tmp_path / "p.csv", [*ON_MOVING, (200, 0, 0)])
    main(
        [
            f"--registration={tmp_path}/P_",
            f"--points={tmp_path}/p.csv",
            "--from=moving",
            f"--output={tmp_path}/o.csv",
        ]
    )
    assert "p.csv: 1 points lie outside the field, whose edge moves them: number 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("--registration P_ --points p.csv --output o.csv", "--from moving or --from fixed goes with"),
        ("--transform P_Affine.mat --from moving --points p.csv --output o.csv", "goes with --registration"),
        ("--points p.csv --output o.csv", "give --registration P_ or --transform"),
        ("--registration P_ --from moving --points p.csv --output o.fcsv", "the format that they come in"),
        ("--registration P_ --from moving --points p.csv --output p.csv", "the same file as the input"),
        (
            "--registration Q_ --from moving --points p.csv --output o.csv",
            "Q_InverseCompositeWarp.nii.gz: no such",
        ),
        ("--registration P_ --from moving --points none.csv --output o.csv", "none.csv: cannot be read"),
        (
            "--registration P_ --from moving --points p.csv --output o.csv --targets two.csv",
            "holds 2 points, p.csv 3",
        ),
        ("--transform P_CompositeWarp.nii.gz --points p.csv --output o.csv", "name it with --source"),
        ("--transform flat.mat [flat.mat,1] --points p.csv --output o.csv", "cannot be inverted"),
        ("--transform P_Affine.mat --points p.csv --output o.csv --input p.csv", "and no --input"),
        (
            "--transform P_Affine.mat --points p.csv --output o.csv --interpolation nearest",
            "are of images, not of --points",
        ),
        ("--transform P_Affine.mat --output o.csv", "give --transform and --reference"),
    ],
)
def test_what_cannot_be_moved_is_said_in_one_line(
    options: str,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    register(tmp_path, "fsl")
    write_csv(tmp_path / "p.csv", ON_MOVING)
    write_csv(tmp_path / "two.csv", ON_MOVING[:2])
    write_affine(AffineMap(np.diag([1.0, 1, 0, 1])), tmp_path / "flat.mat", 3)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        move(options)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
