"""Registering files: geometry with known transforms, what is written, and ANTs reading it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from scipy.io import loadmat

import fire_tf.model.storage
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.register import main
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, register_images
from fire_tf.transforms.itk import read_affine, write_affine

SIZES = {2: (40, 36), 3: (24, 28, 20)}


def oblique(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """An affine whose axes are turned against the world, flipped and in another order (about L, S, P)."""
    turn = AffineMap(turned(7, (0.0, 0.0, 0.0))).matrix[:, :3]
    order = np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ order @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def world_image(shape: tuple[int, ...], affine: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """A smooth image given by a function of world coordinates, so that any grid can sample it: (*shape)."""
    points = AffineMap(affine)(grid_points((*shape, 1)[:3])) - centre
    inside = (points**2 / np.array([16.0, 20.0, 14.0]) ** 2).sum(-1)
    values = 300 * np.exp(-2 * inside) * (1.5 + np.sin(points / 5).sum(-1) / 3)
    return np.where(inside < 1.5, values, 0).reshape(shape).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def smooth_displacement(shape: tuple[int, ...], size: float) -> np.ndarray:
    points = grid_points(shape) / np.asarray(shape)
    return size * np.sin(np.pi * points) * np.cos(2 * np.pi * points[..., ::-1])


def use_model(monkeypatch: pytest.MonkeyPatch, model: KnownModel) -> None:
    """Let the command find this model in any folder."""
    monkeypatch.setattr(fire_tf.model.storage, "find_model", lambda folder: Path(folder))
    monkeypatch.setattr(fire_tf.model.storage, "load_model", lambda folder, compiled: model)


@pytest.fixture
def oblique_pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two volumes of the same object in the world, on grids that have nothing in common."""
    centre = np.array([5.0, -3.0, 8.0])
    fixed_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    fixed_affine[:3, 3] = centre - 2 * (np.asarray(SIZES[3]) - 1) / 2
    shape = (30, 26, 34)
    moving_affine = oblique((1.8, 2.1, 1.6), (0.0, 0.0, 0.0))
    moving_affine[:3, 3] = centre - AffineMap(moving_affine)((np.asarray(shape) - 1.0) / 2)
    fixed = save(tmp_path / "fixed.nii.gz", world_image(SIZES[3], fixed_affine, centre), fixed_affine)
    moving = save(tmp_path / "moving.nii.gz", world_image(shape, moving_affine, centre), moving_affine)
    return moving, fixed


