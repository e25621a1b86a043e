"""Rows of images."""

from pathlib import Path

import numpy as np
from fake_model import brain_like
from matplotlib.image import imread

from fire_tf.pictures.synthesis import draw_synthesis


def test_synthesis_rows_are_drawn(tmp_path: Path) -> None:
    image = np.where(brain_like((24, 20)) > 0, 0.5, -1.0)
    draw_synthesis({"sub-1": {"T1": image, "FLAIR": -image}}, tmp_path / "synthesis.png")
    assert imread(tmp_path / "synthesis.png").std() > 0.05
