"""Where a model is looked for: a folder, a run, the package."""

from pathlib import Path

import pytest

from fire_tf.files.errors import InputError
from fire_tf.model import paths as model_paths
from fire_tf.model.paths import MODEL, PREPROCESSING, find_model, run_config


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in (MODEL, PREPROCESSING, "config.yaml"):
        (folder / name).touch()
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one model that comes along; the working directory is another one."""
    monkeypatch.setattr(model_paths, "_SHIPPED", tmp_path / "weights")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return write_model(tmp_path / "weights" / "brains")


def test_a_bare_name_finds_the_model_that_comes_along(shipped: Path) -> None:
    assert find_model("brains") == shipped
    assert run_config("brains") == shipped / "config.yaml"
    for other in ("./elsewhere/brains", "hearts"):
        with pytest.raises(InputError, match=r"not a fire_tf model .* come along: brains$"):
            find_model(other)
        with pytest.raises(InputError, match="neither a run nor a model"):
            run_config(other)


def test_the_users_own_folder_comes_first(shipped: Path) -> None:
    run = write_model(Path("brains") / "model").parent
    assert find_model("brains") == run / "model"
    (run / "config.yaml").touch()
    assert run_config(run) == run / "config.yaml"
