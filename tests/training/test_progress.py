"""The files of a run that an earlier version began, and what the user is told of a collapse."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tiny_fire import images, smallest_model

import fire_tf.training.callbacks
from fire_tf.config.schema import Config, DataConfig, Stage
from fire_tf.files.doubts import collected
from fire_tf.training.callbacks import MetricsLog, Watch
from fire_tf.training.observation import Observation
from fire_tf.training.progress import COLUMNS, Run

OLD = "step,stage,seconds,loss,syn_acc,val_loss,gone\n2,paper,1.5,3,2,4,7\n4,paper,1.5,2,1,3,8\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    stage = Stage("paper", "paper", (("synthesis",),), steps=50, batch_size=2)
    data = DataConfig(source="phantom", modality_a="T1", modality_b="FLAIR")
    return Run(tmp_path, Config("tiny", data, (stage,)), smallest_model())


def table(run: Run) -> tuple[list[dict[str, str]], list[str]]:
    with run.metrics.open(newline="") as stream:
        reader = csv.DictReader(stream)
        return list(reader), list(reader.fieldnames or [])


def log(run: Run, step: int, **logs: float) -> None:
    run.step.assign(step)
    callback = MetricsLog(run, "paper")
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, logs)


def test_resuming_adds_the_columns_that_an_earlier_version_did_not_write(run: Run) -> None:
    run.metrics.write_text(OLD)
    run.step.assign(2)
    run._cut_rows()
    log(run, 6, loss=1.0, val_mi=0.25, other=9.0)
    rows, columns = table(run)
    assert columns == [
        *OLD.splitlines()[0].split(","),
        *(name for name in COLUMNS if name not in OLD.splitlines()[0].split(",")),
    ]
    assert [row["step"] for row in rows] == ["2", "6"]
    assert (rows[0]["gone"], rows[0]["val_mi"]) == ("7", "")
    assert (rows[1]["loss"], rows[1]["val_mi"], rows[1]["gone"]) == ("1", "0.25", "")


def test_rows_go_under_the_columns_that_a_table_has(run: Run) -> None:
    run.metrics.write_text(OLD)
    log(run, 6, loss=1.0, val_loss=2.5, val_mi=0.25)
    rows, columns = table(run)
    assert columns == OLD.splitlines()[0].split(",")
    assert (rows[2]["step"], rows[2]["loss"], rows[2]["val_loss"]) == ("6", "1", "2.5")


def test_a_new_table_has_all_columns(run: Run) -> None:
    log(run, 2, loss=1.0)
    assert table(run)[1] == list(COLUMNS)


def test_each_sign_of_collapse_is_said_once_and_counted_always(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Observation(0.5, 0.1, 1.0, 0.0, 0.0, 0.9, 0.9, 0.8, 0.8, 0.0)
    flat = good._replace(contrast_b=0.02, correlation_b=0.01)
    both = flat._replace(outside=60.0)
    answers = iter([flat, flat, good, flat, flat, both])
    watch = Watch(run, run.config.stages[0], images())
    monkeypatch.setattr(fire_tf.training.callbacks, "observe", lambda *args: (next(answers), []))
    counted = []
    with collected() as messages:
        for epoch in range(6):
            run.step.assign(10 * (epoch + 1))
            logs: dict[str, float] = {}
            watch.on_epoch_end(epoch, logs)
            counted.append(logs["val_collapsed"])
            assert logs["val_mi"] == 0.5
    assert counted == [0, 0, 0, 1, 1, 1]  # T is never trained here: where it leads is no sign
    assert len(messages) == 1
    assert messages[0].startswith(
        f"{run.folder}: step 40: F gives the mean image for every pair: synthesised FLAIR"
    )
