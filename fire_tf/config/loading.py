"""Configs from files and back.

``load_config("demo", ["data.canvas=[64, 64]"])`` gives a frozen `Config`. An unknown key, a wrong type or a
value out of range is an `InputError` of one line with the file and the key's full path.

``base: NAME_OR_PATH`` in a file (one that comes along, or a path seen from the file) lays it over another config,
which may have a base itself: sections are merged key by key, and everything else replaces what the base has.
``stages: {paper: {steps: 30}}`` changes the base's entry of that name and leaves the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache, reduce
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from fire_tf.config.messages import one_line, shown
from fire_tf.config.schema import Config
from fire_tf.config.yaml_sections import merged, override, read_mapping
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import write_file
from fire_tf.files.paths import user_path


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config and apply ``overrides`` ("data.root=images", "stages.0.steps=10"; values are YAML).

    Raises:
        InputError: no such config or base, unknown key, wrong type or value out of range.
    """
    path = find_config(name_or_path)
    source = str(path)
    try:
        layers = _with_bases(path)
        source = ", based on ".join(map(str, layers))
        source = " ".join([source, *(f"--set {assignment}" for assignment in overrides)])
        mapping = reduce(merged, reversed(layers.values()))
        for assignment in overrides:
            override(mapping, assignment)
        return _schema().validate_python(_with_lambda(mapping))
    except ValidationError as error:
        raise InputError(f"{source}: {one_line(error, Config)}") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _with_lambda(mapping: dict[str, Any]) -> dict[str, Any]:
    """With a number for ``weights.r_smooth: null``, which runs of version 0.2 and before saved: 2^(2n) / 10."""
    weights, data = mapping.get("weights"), mapping.get("data")
    if isinstance(weights, dict) and isinstance(data, dict) and weights.get("r_smooth", 0) is None:
        return {**mapping, "weights": {**weights, "r_smooth": 6.4 if data.get("ndim") == 3 else 1.6}}
    return mapping


@cache
def _schema() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _with_bases(path: Path) -> dict[Path, dict[str, Any]]:
    """What the file holds, then its base, the base's base and so on."""
    layers = {path: read_mapping(path)}
    while "base" in layers[path]:
        base = _find_base(layers[path].pop("base"), path)
        if any(base.samefile(other) for other in layers):
            raise InputError(f"base: a circle, {' -> '.join(map(str, [*layers, base]))}")
        path = base
        try:
            layers[path] = read_mapping(path)
        except InputError as error:
            raise InputError(f"base {path}: {error}") from None
    return layers


def _find_base(name: object, path: Path) -> Path:
    if not isinstance(name, str):
        raise InputError(f"base: expected the name or the path of a config, got {shown(name)}")
    beside = path.parent / user_path(name)
    if beside.is_file():
        return beside
    shipped = _shipped_configs()
    if name not in shipped:
        raise InputError(
            f"base: {beside}: no such file, and {name!r} is not one of the configs that come along: "
            f"{', '.join(sorted(shipped))}"
        )
    return shipped[name]


def save_config(config: Config, path: str | Path) -> None:
    """Write the whole config, defaults included and without a base; `load_config` gives an equal one back."""
    text = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, default_flow_style=None)
    write_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def recipe_differences(one: Config, other: Config) -> list[str]:
    """Keys in which two configs train differently.

    Where the images lie, what it runs on and what is done with the model afterwards does not count.
    """
    ignored = {"name", "data", "validation", "threads", "distribute", "recompute", "search", "ants"}
    found = [f"data.{name}" for name in _differing(one.data, other.data, {"root", "manifest", "cache"})]
    return found + _differing(one, other, ignored)


def _differing(one: Any, other: Any, ignored: set[str]) -> list[str]:
    """The fields of two sections of a kind that are not equal."""
    names = [key.name for key in fields(one) if key.name not in ignored]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def find_config(name_or_path: str | Path) -> Path:
    """The file meant by a path, by ``demo`` or, where no such file lies here, by ``configs/demo.yaml``."""
    given = user_path(name_or_path)
    if given.is_file():
        return given
    shipped = _shipped_configs()
    if given.parent in (Path(), Path("configs")) and given.suffix in ("", ".yaml") and given.stem in shipped:
        return shipped[given.stem]
    raise InputError(
        f"{given}: no such file, and not one of the configs that come along: {', '.join(sorted(shipped))}"
    )


def _shipped_configs() -> dict[str, Path]:
    # A wheel has them as package data; in a clone they lie beside the package.
    package = Path(__file__).parent.parent
    folder = next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())
    return {path.stem: path for path in folder.glob("*.yaml")}
