"""ITK's transform files of every kind: the points that ITK itself makes of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.files.errors import InputError
from fire_tf.transforms.itk import LPS
from fire_tf.transforms.itk_files import write_h5
from fire_tf.transforms.readers import read_chain, read_transform

sitk = pytest.importorskip("SimpleITK")
POINTS = np.random.default_rng(0).uniform(-9, 9, (40, 3))


def field(rank: int = 3) -> "sitk.DisplacementFieldTransform":
    """Random vectors on an oblique grid around the points."""
    shape = (11, 12, 13)[:rank]
    vectors = np.random.default_rng(1).uniform(-2, 2, (*shape, rank))
    image = sitk.GetImageFromArray(vectors, isVector=True)
    angle = 0.3
    turn = np.eye(rank)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image.SetDirection(turn.ravel().tolist())
    image.SetSpacing((3.0, 3.5, 4.0)[:rank])
    image.SetOrigin(tuple((turn @ np.full(rank, -18.0)).tolist()))
    return sitk.DisplacementFieldTransform(image)


def bend() -> "sitk.BSplineTransform":
    made = sitk.BSplineTransform(3)
    made.SetTransformDomainOrigin((-20.0, -20, -20))
    made.SetTransformDomainPhysicalDimensions((40.0, 40, 40))
    made.SetTransformDomainMeshSize((4, 4, 4))
    count = made.GetNumberOfParameters()
    made.SetParameters(np.random.default_rng(2).uniform(-2, 2, count).tolist())
    return made


TURN = sitk.Euler3DTransform((1.0, 2, 3), 0.1, 0.4, -0.2, (5.0, -6, 7))
SCALED = sitk.AffineTransform([1.1, 0.1, 0, 0, 0.9, 0.2, 0.1, 0, 1], (3.0, 4, 5), (6.0, 7, 8))
KINDS = {
    "affine.tfm": lambda: SCALED,
    "affine.txt": lambda: SCALED,
    "euler.mat": lambda: TURN,
    "shift.tfm": lambda: sitk.TranslationTransform(3, (30.0, 4, -6)),
    "several.tfm": lambda: sitk.CompositeTransform([SCALED, TURN]),
    "composite.h5": lambda: sitk.CompositeTransform([SCALED, field(), TURN]),
    "field.h5": field,
    "spline.tfm": bend,
}


@pytest.mark.parametrize("name", KINDS)
def test_points_go_where_itk_takes_them(name: str, tmp_path: Path) -> None:
    theirs = KINDS[name]()
    sitk.WriteTransform(theirs, str(tmp_path / name))
    expected = np.array([theirs.TransformPoint(point) for point in LPS(POINTS).tolist()])
    found = read_transform(tmp_path / name).world_map()(POINTS)
    np.testing.assert_allclose(LPS(found), expected, atol=1e-5)
    assert np.linalg.norm(found - POINTS, axis=-1).max() > 0.5


@pytest.mark.parametrize("name", ["composite.h5", "affine.txt"])
def test_the_inverse_of_a_composite_takes_points_back(name: str, tmp_path: Path) -> None:
    smooth = sitk.DisplacementFieldTransform(
        sitk.Cast(
            sitk.SmoothingRecursiveGaussian(field().GetDisplacementField(), 4.0), sitk.sitkVectorFloat64
        )
    )
    theirs = sitk.CompositeTransform([SCALED, smooth, TURN]) if name.endswith("h5") else SCALED
    sitk.WriteTransform(theirs, str(tmp_path / name))
    there, back = (read_chain([text.format(tmp_path / name)]).world_map() for text in ("{}", "[{},1]"))
    np.testing.assert_allclose(back(there(POINTS)), POINTS, atol=1e-3)


def test_a_transform_of_two_axes_leaves_the_third_as_it_is(tmp_path: Path) -> None:
    theirs = sitk.CompositeTransform([field(2), sitk.Euler2DTransform((1.0, 2), 0.3, (4.0, -2))])
    sitk.WriteTransform(theirs, str(tmp_path / "flat.h5"))
    expected = np.array([theirs.TransformPoint(point) for point in LPS(POINTS)[:, :2].tolist()])
    found = LPS(read_transform(tmp_path / "flat.h5").world_map()(POINTS))
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-5)
    np.testing.assert_allclose(found[:, 2], POINTS[:, 2])


def test_pairs_side_by_side_write_composites(tmp_path: Path) -> None:
    """ITK's HDF5 by itself ends the process, or an exception, within the first few of these."""
    vectors = np.random.default_rng(3).normal(size=(6, 5, 2, 1, 3)).astype(np.float32)
    image = nib.Nifti1Image(vectors, np.eye(4))
    image.header.set_intent("vector")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda number: write_h5(image, tmp_path / f"{number}.h5"), range(90)))
    assert len({path.stat().st_size for path in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 90


@pytest.mark.parametrize("name", ["none.tfm", "none.h5", "none.txt"])
def test_what_is_no_transform_is_said_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(InputError, match=f"{name}: cannot be read as a transform of ITK") as raised:
        read_transform(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_without_simple_itk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteTransform(SCALED, str(tmp_path / "affine.tfm"))
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"affine.tfm: needs SimpleITK; pip install 'fire_tf\[formats\]'"):
        read_transform(tmp_path / "affine.tfm")
