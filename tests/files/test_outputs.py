"""Where results are written."""

from pathlib import Path

from fire_tf.files.outputs import unused_folder


def test_a_folder_that_exists_is_left_for_a_numbered_one(tmp_path: Path) -> None:
    assert unused_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert unused_folder(tmp_path / "demo") == tmp_path / "demo-3"