def test_identity_on_the_canvas_brings_one_grid_to_the_other(oblique_pair: tuple[Path, Path]) -> None:
    """Both canvases are centred on the object; the moving one is turned by 7 degrees against the other."""
    moving, fixed = oblique_pair
    result = register_images(KnownModel(SIZES[3], (2.0,) * 3), moving, fixed)
    grid = read_grid(fixed)
    points = AffineMap(grid.affine)(grid_points(grid.shape))
    back = result.registration.to_fixed(result.registration.to_moving(points))
    np.testing.assert_allclose(back, points, atol=1e-6)
    assert result.warped.shape == nib.load(fixed).shape
    assert result.inverse_warped.shape == nib.load(moving).shape
    np.testing.assert_allclose(result.inverse_warped.affine, nib.load(moving).affine, atol=1e-5)
    # The moving canvas is turned by 7 degrees: the identity on canvases undoes just that.
    turn = result.registration.affine_to_moving.matrix[:, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
    assert np.rad2deg(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(7, abs=0.01)


def test_known_transform_is_undone_in_the_world(oblique_pair: tuple[Path, Path]) -> None:
    """A model that answers with the rotation between the two grids gives the identity in the world."""
    moving, fixed = oblique_pair
    plain = register_images(KnownModel(SIZES[3], (2.0,) * 3), moving, fixed).registration
    between = (
        plain.affine_to_moving.homogeneous
    )  # world of fixed -> world of moving, of the canvases' identity
    to_canvas = np.linalg.inv(plain.moving.affine)
    needed = AffineMap(to_canvas @ np.linalg.inv(between) @ plain.moving.affine)
    centre = (np.asarray(SIZES[3]) - 1) / 2
    linear = needed.matrix[:, :3]
    centred = np.concatenate([linear, (needed(centre) - centre)[:, None]], axis=1)
    still = np.zeros((*SIZES[3], 3))
    model = KnownModel(SIZES[3], (2.0,) * 3, a_to_b=(centred, still), b_to_a=(inverse_affine(centred), still))
    result = register_images(model, moving, fixed)
    np.testing.assert_allclose(result.registration.affine_to_moving.homogeneous, np.eye(4), atol=1e-4)
    expected = nib.load(fixed).get_fdata()
    inner = (slice(5, -5),) * 3
    assert np.abs(result.warped.get_fdata() - expected)[inner].mean() < 0.02 * expected.max()
    assert np.corrcoef(result.warped.get_fdata().ravel(), expected.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("ndim", [2, 3])
def test_warped_images_are_what_the_model_means(ndim: int, tmp_path: Path) -> None:
    """On grids equal to the canvas the maps are phi itself: compare with pulling voxels directly."""
    size = SIZES[ndim]
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = (-30, -20, 10)
    images = [
        save(tmp_path / f"{name}.nii.gz", brain_like(size, seed), affine)
        for seed, name in enumerate(("moving", "fixed"))
    ]
    there = turned(8, (2.0, -1.0, 1.0)[:ndim])
    field = smooth_displacement(size, 1.5)
    model = KnownModel(size, (1.5,) * ndim, a_to_b=(there, field), b_to_a=(inverse_affine(there), -field))
    result = register_images(model, *images)
    expected = pull(brain_like(size, 0), AffineMap.centred(there, size)(grid_points(size) + field))
    np.testing.assert_allclose(result.warped.get_fdata(), expected, atol=0.05)
    back = pull(
        brain_like(size, 1), AffineMap.centred(inverse_affine(there), size)(grid_points(size) - field)
    )
    np.testing.assert_allclose(result.inverse_warped.get_fdata(), back, atol=0.05)
    assert result.warped.get_data_dtype() == np.float32
    # The fake synthesises by inverting, in the fixed image's grey values.
    synthesised, original = result.from_moving.get_fdata(), brain_like(size, 0)
    assert np.corrcoef(synthesised.ravel(), original.ravel())[0, 1] == pytest.approx(-1, abs=0.02)
    assert synthesised.max() == pytest.approx(
        np.percentile(brain_like(size, 1)[brain_like(size, 1) > 0], 99.5), rel=0.01
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_written_fields_are_itk_fields_of_the_whole_map(ndim: int, tmp_path: Path) -> None:
    size = SIZES[ndim]
    affine = np.diag([-1.5, 1.5, 1.5, 1.0])  # a left-handed grid
    images = [
        save(tmp_path / f"{name}.nii.gz", brain_like(size, seed), affine)
        for seed, name in enumerate(("moving", "fixed"))
    ]
    there, field = turned(8, (2.0, -1.0, 1.0)[:ndim]), smooth_displacement(size, 1.5)
    model = KnownModel(size, (1.5,) * ndim, a_to_b=(there, field), b_to_a=(inverse_affine(there), -field))
    result = register_images(model, *images, Options(moving_modality="T1"))
    written = write_registration(result, str(tmp_path / "out" / "s1_"))
    assert {path.name for path in written} == {
        f"s1_{name}"
        for name in (
            "Warped.nii.gz",
            "InverseWarped.nii.gz",
            "CompositeWarp.nii.gz",
            "InverseCompositeWarp.nii.gz",
            "Affine.mat",
            "InverseAffine.mat",
            "SynthesizedT1.nii.gz",
            "SynthesizedFLAIR.nii.gz",
            "qc.json",
            "qc.png",
        )
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    file = nib.load(tmp_path / "out" / "s1_CompositeWarp.nii.gz")
    assert file.shape == (*(*size, 1)[:3], 1, ndim)
    assert file.get_data_dtype() == np.float32
    assert int(file.header["intent_code"]) == 1007
    grid = read_grid(images[1])
    points = AffineMap(grid.affine)(grid_points(grid.shape))
    signs = np.array([-1.0, -1.0, 1.0])[:ndim]
    found = (result.registration.to_moving(points) - points)[..., :ndim] * signs
    np.testing.assert_allclose(np.asarray(file.dataobj)[..., 0, :], found, atol=1e-4)
    matrix = loadmat(tmp_path / "out" / "s1_Affine.mat")[f"AffineTransform_double_{ndim}_{ndim}"].ravel()
    expected = result.registration.affine_to_moving
    probe = np.array([4.0, -7.0, 3.0])[:ndim]
    itk = matrix[: ndim * ndim].reshape(ndim, ndim) @ (probe * signs) + matrix[ndim * ndim :]
    np.testing.assert_allclose(itk * signs, expected(np.append(probe, [0.0] * (3 - ndim)))[:ndim], atol=1e-6)
    numbers = json.loads((tmp_path / "out" / "s1_qc.json").read_text())
    assert numbers["folded_percent"] == 0
    assert numbers["inverse_consistency_mm"] > 0


def test_outside_the_canvas_the_affine_goes_on(tmp_path: Path) -> None:
    """The fixed image is larger than the canvas; far outside the map is the affine, not the canvas' edge."""
    size, canvas = (60, 60), (32, 32)
    images = [
        save(tmp_path / f"{name}.nii.gz", brain_like(size, seed), np.eye(4))
        for seed, name in enumerate(("moving", "fixed"))
    ]
    there = turned(30, (3.0, 1.0))
    model = KnownModel(
        canvas,
        (1.0, 1.0),
        a_to_b=(there, np.zeros((*canvas, 2))),
        b_to_a=(inverse_affine(there), np.zeros((*canvas, 2))),
    )
    found = register_images(model, *images).registration
    far = np.array([[200.0, -150.0, 0.0], [0.0, 59.0, 0.0]])
    np.testing.assert_allclose(found.to_moving(far), found.affine_to_moving(far), atol=1e-6)
    np.testing.assert_allclose(found.to_fixed(found.to_moving(far)), far, atol=1e-6)


def test_moving_may_be_the_second_modality(tmp_path: Path) -> None:
    size = SIZES[2]
    images = [
        save(tmp_path / f"{name}.nii.gz", brain_like(size, seed), np.eye(4))
        for seed, name in enumerate(("moving", "fixed"))
    ]
    there, still = turned(10, (2.0, 0.0)), np.zeros((*size, 2))
    model = KnownModel(size, (1.0, 1.0), a_to_b=(there, still), b_to_a=(inverse_affine(there), still))
    result = register_images(model, *images, Options(moving_modality="FLAIR"))
    expected = pull(brain_like(size, 0), AffineMap.centred(inverse_affine(there), size)(grid_points(size)))
    np.testing.assert_allclose(result.warped.get_fdata(), expected, atol=0.05)
    assert result.registration.from_moving.modality == "T1"
    with pytest.raises(InputError, match=r"'T2'.*'T1'.*'FLAIR'"):
        register_images(model, *images, Options(moving_modality="T2"))


def test_command_says_what_is_wrong_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    use_model(monkeypatch, KnownModel(SIZES[2], (1.0, 1.0)))
    image = save(tmp_path / "image.nii.gz", brain_like(SIZES[2]), np.eye(4))
    common = ["--model", "m", "--output-prefix", str(tmp_path / "out" / "p_")]
    main([*common, "--moving", str(image), "--fixed", str(image)])
    assert str(tmp_path / "out" / "p_Warped.nii.gz") in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main([*common, "--moving", str(image), "--fixed", str(tmp_path / "absent.nii.gz")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "absent.nii.gz" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_ants_warps_as_we_do(ndim: int, tmp_path: Path, oblique_pair: tuple[Path, Path]) -> None:
    """antsApplyTransforms with the composite field, and with the affine, gives our own warped images."""
    ants = pytest.importorskip("ants")
    size = SIZES[ndim]
    if ndim == 2:
        affine = np.diag([-1.5, 1.5, 1.0, 1.0])
        affine[:2, 3] = (20, -31)
        images = [
            save(tmp_path / f"{name}.nii.gz", brain_like(size, seed), affine)
            for seed, name in enumerate(("moving", "fixed"))
        ]
    else:
        images = list(oblique_pair)
    there = turned(8, (2.0, -1.0, 1.0)[:ndim])
    spacing = (1.5,) * 2 if ndim == 2 else (2.0,) * 3
    for field in (smooth_displacement(size, 1.5), np.zeros((*size, ndim))):
        model = KnownModel(size, spacing, a_to_b=(there, field), b_to_a=(inverse_affine(there), -field))
        write_registration(register_images(model, *images), str(tmp_path / "p_"))
        transforms = ["CompositeWarp.nii.gz"] + ([] if field.any() else ["Affine.mat"])
        for source, target, prefix in ((*images, "p_"), (*images[::-1], "p_Inverse")):
            for transform in transforms:
                theirs = ants.apply_transforms(
                    ants.image_read(str(target)),
                    ants.image_read(str(source)),
                    [f"{tmp_path}/{prefix}{transform}"],
                    interpolator="linear",
                ).numpy()
                ours = nib.load(f"{tmp_path}/{prefix}Warped.nii.gz").get_fdata()
                # ITK cuts off half a voxel beyond the last one, where we blend into the background.
                inner = (slice(2, -2),) * ndim
                np.testing.assert_allclose(theirs[inner], ours[inner], atol=2e-3 * ours.max())


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_initial_transform_is_where_the_model_starts(ndim: int, tmp_path: Path, monkeypatch) -> None:
    """A model that moves nothing answers with the start itself; the slices lie at different heights."""
    size = SIZES[ndim]
    image = brain_like(size)
    away = turned(35, (3.0, -2.0, 1.0)[:ndim])
    moved = pull(image, AffineMap.centred(inverse_affine(away), size)(grid_points(size)))
    places = [np.eye(4), np.eye(4)]
    if ndim == 2:
        places[1][2, 3] = 30.0
    fixed = save(tmp_path / "fixed.nii.gz", image.reshape((*size, 1)[:3]), places[0])
    moving = save(tmp_path / "moving.nii.gz", moved.reshape((*size, 1)[:3]), places[1])
    start = tmp_path / "start.mat"
    write_affine(AffineMap.centred(away, size).extruded(3), start, 3)
    use_model(monkeypatch, KnownModel(size, (1.0,) * ndim))
    prefix = str(tmp_path / "p_")
    command = ["--model", "m", "--moving", str(moving), "--fixed", str(fixed), "--output-prefix", prefix]
    main([*command, "--initial-transform", str(start)])
    warped = nib.load(prefix + "Warped.nii.gz").get_fdata().reshape(size)
    inner = image > 0
    assert np.abs(warped - image)[inner].mean() < 0.05 * image.max()
    assert np.abs(moved - image)[inner].mean() > 0.1 * image.max()
    found = read_affine(prefix + "Affine.mat")
    expected = AffineMap.centred(away, size).extruded(3).matrix.copy()
    expected[2, 3] += 30.0 if ndim == 2 else 0.0
    np.testing.assert_allclose(found.matrix, expected, atol=1e-6)


def test_starts_that_are_none_are_refused_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    image = save(tmp_path / "image.nii.gz", brain_like(SIZES[3]), np.eye(4))
    use_model(monkeypatch, KnownModel(SIZES[3], (1.0,) * 3))
    prefix = str(tmp_path / "p_")
    command = ["--model", "m", "--moving", str(image), "--fixed", str(image), "--output-prefix", prefix]
    main(command)
    starts = {"mirrors": np.diag([-1.0, 1, 1, 1]), "by a factor of 27": np.diag([3.0, 3, 3, 1])}
    files = []
    for cause, matrix in starts.items():
        files.append((cause, tmp_path / f"{len(files)}.mat"))
        write_affine(AffineMap(matrix), files[-1][1], 3)
    files.append(("displacement field", Path(prefix + "CompositeWarp.nii.gz")))
    capsys.readouterr()
    for cause, file in files:
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--initial-transform", str(file)])
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert cause in error
        assert error.count("\n") == 1


def test_rigid_writes_one_turn_and_says_what_it_left_out(tmp_path: Path, monkeypatch) -> None:
    size = SIZES[3]
    image = save(tmp_path / "image.nii.gz", brain_like(size), np.eye(4))
    matrix = turned(10, (1.0, 0.0, 0.0))
    matrix[:, :3] *= 1.1
    field = smooth_displacement(size, 1.0)
    answers = {"a_to_b": (matrix, field), "b_to_a": (inverse_affine(matrix), -field)}
    use_model(monkeypatch, KnownModel(size, (1.0,) * 3, **answers))
    prefix = str(tmp_path / "p_")
    main(
        ["--model", "m", "--moving", str(image), "--fixed", str(image), "--output-prefix", prefix, "--rigid"]
    )
    there, back = (read_affine(f"{prefix}{name}.mat") for name in ("Affine", "InverseAffine"))
    np.testing.assert_allclose(there.matrix[:, :3] @ there.matrix[:, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(back.after(there).matrix, np.eye(4)[:3], atol=1e-9)
    written = nib.load(prefix + "CompositeWarp.nii.gz")
    points = AffineMap(written.affine)(grid_points(size))
    expected = (there(points) - points) * (-1, -1, 1)
    np.testing.assert_allclose(written.get_fdata()[..., 0, :], expected, atol=1e-4)
    numbers = json.loads(Path(prefix + "qc.json").read_text())
    assert numbers["rigid_removed"]["volume_ratio"] == pytest.approx(1.331, abs=1e-3)
    assert numbers["rigid_removed"]["mean_mm"] > 0.3
    assert numbers["volume_ratio"] == pytest.approx(1)


def test_masks_that_do_not_fit_stop_the_command_with_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    image = save(tmp_path / "image.nii.gz", brain_like(SIZES[3]), np.eye(4))
    mask = save(tmp_path / "lesion.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))
    use_model(monkeypatch, KnownModel(SIZES[3], (1.0,) * 3))
    command = ["--model", "m", "--output-prefix", str(tmp_path / "out" / "p_"), "--fixed-mask", str(mask)]
    batch = tmp_path / "pairs.csv"
    batch.write_text("moving,fixed\nimage.nii.gz,image.nii.gz\n")
    for which, cause in (
        (["--moving", str(image), "--fixed", str(image)], "lesion.nii.gz: has shape (4, 4, 4)"),
        (["--batch", str(batch)], "--fixed-mask: for one pair"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command, *which])
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert cause in error
        assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))
