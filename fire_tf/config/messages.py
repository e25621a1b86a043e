"""What is wrong with a config, in one line that begins with the full path of the key."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError

from fire_tf.files.errors import nearest

# What was expected, by pydantic's name of the fault.
_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "a section with keys",
    "dict_type": "a section with keys",
    "finite_number": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_type": "a whole number",
    "string_type": "text",
    "too_long": "a list of {max_length}",
    "tuple_type": "a list",
}
_UNKNOWN_KEY = ("unexpected_keyword_argument", "invalid_key")


def shown(value: object) -> str:
    """A value as it is quoted in a line: not longer than 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_line(error: ValidationError, config: type) -> str:
    """The first fault that pydantic found in a ``config``, an unknown key before all others.

    A ValueError of a ``__post_init__`` begins with a key of its section.
    """
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] in _UNKNOWN_KEY), faults[0])
    kind, place, value = fault["type"], fault["loc"], fault["input"]
    details = fault.get("ctx", {})
    path = _path(place)
    if kind in _UNKNOWN_KEY:
        known = [field.name for field in fields(_section(config, place[:-1]))]
        return f"{path}: unknown key; nearest known: {nearest(place[-1], known)}"
    if kind == "missing":
        return f"{path}: missing"
    if kind == "value_error":
        return f"{path}.{details['error']}" if path else str(details["error"])
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in re.split(", | or ", details["expected"])]
        known_ones = f"{', '.join(choices)}; got {shown(value)}; nearest known: {nearest(value, choices)}"
        return f"{path}: expected one of {known_ones}"
    words = _EXPECTED.get(kind, fault["msg"]).format(**details)
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        words += " (in quotes)"
    return f"{path}: expected {words}, got {shown(value)}"


def _path(place: Sequence[int | str]) -> str:
    """``stages[0].cycle``; pydantic ends the place of a key that is itself at fault with "[key]"."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in place]
    if place and place[-1] == "[key]":
        steps[-2:] = [", a key"]
    return "".join(steps).removeprefix(".")


def _section(config: type, place: Sequence[int | str]) -> Any:
    """The dataclass of the section at a place."""
    kind: Any = config
    for step in place:
        if isinstance(step, str):
            kind = get_type_hints(kind)[step]
        while get_args(kind):  # of Stage in tuple[Stage, ...], of ShadingConfig in ShadingConfig | None
            kind = get_args(kind)[0]
    return kind
