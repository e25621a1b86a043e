"""The train command on three little made-up subjects: what a run leaves, and that resuming one changes nothing."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like, labels_of

import fire_tf.training.callbacks
import fire_tf.training.limits
import fire_tf.training.progress
import fire_tf.training.run
import fire_tf.training.stages
from fire_tf.config.loading import load_config
from fire_tf.files.errors import InputError
from fire_tf.model.fire import FIRE
from fire_tf.model.storage import load_model
from fire_tf.train import main
from fire_tf.training.progress import WATCHED

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:non-integer arguments to randrange:DeprecationWarning"
    ),  # Keras' seeds
]

CONFIG = """
name: tiny
data: {{source: folders, root: {root}/data, labels: seg, split: {{train: [s1, s2], validate: [s3]}}, spacing: 4,
       canvas: [16, 12], cache: {root}/cache}}
deformation: {{rotation: [0, 20], translation: [0, 0.1], peak: [0, 1], control_points: 3}}
network: {{filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5,
          nonrigid_filters: 4, nonrigid_dilations: [1]}}
stages:
  - {{name: first, objective: aligned, cycle: [[synthesis]], steps: 3, batch_size: 2, deform: false}}
  - {{name: second, objective: known, cycle: [[affine, nonrigid]], steps: 4, batch_size: 3, schedule: cosine}}
  - {{name: third, objective: paper, cycle: [[affine], [nonrigid], [synthesis]], steps: 5, batch_size: 2}}
validation: {{batch_size: 2, batches: 1, every: 2}}
"""
STEPS = 3 + 4 + 5
EPOCH_ENDS = [2, 3, 5, 7, 9, 11, 12]  # `every` counts from each stage's start


@pytest.fixture(scope="module", autouse=True)
def _no_graphs():
    # Tracing would take minutes here and a dozen steps take seconds; the demo's test runs the graphs.
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fire_tf.training.limits, "PAIRS", {2: 5})
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file, beside the images that it names."""
    root = tmp_path_factory.mktemp("train")
    for seed, name in enumerate(("s1", "s2", "s3")):
        (root / "data" / name).mkdir(parents=True)
        image = brain_like((16, 12), seed)
        images = {"T1": image, "FLAIR": np.where(image > 0, 1000 - image, 0), "seg": labels_of(image)}
        for kind, array in images.items():
            volume = nib.Nifti1Image(array[..., np.newaxis], np.diag([4.0, 4, 4, 1]))
            nib.save(volume, root / "data" / name / f"{kind}.nii.gz")
    path = root / "tiny.yaml"
    path.write_text(CONFIG.format(root=root))
    return path


@pytest.fixture(scope="module")
def run(config: Path) -> Path:
    """A whole run, never interrupted."""
    folder = config.parent / "run"
    main(["--config", str(config), "--output", str(folder), "--quiet"])
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as stream:
        return [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)
        ]


def state(model: FIRE) -> list[np.ndarray]:
    """Weights, states of the three optimizers (their step counts too) and phase of the cycle."""
    optimizers = [variable for optimizer in model.optimizers.values() for variable in optimizer.variables]
    return [variable.numpy() for variable in [*model.variables, *optimizers, model.phase]]


