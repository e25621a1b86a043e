"""Resampling further images: labels, frames, several files, and transforms that other tools read and wrote."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from fire_tf.apply import main
from fire_tf.applying.images import apply_transform
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.names import WARP_FORMATS
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.transforms.fields import AffineTransform, field_image
from fire_tf.transforms.itk import read_affine, write_affine
from fire_tf.transforms.readers import read_transform

TARGET, SOURCE = (14, 12, 10), (13, 15, 11)
AXES = {
    "oblique": np.array([[1.9, 0.3, -0.2], [-0.35, 2.1, 0.25], [0.2, -0.3, 2.4]]),
    "left-handed": np.diag([-2.0, 2.0, 2.2]),
    "sagittal": np.array([[0, 0, 2.5], [-1.8, 0, 0], [0, 2.0, 0]]),
}


def affine(axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels to world with the grid's centre near the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = AXES[axes]
    matrix[:3, 3] = -AXES[axes] @ (np.asarray(shape) - 1) / 2
    return matrix


def save(path: Path, data: np.ndarray, matrix: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, matrix), path)
    return path


def bent(points: np.ndarray) -> np.ndarray:
    """A map of world points (mm) that is not affine."""
    return points @ AXES["oblique"].T / 2.2 + np.sin(points[..., ::-1] / 9) + np.array([1.0, -2.0, 0.5])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """(source, target): two grids of different axes; the source holds noise."""
    rng = np.random.default_rng(0)
    source = save(
        tmp_path / "source.nii.gz",
        rng.uniform(0, 9, SOURCE).astype(np.float32),
        affine("left-handed", SOURCE),
    )
    target = save(tmp_path / "target.nii.gz", np.zeros(TARGET, np.float32), affine("oblique", TARGET))
    return source, target


@pytest.mark.parametrize("kind", WARP_FORMATS)
@pytest.mark.parametrize("axes", AXES)
def test_every_format_comes_back_as_the_same_map(kind: str, axes: str, tmp_path: Path) -> None:
    target = read_grid(nib.Nifti1Image(np.zeros(TARGET, np.float32), affine(axes, TARGET)))
    source = read_grid(nib.Nifti1Image(np.zeros(SOURCE, np.float32), affine("sagittal", SOURCE)))
    nib.save(field_image(bent, target, source, kind), tmp_path / "field.nii.gz")
    points = AffineMap(target.affine)(grid_points(TARGET))
    found = read_transform(tmp_path / "field.nii.gz").world_map(source)(points)
    np.testing.assert_allclose(found, bent(points), atol=1e-4)


def test_fsl_counts_the_first_axis_backwards_on_right_handed_grids() -> None:
    """A shift of one voxel along +x of 2 mm: -2 in FSL's millimetres on a right-handed grid, +2 on another."""
    shift = np.array([2.0, 0, 0])
    for sign in (1, -1):
        grid = read_grid(nib.Nifti1Image(np.zeros((6, 5, 4), np.float32), np.diag([sign * 2.0, 2, 2, 1])))
        field = np.asarray(field_image(lambda p: p + shift, grid, grid, "fsl").dataobj)
        np.testing.assert_allclose(field.reshape(-1, 3), np.broadcast_to([-2.0, 0, 0], (120, 3)), atol=1e-6)
    voxels = np.asarray(field_image(lambda p: p + shift, grid, grid, "voxel").dataobj)
    np.testing.assert_allclose(voxels[0, 0, 0], [-1, 0, 0], atol=1e-6)


def test_fsl_coordinates_between_grids_of_different_hands() -> None:
    """The identity between a right-handed grid and its mirror: index i is read from index 5 - i, which FSL calls
    the same place."""
    right = read_grid(nib.Nifti1Image(np.zeros((6, 5, 4), np.float32), np.diag([2.0, 2, 2, 1])))
    mirrored = np.diag([-2.0, 2, 2, 1])
    mirrored[0, 3] = 10
    left = read_grid(nib.Nifti1Image(np.zeros((6, 5, 4), np.float32), mirrored))
    field = np.asarray(field_image(lambda p: p, right, left, "fsl").dataobj)
    np.testing.assert_allclose(field, 0, atol=1e-6)


