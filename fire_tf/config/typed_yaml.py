"""YAML to dataclasses, checked against their type hints; every error names the full path of the key.

Hints understood: dataclasses, ``bool``, ``int``, ``float``, ``str``, ``Literal``, ``X | None``,
``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[K, V]`` and ``Annotated`` with `Between`, `Ordered`, `MultipleOf`
and `ScalarAllowed`. A dataclass checks what concerns several of its fields in ``__post_init__``, by a
ValueError whose message starts with the field's name.
"""

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from fire_tf.files.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Between:
    """Constraint: a number in [low, high], or in (low, high] if ``open_low``."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def admits(self, value: float) -> bool:
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"a number in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"
        return f"a number {'above' if self.open_low else 'of at least'} {self.low:g}"


@dataclass(frozen=True)
class Ordered:
    """Constraint: a pair [low, high] with low <= high."""

    def admits(self, value: Sequence[float]) -> bool:
        return value[0] <= value[1]

    def __str__(self) -> str:
        return "[low, high] with low <= high"


@dataclass(frozen=True)
class MultipleOf:
    """Constraint: a positive multiple of ``step``."""

    step: int

    def admits(self, value: int) -> bool:
        return value > 0 and value % self.step == 0

    def __str__(self) -> str:
        return f"a positive multiple of {self.step}"


@dataclass(frozen=True)
class ScalarAllowed:
    """Marks a ``tuple[X, ...]`` for which a single X may stand; it becomes a tuple of one."""


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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    content = parse_yaml(text)
    if not isinstance(content, dict):
        raise InputError(f"expected keys and values, got {_shown(content)}")
    return content


def override(mapping: dict[str, Any], assignment: str) -> None:
    """Apply ``a.b=value`` or ``a.0.b=value`` (an index into a list) to nested mappings, in place.

    The value is read as YAML. Absent sections are made; whether their names are known is for `build`.
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


def build(cls: type[T], content: object, path: str = "") -> T:
    """An instance of the dataclass ``cls`` from a mapping; raises InputError with the key's full path."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a section with keys, got {_shown(content)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in content:
        if key not in fields:
            raise InputError(f"{_join(path, key)}: unknown key; nearest known: {nearest(key, fields)}")
    hints = get_type_hints(cls, include_extras=True)
    values = {key: _convert(value, hints[key], _join(path, key)) for key, value in content.items()}
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{_join(path, name)}: missing")
    try:
        return cls(**values)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(_join(path, str(error))) from None


def to_plain(value: Any) -> Any:
    """Dataclasses as mappings and tuples as lists, as YAML holds them."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(entry) for entry in value]
    return value


def _convert(value: Any, hint: Any, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _constrained(value, arguments[0], arguments[1:], path)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _convert(value, inner, path)
    if origin is Literal:
        return _choice(value, arguments, path)
    if origin is tuple:
        return _tuple(value, arguments, path)
    if origin is dict:
        return _dictionary(value, arguments, path)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, path)  # type: ignore[arg-type]
    return _scalar(value, hint, path)


def _constrained(value: Any, hint: Any, constraints: Sequence[Any], path: str) -> Any:
    if ScalarAllowed() in constraints and not isinstance(value, list):
        value = [value]
    converted = _convert(value, hint, path)
    for constraint in constraints:
        if not isinstance(constraint, ScalarAllowed) and not constraint.admits(converted):
            raise InputError(f"{path}: expected {constraint}, got {_shown(value)}")
    return converted


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _scalar(value: Any, kind: type, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is not float and isinstance(value, kind) and (kind is not int or number):
        return value
    hint = " (in quotes)" if kind is str and number else ""
    raise InputError(f"{path}: expected {_NAMES[kind]}{hint}, got {_shown(value)}")


def _choice(value: Any, choices: Sequence[Any], path: str) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    known = ", ".join(map(str, choices))
    raise InputError(
        f"{path}: expected one of {known}; got {_shown(value)}; nearest known: {nearest(value, choices)}"
    )


def _tuple(value: Any, hints: Sequence[Any], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{path}: expected a list, got {_shown(value)}")
    if hints[-1] is Ellipsis:
        hints = [hints[0]] * len(value)
    if len(hints) != len(value):
        raise InputError(f"{path}: expected a list of {len(hints)}, got {_shown(value)}")
    return tuple(
        _convert(entry, hint, f"{path}[{index}]")
        for index, (entry, hint) in enumerate(zip(value, hints, strict=True))
    )


def _dictionary(value: Any, hints: Sequence[Any], path: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a section with keys, got {_shown(value)}")
    return {
        _convert(key, hints[0], f"{path}, a key"): _convert(entry, hints[1], _join(path, key))
        for key, entry in value.items()
    }


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
    raise InputError(f"{key}: expected an index from 0 to {len(entries) - 1}, got {name!r}")


def nearest(name: object, known: Iterable[Any]) -> str:
    """The known name that looks most like ``name``."""
    return difflib.get_close_matches(str(name), [str(entry) for entry in known], n=1, cutoff=0.0)[0]


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
