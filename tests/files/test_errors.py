"""What a command says and returns when its input is at fault."""

import pytest

from fire_tf.files.errors import InputError, exit_cleanly


def test_input_error_becomes_one_line_and_exit_code_2(capsys):
    @exit_cleanly
    def main() -> None:
        raise InputError("a.nii.gz: not\n  an image")

    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: a.nii.gz: not an image\n"


def test_interruption_exits_with_130(capsys):
    @exit_cleanly
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_other_errors_and_results_pass():
    @exit_cleanly
    def main(fail: bool) -> int:
        if fail:
            raise ValueError("a fault of the program")
        return 7

    assert main(fail=False) == 7
    with pytest.raises(ValueError, match="fault of the program"):
        main(fail=True)
