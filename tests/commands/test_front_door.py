"""`fire-tf`, and what every command answers at once: help, and a wrong option."""

import subprocess
import sys

import pytest

from fire_tf.__main__ import COMMANDS, main

HEAVY = ("tensorflow", "numpy", "nibabel", "scipy", "matplotlib")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


def run_and_list_modules(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own that says at its end which of the heavy libraries it has loaded."""
    code = (
        f"import sys, fire_tf.{name}\ntry:\n    fire_tf.{name}.main({list(arguments)})\n"
        f"except SystemExit as end:\n    print('loaded', [m for m in {HEAVY} if m in sys.modules], end.code)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_a_wrong_option_load_nothing_that_takes_time(name: str) -> None:
    helped = run_and_list_modules(name, "--help")
    assert helped.stdout.startswith(f"usage: python -m fire_tf.{name} ")
    assert helped.stdout.endswith("loaded [] 0\n")
    wrong = run_and_list_modules(name, "--no-such-option")
    assert wrong.stdout == "loaded [] 2\n"
    assert wrong.stderr.startswith("usage: ")


def test_the_front_door_lists_the_commands() -> None:
    shown = run("fire_tf")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)


def test_a_subcommand_goes_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["register", "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fire-tf register ")


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["registre"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: registre: no such command; known: {', '.join(COMMANDS)}\n"
