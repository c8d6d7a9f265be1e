"""A schema from examples of what is wanted. Pure.

Keys keep their order; a key that an example lacks is not required; a value that is null somewhere
may be null; lists are described by all of their elements. A text that is a date in every example
gets that format; nothing else is guessed.
"""

import re
from collections.abc import Sequence
from typing import Any

from gemma_edge.extract.schemas.walk import SCALARS, Json, kind_of

_FORMATS = (
    ("date", re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")),
    (
        "date-time",
        re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE),
    ),
)


def infer_schema(examples: Sequence[Any]) -> Json:
    """The schema that all ``examples``, parsed JSON, are valid by; ``{}`` of none, or of nulls."""
    groups: dict[str, list[Any]] = {}
    for example in examples:
        groups.setdefault(kind_of(example), []).append(example)
    has_null = groups.pop("null", None) is not None
    if "number" in groups:
        groups["number"] += groups.pop("integer", [])
    parts = [_describe(kind, values) for kind, values in groups.items()]
    if not parts:
        return {}
    if len(parts) == 1:
        part = parts[0]
        return {**part, "type": [part["type"], "null"]} if has_null else part
    if groups.keys() <= SCALARS:
        return {"type": [*groups, *(["null"] if has_null else [])]}
    return {"anyOf": [*parts, *([{"type": "null"}] if has_null else [])]}


def _describe(kind: str, values: list[Any]) -> Json:
    """Values of one kind."""
    if kind == "object":
        return _object(values)
    if kind == "array":
        elements = [element for value in values for element in value]
        return {"type": "array", **({"items": infer_schema(elements)} if elements else {})}
    if kind == "string":
        for name, pattern in _FORMATS:
            if all(pattern.fullmatch(value) for value in values):
                return {"type": "string", "format": name}
    return {"type": kind}


def _object(values: list[dict[str, Any]]) -> Json:
    names = dict.fromkeys(name for value in values for name in value)
    properties = {
        name: infer_schema([value[name] for value in values if name in value]) for name in names
    }
    required = [name for name in names if all(name in value for value in values)]
    return {"type": "object", "properties": properties, "required": required}
