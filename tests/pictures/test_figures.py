"""Pictures are drawn without complaint, for what a run writes and for both ranks."""

from pathlib import Path

import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, turned
from matplotlib.image import imread

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.pictures.figures import draw_curves, draw_outlines, draw_registration, draw_synthesis
from fire_tf.registration.pair import register_pair


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
    draw_registration(register_pair(model, *images), tmp_path / "qc.png", ("T1", "FLAIR"))
    picture = imread(tmp_path / "qc.png")[..., :3]
    assert picture.std() > 0.1
    green = (picture[..., 1] > 0.9) & (picture[..., 0] < 0.1) & (picture[..., 2] < 0.1)
    assert green.any()  # folded voxels
    assert [path.name for path in tmp_path.iterdir()] == ["qc.png"]


def test_curves_show_each_loss_and_skip_terms_never_computed(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(
        "step,stage,seconds,loss,syn_acc,reg_acc,val_loss,val_syn_acc,val_reg_acc\n"
        "10,synthesis,1.0,0.9,0.9,,0.8,0.8,\n20,synthesis,1.0,0.7,0.7,,,,\n30,paper,2.0,1.5,0.6,0.4,1.4,0.5,0.4\n"
    )
    draw_curves(metrics, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").std() > 0.05
    metrics.write_text("step,stage,seconds,loss\n")
    with pytest.raises(ValueError, match="no row"):
        draw_curves(metrics, tmp_path / "curves.png")


def test_synthesis_rows_are_drawn(tmp_path: Path) -> None:
    image = np.where(brain_like((24, 20)) > 0, 0.5, -1.0)
    draw_synthesis({"sub-1": {"T1": image, "FLAIR": -image}}, tmp_path / "synthesis.png")
    assert imread(tmp_path / "synthesis.png").std() > 0.05


@pytest.mark.parametrize("size", [(40, 36), (20, 24, 6)])
def test_outlines_lie_where_the_map_brings_the_labels(size: tuple[int, ...], tmp_path: Path) -> None:
    """A shift of 8 voxels to the right: in colour what was warped, in white the target's own, which a perfect map
    covers."""
    labels = np.zeros(size, np.uint8)
    labels[(slice(10, 16), slice(10, 20), slice(3, None))[: len(size)]] = 1
    grey = np.zeros((*size, 1)[:3], np.float32)
    image = Image(grey, np.diag([2.0, 2.0, 5.0, 1.0]), "image")
    pair = Pair("p", "l", "s", image, image, labels, np.roll(labels, -8, axis=0))
    shifted = np.eye(len(size) + 1)
    shifted[0, -1] = 8
    still, found = AffineMap.identity(len(size)), AffineMap(shifted)

    def white(to_moving: AffineMap) -> int:
        results = [Result("method", to_moving, to_moving.inverse())]
        draw_outlines(pair, results, {1: "LV"}, ("a onto b", "b onto a"), tmp_path / "outlines.png")
        picture = imread(tmp_path / "outlines.png")[..., :3]
        blue = (picture[..., 2] > 0.6) & (picture[..., 0] < 0.3)
        assert blue.sum() > 50
        return int((picture.min(axis=-1) > 0.5).sum())

    assert white(still) > white(found) + 100
