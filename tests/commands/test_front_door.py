"""`fire-tf`, and what every command answers at once: help, and a wrong option."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fire_tf.__main__ import COMMANDS, main

HEAVY = ("tensorflow", "numpy", "nibabel", "scipy", "matplotlib")
CLIENT = Path(__file__).parents[2] / "requirements/client.txt"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


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


ONLY = """
import re, sys
from importlib.metadata import packages_distributions, requires

named = lambda line: re.match(r"[\\w-]+", line)[0].lower().replace("_", "-")
client = {named(line) for line in open(sys.argv.pop(1)) if not line.startswith("#")}
others = {named(line) for line in requires("fire_tf")} - client
for module, distributions in packages_distributions().items():
    if others & {named(distribution) for distribution in distributions}:
        sys.modules[module] = None  # importing it fails
from fire_tf.__main__ import main
main()
"""


def test_client_needs_no_more_than_its_list(tmp_path: Path) -> None:
    """With the other requirements hidden; a slow test of packaging installs no more than the list."""
    image = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(np.arange(24, dtype=np.float32).reshape(4, 6, 1), np.eye(4)), image)
    asked = [
        "client",
        "--server",
        "127.0.0.1:1",
        "--moving",
        image,
        "--fixed",
        image,
        "--output-prefix",
        "p_",
    ]
    command = [sys.executable, "-c", ONLY, CLIENT, *asked]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: 127.0.0.1:1, ")


QUIET_ENDS = {
    "printed at once": "import sys; print('x' * 100_000, flush=True); import time; time.sleep(60)",
    "left in the buffer": "print('x')",
    "help": "raise SystemExit(print('usage'))",
    "an error behind it": "print('x'); raise InputError('a.csv: bad')",
}


@pytest.mark.parametrize("what", QUIET_ENDS)
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(what: str) -> None:
    """``| head``: exit code 141, as a shell reports SIGPIPE, and not a word on stderr."""
    code = (
        "from fire_tf.files.errors import InputError, exit_cleanly\n"
        f"exit_cleanly(lambda: exec({QUIET_ENDS[what]!r}, globals()))()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before the first word: nobody reads
        stderr = process.stderr.read().decode()
    failed = what == "an error behind it"
    assert (process.returncode, stderr) == ((2, "error: a.csv: bad\n") if failed else (141, ""))


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "fire_tf"],
            env=BUFFERED,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: standard output: cannot be written to (No space left on device)\n",
    )
