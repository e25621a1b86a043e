"""The demo: in small what it leaves and prints, and (slow) in full what it claims."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fire_tf.demo import main
from fire_tf.evaluation.scoring import Scores
from fire_tf.experiments import demonstration as demo

pytestmark = pytest.mark.filterwarnings(
    "ignore:non-integer arguments to randrange:DeprecationWarning"
)  # Keras

SMALL = [
    "data.phantom_subjects=3",
    "data.spacing=5.12",
    "data.canvas=[40, 48]",
    "network={filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5, "
    "nonrigid_filters: 4, nonrigid_dilations: [1]}",
    "stages=[{name: short, objective: known, cycle: [[affine, nonrigid]], steps: 2, batch_size: 1}]",
]


def test_the_demo_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "PAIRS", 2)
    main(["--quiet", *(part for value in SMALL for part in ("--set", value))])
    printed = capsys.readouterr().out
    for line in ("drawn, T1 onto FLAIR", "drawn, FLAIR onto T1", "unaligned", "FIRE"):
        assert line in printed
    before, _ = dice_of(printed)
    assert 0 < before < 100
    assert (tmp_path / "runs/demo/demo.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "runs/demo/demo.png").stat().st_size > 20_000
    assert (tmp_path / "runs/demo/model/fire.keras").is_file()
    assert (tmp_path / "runs/demo/evaluation/labels.csv").is_file()


@pytest.mark.slow
def test_the_demo_gains_20_points_of_dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--quiet"])
    before, after = dice_of(capsys.readouterr().out)
    assert after > before + 20


def dice_of(printed: str) -> tuple[float, float]:
    found = re.search(r"mean Dice .*: (\S+) % before, (\S+) % after", printed)
    assert found is not None
    return float(found[1]), float(found[2])


def test_the_picture_shows_the_median_pair_of_the_largest_third() -> None:
    sizes = (9, 1, 8, 2, 7, 3, 0, 0, 0)
    pairs = [SimpleNamespace(name=f"p{size}", fixed_labels=np.arange(10) < size) for size in sizes]
    dice = {9: 0.5, 8: 0.7, 7: 0.9, 3: 0.6, 2: 0.6, 1: 0.6, 0: 0.6}
    rows = [{"pair": f"p{size}", "method": "FIRE", "dice": value} for size, value in dice.items()]
    rows += [{**row, "method": "unaligned", "dice": 1 - float(row["dice"])} for row in rows]
    assert demo.typical_pair(pairs, Scores(pairs=rows)).name == "p8"


def test_mean_dice_counts_structures_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"method": "FIRE", "measure": "dice", "structure": "mean", "mean": 0.6},
        {"method": "FIRE", "measure": "dice", "structure": "mean", "mean": 0.8},
        {"method": "FIRE", "measure": "dice", "structure": "WM", "mean": 0.1},
        {"method": "FIRE", "measure": "hd95_mm", "structure": "mean", "mean": 9.0},
        {"method": "unaligned", "measure": "dice", "structure": "mean", "mean": 0.2},
    ]
    monkeypatch.setattr(demo, "summarise", lambda scores: rows)
    assert demo.mean_dice(Scores(), "FIRE") == pytest.approx(70)
