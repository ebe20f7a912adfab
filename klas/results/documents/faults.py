"""What is wrong with a document, in one sentence that says where."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

TYPES = {
    "bool_type": "boolean",
    "dict_type": "object",
    "float_type": "number",
    "int_from_float": "integer",
    "int_type": "integer",
    "list_type": "array",
    "string_type": "string",
}
"""pydantic's errors about types → what JSON calls the type that was expected."""

Place = tuple[str | int, ...]


def fault(error: ValidationError, document: Any) -> str:
    """The fault nearest to the document's root: ``at $.PATH: what is wrong``."""
    details: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_place(detail, document), []).append(detail)
    place = min(details, key=len)
    return f"at {_path(place)}: {_shortened(_sentence(details[place]))}"


def _place(detail: ErrorDetails, document: Any) -> Place:
    """Keys and indices from the root to the value that is wrong.

    pydantic's own go further: to the key that is missing or too many, or to a branch of a union.
    """
    parts = detail["loc"]
    if detail["type"] in ("missing", "extra_forbidden"):
        parts = parts[:-1]
    elif parts[-1:] == ("[key]",):
        parts = parts[:-2]
    value, depth = document, 0
    for part in parts:
        inside = isinstance(value, list) if isinstance(part, int) else isinstance(value, dict)
        if not inside or (isinstance(part, str) and part not in value):
            break
        value, depth = value[part], depth + 1
    return parts[:depth]


def _path(place: Place) -> str:
    """A place as JSONPath."""
    steps = (
        f".{part}"
        if isinstance(part, str) and re.fullmatch(r"[A-Za-z]\w*", part)
        else f"[{part!r}]"
        for part in place
    )
    return "$" + "".join(steps)


def _sentence(details: Sequence[ErrorDetails]) -> str:
    """What is wrong at one place, in the terms of JSON Schema."""
    first = details[0]
    kind, limits = first["type"], first.get("ctx", {})
    if kind == "too_long" and len(first["input"]) > 100:  # before its million items are spelled out
        return f"there are more than {limits['max_length']:,} items"
    given = repr(first["input"])
    expected = [
        detail["ctx"]["expected"] for detail in details if detail["type"] == "literal_error"
    ]
    match kind:
        case "missing":
            return f"{first['loc'][-1]!r} is a required property"
        case "extra_forbidden":
            return f"Additional properties are not allowed ({first['loc'][-1]!r} was unexpected)"
        case _ if kind in TYPES and expected:
            return f"{given} is neither of type {TYPES[kind]!r} nor {expected[0]}"
        case _ if kind in TYPES:
            return f"{given} is not of type {TYPES[kind]!r}"
        case "literal_error":
            return f"{given} is not {expected[0]}"
        case "greater_than_equal":
            return f"{given} is less than the minimum of {limits['ge']}"
        case "greater_than":
            return f"{given} is less than or equal to the minimum of {limits['gt']}"
        case "less_than_equal":
            return f"{given} is greater than the maximum of {limits['le']}"
        case "less_than":
            return f"{given} is greater than or equal to the maximum of {limits['lt']}"
        case "string_pattern_mismatch":
            return f"{given} does not match {limits['pattern']!r}"
        case "too_short" | "string_too_short":
            return f"{given} is too short"
        case "too_long":
            return f"{given} is too long"
        case _:
            return first["msg"]


def _shortened(sentence: str) -> str:
    """Shortened in the middle: it begins with the value, however long, and ends with the reason."""
    return sentence if len(sentence) <= 200 else f"{sentence[:80]} … {sentence[-110:]}"
