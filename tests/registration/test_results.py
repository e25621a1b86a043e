"""What is drawn of a registration."""

from pathlib import Path

import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from matplotlib.image import imread

from fire_tf.geometry.images import Image
from fire_tf.registration.pair import register_pair
from fire_tf.registration.results import draw_alignment


@pytest.mark.parametrize("size", [(40, 36), (20, 24, 16)])
def test_registration_of_either_rank_is_drawn(size: tuple[int, ...], tmp_path: Path) -> None:
    ndim = len(size)
    volumes = [brain_like(size, seed).reshape((*size, 1)[:3]) for seed in (0, 1)]
    images = [Image(volume, np.diag([2.0, 2.0, 2.0, 1.0]), "image") for volume in volumes]
    there = turned(15, (2.0, 1.0, 0.0)[:ndim])
    folding = np.zeros((*size, ndim))
    folding[size[0] // 2, ..., 0] = 5.0
    model = KnownModel(
        size, (2.0,) * ndim, a_to_b=(there, folding), b_to_a=(inverse_affine(there), 0 * folding)
    )
    draw_alignment(register_pair(model, *images), tmp_path / "qc.png")
    picture = imread(tmp_path / "qc.png")[..., :3]
    assert picture.std() > 0.1
    green = (picture[..., 1] > 0.9) & (picture[..., 0] < 0.1) & (picture[..., 2] < 0.1)
    assert green.any()  # folded voxels
    assert [path.name for path in tmp_path.iterdir()] == ["qc.png"]
