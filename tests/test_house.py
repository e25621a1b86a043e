"""The house: rooms import downwards alone, nothing grows too large, and there is one place for each thing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fire_tf"
ROOMS = (  # from the ground up: a room may import those before it
    "files",
    "compat",
    "config",
    "bids",
    "formats",
    "intensities",
    "geometry",
    "transforms",
    "measures",
    "free_form",
    "applying",
    "pictures",
    "phantom",
    "sources",
    "networks",
    "model",
    "data",
    "registration",
    "series",
    "cohorts",
    "training",
    "serving",
    "evaluation",
    "baselines",
    "experiments",
)
LARGEST = {"room": 1500, "file": 300, "function": 40}  # lines
# What may be called in one module alone. A dotted name is met by its end: "utils.interpn", "ne.utils.interpn".
ONLY = {
    "map_coordinates": "geometry/reading.py",
    "affine_transform": "geometry/reading.py",
    "lstsq": "geometry/point_maps.py",
    "interpn": "networks/spatial.py",
    "SpatialTransformer": "networks/spatial.py",
    "vxm.utils.transform": "networks/spatial.py",
    "os.replace": "files/outputs.py",
    "warnings.warn": "files/doubts.py",
    "replace": "files/outputs.py",  # Path's, with one argument: a rename
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room_of(path: Path) -> str | None:
    """The room that a file lies in; None for commands and the package's face, which stand above all rooms."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports: anywhere, in functions and for type checkers too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # "from fire_tf import x" may mean a module or a name of the face: both are above every room.
            yield from (
                [node.module or ""] if node.module != "fire_tf" else [f"fire_tf.{n.name}" for n in node.names]
            )
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")):
            argument = node.args[0]
            yield argument.value if isinstance(argument, ast.Constant) else "fire_tf.unknown"


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_contributors_are_told_the_order() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|", (PACKAGE.parent / "CONTRIBUTING.md").read_text())
    assert tuple(rows) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_those_below_it_alone(room: str) -> None:
    below = set(ROOMS[: ROOMS.index(room) + 1])
    for path in (path for path in SOURCES if room_of(path) == room):
        reached = {
            name.split(".")[1] for name in imports(path) if name.split(".")[0] == "fire_tf" and "." in name
        }
        assert reached <= below, f"{path.relative_to(PACKAGE)} imports {sorted(reached - below)}"


def test_no_files_import_each_other() -> None:
    """No circle anywhere, between files of a room either: files can be laid in a row."""
    names = {
        ".".join(("fire_tf", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in SOURCES
    }
    needs = {name: {other for other in imports(path) if other in names} for name, path in names.items()}
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def test_nothing_imports_a_command() -> None:
    commands = {f"fire_tf.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    for path in SOURCES:
        assert not commands & set(imports(path)), path


def test_one_module_alone_imports_generated_images() -> None:
    users = {
        path
        for path in SOURCES
        if room_of(path) != "phantom" and any("fire_tf.phantom" in n for n in imports(path))
    }
    assert users == {PACKAGE / "sources/phantom.py"}
    at_once = [node for node in tree(*users).body if isinstance(node, ast.ImportFrom)]
    assert not [node for node in at_once if "phantom" in str(node.module)]


def test_sizes() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in SOURCES}
    for room in ROOMS:
        assert sum(n for path, n in lines.items() if room_of(path) == room) <= LARGEST["room"], room
    for path, count in lines.items():
        assert count <= LARGEST["file"], path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= LARGEST["function"], (
                    f"{path.relative_to(PACKAGE)}: {node.name} has {size} lines"
                )


@pytest.mark.parametrize("name", ONLY)
def test_one_way_to_do_a_thing(name: str) -> None:
    users = set()
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and _is_call_of(name, node):
                users.add(path.relative_to(PACKAGE).as_posix())
    assert users <= {ONLY[name]}


def _is_call_of(name: str, node: ast.Call) -> bool:
    function = called(node)
    if name == "replace":
        return function.endswith(".replace") and len(node.args) == 1 and not node.keywords
    return function == name or function.endswith(f".{name}")
