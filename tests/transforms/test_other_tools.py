"""Our transforms in the hands of other tools: what ANTs and nitransforms make of the files is what we make."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from fire_tf.applying.images import apply_transform
from fire_tf.files.doubts import Doubt
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.names import FURTHER_FORMATS
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import RegisteredImages, register_images
from fire_tf.transforms.readers import read_transform

# ITK refuses axes that are not at right angles.
TURN = Rotation.from_euler("xyz", (9, -12, 20), degrees=True).as_matrix()
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN @ np.diag([1.9, 2.1, 2.4]), (-20, 5, 11)
VOLUME, PLANE = (18, 22, 16), (24, 20)
CASES = {
    "oblique": (VOLUME, OBLIQUE, "RAS"),
    "oblique, axes swapped": (VOLUME, OBLIQUE, "SLA"),
    "anisotropic": (VOLUME, np.diag([1.0, 1.5, 3.0, 1]), "LPS"),
    "single slice": ((*PLANE, 1), np.diag([1.5, 1.5, 5.0, 1]), "RAS"),
    "two axes": (PLANE, np.diag([1.5, 1.5, 1.0, 1]), "LAS"),
}


@pytest.fixture(params=CASES)
def registered(request: pytest.FixtureRequest, tmp_path: Path) -> RegisteredImages:
    """A registration by a known transform, written to out_*; the images are moving.nii.gz and fixed.nii.gz."""
    shape, affine, codes = CASES[request.param]
    rank = 3 if shape == VOLUME else 2
    there = turned(7, (1.0, -1.5, 0.5)[:rank])
    canvas = shape[:rank]
    field = 1.2 * np.sin(grid_points(canvas) / 4)
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[:rank])
    model = KnownModel(canvas, spacing, (there, field), (inverse_affine(there), -field))
    for seed, name in enumerate(("moving", "fixed")):
        image = nib.Nifti1Image(brain_like(canvas, seed).reshape(shape), affine)
        if len(shape) == 3:
            turn = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
            image = image.as_reoriented(turn)
        elif codes[0] == "L":
            image = nib.Nifti1Image(image.get_fdata(dtype=np.float32)[::-1], np.diag([-1.5, 1.5, 1.0, 1]))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    result = register_images(model, tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz")
    write_registration(result, str(tmp_path / "out_"))
    return result


def difference(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Largest difference relative to the range, off the outermost voxels: ITK cuts off at half a voxel beyond the
    edge, where we blend into the background."""
    inner = tuple(slice(1, -1) if size > 2 else slice(None) for size in ours.shape)
    return float(np.abs(theirs - ours)[inner].max() / np.ptp(ours))


