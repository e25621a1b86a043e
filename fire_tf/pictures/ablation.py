"""A picture of what each loss term does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fire_tf.pictures.panels import save


def draw_ablation(ratios: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """How many times each term (column) is what it is with the whole objective, where another (row) was left out."""
    rows, columns = list(ratios), list(next(iter(ratios.values())))
    table = np.array([[ratios[row][name] for name in columns] for row in rows])
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    panel = figure.subplots()
    panel.imshow(np.log2(table), cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    for (row, column), ratio in np.ndenumerate(table):
        panel.text(column, row, f"{ratio:.2f}", ha="center", va="center", fontsize=8)
    panel.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=9)
    panel.set_yticks(range(len(rows)), [f"without {row}" for row in rows], fontsize=9)
    save(figure, path)
