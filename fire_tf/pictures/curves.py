"""A picture of a run's losses over its steps."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fire_tf.pictures.panels import save

_COLUMNS = 4


def draw_curves(metrics: Path, path: Path) -> None:
    """Every loss of a run's ``metrics.csv`` over the steps, a panel each, with its ``val_`` column.

    Stages have objectives of their own, so curves break where a stage ends, at a dotted line. Raises ValueError for a
    table without rows.
    """
    steps, stages, curves = _read(metrics)
    names = [name for name, values in curves.items() if name[:4] != "val_" and np.isfinite(values).any()]
    lines = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(3.5 * _COLUMNS, 2.7 * lines), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        _plot_stages(panel, steps, stages, curves[name], "training", "tab:blue")
        _plot_stages(panel, steps, stages, curves.get(f"val_{name}"), "validation", "tab:orange")
    panels[0].legend(fontsize=7)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    save(figure, path)


def _read(metrics: Path) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    """Step and stage of every row, and the columns of losses, NaN where a row has none."""
    with open(metrics, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError(f"{metrics}: holds no row yet")
    curves = {
        name: np.array([float(row[name] or "nan") for row in rows])
        for name in rows[0]
        if name not in ("step", "stage", "seconds")
    }
    return np.array([float(row["step"]) for row in rows]), [row["stage"] for row in rows], curves


def _plot_stages(
    panel: Axes, steps: np.ndarray, stages: list[str], values: np.ndarray | None, label: str, colour: str
) -> None:
    """A curve, broken between stages; epochs that did not measure the value are bridged."""
    for number, stage in enumerate(dict.fromkeys(stages)):
        chosen = np.array([name == stage for name in stages])
        if number:
            panel.axvline(steps[chosen][0], color="gray", linestyle=":", linewidth=0.7)
        if values is not None and np.isfinite(values[chosen]).any():
            known = chosen & np.isfinite(values)
            panel.plot(
                steps[known], values[known], color=colour, linewidth=1, marker=".", markersize=2, label=label
            )
            label = "_" + label  # one entry in the legend
