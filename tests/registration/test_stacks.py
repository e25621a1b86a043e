"""Stacks of slices with a 2D model: which axis the slices lie along, and each registered in its own place."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from orientations import ORIENTATIONS, stored_as

import fire_tf.model.storage
from fire_tf.applying.images import apply_transform
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.geometry.stacks import slices_last
from fire_tf.register import main
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, register_images
from fire_tf.series.beat import register_frames
from fire_tf.transforms.readers import read_transform

PLANE, SLICES = (24, 20), 3
# A short axis from right to left, as of a heart: in RAS order the slices come first. 1.5 x 1.5 x 10 mm.
TILTED = np.array([[0.0, 0.9, 8.0, 3.0], [-1.2, 0.72, -3.6, 40.0], [-0.9, -0.96, 4.8, 7.0], [0, 0, 0, 1]])
THERE = turned(8, (1.5, -1.0))
BEND = 1.2 * np.sin(grid_points(PLANE) / 4)


def heart_model(canvas: tuple[int, ...] = PLANE, spacing: tuple[float, ...] = (1.5, 1.5)) -> KnownModel:
    """A model of stacks, that turns and bends every slice in the same way."""
    there, bend = (THERE, BEND) if canvas == PLANE else (np.eye(len(canvas), len(canvas) + 1), None)
    bend = np.zeros((*canvas, len(canvas))) if bend is None else bend
    model = KnownModel(canvas, spacing, (there, bend), (inverse_affine(there), -bend))
    model.preprocessing = {
        **model.preprocessing,
        "modality_a": "ED",
        "modality_b": "ES",
        "slice_axis": "thickest",
    }
    return model


def heart(seed: int, brightness: float = 1.0) -> np.ndarray:
    """A stack (*PLANE, SLICES) whose slices differ in what they show and in how bright they are."""
    return np.stack([brightness * (k + 1) * brain_like(PLANE, 10 * seed + k) for k in range(SLICES)], axis=-1)


def in_model_axes(stack: np.ndarray) -> np.ndarray:
    """A TILTED stack with its in-plane axes as the model sees them: both turned round."""
    return stack[::-1, ::-1]


@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_the_longest_axis_comes_last_however_a_stack_is_stored(codes: str) -> None:
    image = stored_as(nib.Nifti1Image(heart(0), TILTED), codes)
    found = slices_last(Image(image.get_fdata(), image.affine, "heart"))
    assert found.data.shape[2] == SLICES
    np.testing.assert_allclose(found.spacing, (1.5, 1.5, 10), rtol=1e-6)
    corner = tuple(np.argwhere(image.get_fdata() == image.get_fdata().max())[0])
    there = tuple(np.argwhere(found.data == found.data.max())[0])
    np.testing.assert_allclose(
        AffineMap(found.affine)(np.array(there)), AffineMap(image.affine)(np.array(corner)), atol=1e-9
    )


def test_equal_voxels_and_single_slices_keep_their_axes() -> None:
    """Equal but for the last digits of float32, and a slice whose file gives it no thickness."""
    cube = Image(np.zeros((4, 5, 6)), np.diag([1.2800001, 1.28, 1.28, 1]), "cube")
    assert slices_last(cube).data.shape == (4, 5, 6)
    flat = Image(np.zeros((4, 5, 1)), np.diag([1.4, 1.4, 1.0, 1]), "flat")
    assert slices_last(flat).data.shape == (4, 5, 1)


def test_each_slice_is_warped_as_it_would_be_alone() -> None:
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    model = heart_model()
    result = register_images(model, moving, fixed)
    for k in range(SLICES):
        seen = in_model_axes(heart(0)[..., k])
        expected = pull(seen, AffineMap.centred(THERE, PLANE)(grid_points(PLANE) + BEND))
        np.testing.assert_allclose(result.warped.get_fdata()[..., k], in_model_axes(expected), atol=0.05)
    # No point leaves the plane of its slice.
    points = AffineMap(TILTED)(grid_points((*PLANE, SLICES)))
    found = AffineMap(TILTED).inverse()(result.registration.to_moving(points))
    np.testing.assert_allclose(found[..., 2], grid_points((*PLANE, SLICES))[..., 2], atol=1e-9)
    assert result.warped.shape == (*PLANE, SLICES)
    assert result.quality["folded_percent"] == 0
    assert 0 < result.quality["inverse_consistency_mm"] < 1


def test_synthesised_slices_have_the_grey_values_of_their_own_slice() -> None:
    """Slices are normalised one by one: the third is three times as bright as the first, and stays so."""
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    synthesised = register_images(heart_model(), moving, fixed).from_moving.get_fdata()
    for k in range(SLICES):
        like = heart(1)[..., k]
        high = np.percentile(like[like > 0], 99.5)
        # The fake synthesises by inverting: the background becomes the brightest grey value.
        assert synthesised[..., k].max() == pytest.approx(high, rel=1e-4)


@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_a_stack_is_registered_the_same_however_it_is_stored(codes: str) -> None:
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    expected = register_images(heart_model(), moving, fixed)
    result = register_images(heart_model(), stored_as(moving, codes), stored_as(fixed, codes))
    points = AffineMap(TILTED)(grid_points((*PLANE, SLICES)))
    for name in ("to_moving", "to_fixed"):
        there, here = (getattr(one.registration, name)(points) for one in (expected, result))
        np.testing.assert_allclose(here, there, atol=1e-4)
    back = stored_as(result.warped, "".join(nib.aff2axcodes(TILTED)))
    np.testing.assert_allclose(back.get_fdata(), expected.warped.get_fdata(), atol=0.05)


def test_a_solid_model_of_hearts_sees_the_slices_last_too() -> None:
    """Its canvas is (24, 20, 4): in RAS order, the slices first, a tilted heart would not fit onto it."""
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    model = heart_model((24, 20, 4), (1.5, 1.5, 10.0))
    found = register_images(model, moving, fixed).registration
    seen = found.fixed.data[..., :SLICES]
    assert np.corrcoef(seen.ravel(), in_model_axes(heart(1)).ravel())[0, 1] > 0.99


def test_affine_only_holds_for_every_slice() -> None:
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    found = register_images(heart_model(), moving, fixed, Options(affine_only=True)).registration
    points = AffineMap(TILTED)(grid_points((*PLANE, SLICES)))
    np.testing.assert_allclose(np.diff(found.to_moving(points), 2, axis=0), 0, atol=1e-9)


def test_other_tools_read_the_field_of_a_stack(tmp_path: Path) -> None:
    """The field alone: a single .mat cannot hold an affine for every slice, so there is none."""
    for seed, name in enumerate(("moving", "fixed")):
        nib.save(nib.Nifti1Image(heart(seed), TILTED), tmp_path / f"{name}.nii.gz")
    result = register_images(heart_model(), tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz")
    written = write_registration(result, f"{tmp_path}/out_")
    assert not [path for path in written if path.suffix == ".mat"]
    ours = nib.load(tmp_path / "out_Warped.nii.gz").get_fdata()
    transform = read_transform(tmp_path / "out_CompositeWarp.nii.gz")
    again = apply_transform(transform, tmp_path / "moving.nii.gz", read_grid(tmp_path / "fixed.nii.gz"))
    np.testing.assert_allclose(again.get_fdata(), ours, atol=1e-3 * ours.max())
    ants = pytest.importorskip("ants")
    theirs = ants.apply_transforms(
        ants.image_read(str(tmp_path / "fixed.nii.gz")),
        ants.image_read(str(tmp_path / "moving.nii.gz")),
        [str(tmp_path / "out_CompositeWarp.nii.gz")],
        interpolator="linear",
    ).numpy()
    inner = (slice(1, -1), slice(1, -1), slice(0, SLICES - 1))  # ITK drops points 1e-6 beyond the last slice
    assert np.abs(theirs - ours)[inner].max() < 1e-3 * ours.max()


def test_stacks_on_different_grids_are_refused_and_so_are_stacks_for_other_2d_models() -> None:
    moving, fixed = (nib.Nifti1Image(heart(seed), TILTED) for seed in (0, 1))
    moved = TILTED.copy()
    moved[:3, 3] += 1
    with pytest.raises(InputError, match="lies on another grid"):
        register_images(heart_model(), nib.Nifti1Image(heart(0), moved), fixed)
    with pytest.raises(InputError, match="expected a single slice"):
        register_images(KnownModel(PLANE, (1.5, 1.5)), moving, fixed)


def test_a_blank_end_slice_is_left_alone_by_refining() -> None:
    data = heart(0)
    data[..., 0] = 0
    moving, fixed = nib.Nifti1Image(data, TILTED), nib.Nifti1Image(heart(0), TILTED)
    model = heart_model()
    model.imitate = (np.positive, np.positive)  # the phases look alike
    refined, plain = (
        register_images(model, moving, fixed, Options(refined=refined)).registration
        for refined in (True, False)
    )
    points = AffineMap(TILTED)(grid_points((*PLANE, SLICES)))
    moved = np.abs(refined.to_moving(points) - plain.to_moving(points)).max(axis=(0, 1, 3))
    assert moved[0] == 0
    assert moved[1:].min() > 0.1


def test_every_frame_of_a_beating_stack_is_registered(tmp_path: Path, monkeypatch) -> None:
    """The whole command on a 4D file: time step kept, each frame as if it were registered alone."""
    monkeypatch.chdir(tmp_path)
    frames = np.stack([heart(seed) for seed in range(3)], axis=-1)
    image = nib.Nifti1Image(frames, TILTED)
    image.header.set_zooms((1.5, 1.5, 10, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, "cine.nii.gz")
    model = heart_model()
    monkeypatch.setattr(fire_tf.model.storage, "find_model", lambda folder: Path(folder))
    monkeypatch.setattr(fire_tf.model.storage, "load_model", lambda folder, compiled: model)
    series = ["--moving", "cine.nii.gz", "--fixed", "cine.nii.gz", "--frame", "1", "--all-frames"]
    main(["--model", "m", *series, "--output-prefix", "p_"])
    warped = nib.load("p_Warped.nii.gz")
    assert warped.shape == (*PLANE, SLICES, 3)
    assert warped.header.get_zooms()[3] == pytest.approx(0.04)
    assert warped.header.get_xyzt_units() == ("mm", "sec")
    for index, result in enumerate(register_frames(model, "cine.nii.gz", "cine.nii.gz", Options(frame=1))):
        np.testing.assert_allclose(warped.get_fdata()[..., index], result.warped.get_fdata(), atol=1e-3)
    assert len(json.loads(Path("p_qc.json").read_text())["frames"]) == 3
    assert Path("p_qc.png").is_file()
