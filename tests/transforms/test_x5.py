"""X5: what nitransforms writes is read, and the reverse; where its version has none, one line."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE

from fire_tf.files.errors import InputError
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.transforms.fields import field_image
from fire_tf.transforms.readers import read_transform
from fire_tf.transforms.writers import check_formats, write_map

TURN = np.array(
    [[0.98, -0.17, 0.02, 4.5], [0.17, 0.97, -0.05, -2.25], [-0.01, 0.06, 1.03, 3.0], [0, 0, 0, 1]]
)
POINTS = AffineMap(OBLIQUE)(grid_points(SHAPE))


def bent(points: np.ndarray) -> np.ndarray:
    return points + np.sin(points[..., ::-1] / 9) + 1


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A file of nitransforms' own: a field and then a matrix."""
    pytest.importorskip("nitransforms.io.x5")
    from nitransforms.linear import Affine
    from nitransforms.manip import TransformChain
    from nitransforms.nonlinear import DenseFieldTransform

    grid = read_grid(nib.Nifti1Image(np.zeros(SHAPE, np.float32), OBLIQUE))
    steps = [DenseFieldTransform(field_image(bent, grid, grid, "ras")), Affine(TURN)]
    steps[1].reference = steps[0].reference
    TransformChain(steps).to_filename(tmp_path / "chain.x5")
    return tmp_path / "chain.x5"


def test_a_chain_of_nitransforms_is_read_in_its_order(chain: Path) -> None:
    from nitransforms.manip import TransformChain

    found = read_transform(chain).world_map()(POINTS)
    np.testing.assert_allclose(found, AffineMap(TURN)(bent(POINTS)), atol=1e-4)
    theirs = TransformChain.from_filename(chain).map(POINTS.reshape(-1, 3)).reshape(POINTS.shape)
    np.testing.assert_allclose(found, theirs, atol=1e-4)


def test_positions_are_read_as_such(tmp_path: Path) -> None:
    x5 = pytest.importorskip("nitransforms.io.x5")
    from nitransforms.nonlinear import DenseFieldTransform

    reference = nib.Nifti1Image(np.zeros(SHAPE, np.float32), OBLIQUE)
    field = DenseFieldTransform(bent(POINTS), is_deltas=False, reference=reference)
    x5.to_filename(tmp_path / "one.x5", [field.to_x5()])
    np.testing.assert_allclose(
        read_transform(tmp_path / "one.x5").world_map()(POINTS), bent(POINTS), atol=1e-4
    )


@pytest.mark.parametrize("shape", [SHAPE, (9, 11, 1), (9, 11)])
def test_what_is_written_is_read_again(shape: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("nitransforms.io.x5")
    affine = OBLIQUE if len(shape) == 3 else np.diag([2.0, 2, 1, 1])
    grid = read_grid(nib.Nifti1Image(np.zeros(shape, np.float32), affine))
    write_map(bent, grid, grid, tmp_path / "w.x5")
    points = AffineMap(grid.affine)(grid_points(grid.shape))
    np.testing.assert_allclose(read_transform(tmp_path / "w.x5").world_map()(points), bent(points), atol=1e-4)


def test_what_is_no_x5_is_said_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("nitransforms.io.x5")
    (tmp_path / "none.x5").write_text("nothing")
    with pytest.raises(InputError, match=r"none.x5: cannot be read as X5") as raised:
        read_transform(tmp_path / "none.x5")
    assert "\n" not in str(raised.value)


def test_a_version_without_x5_is_told(tmp_path: Path) -> None:
    io = pytest.importorskip("nitransforms.io")
    if hasattr(io, "x5"):
        pytest.skip("this version of nitransforms has it")
    (tmp_path / "some.x5").write_text("x")
    for action in (lambda: read_transform(tmp_path / "some.x5"), lambda: check_formats(["x5"])):
        with pytest.raises(InputError, match=r"x5: X5 needs nitransforms 25 and numpy 2"):
            action()
