"""Configs from files and back.

``load_config("demo", ["data.canvas=[64, 64]"])`` gives a frozen `Config`. An unknown key, a wrong type or a
value out of range is an `InputError` of one line with the file and the key's full path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import yaml

from fire_tf.config.schema import Config
from fire_tf.config.typed_yaml import build, override, read_mapping, to_plain
from fire_tf.files.errors import InputError


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config and apply ``overrides`` ("data.root=images", "stages.0.steps=10"; values are YAML).

    Raises:
        InputError: no such config, unknown key, wrong type or value out of range.
    """
    path = find_config(name_or_path)
    source = " ".join([str(path), *(f"--set {assignment}" for assignment in overrides)])
    try:
        mapping = read_mapping(path)
        for assignment in overrides:
            override(mapping, assignment)
        return build(Config, mapping)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def save_config(config: Config, path: str | Path) -> None:
    """Write the whole config, defaults included; `load_config` gives an equal one back."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(
        yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True, default_flow_style=None),
        encoding="utf-8",
    )
    os.replace(beside, path)


def recipe_differences(one: Config, other: Config) -> list[str]:
    """Keys in which two configs train differently; where the images lie and how many threads work does not count."""
    ignored = {"name", "data", "validation", "threads"}
    keys = [key.name for key in fields(Config) if key.name not in ignored]
    return [key for key in keys if getattr(one, key) != getattr(other, key)]


def find_config(name_or_path: str | Path) -> Path:
    """The file meant by a path, by ``demo`` or, where no such file lies here, by ``configs/demo.yaml``."""
    given = Path(name_or_path)
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
