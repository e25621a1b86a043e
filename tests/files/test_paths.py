"""Paths with a tilde, and names of one file."""

import os
from pathlib import Path

import pytest

from fire_tf.config.loading import load_config
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import split_prefix, write_file, write_files
from fire_tf.files.paths import check_apart, expanded, user_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_home(home: Path) -> None:
    assert user_path("~/a/b.nii") == home / "a" / "b.nii"
    assert expanded("~/out/") == f"{home}/out/"
    assert split_prefix("~/out/P_") == (home / "out", "P_")
    assert (expanded("a~/b"), expanded("./~/b"), expanded("")) == ("a~/b", "./~/b", "")
    write_file("~/new/table.csv", lambda path: path.write_text("x"))
    assert (home / "new" / "table.csv").read_text() == "x"


def test_a_name_that_begins_with_a_tilde_stays(home: Path) -> None:
    Path("~old").mkdir()
    assert user_path("~old/m.nii") == Path.cwd() / "~old" / "m.nii"
    assert user_path("~nobody-of-this-name/m.nii") == Path.cwd() / "~nobody-of-this-name" / "m.nii"
    assert expanded("~root") == os.path.expanduser("~root")
    Path("~root").mkdir()
    assert user_path("~root") == Path.cwd() / "~root"


def test_paths_of_configs_are_expanded(home: Path) -> None:
    sets = ["data.cache=~/cache", "data.root=~/data", "data.manifest=~/pairs.csv", "init=~/model"]
    config = load_config("demo", sets)
    found = (config.data.cache, config.data.root, config.data.manifest, config.init)
    assert found == tuple(f"{home}/{name}" for name in ("cache", "data", "pairs.csv", "model"))


@pytest.mark.parametrize(
    "spelling", ["a.nii", "./a.nii", "sub/../a.nii", "link.nii", "hard.nii", "~/../a.nii"]
)
def test_an_output_that_is_an_input_is_refused(spelling: str, home: Path) -> None:
    Path("a.nii").write_text("a")
    Path("sub").mkdir()
    Path("link.nii").symlink_to("a.nii")
    os.link("a.nii", "hard.nii")
    with pytest.raises(InputError, match="same file as the input"):
        check_apart([spelling], [Path("a.nii").absolute()])
    with pytest.raises(InputError, match="same file as the output"):
        check_apart(["a.nii", spelling], [])


def test_outputs_that_do_not_exist_yet(home: Path) -> None:
    check_apart(["new/b.nii", "b.nii"], ["a.nii"])
    with pytest.raises(InputError, match=r"new/\.\./b\.nii: .*same file as the output b\.nii"):
        check_apart(["b.nii", "new/../b.nii"], [])


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "a", tmp_path / "two" / "b", tmp_path / "a"]

    def fail(path: Path) -> None:
        raise InputError("the last one")

    with pytest.raises(InputError, match="the last one"):
        write_files({path: fail if path == paths[-1] else lambda p: p.write_text("x") for path in paths})
    assert list(tmp_path.iterdir()) == []
    write_files({path: lambda p, path=path: p.write_text(str(path)) for path in paths})
    assert [path.read_text() for path in paths] == [str(path) for path in paths]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a", "b", "one", "two"]
