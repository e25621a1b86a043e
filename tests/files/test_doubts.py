"""Doubts of a command, as its user sees them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from fire_tf.files.doubts import Doubt, cast_doubt, collected, in_lines


@in_lines
def doubting(*messages: str) -> None:
    for message in messages:
        cast_doubt(message)


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
        cast_doubt("x")
        cast_doubt("x")
    assert found == ["x", "x"]
    assert capsys.readouterr().err == ""


def test_each_thread_has_its_own_doubts() -> None:
    together = Barrier(2)

    def work(name: str) -> list[str]:
        with collected() as found:
            for number in range(3):
                together.wait(timeout=10)
                cast_doubt(f"{name}{number}")
        return found

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, "ab")) == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]


def test_a_doubt_to_which_nobody_listens_is_a_warning() -> None:
    def read() -> None:
        cast_doubt("x is odd")

    with pytest.warns(Doubt, match="x is odd") as caught:
        read()
    assert caught[0].filename == __file__
