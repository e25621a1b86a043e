"""What each loss term does, drawn."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from fire_tf.pictures.ablation import draw_ablation


def test_what_grows_is_red_and_nothing_is_blue_that_does_not_shrink(tmp_path: Path) -> None:
    names = [f"term {number}" for number in range(9)]
    draw_ablation(
        {left_out: {name: 2.5 if name == left_out else 1.0 for name in names} for left_out in names},
        tmp_path / "ablation.png",
    )
    picture = imread(tmp_path / "ablation.png")[..., :3]
    red = (picture[..., 0] > 0.3) & (picture[..., 2] < 0.3)
    blue = (picture[..., 2] > 0.3) & (picture[..., 0] < 0.3)
    assert red.sum() > 1000
    assert np.count_nonzero(blue) < 100