def test_linear_resampling_reads_where_the_map_points(pair: tuple[Path, Path]) -> None:
    source, target = (read_grid(path) for path in pair)
    result = apply_transform(AffineTransform(AffineMap(np.eye(4))), pair[0], target)
    points = source.from_world()(AffineMap(target.affine)(grid_points(TARGET)))
    expected = pull(nib.load(pair[0]).get_fdata(dtype=np.float32), points)
    np.testing.assert_allclose(result.get_fdata(), expected, atol=1e-5)
    assert result.get_data_dtype() == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_labels_keep_type_and_values(dtype: type, pair: tuple[Path, Path], tmp_path: Path) -> None:
    values = np.array([0, 3, 117], dtype)
    labels = values[np.random.default_rng(1).integers(0, 3, SOURCE)]
    source = save(tmp_path / "labels.nii.gz", labels, affine("left-handed", SOURCE))
    target = read_grid(pair[1])
    nib.save(field_image(bent, target, read_grid(source)), tmp_path / "field.nii.gz")
    output = tmp_path / "out.nii"
    files = ["--input", str(source), "--reference", str(pair[1]), "--output", str(output)]
    main(["--transform", str(tmp_path / "field.nii.gz"), *files, "--interpolation", "nearest"])
    result = nib.load(output)
    assert result.get_data_dtype() == dtype
    assert result.header.get_slope_inter() in [(None, None), (1.0, 0.0)]
    assert set(np.unique(np.asarray(result.dataobj))) == set(values)


def test_scaled_integers_stay_the_same_integers(pair: tuple[Path, Path], tmp_path: Path) -> None:
    raw = np.random.default_rng(2).integers(-100, 100, SOURCE)
    image = nib.Nifti1Image(raw.astype(np.int16), affine("left-handed", SOURCE))
    image.header.set_slope_inter(0.1, 7.0)
    nib.save(image, tmp_path / "scaled.nii.gz")
    same = read_grid(tmp_path / "scaled.nii.gz")
    result = apply_transform(
        AffineTransform(AffineMap.identity(3)), tmp_path / "scaled.nii.gz", same, "nearest"
    )
    nib.save(result, tmp_path / "again.nii.gz")
    again = nib.load(tmp_path / "again.nii.gz")
    assert again.get_data_dtype() == np.int16
    np.testing.assert_array_equal(again.dataobj.get_unscaled(), raw)
    np.testing.assert_allclose(again.get_fdata(), raw * 0.1 + 7.0, atol=1e-5)


