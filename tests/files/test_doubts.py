"""Doubts of a command, as its user sees them."""

import warnings

import pytest

from fire_tf.files.doubts import Doubt, collected, in_lines


@in_lines
def doubting(*messages: str) -> None:
    for message in messages:
        warnings.warn(message, Doubt, stacklevel=2)


def test_each_doubt_is_a_line_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    doubting("x.nii: tells no\n orientation", "y.nii: is odd", "x.nii: tells no orientation")
    assert capsys.readouterr().err.splitlines() == [
        "warning: x.nii: tells no orientation",
        "warning: y.nii: is odd",
    ]
    doubting("y.nii: is odd")  # another command of the same process says it anew
    assert capsys.readouterr().err == "warning: y.nii: is odd\n"


def test_collected_doubts_are_all_kept_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with collected() as found:
        warnings.warn("x", Doubt, stacklevel=2)
        warnings.warn("x", Doubt, stacklevel=2)
    assert found == ["x", "x"]
    assert capsys.readouterr().err == ""
