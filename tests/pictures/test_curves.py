"""Curves of a run's losses."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from fire_tf.pictures.curves import draw_curves


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
