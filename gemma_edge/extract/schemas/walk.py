"""The shape of a JSON Schema: where its subschemas are, what a reference means, what a value may
be. Pure; every walk ends, also over schemas that refer to themselves."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import unquote

Json = dict[str, Any]
Subschema = Json | bool

SCALARS = frozenset(("string", "number", "integer", "boolean"))
TYPES = SCALARS | {"object", "array", "null"}
# Keywords whose value holds schemas: under names, in a list, or as such.
NAMED = frozenset(
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
)
LISTED = frozenset(("allOf", "anyOf", "oneOf", "prefixItems", "items"))
SINGLE = frozenset(
    ("items", "additionalItems", "unevaluatedItems", "contains", "not", "if", "then", "else")
    + ("additionalProperties", "unevaluatedProperties", "propertyNames")
)
# Keywords that make an object a schema; one without any of them says nothing.
CORE = NAMED | LISTED | SINGLE | {"type", "enum", "const", "$ref", "required", "format", "pattern"}

_BOUNDS = ("Length", "Items", "Contains", "Properties")
# Keywords that hold no schema and say what a value must be.
RULES = frozenset(
    ("type", "enum", "const", "format", "pattern", "required", "dependentRequired")
    + ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems")
    + tuple(f"{side}{what}" for side in ("min", "max") for what in _BOUNDS)
)
# Keywords that say nothing about what is valid (JSON Schema 2020-12, sections 8 and 9 of the core
# and the validation vocabulary).
ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "example", "$comment", "$schema", "$id", "id")
    + ("$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "deprecated", "readOnly")
    + ("writeOnly", "contentEncoding", "contentMediaType", "contentSchema", "$defs")
    + ("definitions",)
)

_BESIDE_A_REFERENCE = frozenset(
    ("$ref", "$schema", "$id", "id", "$defs", "definitions", "title", "description")
)
_HINTS = (  # keywords that say what a value is where no ``type`` does
    ("object", ("properties", "patternProperties", "additionalProperties", "required")),
    ("array", ("items", "prefixItems", "contains", "minItems", "maxItems")),
)


def children(schema: Json) -> Iterator[Subschema]:
    """The direct subschemas; ``{"properties": {"$ref": …}}`` is a property, not a reference."""
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, dict):
            yield from (sub for sub in value.values() if isinstance(sub, dict | bool))
        elif keyword in LISTED and isinstance(value, list):
            yield from (sub for sub in value if isinstance(sub, dict | bool))
        elif keyword in SINGLE and isinstance(value, dict | bool):
            yield value


def every(schema: Subschema) -> Iterator[Json]:
    """The schema and all that it holds; references are not followed."""
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(children(current))


def lone_references(root: Json) -> Json:
    """The schema without what stands beside a ``$ref``, which is void up to Draft 7."""
    if "/draft-0" not in str(root.get("$schema")):
        return root
    root = deepcopy(root)
    for schema in every(root):
        if isinstance(schema.get("$ref"), str):
            for keyword in schema.keys() - _BESIDE_A_REFERENCE:
                del schema[keyword]
    return root


def resolve(root: Json, reference: str) -> Subschema | None:
    """What ``reference`` means within ``root``: ``#``, ``#/a/b``, ``#anchor``, each with or
    without the root's own ``$id`` before it; None where it points at nothing."""
    own = str(root.get("$id") or root.get("id") or "").rstrip("#")
    local = reference[len(own) :] if own and reference.startswith(own) else reference
    if local in ("", "#"):
        return root
    if local.startswith("#/"):
        return _follow(root, local[2:])
    if local.startswith("#"):
        for schema in every(root):
            if local in (f"#{schema.get('$anchor')}", schema.get("$id"), schema.get("id")):
                return schema
    return None


def _follow(root: Json, pointer: str) -> Subschema | None:
    current: Any = root
    for part in pointer.split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(current, dict) and key in current:
            current = current[key]
        elif isinstance(current, list) and key.isdecimal() and int(key) < len(current):
            current = current[int(key)]
        else:
            return None
    return current if isinstance(current, dict | bool) else None


class Kinds:
    """Which JSON types a value may have, as far as the schema says. References are looked at
    once; inside its own definition one says nothing."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._known: dict[str, frozenset[str]] = {}

    def of(self, schema: Subschema | None) -> frozenset[str]:
        """The types that ``schema`` allows; all of them where it does not say."""
        if not isinstance(schema, dict):
            return TYPES
        found = _own_kinds(schema)
        if isinstance(schema.get("$ref"), str):
            found &= self._referred(schema["$ref"])
        for keyword in ("anyOf", "oneOf"):
            if isinstance(schema.get(keyword), list):
                found &= frozenset().union(*map(self.of, schema[keyword]))
        for sub in schema.get("allOf", ()):
            found &= self.of(sub)
        if found == TYPES:
            for kind, words in _HINTS:
                if any(word in schema for word in words):
                    return frozenset((kind,))
        return found

    def _referred(self, reference: str) -> frozenset[str]:
        if reference not in self._known:
            self._known[reference] = TYPES
            self._known[reference] = self.of(resolve(self._root, reference))
        return self._known[reference]


def _own_kinds(schema: Json) -> frozenset[str]:
    """What ``type``, ``enum`` and ``const`` allow."""
    named = schema.get("type", TYPES)
    found = frozenset([named] if isinstance(named, str) else named) & TYPES
    if "number" in found:
        found |= {"integer"}
    if "enum" in schema:
        return found & frozenset(map(kind_of, schema["enum"]))
    if "const" in schema:
        return found & {kind_of(schema["const"])}
    return found


def kind_of(value: object) -> str:
    """The JSON type of a Python value; a whole number is an ``integer``."""
    if value is None:
        return "null"
    pairs: Iterable[tuple[str, type]] = (
        ("boolean", bool),
        ("integer", int),
        ("number", float),
        ("string", str),
        ("array", list),
    )
    return next((kind for kind, python in pairs if isinstance(value, python)), "object")
