"""The files that are written, in the hands of the tools that own their formats: 1,000 points each."""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.geometry.grids import Grid, read_grid
from fire_tf.geometry.point_maps import AffineMap

PATH = Path(__file__).parents[2] / "benchmarks/format_owners.py"
TURNED = np.array([[1.9, 0.3, -0.2], [-0.3, 2.1, 0.2], [0.24, -0.2, 2.3]])
FEWER = {"ants", "SimpleITK", "nitransforms"}


def oblique(shape: tuple[int, int, int]) -> Grid:
    """At right angles, as ITK wants it."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(TURNED)[0] @ np.diag([-1.9, -2.1, 2.3])
    matrix[:3, 3] = (-20, 11, 5) - matrix[:3, :3] @ np.asarray(shape) / 2
    return read_grid(nib.Nifti1Image(np.zeros(shape, np.uint8), matrix))


def bent(points: np.ndarray) -> np.ndarray:
    turned = AffineMap(
        np.array([[0.98, -0.17, 0.02, 4.5], [0.17, 0.97, -0.05, -2.25], [-0.01, 0.06, 1.03, 3]])
    )
    return turned(points) + 3 * np.sin(points[..., [1, 2, 0]] / 25)


def test_owners_move_points_as_apply_does(tmp_path: Path) -> None:
    spec = spec_from_file_location("format_owners", PATH)
    assert spec is not None
    assert spec.loader is not None
    format_owners = module_from_spec(spec)
    spec.loader.exec_module(format_owners)
    target, source = oblique((30, 34, 28)), oblique((20, 24, 36))
    found = {name: (near, far) for name, far, near in format_owners.compare(bent, target, source, tmp_path)}
    assert {name.split()[1] for name in found} == {owner for owner in FEWER if find_spec(owner)}
    for name, (on_voxels, anywhere) in found.items():
        assert on_voxels < 0.001, name
        # Between voxels nitransforms reads cubic splines, which ring at the field's edge.
        assert anywhere < 0.001 or "nitransforms" in name, name
    points = format_owners.points_in(target)
    assert np.linalg.norm(bent(points) - points, axis=-1).min() > 1  # no file holds the identity