def test_ants_resamples_as_we_do(registered: RegisteredImages, tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    for source, target, prefix in (("moving", "fixed", ""), ("fixed", "moving", "Inverse")):
        theirs = ants.apply_transforms(
            ants.image_read(str(tmp_path / f"{target}.nii.gz")),
            ants.image_read(str(tmp_path / f"{source}.nii.gz")),
            [str(tmp_path / f"out_{prefix}CompositeWarp.nii.gz")],
            interpolator="linear",
        ).numpy()
        ours = nib.load(tmp_path / f"out_{prefix}Warped.nii.gz").get_fdata()
        assert difference(theirs.reshape(ours.shape), ours) < 1e-3


def test_apply_repeats_what_register_wrote(registered: RegisteredImages, tmp_path: Path) -> None:
    for source, target, prefix in (("moving", "fixed", ""), ("fixed", "moving", "Inverse")):
        transform = read_transform(tmp_path / f"out_{prefix}CompositeWarp.nii.gz")
        reference = read_grid(tmp_path / f"{target}.nii.gz")
        ours = apply_transform(transform, tmp_path / f"{source}.nii.gz", reference).get_fdata()
        written = nib.load(tmp_path / f"out_{prefix}Warped.nii.gz").get_fdata()
        assert difference(ours, written) < 1e-4
    affine = read_transform(tmp_path / "out_Affine.mat").world_map(registered.moving_grid)
    points = AffineMap(registered.fixed_grid.affine)(grid_points(registered.fixed_grid.shape))
    if registered.fixed_grid.rank == 3:
        expected = registered.registration.affine_to_moving(points)
        np.testing.assert_allclose(affine(points), expected, atol=1e-6)


@pytest.mark.parametrize("name", FURTHER_FORMATS)
def test_further_formats_hold_the_whole_maps(name: str, registered: RegisteredImages, tmp_path: Path) -> None:
    pytest.importorskip({"h5": "SimpleITK", "x5": "nitransforms.io.x5"}[name])
    write_registration(registered, f"{tmp_path}/P_", further=[name])
    found = registered.registration
    for prefix, grid, expected in (
        ("", registered.fixed_grid, found.to_moving),
        ("Inverse", registered.moving_grid, found.to_fixed),
    ):
        points = AffineMap(grid.affine)(grid_points(grid.shape))
        moved = read_transform(tmp_path / f"P_{prefix}Composite.{name}").world_map()(points)
        np.testing.assert_allclose(moved, expected(points), atol=1e-4)


@pytest.mark.parametrize("kind", ["itk", "ras"])
def test_nitransforms_maps_points_as_we_do(kind: str, registered: RegisteredImages, tmp_path: Path) -> None:
    pytest.importorskip("nitransforms", reason="nitransforms 24.1.4 is not installed")
    from nitransforms.io.itk import ITKDisplacementsField
    from nitransforms.nonlinear import DenseFieldTransform

    grid = registered.fixed_grid
    if grid.single_slice:
        pytest.skip("nitransforms takes fields of volumes alone")
    image = registered.fields(kind)[0]
    transform = DenseFieldTransform(ITKDisplacementsField.from_image(image) if kind == "itk" else image)
    points = AffineMap(grid.affine)(grid_points(grid.shape))
    theirs = transform.map(points.reshape(-1, 3)).reshape(points.shape)
    np.testing.assert_allclose(theirs, registered.registration.to_moving(points), atol=1e-3)


@pytest.mark.parametrize("plane", ["sagittal", "coronal", "oblique"])
def test_files_of_two_axes_that_itk_refuses_are_warped_in_the_world(plane: str, tmp_path: Path) -> None:
    """Their field has three components; `apply` repeats with it what `register` wrote, and the slice stays in its
    plane."""
    axes = {
        "sagittal": np.eye(3)[:, [1, 2, 0]],
        "coronal": np.eye(3)[:, [0, 2, 1]],
        "oblique": TURN,
    }[plane]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 1.5 * axes, (4, -9, 7)
    there, field = turned(7, (1.0, -1.5)), 1.2 * np.sin(grid_points(PLANE) / 4)
    model = KnownModel(PLANE, (1.5, 1.5), (there, field), (inverse_affine(there), -field))
    for seed, name in enumerate(("moving", "fixed")):
        nib.save(nib.Nifti1Image(brain_like(PLANE, seed), affine), tmp_path / f"{name}.nii.gz")
    with pytest.warns(Doubt, match="plane is not axial: ITK and ANTs cannot read it"):
        result = register_images(model, tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz")
    write_registration(result, f"{tmp_path}/out_")
    assert nib.load(tmp_path / "out_CompositeWarp.nii.gz").shape == (*PLANE, 1, 1, 3)
    transform = read_transform(tmp_path / "out_CompositeWarp.nii.gz")
    again = apply_transform(transform, tmp_path / "moving.nii.gz", read_grid(tmp_path / "fixed.nii.gz"))
    assert difference(again.get_fdata(), nib.load(tmp_path / "out_Warped.nii.gz").get_fdata()) < 1e-4
    points = AffineMap(affine)(grid_points((*PLANE, 1)))
    moved = AffineMap(affine).inverse()(result.registration.to_moving(points))
    np.testing.assert_allclose(moved[..., 2], 0, atol=1e-6)  # the file's affine is float32
    assert np.abs(moved - grid_points((*PLANE, 1))).max() > 1
