"""The paper's tables: its figures, ours beside them, and the one command that makes a whole table."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from fire_tf.config.loading import load_config
from fire_tf.config.schema import DataConfig
from fire_tf.evaluate import main
from fire_tf.evaluation.methods import Result, Unaligned
from fire_tf.evaluation.pairs import Pair
from fire_tf.evaluation.scoring import Scores
from fire_tf.experiments.table import TABLES, format_table, paper_table
from fire_tf.measures.timing import Times

pytestmark = pytest.mark.filterwarnings(
    "ignore:non-integer arguments to randrange:DeprecationWarning"
)  # Keras

CONFIG = """
name: tiny
data: {source: phantom, phantom_subjects: 3, labels: seg, structures: {1: BS, 2: CE, 3: WM}, spacing: 5.12,
  canvas: [40, 48]}
deformation: {rotation: [5, 10], translation: [0, 0.05]}
network: {filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5,
  nonrigid_filters: 4, nonrigid_dilations: [1]}
stages: [{name: short, objective: known, cycle: [[affine, nonrigid]], steps: 2, batch_size: 1}]
"""


class StandsForAnts:
    """Leaves the images where they are, under the names of `fire_tf.baselines.ants.Ants`."""

    def __init__(self, settings: object, *, starts: int | None = None) -> None:
        self.suffix = ", 1 start" if starts == 1 else ""

    def __call__(self, pair: Pair) -> list[Result]:
        (still,) = Unaligned()(pair)
        maps = still.to_moving, still.to_fixed
        return [Result(f"ANTs {name}{self.suffix}", *maps, Times(2.0, 1.5)) for name in ("affine", "SyN")]


def cells(line: str) -> list[str]:
    """The cells of a line, which stand two or more spaces apart."""
    return re.split(r" {2,}", line.strip())


def label(method: str, direction: str, structure: str, dice: float, pair: str = "p0") -> dict[str, object]:
    keys = {"level": "paper", "direction": direction, "method": method, "pair": pair, "structure": structure}
    return {**keys, "subject": "", "dice": dice, "hd95_mm": 1.0}


def scores_of(dice: dict[str, tuple[float, float]], structure: str) -> Scores:
    """Two pairs, two directions alike, one structure."""
    names = ("ED onto ES", "ES onto ED")
    labels = [
        label(method, direction, structure, value, f"p{number}")
        for direction in names
        for method, values in dice.items()
        for number, value in enumerate(values)
    ]
    measures = ("folded_percent", "folded_everywhere_percent", "consistency_mm", "consistency_voxels")
    pairs = [
        {**{key: row[key] for key in ("level", "direction", "method", "pair")}, "dice": row["dice"]}
        | dict.fromkeys((*measures, "distance_mm", "seconds"), 0.0)
        | {"cpu_seconds": 3.25}
        for row in labels
    ]
    return Scores(pairs=pairs, labels=labels)


def test_every_row_of_the_paper_has_a_figure_per_column() -> None:
    for table in TABLES.values():
        for row in table.rows:
            assert len(row.figures) == len(table.methods), table.title


@pytest.mark.parametrize(
    ("config", "title", "row"),
    [
        (
            "mrbrains_t1_flair_2d",
            "Table 1, T1-FLAIR in 2D",
            "WHM 14.29 (7.5) 59.12 (4.5) 59.97 (4.4) 81.36 (6.0) 84.18 (3.7)",
        ),
        (
            "t1_flair_2d",
            "Table 1, T1-FLAIR in 2D",
            "CE 7.17 (4.4) 63.32 (3.2) 64.36 (4.0) 75.72 (8.1) 76.96 (7.3)",
        ),
        (
            "mrbrains_t1_flair_3d",
            "Table 1, T1-FLAIR in 3D",
            "BS 27.15 (9.2) 67.15 (3.1) 69.81 (4.1) 79.77 (6.7) 81.08 (7.0)",
        ),
        ("mrbrains_ir_flair_2d", "Section 3.1, IR-FLAIR in 2D", "CE 60 < 40 - < 40 69"),
        ("acdc_2d", "Table 2, ACDC", "LVe 65.75 (16.25) 90.81 (4.3) 90.08 (5.5)"),
        ("cine_2d", "Table 2, ACDC", "Myo 51.97 (14.50) 70.71 (5.6) 71.66 (6.3)"),
    ],
)
def test_each_experiment_has_its_table_and_its_structures(config: str, title: str, row: str) -> None:
    data = load_config(config).data
    table = paper_table(data)
    assert table.title == title
    assert row in [" ".join((own.name, *own.figures)) for own in table.rows]
    assert {own.structure for own in table.rows} == set(data.structures.values())


def test_what_the_paper_has_not_measured_has_rows_without_figures() -> None:
    data = DataConfig(source="phantom", modality_a="T2", modality_b="FLAIR", structures={1: "stem"}, ndim=3)
    table = paper_table(data)
    assert table.title == "T2-FLAIR in 3D, not measured in the paper"
    assert [(row.structure, set(row.figures)) for row in table.rows] == [("stem", {"-"})]


def test_ours_stand_below_the_papers_in_its_columns() -> None:
    scores = scores_of({"FIRE": (0.9, 0.8), "unaligned": (0.6, 0.5), "ANTs SyN": (0.7, 0.7)}, "LV")
    text = format_table(paper_table(load_config("acdc_2d").data), scores)
    lines = [cells(line) for line in text.splitlines()]
    at = lines.index(["paper, ES onto ED"])
    assert lines[at + 1 : at + 4] == [
        ["unaligned", "ANTs-SyN", "FIRE", "pairs"],
        ["LVe", "paper", "65.75 (16.25)", "90.81 (4.3)", "90.08 (5.5)"],
        ["here", "55.00 (7.1)", "70.00 (0.0)", "85.00 (7.1)", "2"],
    ]
    assert lines[at + 5] == ["here", "-", "-", "-", "0"]  # no myocardium in these
    assert lines[at + 6 : at + 8] == [
        ["mean", "here", "55.00 (7.1)", "70.00 (0.0)", "85.00 (7.1)", "2"],
        ["CPU s", "here", "3.25", "3.25", "3.25", "2"],
    ]
    assert "paper, ES onto ED, FIRE - ANTs SyN: LV +15.0 [+10.0, +20.0]" in text


def test_differences_compare_like_with_like() -> None:
    methods = ("ANTs affine", "ANTs SyN", "ANTs SyN, 1 start", "FIRE affine", "FIRE", "FIRE refined")
    scores = scores_of(dict.fromkeys(methods, (0.5, 0.5)), "LV")
    text = format_table(paper_table(load_config("acdc_2d").data), scores)
    compared = [line.split(": ")[0].split(", ", 2)[2] for line in text.splitlines() if " - ANTs" in line]
    assert compared[: len(compared) // 2] == [
        "FIRE affine - ANTs affine",
        "FIRE - ANTs SyN",
        "FIRE - ANTs SyN, 1 start",
        "FIRE refined - ANTs SyN",
        "FIRE refined - ANTs SyN, 1 start",
    ]


def test_one_command_trains_where_there_is_no_model_and_makes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fire_tf.experiments.experiment.ants.Ants", StandsForAnts)
    Path("tiny.yaml").write_text(CONFIG)
    command = ["--config", "tiny.yaml", "--table", "--count", "2"]
    main(command)
    out, err = capsys.readouterr()
    assert "runs/tiny: holds no model yet; training it" in err
    evaluation = tmp_path / "runs" / "tiny" / "evaluation"
    text = (evaluation / "table.txt").read_text()
    assert text in out
    rows = [cells(line) for line in text.splitlines()]
    for direction in ("drawn, T1 onto FLAIR", "drawn, FLAIR onto T1"):
        at = rows.index([direction])
        headings = ["unaligned", "ANTs-affine", "FIRE-affine", "ANTs-SyN", "FIRE"]
        assert rows[at + 1][:5] == headings
        assert rows[at + 1][5:-2] == ["ANTs-affine, 1 start", "ANTs-SyN, 1 start"]
        for place, row in enumerate(TABLES["T1", "FLAIR", 2].rows):
            assert rows[at + 2 + 2 * place] == [row.name, "paper", *row.figures]
            ours = rows[at + 3 + 2 * place]
            assert ours[0] == "here"
            assert ours[1] == ours[2] == ours[4]  # what stands for ANTs leaves the images where they are
    assert "FIRE - ANTs SyN: " in text
    for name in ("pairs.csv", "labels.csv", "summary.csv", "differences.csv"):
        assert (evaluation / name).is_file()
    pictures = sorted((evaluation / "pictures").iterdir())
    assert len(pictures) == 2
    assert imread(pictures[0])[..., :3].std() > 0.1

    trained = (tmp_path / "runs/tiny/model/fire.keras").stat().st_mtime_ns
    main([*command, "--set", "stages.0.steps=3"])
    assert capsys.readouterr().err == "note: runs/tiny was trained with another stages\n"
    assert (tmp_path / "runs/tiny/model/fire.keras").stat().st_mtime_ns == trained


def test_a_run_that_was_interrupted_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fire_tf.experiments.experiment.ants.Ants", StandsForAnts)
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/config.yaml").write_text(CONFIG)
    with pytest.raises(SystemExit) as stopped:
        main(["--config", "tiny.yaml", "--table"])
    assert stopped.value.code == 2
    assert "--config tiny.yaml --output runs/tiny --resume" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--table"])
    assert "--config" in capsys.readouterr().err
