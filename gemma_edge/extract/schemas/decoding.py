"""The user's schema to the one the decoder is held to. Pure.

- Objects are closed unless they describe a map: an open object invites a small model to talk.
- Every declared key is required, in the order of the schema, and every leaf may be null, so that
  a missing value is null and never invented (extract.md, D6). Objects that the user does not
  require may be null too, which is also what ends a recursion.
- References become ``#/$defs/…`` of what is really used; annotations are left out.

What cannot be rewritten without changing its meaning (``not``, ``if``) stays as it is, and the
result is checked against the user's own schema in any case.
"""

import re
from typing import Any

from gemma_edge.extract.schemas.formats import known_formats
from gemma_edge.extract.schemas.walk import (
    RULES,
    SCALARS,
    Json,
    Kinds,
    Subschema,
    children,
    lone_references,
    resolve,
)

_MEMBERS = frozenset(("properties", "patternProperties"))
_ITEMS = frozenset(("items", "prefixItems", "additionalItems", "additionalProperties"))
_PARTS = frozenset(("allOf", "anyOf", "oneOf", "$ref", "then", "else"))
_NAMED_PARTS = frozenset(("dependentSchemas", "dependencies"))
_CONDITIONS = frozenset(("not", "if", "contains", "propertyNames"))
# What the decoder is told; of the rest it knows nothing.
DECODED = RULES | _MEMBERS | _ITEMS | _PARTS | _NAMED_PARTS | _CONDITIONS
# Beside these, requiring every key could ask for the impossible.
_COUNTING = frozenset(
    ("not", "if", "dependencies", "dependentRequired", "dependentSchemas", "maxProperties", "oneOf")
)

# How a subschema is rewritten: closed, left open because its parent is closed, or not at all.
_CLOSED, _OPEN, _AS_IS = "closed", "open", "as_is"


def close_schema(source: Json, *, nullable: bool) -> Json:
    """The decoding schema of ``source``; without ``nullable`` no null is added, and keys that the
    user does not require stay optional."""
    source = lone_references(source)
    closer = _Closer(source, nullable)
    out = closer.member(source, required=True)
    closer.finish()
    head = {"$schema": source["$schema"]} if "$schema" in source else {}
    rest = {"$defs": closer.defs} if closer.defs else {}
    return {**head, **(out if isinstance(out, dict) else {}), **rest}


def _is_idle(keyword: str, value: Any) -> bool:
    """A keyword that forbids nothing here, and that llguidance would refuse."""
    if keyword == "format":
        return value not in known_formats()
    return (keyword, value) in (("uniqueItems", False), ("minProperties", 0))


def _is_map(schema: Json) -> bool:
    """Whether an object's keys are free: it says what any other value is, or names none."""
    return _describes_others(schema) or not schema.get("properties")