def interrupt(config: Path, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a run and press Ctrl-C once ``step`` steps are done."""
    original = fire_tf.training.callbacks.Progress.on_train_batch_end

    def pressed(self, batch, logs=None):
        original(self, batch, logs)
        if int(self.run.step) == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fire_tf.training.callbacks.Progress, "on_train_batch_end", pressed)
        with pytest.raises(SystemExit) as stopped:
            main(["--config", str(config), "--output", str(folder), "--quiet"])
    assert stopped.value.code == 130


def test_a_run_folder_holds_what_the_readme_says(config: Path, run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "best",
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "model",
        "pictures",
        "tensorboard",
    ]
    assert load_config(run / "config.yaml") == load_config(config)
    for name in ("best", "model"):
        files = ["config.yaml", "fire.keras", "preprocessing.json"]
        assert sorted(path.name for path in (run / name).iterdir()) == files
        assert load_config(run / name / "config.yaml") == load_config(config)
    assert sorted(path.name for path in (run / "tensorboard").iterdir()) == ["first", "second", "third"]
    assert len(list((run / "checkpoints").glob("ckpt-*.index"))) == 2


def test_the_best_model_is_that_of_the_least_validation_loss_of_the_last_stage(run: Path) -> None:
    losses = {int(row["step"]): float(row["val_loss"]) for row in rows(run) if row["stage"] == "third"}
    best, last = load_model(run / "best", compiled=False), load_model(run, compiled=False)
    same = all(np.array_equal(one, other) for one, other in zip(best.weights, last.weights, strict=True))
    assert same == (min(losses, key=losses.__getitem__) == STEPS)
    checkpoint = tf.train.latest_checkpoint(str(run / "checkpoints"))
    stored = float(tf.train.load_variable(checkpoint, "best/.ATTRIBUTES/VARIABLE_VALUE"))
    assert stored == pytest.approx(min(losses.values()), rel=1e-5)


def test_metrics_have_a_row_per_epoch_and_the_terms_of_its_objective(run: Path) -> None:
    table = rows(run)
    assert [int(row["step"]) for row in table] == EPOCH_ENDS
    assert [row["stage"] for row in table] == ["first"] * 2 + ["second"] * 2 + ["third"] * 3
    terms = {"first": "syn_acc", "second": "known", "third": "reg_acc"}
    for row in table:
        for stage, term in terms.items():
            assert bool(row[f"val_{term}"]) == (
                stage == row["stage"] or (stage, row["stage"]) == ("first", "third")
            )
        assert float(row["val_loss"]) > 0


def test_every_validation_measures_and_pictures_what_needs_no_labels(run: Path) -> None:
    for row in rows(run):
        assert float(row["val_mi"]) > 0
        assert float(row["val_mi_before"]) > 0
        assert float(row["val_consistency_mm"]) >= 0
        assert 0 <= float(row["val_folded"]) <= 100
        assert all(row[f"val_{name}"] for name in WATCHED)
    pictures = sorted(path.name for path in (run / "pictures").iterdir())
    assert pictures == [f"step_{step:06d}.png" for step in EPOCH_ENDS]
    for stage, count in (("first", 2), ("second", 2), ("third", 3)):
        events = logged(run / "tensorboard" / stage)
        for key in (("pictures", "pairs"), ("validation", "epoch_mi"), ("validation", "epoch_collapsed")):
            assert events[key] == list(range(count))


def test_watching_changes_no_bit_of_the_training(
    config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fire_tf.training.stages, "Watch", lambda *args: tf.keras.callbacks.Callback())
    main(["--config", str(config), "--output", str(tmp_path / "run"), "--quiet"])
    assert not (tmp_path / "run/pictures").exists()
    for unwatched, watched in zip(state(load_model(tmp_path / "run")), state(load_model(run)), strict=True):
        np.testing.assert_array_equal(unwatched, watched)


def test_without_a_validation_split_one_line_says_what_is_missing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["data.split={train: [s1, s2, s3]}", *(f"stages.{number}.steps=1" for number in range(3))]
    arguments = [word for value in sets for word in ("--set", value)]
    main(["--config", str(config), "--output", str(tmp_path / "run"), "--quiet", *arguments])
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {tmp_path / 'run'}: no validation split: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run/pictures").exists()
    assert [row["val_mi"] for row in rows(tmp_path / "run")] == [""] * 3


def test_limits_are_learnt_at_the_end_and_can_be_learnt_anew(
    config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fire_tf.training.limits import main as learn

    limits = load_model(run, compiled=False).preprocessing["limits"]
    assert set(limits) - {"gain"} == {"T1", "FLAIR"}
    for own in limits.values() if "gain" not in limits else (limits["T1"], limits["FLAIR"]):
        assert -3 < own["similarity"] < 1
        assert 0 < own["size"][0] < own["size"][1]
    copy = tmp_path / "model"
    shutil.copytree(run / "model", copy)
    settings = json.loads((copy / "preprocessing.json").read_text())
    (copy / "preprocessing.json").write_text(json.dumps({**settings, "limits": None}))
    assert not load_model(copy, compiled=False).preprocessing["limits"]
    learn(["--model", str(copy)])
    assert load_model(copy, compiled=False).preprocessing["limits"] == limits
    assert json.loads(capsys.readouterr().out) == limits


def test_the_model_loads_from_its_run_with_its_optimizers(run: Path) -> None:
    model = load_model(run)
    assert model.canvas == (16, 12)
    assert int(model.phase) == 5
    assert model.preprocessing["modality_b"] == "FLAIR"
    updates = {group: int(optimizer.iterations) for group, optimizer in model.optimizers.items()}
    assert updates == {"affine": 2, "nonrigid": 2, "synthesis": 1}


@pytest.mark.slow  # two tests below resume amid the cycle each time
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(4, id="first stage done"),
        pytest.param(6, id="amid the second stage"),
        pytest.param(10, id="amid the cycle"),
    ],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    folder = tmp_path / "run"
    interrupt(config, folder, step, monkeypatch)
    assert [int(row["step"]) for row in rows(folder)] == [end for end in EPOCH_ENDS if end < step]
    main(["--config", str(config), "--output", str(folder), "--quiet", "--resume"])
    assert rows(folder) == rows(run)
    for resumed, whole in zip(state(load_model(folder)), state(load_model(run)), strict=True):
        np.testing.assert_allclose(resumed, whole, rtol=1e-5, atol=1e-7)


def test_resuming_a_finished_run_writes_its_model_again(config: Path, run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(folder / "model")
    main(["--config", str(config), "--output", str(folder), "--quiet", "--resume"])
    for again, before in zip(load_model(folder).variables, load_model(run).variables, strict=True):
        np.testing.assert_array_equal(again.numpy(), before.numpy())


def test_a_run_starts_from_the_weights_of_another_model(config: Path, run: Path, tmp_path: Path) -> None:
    # At rate 0 nothing moves, so that what is saved is what training began with.
    rest = [f"stages.{i}.learning_rate={{affine: 0, nonrigid: 0, synthesis: 0}}" for i in range(3)]
    sets = [word for value in (f"init={run}", "seed=5", *rest) for word in ("--set", value)]
    main(["--config", str(config), "--output", str(tmp_path / "new"), "--quiet", *sets])
    before, after = load_model(run), load_model(tmp_path / "new")
    for old, new in zip(before.trainable_variables, after.trainable_variables, strict=True):
        np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_weights_of_other_sizes_are_no_start(config: Path, run: Path) -> None:
    wider = load_config(config, [f"init={run}", "network.nonrigid_filters=5"])
    with pytest.raises(InputError, match="has nonrigid networks of another size"):
        fire_tf.training.run.train(wider, config.parent / "wider")
    assert not (config.parent / "wider").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "holds a run already"),
        (["--set", "network.filtres=[1,2,3]"], "nearest known: filters"),
        (["--set", "data.root=nowhere", "--output", "new"], "nowhere"),
        (["--set", "init=nowhere", "--output", "new"], "nowhere: not a fire_tf model"),
        (["--resume", "--output", "new"], "no run to resume"),
        (["--output", "taken"], "taken: cannot be written to"),
        (["--output", "taken/run"], "taken/run: cannot be written to"),
        (["--set", "data.cache=taken", "--output", "new"], "taken: cannot be written to"),
        (["--resume", "--set", "stages.0.steps=99"], "was begun with another stages"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    config: Path, run: Path, tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    before = sorted(run.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(config), "--output", str(run), *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert sorted(run.rglob("*")) == before
    assert not (tmp_path / "new").exists()


def test_quiet_leaves_the_bar_out(config: Path, tmp_path: Path, capfd) -> None:
    shortest = ["--set", "stages.0.steps=1", "--set", "stages.1.steps=1", "--set", "stages.2.steps=1"]
    main(["--config", str(config), "--output", str(tmp_path / "quiet"), *shortest, "--quiet"])
    assert capfd.readouterr().err == ""
    main(["--config", str(config), "--output", str(tmp_path / "loud"), *shortest])
    shown = capfd.readouterr().err
    for stage in ("first", "second", "third"):
        assert f"{stage}: 100%" in shown


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_ends_a_run_behind_its_step_with_a_checkpoint(
    number: int, code: int, config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Amid an epoch and the cycle; what is resumed ends with the weights of a run that was never stopped."""
    count = fire_tf.training.callbacks.Progress.on_train_batch_end

    def preempted(self, batch, logs=None):
        count(self, batch, logs)
        if int(self.run.step) == 10:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(fire_tf.training.callbacks.Progress, "on_train_batch_end", preempted)
        with pytest.raises(SystemExit) as stopped:
            main(["--config", str(config), "--output", str(tmp_path / "run"), "--quiet"])
    assert stopped.value.code == code
    assert capsys.readouterr().err == "interrupted at step 10; --resume goes on from there\n"
    assert signal.getsignal(number) is before
    main(["--config", str(config), "--output", str(tmp_path / "run"), "--quiet", "--resume"])
    for resumed, whole in zip(state(load_model(tmp_path / "run")), state(load_model(run)), strict=True):
        np.testing.assert_array_equal(resumed, whole)


def test_what_lies_behind_the_checkpoint_is_taken_away_and_written_once(
    config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed may have written rows and events that its last checkpoint knows nothing of."""
    folder = tmp_path / "run"
    save = fire_tf.training.progress.Run.save
    with monkeypatch.context() as patch:
        patch.setattr(
            fire_tf.training.progress.Run, "save", lambda self: save(self) if int(self.step) < 8 else None
        )
        interrupt(config, folder, 12, monkeypatch)
    assert [int(row["step"]) for row in rows(folder)] == [2, 3, 5, 7, 9, 11]
    (folder / "pictures/step_000099.png").write_bytes(b"")
    main(["--config", str(config), "--output", str(folder), "--quiet", "--resume"])
    assert rows(folder) == rows(run)
    for stage in ("first", "second", "third"):
        assert logged(folder / "tensorboard" / stage) == logged(run / "tensorboard" / stage)
    names = [sorted(path.name for path in (one / "pictures").iterdir()) for one in (folder, run)]
    assert names[0] == names[1]


def test_what_was_written_before_the_first_checkpoint_is_taken_away_too(
    config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "model", "best"))
    for name in ("_run_stages", "_set_limits"):
        monkeypatch.setattr(f"fire_tf.training.run.{name}", lambda *_: None)
    main(["--config", str(config), "--output", str(folder), "--quiet", "--resume"])
    assert rows(run)
    assert not rows(folder)
    assert not any((folder / "pictures").iterdir())


def logged(folder: Path) -> dict[tuple[str, str], list[int]]:
    """Steps of every scalar in a stage's event files, by its part (train, validation) and tag."""
    found: dict[tuple[str, str], list[int]] = {}
    for path in folder.rglob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if "iterations" not in value.tag:
                    found.setdefault((path.parent.name, value.tag), []).append(event.step)
    return {key: sorted(steps) for key, steps in found.items()}


@pytest.mark.parametrize(
    ("changed", "refused"), [("data.spacing=5", "data.spacing"), ("data.min_tissue=0.2", "data.min_tissue")]
)
def test_a_resumed_run_may_not_see_its_images_in_another_way(
    changed: str, refused: str, config: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "model/preprocessing.json").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(config), "--set", changed, "--output", str(run), "--resume", "--quiet"])
    assert stopped.value.code == 2
    assert f"was begun with another {refused}" in capsys.readouterr().err
    assert (run / "model/preprocessing.json").read_bytes() == before


def test_a_finished_run_whose_images_have_moved_is_left_as_it_is(
    config: Path, run: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(config.parent / "data", moved)
    before = {path: path.read_bytes() for path in (run / "model").iterdir()}
    main(
        ["--config", str(config), "--set", f"data.root={moved}", "--output", str(run), "--resume", "--quiet"]
    )
    assert {path: path.read_bytes() for path in (run / "model").iterdir()} == before
