"""Where results are written."""

from pathlib import Path

import pytest

from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, unused_folder, write_file, write_together


def test_a_folder_that_exists_is_left_for_a_numbered_one(tmp_path: Path) -> None:
    assert unused_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert unused_folder(tmp_path / "demo") == tmp_path / "demo-3"


def test_a_file_appears_whole_with_its_folder_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "table.csv"

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, fail)
    assert not list(tmp_path.iterdir())
    write_file(path, lambda beside: beside.write_text("first"))
    with pytest.raises(KeyboardInterrupt):
        write_file(path, fail)
    assert path.read_text() == "first"
    write_file(path, lambda beside: beside.write_text("second"))
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_files_and_folders_get_their_prefix_together(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a.txt").write_text("a")
        (folder / "whole").mkdir()
        (folder / "whole" / "b.txt").write_text("b")

    found = write_together(f"{tmp_path}/out_", write)
    assert found == [tmp_path / "out_a.txt", tmp_path / "out_whole"]
    assert (tmp_path / "out_whole" / "b.txt").read_text() == "b"
    assert sorted(tmp_path.iterdir()) == found


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    def full(beside: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=f"{tmp_path}: cannot be written to .No space left on device"):
        write_file(tmp_path / "table.csv", full)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_made_are_named_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/run", "file/a/b", "link", "link/run"):
        with pytest.raises(InputError, match=f"{name}: cannot be written to .*is not a folder"):
            check_writable(tmp_path / name)
    check_writable(tmp_path / "new" / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
