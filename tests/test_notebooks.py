"""The notebooks: each runs from top to bottom as a user would run it, and is kept with its pictures.

They are small enough that the very cells that are shown run here, on generated images; nothing is cut short.
"""

from __future__ import annotations

import ast
import base64
import re
import sys
from pathlib import Path

import nbformat
import pytest
from matplotlib.image import imread
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 700_000  # bytes of a notebook with its outputs
PICTURES = {"01_quickstart": 3, "02_your_own_data": 3, "03_inside_fire": 6, "04_cine": 3}

# Two with the oldest and two with the newest TensorFlow each time; the others are slow tests there.
RUN = ("01_quickstart", "03_inside_fire") if sys.version_info >= (3, 12) else ("02_your_own_data", "04_cine")

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures_of(notebook: NotebookNode) -> list[bytes]:
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


def printed_by(notebook: NotebookNode) -> str:
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    return "\n".join(
        o.text if o.output_type == "stream" else o.get("data", {}).get("text/plain", "") for o in outputs
    )


def test_there_are_four() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(PICTURES)


@notebooks
def test_outputs_are_kept_and_small(path: Path) -> None:
    """Every cell was run, in order, none failed, and there are pictures."""
    cells = code_of(read(path))
    assert path.stat().st_size < LARGEST
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert len(pictures_of(read(path))) == PICTURES[path.stem]
    # A progress bar that is moved back and forth is stored as it ends, and no path of the author's machine stays.
    assert "\x08" not in printed_by(read(path))
    assert "/work/" not in path.read_text()


@notebooks
def test_definitions_are_imported(path: Path) -> None:
    """What is worth testing lives in the package."""
    for cell in code_of(read(path)):
        if not cell.source.startswith("%%"):
            kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
            assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef}


@notebooks
def test_links_lead_somewhere(path: Path) -> None:
    prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them run, so that heads which one generates serve the next, as they do a user."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in RUN else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs(path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom on generated images, with all of its pictures, none of them empty."""
    monkeypatch.delenv("FIRE_CINE", raising=False)
    notebook = read(path)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    found = pictures_of(notebook)
    assert len(found) == PICTURES[path.stem]
    for number, picture in enumerate(found):
        (tmp_path / f"{number}.png").write_bytes(picture)
        assert imread(tmp_path / f"{number}.png").std() > 0.02
    CHECKS[path.stem](printed_by(notebook))


def dice(printed: str, method: str) -> float:
    """Mean Dice in % of a method in the printed summary, over both directions."""
    found, header = [], [""]
    for line in printed.splitlines():
        fields = re.split(r"\s{2,}", line.strip())
        if "mean" in fields:
            header = fields
        elif fields[0] == method:
            found.append(float(fields[1 + header.index("mean")].split("±")[0]))
    assert len(found) == 2
    return sum(found) / 2


def check_quickstart(printed: str) -> None:
    assert dice(printed, "FIRE") > dice(printed, "unaligned") + 15


def check_own_data(printed: str) -> None:
    assert "data.spaceing" in printed
    assert dice(printed, "FIRE") > dice(printed, "unaligned") + 10
    assert "saved_model.pb" in printed
    assert float(printed.strip().splitlines()[-1]) < 1e-4  # served against registered


def check_inside(printed: str) -> None:
    ratios = [float(found) for found in re.findall(r"([\d.]+) times as large where it is left out", printed)]
    assert len(ratios) == 9
    assert max(ratios) > 1.05  # some term at least has an effect of its own


def check_cine(printed: str) -> None:
    assert dice(printed, "FIRE refined") > dice(printed, "FIRE") > dice(printed, "unaligned")
    by_fire, drawn = map(float, re.findall(r"(\d+) %", printed.splitlines()[-1]))
    assert 0 < by_fire < 100
    assert 30 < drawn < 80


CHECKS = {
    "01_quickstart": check_quickstart,
    "02_your_own_data": check_own_data,
    "03_inside_fire": check_inside,
    "04_cine": check_cine,
}
