"""Where images lie in the world: what is registered all the same, what is refused, and that ANTs follows."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from scipy.spatial.transform import Rotation

from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, RegisteredImages, register_images

PLANE = (24, 20)
SPACING = 1.5


def model() -> KnownModel:
    there, field = turned(7, (1.0, -1.5)), 1.2 * np.sin(grid_points(PLANE) / 4)
    return KnownModel(PLANE, (SPACING, SPACING), (there, field), (inverse_affine(there), -field))


def at(z: float, thickness: float = 5.0) -> np.ndarray:
    affine = np.diag([SPACING, SPACING, thickness, 1])
    affine[:3, 3] = (-10, 12, z)
    return affine


def save(
    path: Path,
    affine: np.ndarray,
    seed: int = 0,
    shape: tuple[int, ...] = (*PLANE, 1),
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    unit: str = "mm",
) -> Path:
    image = nib.Nifti1Image(brain_like(PLANE, seed).reshape(shape), affine)
    image.header.set_xyzt_units(unit)
    image.set_qform(affine if qform is None else qform, codes[1], update_affine=False)
    image.set_sform(affine, codes[0], update_affine=False)
    nib.save(image, path)
    return path


def register(folder: Path, **options) -> tuple[RegisteredImages, list[str]]:
    with collected() as doubts:
        found = register_images(
            model(), folder / "moving.nii.gz", folder / "fixed.nii.gz", Options(**options)
        )
    return found, doubts


def ants_differs_by(folder: Path, found: RegisteredImages) -> float:
    """Of ANTs with our fields from what we wrote, in parts of the range, both ways, off the outermost voxels."""
    ants = pytest.importorskip("ants")
    write_registration(found, f"{folder}/out_")
    worst = 0.0
    for source, target, prefix in (("moving", "fixed", ""), ("fixed", "moving", "Inverse")):
        theirs = ants.apply_transforms(
            *(ants.image_read(str(folder / f"{name}.nii.gz")) for name in (target, source)),
            [str(folder / f"out_{prefix}CompositeWarp.nii.gz")],
            interpolator="linear",
        ).numpy()
        ours = nib.load(folder / f"out_{prefix}Warped.nii.gz").get_fdata()
        gap = np.abs(theirs.reshape(ours.shape) - ours).squeeze()[1:-1, 1:-1]
        worst = max(worst, float(gap.max() / np.ptp(ours)))
    return worst


@pytest.mark.parametrize(("moving", "fixed"), [(0.0, 0.0), (20.0, 20.0), (-37.5, -37.5), (20.0, -37.5)])
def test_ants_finds_single_slices_wherever_they_lie(moving: float, fixed: float, tmp_path: Path) -> None:
    save(tmp_path / "moving.nii.gz", at(moving), 0)
    save(tmp_path / "fixed.nii.gz", at(fixed), 1)
    found, doubts = register(tmp_path)
    assert found.fields("itk")[0].shape == (*PLANE, 2, 1, 3)
    assert ants_differs_by(tmp_path, found) < 1e-3
    assert [f"{abs(moving - fixed):.3g} mm" in doubt for doubt in doubts] == [True] * (moving != fixed)
    assert found.quality["field_of_view_overlap_before"] == (moving == fixed)
    assert found.quality["field_of_view_overlap"] > 0.7


@pytest.mark.parametrize("shape", [(1, *PLANE), (PLANE[0], 1, PLANE[1]), (*PLANE, 1)])
def test_ants_finds_slices_in_any_plane(shape: tuple[int, ...], tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (9, -12, 20), degrees=True).as_matrix() * SPACING
    for seed, name in enumerate(("moving", "fixed")):
        affine[:3, 3] = (4 + seed, -9, 7)
        save(tmp_path / f"{name}.nii.gz", affine, seed, shape)
    found, _ = register(tmp_path)
    assert ants_differs_by(tmp_path, found) < 1e-3


def test_ants_follows_where_the_forms_disagree_and_in_micrometres(tmp_path: Path) -> None:
    scanner, aligned = at(3), at(3) + np.eye(4, k=3) * 30
    save(tmp_path / "moving.nii.gz", aligned, 0, PLANE, scanner, (2, 1))
    save(tmp_path / "fixed.nii.gz", np.diag([1e3, 1e3, 1e3, 1]) @ at(3), 1, PLANE, unit="micron")
    found, doubts = register(tmp_path)
    assert [doubt.split(": ")[1] for doubt in doubts] == ["its sform and qform lie 30 mm apart"]
    assert ants_differs_by(tmp_path, found) < 1e-3
    # Results keep both forms, so they lie where their images do.
    header = nib.load(tmp_path / "out_InverseWarped.nii.gz").header
    np.testing.assert_allclose(header.get_qform(), scanner, atol=1e-5)
    np.testing.assert_allclose(header.get_sform(), aligned, atol=1e-5)


def test_what_ants_cannot_follow_is_said(tmp_path: Path) -> None:
    save(tmp_path / "moving.nii.gz", at(0), 0, PLANE)
    save(tmp_path / "fixed.nii.gz", at(0), 1)
    assert any("a file of two axes and one of three" in doubt for doubt in register(tmp_path)[1])


@pytest.mark.parametrize(
    ("degrees", "refused"), [(0, False), (15, False), (180, False), (25, True), (90, True)]
)
def test_slices_whose_planes_are_not_parallel_are_refused(
    degrees: float, refused: bool, tmp_path: Path
) -> None:
    tilted = at(0)
    tilted[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() @ tilted[:3, :3]
    save(tmp_path / "moving.nii.gz", tilted, 0)
    save(tmp_path / "fixed.nii.gz", at(0), 1)
    if not refused:
        register(tmp_path)
        return
    with pytest.raises(InputError, match=rf"moving.*fixed.*planes are at an angle of {degrees} degrees"):
        register(tmp_path)


def test_distance_between_fields_of_view() -> None:
    def grid(origin: tuple[float, ...], shape: tuple[int, ...] = (10, 10, 10), turn: float = 0.0):
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("z", turn, degrees=True).as_matrix()
        affine[:3, 3] = origin
        return read_grid(nib.Nifti1Image(np.zeros(shape, np.float32), affine))

    still, flat = grid((0, 0, 0)), grid((0, 0, 0), (10, 10, 1))
    assert still.distance_to(grid((5, 5, 5))) == pytest.approx(0, abs=1e-6)
    assert still.distance_to(grid((13, 0, 0))) == pytest.approx(3)  # 9.5 to 12.5
    assert still.distance_to(grid((13, 14, 0))) == pytest.approx(5)  # 3 and 4 to the sides
    # Turned by 45 degrees about its first voxel, whose own corner, half a voxel before it, comes nearest.
    assert still.distance_to(grid((20, 4.5, 0), turn=-45)) == pytest.approx(20 - 9.5 - np.sqrt(0.5))
    assert flat.distance_to(grid((0, 0, 7), (10, 10, 1))) == pytest.approx(7, abs=1e-4)
    assert flat.angle_to(grid((0, 0, 0), (10, 1, 10))) == pytest.approx(90)
    assert flat.angle_to(still) == 0


def test_overlap_counts_the_third_axis_of_slices() -> None:
    grids = [read_grid(nib.Nifti1Image(np.zeros((*PLANE, 1), np.float32), at(z))) for z in (0.0, 2.0, 3.0)]
    still = AffineMap.identity(3)
    assert [grids[0].covered_by(other, still) for other in grids] == [1.0, 1.0, 0.0]  # 5 mm thick


def test_volumes_far_apart_are_registered_with_the_distance(tmp_path: Path) -> None:
    size = (12, 14, 8)
    for seed, (name, x) in enumerate((("moving", 1000.0), ("fixed", 0.0))):
        affine = np.diag([2.0, 2, 2, 1])
        affine[0, 3] = x
        nib.save(nib.Nifti1Image(brain_like(size, seed), affine), tmp_path / f"{name}.nii.gz")
    with collected() as doubts:
        found = register_images(
            KnownModel(size, (2.0,) * 3), tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz"
        )
    assert len(doubts) == 1
    assert "its field of view lies 976 mm from that of" in doubts[0]  # 1000 - 12 * 2
    np.testing.assert_allclose(found.registration.affine_to_moving.matrix[:, 3], [1000, 0, 0], atol=1e-6)
    assert found.quality["field_of_view_overlap_before"] == 0
    assert found.quality["field_of_view_overlap"] == 1


@pytest.mark.parametrize("series", ["moving", "fixed"])
def test_a_frame_is_taken_of_the_image_that_has_frames(series: str, tmp_path: Path) -> None:
    frames = [brain_like(PLANE, seed)[..., np.newaxis] for seed in range(3)]
    for name in ("moving", "fixed"):
        data = np.stack(frames, axis=-1) if name == series else frames[0]
        nib.save(nib.Nifti1Image(data, at(0)), tmp_path / f"{name}.nii.gz")
    found = register(tmp_path, frame=2)[0]
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("moving", "fixed"):
        nib.save(nib.Nifti1Image(frames[2 if name == series else 0], at(0)), alone / f"{name}.nii.gz")
    expected = register(alone)[0].registration
    np.testing.assert_array_equal(getattr(found.registration, series).data, getattr(expected, series).data)
    with pytest.raises(InputError, match="has frames 0 to 2, frame 3 was asked for"):
        register(tmp_path, frame=3)
    with pytest.raises(InputError, match="has frames 0 to 0, frame 2 was asked for"):
        register(alone, frame=2)


def test_trailing_axes_of_one_voxel_are_no_frames(tmp_path: Path) -> None:
    save(tmp_path / "moving.nii.gz", at(0), 0, (*PLANE, 1, 1, 1))
    save(tmp_path / "fixed.nii.gz", at(0), 1, (*PLANE, 1, 1))
    found, doubts = register(tmp_path)
    assert doubts == []
    assert found.inverse_warped.shape == (*PLANE, 1, 1, 1)


def test_vectors_are_no_image(tmp_path: Path) -> None:
    for name, shape, intent in (
        ("moving", (*PLANE, 1, 1, 3), 0),
        ("moving", (*PLANE, 1, 3), 1006),
        ("fixed", (*PLANE, 1, 1, 2), 1007),
        ("fixed", (*PLANE, 1, 6), 1005),
    ):
        save(tmp_path / "moving.nii.gz", at(0), 0)
        save(tmp_path / "fixed.nii.gz", at(0), 1)
        vectors = nib.Nifti1Image(np.ones(shape, np.float32), at(0))
        vectors.header.set_intent(intent)
        nib.save(vectors, tmp_path / f"{name}.nii.gz")
        with pytest.raises(InputError, match=rf"{name}.nii.gz: holds vectors or matrices"):
            register(tmp_path, frame=0)


def test_no_output_takes_the_place_of_an_input(tmp_path: Path) -> None:
    save(tmp_path / "moving.nii.gz", at(0), 0)
    moving = save(tmp_path / "P_Warped.nii.gz", at(0), 1)
    before = moving.read_bytes()
    found = register_images(model(), tmp_path / "moving.nii.gz", moving)
    with pytest.raises(InputError, match=r"P_Warped\.nii\.gz: .*same file as the input"):
        write_registration(found, f"{tmp_path}/P_")
    assert moving.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
