"""Where files lie in the world: by hand, and as ITK places them."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fire_tf.files.doubts import Doubt, collected
from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.images import read_image
from fire_tf.geometry.nifti import open_image, split_frames
from fire_tf.geometry.placing import warn_of_place, world_affine

SHAPE = (5, 6, 7)
SCANNER, ALIGNED = np.diag([2.0, 2.0, 3.0, 1]), np.diag([-2.0, 2.0, 3.0, 1])
ALIGNED[:3, 3] = (30, -15, 4)
SHEARED = SCANNER + np.eye(4, k=1) * [[0.4], [0], [0], [0]]


def image(
    sform: tuple[np.ndarray, int], qform: tuple[np.ndarray, int], shape: tuple[int, ...] = SHAPE
) -> nib.Nifti1Image:
    affine = sform[0] if sform[1] else qform[0]
    made = nib.Nifti1Image(np.random.default_rng(0).uniform(1, 9, shape).astype(np.float32), affine)
    made.header.set_xyzt_units("mm")
    made.set_qform(*qform, update_affine=False)
    made.set_sform(*sform, update_affine=False)
    return made


@pytest.mark.parametrize(
    ("sform", "qform", "expected", "cause"),
    [
        ((ALIGNED, 2), (ALIGNED, 1), ALIGNED, None),
        ((ALIGNED, 2), (SCANNER, 0), ALIGNED, None),
        ((ALIGNED, 0), (SCANNER, 1), SCANNER, None),
        ((ALIGNED, 1), (SCANNER, 2), ALIGNED, None),  # the scanner's sform
        ((SCANNER + np.eye(4, k=3) * 7, 2), (SCANNER, 1), SCANNER, "7 mm apart: read by the qform, as ITK"),
        ((ALIGNED, 4), (SCANNER, 1), SCANNER, "mirror images"),
        ((SHEARED, 1), (SCANNER, 1), SCANNER, "read by the qform, as ITK and ANTs do"),
        ((SHEARED, 1), (SCANNER, 0), SHEARED, "not at right angles: ITK and ANTs cannot read it"),
    ],
)
def test_which_form_counts(sform, qform, expected, cause, tmp_path: Path) -> None:
    nib.save(image(sform, qform), tmp_path / "x.nii")
    opened = open_image(tmp_path / "x.nii")
    np.testing.assert_allclose(world_affine(opened), expected, atol=1e-5)
    np.testing.assert_allclose(read_grid(opened).affine, expected, atol=1e-5)
    corner = read_image(opened).affine @ [0, 0, 0, 1]
    assert corner[0] == pytest.approx(min((expected @ [[0, 4], [0, 0], [0, 0], [1, 1]])[0]))
    with collected() as doubts:
        warn_of_place(opened, "x.nii")
    assert len(doubts) == (cause is not None)
    assert all(cause in doubt and doubt.startswith("x.nii: ") for doubt in doubts)


def test_a_file_without_any_form_is_doubted(tmp_path: Path) -> None:
    raw = bytearray(image((SCANNER, 1), (SCANNER, 1)).to_bytes())
    raw[252:256] = bytes(4)  # both codes
    (tmp_path / "x.nii").write_bytes(raw)
    opened = open_image(tmp_path / "x.nii")
    np.testing.assert_allclose(world_affine(opened)[:3, :3], np.diag([-2, 2, 3]))
    with pytest.warns(Doubt, match="tells no orientation .* taken for LAS"):
        warn_of_place(opened, "x.nii")


@pytest.mark.parametrize(
    ("unit", "factor"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1.0), ("unknown", 1.0)]
)
def test_the_unit_of_the_header_counts(unit: str, factor: float, tmp_path: Path) -> None:
    scaled = np.diag([factor, factor, factor, 1]) @ ALIGNED
    made = image((scaled, 1), (scaled, 1))
    made.header.set_xyzt_units(unit)
    nib.save(made, tmp_path / "x.nii")
    np.testing.assert_allclose(read_grid(tmp_path / "x.nii").affine, ALIGNED, rtol=1e-5)
    np.testing.assert_allclose(read_image(tmp_path / "x.nii").spacing, [2, 2, 3], rtol=1e-5)


def test_a_unit_that_was_forgotten_is_refused(tmp_path: Path) -> None:
    nib.save(image((SCANNER * [[350], [350], [300], [1]], 1), (SCANNER, 0)), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"voxels of 700 x 700 x 900 mm, .* is the unit of its header right"):
        read_image(tmp_path / "x.nii")


def test_frames_keep_both_forms() -> None:
    series = image((ALIGNED, 2), (SCANNER, 1), (*SHAPE, 3))
    frame = split_frames(series)[1]
    assert (frame.header["sform_code"], frame.header["qform_code"]) == (2, 1)
    np.testing.assert_allclose(world_affine(frame), SCANNER)


@pytest.mark.parametrize(("excess", "read"), [(5e-7, True), (3e-5, True), (0.01, False)])
def test_a_quaternion_that_rounding_made_too_long(excess: float, read: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    nib.save(image((SCANNER, 0), (SCANNER, 1)), path)
    raw = bytearray(path.read_bytes())
    raw[256:268] = np.array([0, 0, 1 + excess], "<f4").tobytes()
    path.write_bytes(raw)
    if not read:
        with pytest.raises(InputError, match=r"x\.nii: .*square of its quaternion should be positive"):
            read_grid(path)
        return
    np.testing.assert_allclose(read_grid(path).affine, np.diag([-2, -2, 3, 1]), atol=1e-6)
    assert nib.Nifti1Header.quaternion_threshold > -1e-6  # nibabel is left as it was
    # A short one keeps its small rotation.
    raw[256:268] = np.array([0, 0, np.sqrt(1 - 3e-5)], "<f4").tobytes()
    path.write_bytes(raw)
    assert read_grid(path).affine[0, 1] == pytest.approx(-2 * 2 * np.sqrt(3e-5), rel=0.01)


# -- headers that are valid, whatever they say: our points are ITK's, or a line says that they are not -----------------

CHANGES = {
    "sform_code": 12,
    "qform_code": 12,
    "qoffset": 6,
    "quaternion": 6,
    "soffset": 6,
    "srow": 6,
    "unit": 6,
    "long quaternion": 6,
    "qfac": 6,
    "ignored": 8,
    "shear": 2,
    "metres": 1,
    "pixdim": 1,
    "no code": 0.5,
}
SHAPES = [(5, 6, 7), (5, 6, 7, 1), (5, 6, 1), (1, 6, 7), (5, 1, 7), (5, 6, 7, 2), (5, 6)]


def random_affine(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix() * sizes
    affine[:3, 0] *= rng.choice([-1, 1])
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def changed(header: nib.Nifti1Header, what: str, rng: np.random.Generator) -> None:
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion) * np.sign(quaternion[0])
    if what in ("sform_code", "qform_code"):
        header[what] = rng.integers(0, 6)
    elif what == "qoffset":
        header["qoffset_x"] += rng.normal() * 20
    elif what == "soffset":
        header["srow_y"][3] += rng.normal() * 20
    elif what == "srow":
        rows = random_affine(rng, np.asarray(header["pixdim"][1:4], float))
        header["srow_x"], header["srow_y"], header["srow_z"] = rows[:3]
    elif what == "shear":
        header["srow_x"][1] += 0.3
    elif what == "unit":
        header["xyzt_units"] = rng.choice([0, 2, 2 | 8, 2 | 16])
    elif what == "metres":
        header["xyzt_units"] = rng.choice([1, 3])
    elif what == "pixdim":
        header["pixdim"][1:4] = rng.uniform(0.3, 5, 3)
    elif what == "qfac":
        header["pixdim"][0] = rng.choice([-1, 1, 0])
    elif what == "no code":
        header["qform_code"] = header["sform_code"] = 0
    elif what == "ignored":
        header["descrip"], header["cal_max"], header["slice_code"] = b"written by hand", rng.normal(), 2
    if what in ("quaternion", "long quaternion"):
        if what == "long quaternion":
            quaternion[1:] *= (1 + rng.uniform(0, 3e-7)) / np.linalg.norm(quaternion[1:])
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion[1:]


def mutated(rng: np.random.Generator) -> bytes:
    """A NIfTI file with up to three changes of its header that leave it valid."""
    shape = SHAPES[rng.choice(len(SHAPES), p=[0.6, 0.1, 0.1, 0.06, 0.06, 0.06, 0.02])]
    affine = random_affine(rng, rng.uniform(0.3, 5, 3))
    if len(shape) == 2:
        affine = np.diag([*rng.uniform(0.3, 5, 2), 1, 1])
    made = nib.Nifti1Image(np.zeros(shape, np.int16), affine)
    made.header.set_xyzt_units("mm")
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    raw = made.to_bytes()
    header = nib.Nifti1Header(raw[:348], check=False)
    weights = np.array(list(CHANGES.values())) / sum(CHANGES.values())
    for what in rng.choice(list(CHANGES), rng.integers(1, 4), p=weights):
        changed(header, what, rng)
    return header.binaryblock + raw[348:]


def corners(shape: tuple[int, ...]) -> Iterator[list[int]]:
    for corner in np.ndindex(*[2] * min(len(shape), 3)):
        yield [c * (size - 1) for c, size in zip(corner, shape, strict=False)]


def test_valid_headers_lie_where_itk_has_them(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    rng, counts, path = np.random.default_rng(0), Counter(), tmp_path / "mutated.nii"
    for _ in range(500):
        path.write_bytes(mutated(rng))
        try:
            grid = read_grid(path)
        except InputError:
            counts["refused"] += 1
            continue
        with collected() as doubts:
            warn_of_place(open_image(path), path.name)
        if any("as ITK" not in doubt for doubt in doubts):
            counts["said to lie elsewhere"] += 1
            continue
        theirs = itk.ReadImage(str(path))
        for corner in corners(theirs.GetSize()):
            index = corner + [0] * (theirs.GetDimension() - len(corner))
            place = np.array(theirs.TransformIndexToPhysicalPoint(index))[:3] * [-1, -1, 1][: len(corner)]
            ours = grid.affine @ [*corner, *[0] * (3 - len(corner)), 1]
            np.testing.assert_allclose(ours[: len(corner)], place, atol=1e-2)
        counts["alike"] += 1
    assert counts["alike"] >= 450, counts


def test_nothing_is_said_of_images_in_memory() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_place(nib.Nifti1Image(np.zeros(SHAPE, np.float32), SHEARED), "the given image")