class _Closer:
    """One rewriting; ``defs`` collects what references point at, each rewritten once a mode."""

    def __init__(self, root: Json, nullable: bool) -> None:
        self.defs: Json = {}
        self._root, self._nullable = root, nullable
        self._kinds = Kinds(root)
        self._names: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[str, str, str]] = []

    def finish(self) -> None:
        """Rewrite the targets of references, and what those refer to."""
        while self._waiting:
            name, reference, mode = self._waiting.pop()
            self.defs[name] = self.schema(resolve(self._root, reference), mode)

    def member(self, schema: Subschema, *, required: bool) -> Subschema:
        """A schema where a value stands: the root, a property, an item."""
        out = self.schema(schema, _CLOSED)
        if not self._nullable or not isinstance(schema, dict) or not isinstance(out, dict):
            return out
        may_be = self._kinds.of(schema)
        if not may_be and not required:
            return False  # no value is allowed, so the key must not be there
        if "null" in may_be or not may_be:
            return out
        may_be_empty = may_be == {"array"} and not schema.get("minItems")
        if may_be & SCALARS or not (required or may_be_empty):
            return _or_null(out)
        return out

    def schema(self, schema: Subschema | None, mode: str) -> Subschema:
        """The rewritten schema, without the null that ``member`` adds."""
        if not isinstance(schema, dict):
            return schema is not False
        whole = mode == _CLOSED and _has_parts(schema)
        inner = _OPEN if whole else mode
        out = {
            keyword: self._keyword(keyword, value, schema, inner)
            for keyword, value in schema.items()
            if keyword in DECODED and not _is_idle(keyword, value)
        }
        if mode != _AS_IS:
            self._complete(out, schema)
        if whole:
            self._close_whole(out, schema)
        elif mode == _CLOSED and "properties" in schema and not _is_map(schema):
            out["additionalProperties"] = False
        elif mode == _OPEN and out.get("additionalProperties") is True:
            del out["additionalProperties"]
        return out

    def _keyword(self, keyword: str, value: Any, schema: Json, mode: str) -> Any:
        """The rewritten value of one keyword."""
        if keyword == "$ref":
            return f"#/$defs/{self._name(value, mode)}"
        if keyword in _MEMBERS:
            wanted = _required(schema)
            return {name: self._value(sub, name in wanted, mode) for name, sub in value.items()}
        if keyword in RULES:
            return value
        return self._parts(keyword, value, mode)

    def _parts(self, keyword: str, value: Any, mode: str) -> Any:
        """One subschema or several of them."""
        if isinstance(value, list):
            return [self._parts(keyword, sub, mode) for sub in value]
        if keyword in _NAMED_PARTS:  # a list of names stays as it is
            inner = _AS_IS if mode == _AS_IS else _OPEN
            return {
                name: self.schema(sub, inner) if isinstance(sub, dict | bool) else sub
                for name, sub in value.items()
            }
        if keyword in _ITEMS:
            return self._value(value, True, mode)
        return self.schema(value, _AS_IS if keyword in _CONDITIONS else mode)

    def _value(self, schema: Subschema, required: bool, mode: str) -> Subschema:
        if mode == _AS_IS:
            return self.schema(schema, mode)
        return self.member(schema, required=required)

    def _complete(self, out: Json, schema: Json) -> None:
        """Require every declared key, and declare every required one."""
        declared = out.get("properties", {})
        wanted = _required(schema)
        missing = [name for name in wanted if name not in declared]
        if missing and not _is_map(schema):
            out["properties"] = declared = {**declared, **dict.fromkeys(missing, True)}
        if self._nullable and declared and not _COUNTING & schema.keys():
            wanted = [name for name, sub in declared.items() if sub is not False]
        if wanted:
            out["required"] = wanted

    def _close_whole(self, out: Json, schema: Json) -> None:
        """Close an object that several schemas describe together: around all of their names."""
        views = list(self._views(schema, set()))
        if any(map(_describes_others, views)):
            return
        names = {name: True for view in views for name in view.get("properties", {})}
        if names:
            out["properties"] = {**names, **out.get("properties", {})}
            out["additionalProperties"] = False

    def _views(self, schema: Subschema | None, seen: set[str]) -> Any:
        """The schemas that describe the same value, from the outside in."""
        if not isinstance(schema, dict):
            return
        yield schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            yield from self._views(resolve(self._root, reference), seen)
        parts = {key: schema[key] for key in _PARTS & schema.keys() if key != "$ref"}
        for sub in children(parts):
            yield from self._views(sub, seen)

    def _name(self, reference: str, mode: str) -> str:
        """The key in ``defs`` for what ``reference`` points at."""
        key = (reference, mode)
        if key not in self._names:
            base = re.sub(r"\W+", "_", reference.rsplit("/", 1)[-1]).strip("_") or "root"
            taken = set(self._names.values())
            name = next(
                name
                for number in range(len(taken) + 1)
                if (name := f"{base}_{number}" if number else base) not in taken
            )
            self._names[key] = name
            self._waiting.append((name, reference, mode))
        return self._names[key]


def _has_parts(schema: Json) -> bool:
    """Whether several schemas describe one value here."""
    parts = _PARTS & schema.keys() | _NAMED_PARTS & schema.keys()
    beside = "properties" in schema or len(parts) > 1
    return bool(parts) and (beside or len(schema.get("allOf", ())) > 1)


def _describes_others(schema: Json) -> bool:
    """Whether it says what a key may hold that it does not name."""
    others = schema.get("additionalProperties")
    return (isinstance(others, dict) and bool(others)) or bool(schema.get("patternProperties"))


def _required(schema: Json) -> list[str]:
    """The user's required keys; Draft 3 has a boolean there."""
    required = schema.get("required")
    return list(required) if isinstance(required, list) else []


def _or_null(schema: Json) -> Json:
    """The schema, or null: written into ``type`` and ``enum`` where that says the same."""
    if schema.keys() == {"anyOf"}:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if not (schema.keys() & (_PARTS | _CONDITIONS)) and schema.keys() & {"type", "enum", "const"}:
        out = dict(schema)
        if "type" in out:
            types = [out["type"]] if isinstance(out["type"], str) else out["type"]
            out["type"] = [*types, *(["null"] if "null" not in types else [])]
        if "const" in out:
            out["enum"] = [out.pop("const")]
        if "enum" in out:
            out["enum"] = [*out["enum"], *([None] if None not in out["enum"] else [])]
        return out
    return {"anyOf": [schema, {"type": "null"}]}
