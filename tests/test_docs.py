"""The pages: links lead somewhere, and every command is one that this package takes.

A command of the package is read by its own parser, and its ``--set`` by the config; those that need no training and
only small images are run too, as they stand. What else a shell would do stands below a paragraph that says
"not run here".
"""

from __future__ import annotations

import argparse
import configparser
import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import yaml
from fake_model import brain_like, labels_of

import fire_tf
from fire_tf.config.loading import load_config
from fire_tf.model import storage

ROOT = Path(__file__).parent.parent
CI = (ROOT / ".ci/run").read_text()
CARD = ROOT / "fire_tf/weights/t1_flair_2d/README.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), CARD]
NOT_RUN = "not run here"
TRIED = ("register", "apply", "models")  # commands that are run where they need no training run
# In their order: each takes up what those before it wrote.
TRIED_ON = [CARD, ROOT / "README.md", ROOT / "docs/apply.md", ROOT / "docs/cohorts.md"]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


class Command(NamedTuple):
    """A line of shell: its words, and whether its page says that it was not run."""

    words: list[str]
    excused: bool


class Parsed(BaseException):
    """Raised where a command has understood its arguments, before it does anything."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen


def commands(page: Path) -> Iterator[Command]:
    """Of the blocks of shell, and those in running text that have options or install something."""
    text = page.read_text()
    for found in re.finditer(r"```sh\n(.*?)```", text, re.DOTALL):
        before = text[: found.start()].rstrip().rsplit("\n\n", 1)[-1]
        for line in found[1].replace("\\\n", " ").splitlines():
            # A shell's variables stand for values, and what another command prints may be nothing.
            plain = re.sub(r"\$\([^)]*\)|\$(?=\w)", "", line)
            for part in plain.split(" && "):
                words = shlex.split(part, comments=True)
                if words and words[0] != "export" and "=" not in words[0]:
                    yield Command(words, NOT_RUN in " ".join(before.split()))
    for found in re.finditer(r"(?<!`)`((?:(?:python|fire-tf) [^`]* --|pip install)[^`]*)`(?!`)", text):
        yield from (Command(shlex.split(part), False) for part in found[1].split(" && "))


def program(words: list[str]) -> tuple[str, list[str]] | None:
    """What Python is asked to run, a module or a script, and its arguments; None for other programs."""
    for place, word in enumerate(words):
        if word.endswith(("python", "python3")):
            named = words[place + 1 :]
            return (named[1], named[2:]) if named[0] == "-m" else (named[0], named[1:])
    return (f"fire_tf.{words[1]}", words[2:]) if words[0] == "fire-tf" and len(words) > 1 else None


def understood(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the parser of a module or a script makes of its arguments."""
    really = argparse.ArgumentParser.parse_args

    def parse_args(parser: argparse.ArgumentParser, given: list[str] | None = None) -> None:
        parser.allow_abbrev = False
        raise Parsed(really(parser, given))

    if name.endswith(".py"):
        monkeypatch.syspath_prepend(ROOT / name.split("/")[0])
        module = importlib.import_module(Path(name).stem)
        if not hasattr(module, "argparse"):
            assert not arguments
            return argparse.Namespace()
    else:
        module = importlib.import_module(name)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        module.main()
    except Parsed as found:
        return found.chosen
    except SystemExit as end:
        if end.code == 0:  # --help
            return argparse.Namespace()
    finally:
        monkeypatch.undo()
    raise AssertionError(f"{name} does not take {arguments}")


def check_settings(chosen: argparse.Namespace) -> None:
    """Raise for a config or a key that there is not."""
    settings = getattr(chosen, "overrides", None) or getattr(chosen, "set", None) or []
    named = getattr(chosen, "config", None) or "t1_flair_2d"
    for config in [named] if isinstance(named, str) else named:
        load_config(config, settings)


def check_installation(wanted: list[str]) -> None:
    """What pip is given exists: this package, its extras, the lists of requirements."""
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    for name in (word for word in wanted if not word.startswith("-")):
        known = re.fullmatch(r"(?:\.|fire_tf)(?:\[(.*)\])?", name)
        assert known or (ROOT / name).is_file(), name
        for extra in known[1].split(",") if known and known[1] else ():
            assert extra in extras["options.extras_require"], extra


@pages
def test_every_command_is_understood_or_said_not_to_be_run(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, excused in commands(page):
        asked = program(words)
        if asked and asked[0].startswith(("fire_tf", "benchmarks/", "serving/")):
            check_settings(understood(*asked, monkeypatch))
        elif "install" in words and words[0].endswith("pip"):
            check_installation(words[words.index("install") + 1 :])
        elif not (asked and asked[0] in ("venv", "pytest")):
            in_ci = asked and f"python -m {asked[0]} {' '.join(asked[1])}" in CI
            assert in_ci or excused, f"{page.name}: {' '.join(words)}"


@pages
def test_blocks_say_what_they_are(page: Path) -> None:
    """Indented blocks would escape the test above."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert not re.findall(r"(?m)(?:\A|\n)\n {4}\S.*", text)
    assert all(re.findall(r"(?m)^```(.*)$", page.read_text())[::2])  # the language of each block


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target


@pages
def test_python_imports_what_there_is(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(block, page.name, "exec")
        for module, names in re.findall(r"(?m)^from (fire_tf\S*) import (.*)$", block):
            assert all(hasattr(importlib.import_module(module), name) for name in names.split(", "))


def test_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == fire_tf.__version__
    assert "1907.05062" in citation["preferred-citation"]["url"]


def fill(folder: Path) -> None:
    """Write the images and tables that the pages name: slices of 1.28 mm, and landmarks in them."""
    shape = (96, 110, 1)
    for seed, names in enumerate((("T1", "M"), ("FLAIR", "F"))):
        image = brain_like(shape[:2], seed)[..., np.newaxis]
        for name in names:
            nib.save(nib.Nifti1Image(image, np.diag([1.28, 1.28, 1.28, 1])), folder / f"{name}.nii.gz")
        if not seed:
            for name in ("seg", "T1_seg"):
                labels = nib.Nifti1Image(labels_of(image), np.diag([1.28, 1.28, 1.28, 1]))
                nib.save(labels, folder / f"{name}.nii.gz")
    points = (
        "# Markups fiducial file version = 4.11\n# CoordinateSystem = RAS\n# columns = id,x,y,z\n1,60,70,0\n"
    )
    for name in ("landmarks", "truth"):
        (folder / f"{name}.fcsv").write_text(points)
    (folder / "pairs.csv").write_text("moving,fixed\nT1.nii.gz,FLAIR.nii.gz\n")


def test_those_that_need_small_images_alone_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the model that comes along."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "load_to_register", cache(storage.load_to_register))  # traced once or twice
    ran = []
    for page in TRIED_ON:
        for words, _ in commands(page):
            name, arguments = program(words) or ("", [])
            here = not {"--dask", "--help"} & set(arguments) and not any(
                "runs/" in word for word in arguments
            )
            if name.removeprefix("fire_tf.") in TRIED and here:
                importlib.import_module(name).main(arguments)
                ran.append(" ".join(words))
        if page == CARD:
            shutil.copy("P_CompositeWarp.nii.gz", "warp.nii.gz")
            shutil.copy("P_Affine.mat", "affine.mat")
    assert len(ran) >= 8
    assert "TRE" in capsys.readouterr().out
    for name in ("out_Warped.nii.gz", "seg_on_FLAIR.nii.gz", "whole.h5", "det.nii.gz", "out/P_summary.html"):
        assert Path(name).is_file(), name
