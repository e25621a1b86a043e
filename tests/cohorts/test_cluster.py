"""A cohort on the workers of a Dask cluster, one of which is killed amid the work."""

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from distributed import LocalCluster
from fake_model import brain_like
from tiny_fire import CANVAS, tiny_model

from fire_tf.cohorts.cluster import Needed, _model
from fire_tf.files.errors import InputError
from fire_tf.model.storage import save_model
from fire_tf.register import main
from fire_tf.registration.quality import file_hash

PAIRS = 6
SPACING = 2.0


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the working one, with a model m and six pairs, one of which names an image that is not there."""
    monkeypatch.chdir(tmp_path)
    model = tiny_model(2)
    names = {"modality_a": "T1", "modality_b": "FLAIR"}
    model.preprocessing = {**names, "spacing": [SPACING, SPACING], "percentile": 99.5}
    save_model(model, tmp_path / "m")
    for number in range(PAIRS):
        image = nib.Nifti1Image(brain_like(CANVAS[2], number), np.diag([SPACING, SPACING, SPACING, 1]))
        nib.save(image, tmp_path / f"{number}.nii.gz")
    lines = [f"{number}.nii.gz,{(number + 1) % PAIRS}.nii.gz,p{number}" for number in range(PAIRS)]
    (tmp_path / "pairs.csv").write_text("\n".join(["moving,fixed,name", *lines, "0.nii.gz,no.nii.gz,q", ""]))
    return tmp_path


def states(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["state"] for path in folder.glob("*_status.json")]


def results(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".gz", ".mat", ".png")
    }


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "c_summary.csv", newline="") as stream:
        return [{**row, "seconds": ""} for row in csv.DictReader(stream)]


def kill_one_at_work(cluster: LocalCluster, folder: Path) -> None:
    """Wait for the first pair that is done, then kill one of the workers, each of which is at another."""
    for _ in range(3000):
        if "done" in states(folder):
            break
        time.sleep(0.02)
    os.kill(cluster.workers[0].pid, signal.SIGKILL)


def test_a_killed_workers_pairs_are_done_by_others(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--model", "m", "--batch", "pairs.csv", "--output-prefix"]
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(n_workers=2, **options) as cluster:
        killer = threading.Thread(target=kill_one_at_work, args=(cluster, cohort / "dask"))
        killer.start()
        with pytest.raises(SystemExit) as stopped:
            main([*command, "dask/c_", "--dask", cluster.scheduler_address])
        killer.join()
    assert stopped.value.code == 1
    assert "q: error: " in capsys.readouterr().err
    assert sorted(states(cohort / "dask")) == ["done"] * PAIRS + ["failed"]
    with pytest.raises(SystemExit):
        main([*command, "serial/c_"])
    assert results(cohort / "dask") == results(cohort / "serial")
    rows = table(cohort / "dask")
    assert [row["name"] for row in rows] == [*(f"p{number}" for number in range(PAIRS)), "q"]
    assert [row["error"].replace(f"{cohort}/", "") for row in rows] == [
        row["error"] for row in table(cohort / "serial")
    ]
    assert [{**row, "error": ""} for row in rows] == [
        {**row, "error": ""} for row in table(cohort / "serial")
    ]


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("local:0", "expected local:N"),
        ("somewhere", "expected local:N"),
        ("127.0.0.1:9", "no scheduler answers"),
    ],
)
def test_clusters_that_are_none(where: str, cause: str, cohort: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("fire_tf.cohorts.cluster._PATIENCE", 0.2)
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "m", "--batch", "pairs.csv", "--output-prefix", "c_", "--dask", where])
    assert stopped.value.code == 2
    assert cause in capsys.readouterr().err


def test_a_worker_loads_the_model_once_and_no_other(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fire_tf.model.storage import load_to_register

    loaded = []

    def load(folder: Path, **options: object) -> object:
        loaded.append(folder)
        return load_to_register(folder, **options)

    monkeypatch.setattr("fire_tf.model.storage.load_to_register", load)
    needed = Needed(cohort / "m", None, file_hash(cohort / "m" / "fire.keras"))
    assert _model(needed) is _model(Needed(*needed))
    assert loaded == [cohort / "m"]
    for other in (needed._replace(sha256="0" * 64), needed._replace(version="0.0")):
        with pytest.raises(InputError, match="is another model on this worker, or fire_tf is"):
            _model(other)
