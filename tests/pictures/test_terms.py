"""What the loss terms compare, drawn."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from fire_tf.pictures.terms import draw_terms


def test_terms_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def term(channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        left, right = rng.uniform(-1, 1, (2, 12, 10, channels))
        return left, right, np.abs(left - right).mean(-1), 0.25

    draw_terms({"syn_acc": term(1), "syn_fea": term(3)}, tmp_path / "terms.png")
    assert imread(tmp_path / "terms.png").std() > 0.05
