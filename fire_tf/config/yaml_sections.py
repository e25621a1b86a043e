"""Nested mappings and lists as a YAML file holds them: read, one laid over another, single keys changed."""

import re
from pathlib import Path
from typing import Any

import yaml

from fire_tf.config.messages import shown
from fire_tf.files.errors import InputError
from fire_tf.files.tables import decode


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 5e-5 as a number, as YAML 1.2 does, and refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in keys[:index]:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep=deep)


_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises InputError with the line and the problem."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {error}") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; raises InputError where there is none."""
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from None
    content = parse_yaml(text)
    if not isinstance(content, dict):
        raise InputError(f"expected keys and values, got {shown(content)}")
    return content


def merged(below: Any, above: Any, path: str = "") -> Any:
    """``above`` laid over ``below``: sections key by key, anything else in the place of what was there.

    A section over a list changes those entries that its keys name, as `override` does. A table whose keys are no
    names (label values) is no section: it replaces. Raises InputError for an entry that there is not.
    """
    named = isinstance(above, dict) and all(isinstance(key, str) for key in above)
    if not named or not isinstance(below, dict | list):
        return above
    changed: Any = below.copy()
    for name, value in above.items():
        here = f"{path}.{name}" if path else name
        key = name if isinstance(below, dict) else _index(below, name, here)
        old = below.get(name) if isinstance(below, dict) else below[key]
        changed[key] = merged(old, value, here)
    return changed


def override(mapping: dict[str, Any], assignment: str) -> None:
    """Apply ``a.b=value`` to nested mappings, in place; an entry of a list goes by its index or its ``name``.

    The value is read as YAML. Absent sections are made; whether their names are known is for the schema.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"expected KEY=VALUE, for example data.root=images, got {assignment!r}")
    *parents, last = key.split(".")
    here: Any = mapping
    for name in parents:
        here = _entry(here, name, key)
    if isinstance(here, list):
        here[_index(here, last, key)] = parse_yaml(text)
    elif isinstance(here, dict):
        here[last] = parse_yaml(text)
    else:
        raise InputError(f"{key}: {'.'.join(parents)} is a value, not a section")


def _entry(here: Any, name: str, key: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, name, key)]
    if not isinstance(here, dict):
        raise InputError(f"{key}: {name} lies inside a value, not a section")
    if here.get(name) is None:
        here[name] = {}
    return here[name]


def _index(entries: list[Any], name: str, key: str) -> int:
    if name.isdecimal() and int(name) < len(entries):
        return int(name)
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if name in names:
        return names.index(name)
    known = f"; names: {', '.join(map(str, names))}" if any(names) else ""
    raise InputError(f"{key}: expected an index from 0 to {len(entries) - 1}, got {name!r}{known}")
