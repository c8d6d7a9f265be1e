"""Semantic types in a schema: what a value means, and how it is asked for. Pure.

A leaf with ``"x-gemma-edge": "money"`` (the one-line language writes it) or with the format
``date`` is copied as it is printed while decoding, converted by code, and judged by the schema
that the user wrote: the model never computes a date, and what is printed can be found again.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from gemma_edge.extract.schemas.walk import Json, every
from gemma_edge.extract.values.types import KINDS

MARK = "x-gemma-edge"
# What each type is once it is converted. A currency that its sign does not tell ("$"), and a phone
# number without its country, stay as they are printed: most of them are like that.
CONVERTED: Mapping[str, Json] = {
    "date": {"type": "string", "format": "date"},
    "money": {
        "type": "object",
        "properties": {
            "amount": {"type": "number"},
            "currency": {"type": ["string", "null"]},
        },
        "required": ["amount", "currency"],
        "additionalProperties": False,
    },
    "amount": {"type": "number"},
    "percent": {"type": "number"},
    "currency": {"type": "string"},
    "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "iban": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$"},
    "email": {"type": "string", "format": "email"},
    "phone": {"type": "string"},
}

_KEPT = frozenset(("title", "description", "default", "examples", MARK))
_PLAIN = _KEPT | {"type", "format", "$comment", "deprecated"}


def typed(kind: str) -> Json:
    """The schema of a semantic type, marked."""
    return {**deepcopy(CONVERTED[kind]), MARK: kind}


def kind_of_leaf(schema: Any) -> str | None:
    """The semantic type of a schema: its mark, or ``date`` by its format. A date that the schema
    narrows (a pattern, an enum) is no leaf of ours: the model has to write it."""
    if not isinstance(schema, dict):
        return None
    mark = schema.get(MARK)
    if isinstance(mark, str) and mark in KINDS:
        return mark
    said = schema.get("type", "string")
    kinds = set(said) if isinstance(said, list) else {said}
    if schema.get("format") == "date" and kinds <= {"string", "null"} and schema.keys() <= _PLAIN:
        return "date"
    return None


def as_printed(source: Json) -> Json:
    """The schema of what the model copies: a text wherever a semantic type stands."""
    if not any(map(kind_of_leaf, every(source))):
        return source
    printed = deepcopy(source)
    for node in every(printed):
        if kind_of_leaf(node):
            said = node.get("type", ())
            kind: Any = ["string", "null"] if "null" in said else "string"
            kept = {word: node[word] for word in _KEPT & node.keys()}
            node.clear()
            node.update({"type": kind, **kept})
    return printed