def test_frames_are_resampled_one_by_one_and_keep_their_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    frames = np.random.default_rng(3).uniform(0, 9, (*SOURCE, 3)).astype(np.float32)
    image = nib.Nifti1Image(frames, affine("left-handed", SOURCE))
    image.header.set_zooms((2, 2, 2.2, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "cine.nii.gz")
    shift = AffineTransform(AffineMap(np.array([[1.0, 0, 0, 1.5], [0, 1, 0, -2], [0, 0, 1, 0.7]])))
    target = read_grid(pair[1])
    result = apply_transform(shift, tmp_path / "cine.nii.gz", target)
    assert result.shape == (*TARGET, 3)
    assert result.header.get_zooms()[3] == pytest.approx(0.04)
    assert result.header.get_xyzt_units()[1] == "sec"
    for index in range(3):
        alone = apply_transform(shift, nib.Nifti1Image(frames[..., index], image.affine), target)
        np.testing.assert_allclose(result.get_fdata()[..., index], alone.get_fdata(), atol=1e-5)


def test_one_transform_serves_many_images(pair: tuple[Path, Path], tmp_path: Path) -> None:
    write_affine(AffineMap.identity(3), tmp_path / "still.mat", 3)
    common = ["--transform", str(tmp_path / "still.mat"), "--reference", str(pair[0])]
    outputs = [str(tmp_path / "new" / name) for name in ("a.nii.gz", "b.nii.gz")]
    main([*common, "--input", str(pair[0]), str(pair[1]), "--output", *outputs])
    np.testing.assert_allclose(nib.load(outputs[0]).get_fdata(), nib.load(pair[0]).get_fdata(), atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.parametrize("kind", ["AffineTransform", "MatrixOffsetTransformBase"])
def test_itk_affines_turn_about_their_centre(kind: str, tmp_path: Path) -> None:
    """A quarter turn about (10, 0) in LPS, that is about (-10, 0) in RAS, which is turned the same way."""
    parameters = np.array([0, -1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 5.0])[:, None]
    centre = np.array([[10.0], [0], [0]])
    savemat(tmp_path / "turn.mat", {f"{kind}_float_3_3": parameters, "fixed": centre}, format="4")
    found = read_affine(tmp_path / "turn.mat")
    np.testing.assert_allclose(
        found(np.array([[-10.0, 0, 0], [-9, 0, 0]])), [[-10, 0, 5], [-10, 1, 5]], atol=1e-9
    )


def test_ants_writes_an_affine_that_we_read(tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    matrix, centre, shift = AXES["oblique"] / 2.2, (3.0, -4.0, 5.0), (1.0, 2.0, 3.0)
    theirs = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        matrix=matrix,
        offset=None,
        translation=shift,
        center=centre,
    )
    ants.write_transform(theirs, str(tmp_path / "theirs.mat"))
    point = np.array([12.0, -7.0, 30.0])
    flip = np.array([-1.0, -1.0, 1.0])
    expected = np.asarray(ants.apply_ants_transform_to_point(theirs, tuple(point * flip))) * flip
    np.testing.assert_allclose(read_affine(tmp_path / "theirs.mat")(point), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"--input": ["absent.nii.gz"]}, "absent.nii.gz: no such file"),
        ({"--output": ["a.nii.gz", "b.nii.gz"]}, "1 inputs and 2 outputs"),
        ({"--output": ["a.png"]}, "a.png: an image is written as"),
        ({"--output": ["source.nii.gz/a.nii"]}, "cannot be written"),
        ({"--transform": ["source.nii.gz"]}, "is not a displacement field's"),
        ({"--transform": ["broken.mat"]}, "broken.mat: is neither ITK's .mat nor FSL's"),
        ({"--transform": ["absent.mat"]}, "absent.mat: no such file"),
        ({"--transform": ["other.mat"]}, "other.mat: cannot be read as a transform of ITK"),
        ({"--transform": ["unknown.nii"]}, "name it with --warp-format"),
        ({"--transform": ["nan.nii"]}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_applied_is_said_in_one_line(
    change: dict[str, list[str]], cause: str, pair: tuple[Path, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_affine(AffineMap.identity(3), Path("still.mat"), 3)
    Path("broken.mat").write_text("no transform")
    savemat("other.mat", {"x": np.eye(3)}, format="4")
    save(Path("unknown.nii"), np.zeros((*TARGET, 3), np.float32), np.eye(4))
    nan = field_image(lambda points: points * np.nan, read_grid(pair[1]), read_grid(pair[0]))
    nib.save(nan, "nan.nii")
    before = sorted(tmp_path.iterdir())
    usual = {"--transform": ["still.mat"], "--input": ["source.nii.gz"], "--reference": ["target.nii.gz"]}
    options = {**usual, "--output": ["out.nii.gz"], **change}
    with pytest.raises(SystemExit) as stopped:
        main([word for name, values in options.items() for word in (name, *values)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_wrong_interpolation_is_a_programming_error(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="sinc"):
        apply_transform(AffineTransform(AffineMap.identity(3)), pair[0], read_grid(pair[1]), "sinc")


def test_a_file_that_breaks_off_leaves_no_output(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[0].write_bytes(pair[0].read_bytes()[:2000])
    write_affine(AffineMap.identity(3), tmp_path / "still.mat", 3)
    arguments = ["--transform", str(tmp_path / "still.mat"), "--input", str(pair[0])]
    with pytest.raises(SystemExit):
        main([*arguments, "--reference", str(pair[1]), "--output", str(tmp_path / "out.nii.gz")])
    assert not (tmp_path / "out.nii.gz").exists()
    with pytest.raises(InputError, match="truncated"):
        apply_transform(AffineTransform(AffineMap.identity(3)), pair[0], read_grid(pair[1]))


def still(folder: Path, shift: float = 0.0) -> Path:
    """The identity, or a shift along the first axis in mm."""
    matrix = np.eye(4)
    matrix[0, 3] = shift
    write_affine(AffineMap(matrix), folder / "still.mat", 3)
    return folder / "still.mat"


def apply(folder: Path, source: str, *more: str, transform: Path | None = None) -> nib.Nifti1Image:
    """``source`` resampled on itself."""
    arguments = ["--transform", str(transform or still(folder)), "--input", str(folder / source)]
    main([*arguments, "--reference", str(folder / source), "--output", str(folder / "o.nii"), *more])
    return nib.load(folder / "o.nii")


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("by", ["affine", "field"])
def test_the_identity_changes_no_voxel(interpolation: str, axes: str, by: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).uniform(1, 900, SOURCE).astype(np.float32)
    data[:4], data[8, 9, 6], data[9, 9, 6], data[0, 0, 0] = 0, np.nan, np.inf, -np.inf
    data[:, :3] = np.nan
    save(tmp_path / "x.nii", data, affine(axes, SOURCE))
    transform = still(tmp_path)
    if by == "field":
        grid, transform = read_grid(tmp_path / "x.nii"), tmp_path / "field.nii"
        nib.save(field_image(lambda points: points, grid, grid), transform)
    result = apply(tmp_path, "x.nii", "--interpolation", interpolation, transform=transform)
    np.testing.assert_array_equal(np.asarray(result.dataobj), data)


def test_nan_has_no_weight_where_it_is_not_nearest(tmp_path: Path) -> None:
    data = np.full((10, 4, 4), 6, np.float32)
    data[:5] = np.nan
    save(tmp_path / "x.nii", data, np.eye(4))
    for shift, edge in ((0.4, 5), (0.6, 4)):  # voxel 4 is read at 4.4 or at 4.6
        found = apply(tmp_path, "x.nii", transform=still(tmp_path, shift)).get_fdata()
        assert np.isnan(found[:edge]).all()
        np.testing.assert_allclose(found[edge:9], 6, rtol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, 7), (0.1, 7), (2, 7), (1, 40000)])
@pytest.mark.parametrize("fill", [None, -3.0, np.nan])
def test_outside_is_what_was_asked_for(
    interpolation: str, slope: float, intercept: float, fill: float | None, tmp_path: Path
) -> None:
    raw = np.random.default_rng(0).integers(1, 50, SOURCE).astype(np.int16)
    image = nib.Nifti1Image(raw, np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    image = nib.Nifti1Image.from_bytes(image.to_bytes())
    stored = bytearray(image.to_bytes())
    stored[112:120] = np.array([slope, intercept], "<f4").tobytes()
    stored[352:] = raw.tobytes(order="F")
    (tmp_path / "x.nii").write_bytes(stored)
    asked = [] if fill is None else [f"--fill={fill}"]
    result = apply(
        tmp_path, "x.nii", "--interpolation", interpolation, *asked, transform=still(tmp_path, 3)
    ).get_fdata()
    np.testing.assert_allclose(result[-2:], 0 if fill is None else fill, atol=1e-4)
    np.testing.assert_allclose(result[:-3], (raw * np.float64(slope) + intercept)[3:], rtol=1e-5)


def test_vectors_are_refused_but_may_be_the_reference(tmp_path: Path, capsys) -> None:
    vectors = nib.Nifti1Image(np.zeros((*SOURCE, 1, 3), np.float32), np.eye(4))
    vectors.header.set_intent("vector")
    nib.save(vectors, tmp_path / "v.nii")
    with pytest.raises(SystemExit):
        apply(tmp_path, "v.nii")
    assert "v.nii: holds vectors or matrices" in capsys.readouterr().err
    source = save(tmp_path / "x.nii", np.ones(SOURCE, np.float32), np.eye(4))
    arguments = ["--transform", str(still(tmp_path)), "--input", str(source)]
    main([*arguments, "--reference", str(tmp_path / "v.nii"), "--output", str(tmp_path / "o.nii")])
    assert nib.load(tmp_path / "o.nii").shape == SOURCE
    assert nib.load(tmp_path / "o.nii").header.get_intent()[0] == "none"


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["a.nii", "b.nii"], ["b.nii", "c.nii"]),
        (["a.nii"], ["./a.nii"]),
        (["a.nii"], ["link.nii"]),
        (["a.nii"], ["~/a.nii"]),
        (["a.nii"], ["r.nii"]),
        (["a.nii", "b.nii"], ["z.nii", "./z.nii"]),
    ],
)
def test_outputs_are_no_inputs(
    inputs: list[str], outputs: list[str], tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for seed, name in enumerate(("a.nii", "b.nii", "r.nii")):
        save(Path(name), np.random.default_rng(seed).uniform(1, 9, SOURCE).astype(np.float32), np.eye(4))
    Path("link.nii").symlink_to("a.nii")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--transform", str(still(tmp_path)), "--reference", "r.nii"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--input", *inputs, "--output", *outputs])
    assert stopped.value.code == 2
    assert "is the same file as" in capsys.readouterr().err
    (tmp_path / "still.mat").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_input_that_breaks_off_leaves_no_first_output(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pair[1].write_bytes(pair[0].read_bytes()[:2000])
    inputs = ["--input", str(pair[0]), str(pair[1]), "--reference", str(pair[0])]
    outputs = ["--output", str(tmp_path / "one.nii"), str(tmp_path / "two" / "b.nii")]
    with pytest.raises(SystemExit):
        main(["--transform", str(still(tmp_path)), *inputs, *outputs])
    assert not (tmp_path / "one.nii").exists()
    assert not (tmp_path / "two").exists()


def test_planes_that_are_not_parallel_are_refused(tmp_path: Path, capsys) -> None:
    for name, shape in (("axial.nii", (9, 8, 1)), ("sagittal.nii", (1, 9, 8))):
        save(tmp_path / name, np.ones(shape, np.float32), np.eye(4))
    arguments = ["--transform", str(still(tmp_path)), "--input", str(tmp_path / "sagittal.nii")]
    with pytest.raises(SystemExit):
        main([*arguments, "--reference", str(tmp_path / "axial.nii"), "--output", str(tmp_path / "o.nii")])
    assert (
        "sagittal.nii: its plane is at an angle of 90 degrees to the reference's" in capsys.readouterr().err
    )


def test_images_that_other_tools_place_elsewhere_are_named_once(tmp_path: Path, capsys) -> None:
    image = nib.Nifti1Image(np.ones(SOURCE, np.float32), np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[252:256] = bytes(4)
    (tmp_path / "x.nii").write_bytes(raw)
    apply(tmp_path, "x.nii")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(r"warning: \S*x\.nii: tells no orientation", error)
