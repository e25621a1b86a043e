"""What a model folder gives back, and what is said about folders that hold no model."""

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_fire import pairs, smallest_model

import fire_tf
from fire_tf.files.errors import InputError
from fire_tf.model.losses import Losses
from fire_tf.model.storage import load_model, save_model
from fire_tf.register import main

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


MODELS = Path(__file__).parent / "models"
SETTINGS = {"modality_a": "T1", "modality_b": "FLAIR", "spacing": [1.5, 1.5], "percentile": 99.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    model = smallest_model()
    model.preprocessing = dict(SETTINGS)
    model.compile()
    model.optimizers["affine"].learning_rate = 0.25
    save_model(model, folder)
    return folder


def test_weights_and_optimizers_are_those_that_keras_reads(folder: Path) -> None:
    expected = tf.keras.models.load_model(folder / "fire.keras")
    loaded = load_model(folder.parent)
    for found, known in zip(loaded.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), known.numpy())
    assert float(loaded.optimizers["affine"].learning_rate) == 0.25


def test_registering_needs_no_optimizers(folder: Path) -> None:
    bare = load_model(folder, compiled=False)
    assert not hasattr(bare, "optimizers")
    for found, known in zip(bare.weights, load_model(folder).weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), known.numpy())


@pytest.mark.parametrize("name", ["format_1", "format_2"])
def test_folders_of_every_format_and_either_keras_load(name: str) -> None:
    """One was written by TensorFlow 2.15 with its own Keras, the other by 2.21 with tf-keras."""
    model = load_model(MODELS / name)
    assert model.preprocessing == {**SETTINGS, "slice_axis": "last", "search": "heads"}
    assert int(model.optimizers["affine"].iterations) == 1
    expected, images = np.load(MODELS / "expected.npz"), pairs(2)
    found = model.estimate_pair(images["a"].numpy(), images["b"].numpy())
    for part in expected.files:
        # Random weights in the place of trained ones: steps that are badly conditioned magnify rounding.
        np.testing.assert_allclose(found[part], expected[part], atol=5e-3)


def test_hearts_of_the_first_format_keep_what_they_were_trained_on(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "format_1", tmp_path / "hearts")
    (tmp_path / "hearts/preprocessing.json").write_text(json.dumps(SETTINGS | {"slices_last": True}))
    preprocessing = load_model(tmp_path / "hearts", compiled=False).preprocessing
    assert (preprocessing["slice_axis"], preprocessing["search"]) == ("thickest", "hearts")


def test_a_saved_folder_says_its_format_and_holds_no_metrics(folder: Path) -> None:
    content = json.loads((folder / "preprocessing.json").read_text())
    assert (content["format"], content["written_by"]) == (2, f"fire_tf {fire_tf.__version__}")
    with zipfile.ZipFile(folder / "fire.keras") as archive:
        stored = archive.extract("model.weights.h5", folder.parent)
    names: list[str] = []
    with h5py.File(stored) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    assert len(names) > 20
    assert not [name for name in names if any(term in name for term in Losses._fields)]


def test_a_term_more_or_less_leaves_saved_models_readable(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(Losses, "_fields", (*Losses._fields, "a_term_of_tomorrow"))
    assert "a_term_of_tomorrow" in load_model(folder).term_means


def test_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "format_2", tmp_path / "new")
    content = SETTINGS | {"format": 3, "written_by": "fire_tf 9.1"}
    (tmp_path / "new/preprocessing.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"new: was written by fire_tf 9\.1 in format 3, and .* formats up to 2"
    ) as caught:
        load_model(tmp_path / "new")
    assert "\n" not in str(caught.value)


def _spoil(folder: Path, what: str) -> None:
    model, preprocessing = folder / "fire.keras", folder / "preprocessing.json"
    preprocessing.write_text(json.dumps(SETTINGS))
    if what == "text":
        model.write_text("not a zip file")
    elif what == "truncated":
        whole = model.read_bytes()
        model.write_bytes(whole[: len(whole) // 2])
    elif what == "empty archive":
        with zipfile.ZipFile(model, "w"):
            pass
    elif what == "another network":
        tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))]).save(model)
    elif what == "unknown class":
        with zipfile.ZipFile(model, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": "X", "module": "y", "config": {}}))
            archive.writestr("model.weights.h5", "")
    elif what == "no json":
        preprocessing.write_text("{")


@pytest.mark.parametrize(
    "what", ["text", "truncated", "empty archive", "another network", "unknown class", "no json"]
)
def test_folders_that_are_not_ours_are_named_in_one_line(folder: Path, what: str, tmp_path: Path) -> None:
    (tmp_path / "fire.keras").write_bytes((folder / "fire.keras").read_bytes())
    _spoil(tmp_path, what)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path, compiled=False)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"spacing": None}, "spacing is missing, expected 2 lengths in mm"),
        ({"modality_a": None}, "modality_a is missing"),
        ({"modality_b": 3}, "modality_b is 3, expected a name"),
        ({"percentile": None}, "percentile is missing"),
        ({"percentile": 101}, "percentile is 101, expected a number up to 100"),
        ({"percentile": True}, "percentile is True"),
        ({"spacing": [1.5, 1.5, 1.5]}, r"spacing is \[1.5, 1.5, 1.5\], expected 2 lengths"),
        ({"spacing": [1.5, -1]}, "spacing is"),
        ({"spacing": 1.5}, "spacing is 1.5"),
    ],
)
def test_settings_that_registering_needs_are_checked(
    changed: dict[str, object], cause: str, folder: Path, tmp_path: Path
) -> None:
    settings = {name: value for name, value in (SETTINGS | changed).items() if value is not None}
    (tmp_path / "fire.keras").write_bytes((folder / "fire.keras").read_bytes())
    (tmp_path / "preprocessing.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=rf"preprocessing\.json: {cause}"):
        load_model(tmp_path, compiled=False)


def test_the_command_names_a_folder_that_is_no_model(folder: Path, tmp_path: Path, capsys) -> None:
    """One line and exit code 2, and nothing is written."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "fire.keras").write_bytes((folder / "fire.keras").read_bytes())
    (tmp_path / "model" / "preprocessing.json").write_text("{}")
    files = ["--moving", "m.nii.gz", "--fixed", "f.nii.gz", "--output-prefix", str(tmp_path / "out" / "p_")]
    for name, cause in (
        (tmp_path, "preprocessing.json: modality_a is missing"),
        (tmp_path / "x", "not a fire_tf"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--model", str(name), *files])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert cause in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_model_that_comes_along_loads() -> None:
    model = load_model("t1_flair_2d", compiled=False)
    assert model.canvas == (192, 192)
    assert (model.preprocessing["modality_a"], model.preprocessing["modality_b"]) == ("T1", "FLAIR")
