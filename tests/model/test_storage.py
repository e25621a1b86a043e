"""What a model folder gives back, and what is said about folders that hold no model."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_fire import smallest_model

from fire_tf.files.errors import InputError
from fire_tf.model.storage import load_model, save_model
from fire_tf.register import main

import tensorflow as tf  # isort: skip  (after the package, which quietens it)


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
