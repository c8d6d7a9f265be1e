"""The user's schema to the one the decoder is held to.

- Objects are closed unless they describe a map: an open object invites a small model to talk.
- Every declared key is required, in the order of the schema, and every leaf may be null, so that
  a missing value is null and never invented (docs/architecture.md, "Constraint"). Objects that the
  user does not require may be null too, which is also what ends a recursion. A constant is never
  null; one that is not required is itself, or its key is not there.
- References become ``#/$defs/…`` of what is really used; annotations are left out.

What cannot be rewritten without changing its meaning (``not``, ``if``) stays as it is, and the
result is checked against the user's own schema in any case.
"""

import json
import re
from collections import Counter
from collections.abc import Container, Iterator
from copy import deepcopy
from typing import Any, Literal

from gemma_edge.engine.grounding import HELD, TITLES
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import SchemaError
from gemma_edge.extraction.json_schema import (
    FORMATS,
    RULES,
    SCALARS,
    Constants,
    Json,
    Kinds,
    Subschema,
    every,
    lone_references,
    map_children,
    resolve,
    views_of,
)
from gemma_edge.extraction.values import kind_of_leaf
from gemma_edge.records import dataclass

_MEMBERS = frozenset(("properties", "patternProperties"))
_ITEMS = frozenset(("items", "prefixItems", "additionalItems", "additionalProperties"))
_PARTS = frozenset(("allOf", "anyOf", "oneOf", "$ref", "then", "else"))
_NAMED_PARTS = frozenset(("dependentSchemas", "dependencies"))
_CONDITIONS = frozenset(("not", "if", "contains", "propertyNames"))
# What the decoder is told; of the rest it knows nothing.
DECODED = RULES | {HELD, TITLES} | _MEMBERS | _ITEMS | _PARTS | _NAMED_PARTS | _CONDITIONS
# Beside these, requiring every key could ask for the impossible.
_COUNTING = frozenset(
    ("not", "if", "dependencies", "dependentRequired", "dependentSchemas", "maxProperties", "oneOf")
)

# How a subschema is rewritten: closed, left open because its parent is closed, or not at all.
_CLOSED, _OPEN, _AS_IS = "closed", "open", "as_is"


def close_schema(source: Json, *, nullable: bool) -> Json:
    """The decoding schema of ``source``; without ``nullable`` no null is added, and keys that the
    user does not require stay optional."""
    return _Closer(lone_references(source), nullable).close()


def _is_idle(keyword: str, value: Any) -> bool:
    """A keyword that forbids nothing here, and that llguidance would refuse."""
    if keyword == "format":
        return value not in FORMATS
    return (keyword, value) in (("uniqueItems", False), ("minProperties", 0))


def _is_map(schema: Json) -> bool:
    return _describes_others(schema) or not schema.get("properties")


class _Closer:
    """One rewriting; ``defs`` collects what references point at, each rewritten once a mode."""

    def __init__(self, root: Json, nullable: bool) -> None:
        self.defs: Json = {}
        self._root, self._nullable = root, nullable
        self._kinds, self._constants = Kinds(root), Constants(root)
        self._names: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[str, str, str]] = []

    def close(self) -> Json:
        out = self.member(self._root, required=True)
        while self._waiting:
            name, reference, mode = self._waiting.pop()
            self.defs[name] = self.schema(resolve(self._root, reference), mode)
        head = {"$schema": self._root["$schema"]} if "$schema" in self._root else {}
        rest = {"$defs": self.defs} if self.defs else {}
        return {**head, **(out if isinstance(out, dict) else {}), **rest}

    def member(self, schema: Subschema, *, required: bool) -> Subschema:
        out = self.schema(schema, _CLOSED)
        if not self._nullable or not isinstance(schema, dict) or not isinstance(out, dict):
            return out
        may_be = self._kinds.of(schema)
        if not may_be and not required:
            return False  # no value is allowed, so the key must not be there
        if "null" in may_be or not may_be or self._constants.fixes(schema):
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
        if keyword == "$ref":
            key = (value, mode)
            if key not in self._names:
                self._names[key] = _definition_name(value, "root", set(self._names.values()))
                self._waiting.append((self._names[key], value, mode))
            return f"#/$defs/{self._names[key]}"
        if keyword == "additionalProperties" and schema.get("minProperties"):
            return self.schema(value, mode if mode == _AS_IS else _CLOSED)  # a null would not count
        if keyword in _MEMBERS:
            wanted = _required(schema)
            return {name: self._value(sub, name in wanted, mode) for name, sub in value.items()}
        if keyword in RULES or keyword in (HELD, TITLES):
            return value
        return self._parts(keyword, value, mode)

    def _parts(self, keyword: str, value: Any, mode: str) -> Any:
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
        declared = out.get("properties", {})
        wanted = _required(schema)
        missing = [name for name in wanted if name not in declared]
        if missing and not _is_map(schema):
            out["properties"] = declared = {**declared, **dict.fromkeys(missing, True)}
        if self._nullable and declared and not _COUNTING & schema.keys():
            members = schema.get("properties", {})
            marks = self._constants.marks(members, wanted)
            wanted = [
                name for name in declared if declared[name] is not False and name not in marks
            ]
        if wanted:
            out["required"] = wanted

    def _close_whole(self, out: Json, schema: Json) -> None:
        """Close an object that several schemas describe together: around all of their names."""
        views = [view for view, _ in views_of(self._root, [(schema, True)])]
        if any(map(_describes_others, views)):
            return
        names = {name: True for view in views for name in view.get("properties", {})}
        if names:
            out["properties"] = {**names, **out.get("properties", {})}
            out["additionalProperties"] = False


def _definition_name(reference: str, root: str, taken: Container[str]) -> str:
    base = re.sub(r"\W+", "_", reference.rsplit("/", 1)[-1]).strip("_") or root
    name, number = base, 0
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _has_parts(schema: Json) -> bool:
    parts = _PARTS & schema.keys() | _NAMED_PARTS & schema.keys()
    beside = "properties" in schema or len(parts) > 1
    return bool(parts) and (beside or len(schema.get("allOf", ())) > 1)


def _describes_others(schema: Json) -> bool:
    others = schema.get("additionalProperties")
    return (isinstance(others, dict) and bool(others)) or bool(schema.get("patternProperties"))


def _required(schema: Json) -> list[str]:
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


# How far decoding can be held to a schema, asked of llguidance itself: exactly; with `oneOf` read
# as `anyOf`; with keywords that it does not know left to the last check. A schema that is refused
# even then (a pattern with look-around, a reference that refers to itself and has keywords beside
# it) loses the keywords that stand in the way. What is not held while decoding is checked
# afterwards in any case.

Relaxation = Literal["", "coerce_one_of", "lenient"]
RELAXATIONS: tuple[Relaxation, ...] = ("", "coerce_one_of", "lenient")
_LENIENT: Relaxation = "lenient"

_MAX_TRIES = 120  # of putting keywords back
_IMPOSSIBLE = "Unsatisfiable schema"
_LONG = ("minItems", "minLength", "minProperties", "minContains")  # what can make an answer long
PREFIX = "the schema cannot be held while decoding: "
# Keywords that hold the rest together: blamed last.
_FRAME = frozenset(("properties", "required", "additionalProperties", "items"))
# What is taken out everywhere, in this order, where no single keyword is to blame.
_SUSPECTS = ("pattern", "patternProperties", "beside $ref", "allOf", "$ref")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A keyword that was taken out of the decoding schema, its value, and llguidance's reason."""

    keyword: str
    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Enforced:
    """``schema`` compiles when it is ``relaxed``; ``dropped`` are the keywords it lost for that;
    ``reason`` is why it does not compile as it is, "" if it does."""

    schema: Json
    relaxed: Relaxation
    dropped: tuple[Dropped, ...] = ()
    reason: str = ""


def refusal(schema: Json, relaxed: Relaxation = "") -> str:
    """Why llguidance does not compile a schema, in its words, or that no answer to it ends; ""
    where it can be held."""
    from gemma_edge.engine.constraint import NO_END, TextConstraint

    try:
        constraint = TextConstraint(JsonConstraint(schema=json.dumps(schema), relaxed=relaxed))
    except SchemaError as error:
        return error.message.removeprefix(PREFIX)
    return NO_END if constraint.shortest_end() is None else ""


def enforce(decoding: Json) -> Enforced:
    """A decoding schema relaxed as little as it must be, or what llguidance can hold of it.

    Raises:
        SchemaError: nothing helps; the message is llguidance's reason.
    """
    first = ""
    for relaxed in RELAXATIONS:
        reason = refusal(decoding, relaxed)
        if not reason:
            return Enforced(decoding, relaxed, reason=first)
        first = first or reason
    relieved = relieve(decoding)
    if relieved is None:
        raise SchemaError(f"{PREFIX}{first}", hint="simplify the schema; gemma-edge schema check")
    return relieved


def relieve(decoding: Json) -> Enforced | None:
    """The schema without the keywords that are refused even when all is relaxed, or that make the
    shortest answer too long; None where that does not help, where nothing is refused, or where no
    answer could be valid in the end."""
    from gemma_edge.engine.constraint import NO_END

    schema, dropped = deepcopy(decoding), list[Dropped]()
    reason = refusal(schema, _LENIENT)
    if not reason or reason.startswith(_IMPOSSIBLE):
        return None
    for node in every(schema):
        for keyword, why in refused_keywords(node, _LENIENT).items():
            dropped.append(Dropped(keyword, node[keyword], why))
            _take_out(node, keyword)
    if not refusal(schema, _LENIENT):
        return Enforced(schema, _LENIENT, tuple(dropped), reason)
    known = _LONG if reason == NO_END else _SUSPECTS
    for suspects in (*((one,) for one in known), known):
        changes = [change for one in suspects for change in _take_out_all(schema, one)]
        if not refusal(schema, _LENIENT):
            needed = _put_back_harmless(schema, changes)
            dropped += (Dropped(keyword, value, reason) for _, keyword, value in needed)
            return Enforced(schema, _LENIENT, tuple(dropped), reason)
        for change in reversed(changes):
            _put_back(*change)
    return None


_Change = tuple[Json, str, Any]  # a schema, the keyword that was taken out of it, and its value


def _take_out(node: Json, keyword: str) -> None:
    """Keys that patterns described are then free, not forbidden."""
    del node[keyword]
    if keyword == "patternProperties":
        node["additionalProperties"] = True


def _put_back(node: Json, keyword: str, value: Any) -> None:
    node[keyword] = value
    if keyword == "patternProperties":
        node.pop("additionalProperties")


def _take_out_all(schema: Json, suspect: str) -> list[_Change]:
    changes = []
    for node in list(every(schema)):
        found = [suspect] if suspect in node else []
        if suspect == "beside $ref" and "$ref" in node:
            found = [keyword for keyword in node if keyword not in ("$ref", "$defs", "$schema")]
        for keyword in found:
            if keyword == "patternProperties" and "additionalProperties" in node:
                continue  # to put that back would not be the same schema
            changes.append((node, keyword, node[keyword]))
            _take_out(node, keyword)
    return changes


def _put_back_harmless(schema: Json, changes: list[_Change]) -> list[_Change]:
    """Half by half; what must stay out."""
    needed: list[_Change] = []
    waiting, tries = [changes], _MAX_TRIES
    while waiting:
        some = waiting.pop()
        tries -= 1
        if tries < 0:
            needed += some
            continue
        for change in reversed(some):
            _put_back(*change)
        if not refusal(schema, _LENIENT):
            continue
        for node, keyword, _ in some:
            _take_out(node, keyword)
        if len(some) == 1:
            needed += some
        else:
            half = len(some) // 2
            waiting += [some[half:], some[:half]]
    return needed


def refused_keywords(node: Json, relaxed: Relaxation = "") -> dict[str, str]:
    """The keywords of one schema that llguidance refuses, each with its reason; what lies inside
    of them is not looked at, nor what references mean."""
    shallow = {  # a `oneOf` is decided by what its branches hold
        keyword: map_children(keyword, value, lambda sub: {} if isinstance(sub, dict) else sub)
        for keyword, value in node.items()
        if keyword not in ("$defs", "definitions", "oneOf", "$ref")
    }
    found: dict[str, str] = {}
    while shallow and (reason := refusal(shallow, relaxed)):
        culprit = next(_culprits(shallow, relaxed), None)
        if culprit is None:
            break
        found[culprit] = reason
        del shallow[culprit]
    return found


def _culprits(shallow: Json, relaxed: Relaxation) -> Iterator[str]:
    kind = {"type": shallow["type"]} if "type" in shallow else {}
    rules = sorted((word for word in shallow if word != "type"), key=_FRAME.__contains__)
    yield from (word for word in rules if refusal({**kind, word: shallow[word]}, relaxed))
    for word in rules:
        if not refusal({key: value for key, value in shallow.items() if key != word}, relaxed):
            yield word


# The schema as the model reads it, on one line: what it has to fill in, not every rule.
#
#     {"vendor": string, "total": number /* after tax */, "items": [row]} where row is {…}
#
# A definition that is used more than once, or uses itself, is written once, under its name.

MAX_COMMENT = 120  # characters of a description
MAX_CHOICES = 40  # values of an enum that are spelled out
MAX_FORM = 12_000  # characters with comments; a longer form goes without
MAX_NODES = 5000  # of the form; the largest of 500 real schemas has 2,000

_ANY, _MORE = "any", "…"
_ORDER = ("integer", "number", "string", "boolean", "array", "object")
_DATES = ("date", "time", "date-time")


def render_form(source: Json) -> str:
    """The form of ``source``; the decoder enforces the rest of it."""
    source = lone_references(source)
    form = _Form(source, comments=True).render_whole()
    return form if len(form) <= MAX_FORM else _Form(source, comments=False).render_whole()


class _Form:
    def __init__(self, root: Json, *, comments: bool) -> None:
        self._root, self._comments = root, comments
        self._kinds, self._nodes = Kinds(root), 0
        self._named = _names_of_repeated(root, self._kinds)
        self._used: list[str] = []  # references that were written as names
        self._inside: set[str] = set()  # references that are being written out

    def render_whole(self) -> str:
        form = self.render(self._root)
        parts = []
        for reference in self._used:  # grows while definitions use others
            target = self.render(resolve(self._root, reference))
            parts.append(f"{self._named[reference]} is {target}")
        return form + (f" where {'; '.join(parts)}" if parts else "")

    def render(self, schema: Subschema | None) -> str:
        self._nodes += 1
        if not isinstance(schema, dict):
            return _ANY
        if self._nodes > MAX_NODES:
            return _MORE
        reference = schema.get("$ref")
        if reference in self._named and "properties" not in schema:
            if reference not in self._used:
                self._used.append(reference)
            return self._named[reference]
        views, opened = self._views(schema)
        self._inside |= opened
        form = self._merged(schema, views)
        self._inside -= opened
        return form

    def _merged(self, schema: Json, views: list[Json]) -> str:
        meant = next(filter(None, map(kind_of_leaf, views)), None)
        if meant:
            return meant
        properties: Json = {}
        for view in views:
            for name, sub in view.get("properties", {}).items():
                properties.setdefault(name, sub)
        if properties:
            named = ((name, sub) for name, sub in properties.items() if sub is not False)
            members = (f"{_quoted(n)}: {self.render(sub)}{self._comment(sub)}" for n, sub in named)
            return "{" + ", ".join(members) + "}"
        for view in views:
            if "enum" in view or "const" in view:
                values = view["enum"] if "enum" in view else [view["const"]]
                shown = [_quoted(value) for value in values[:MAX_CHOICES] if value is not None]
                return " | ".join(shown + [_MORE] * (len(values) > MAX_CHOICES)) or "null"
            if branches := view.get("anyOf") or view.get("oneOf"):  # any value may be null
                others = (sub for sub in branches if self._kinds.of(sub) != {"null"})
                return " | ".join(dict.fromkeys(map(self.render, others))) or "null"
        return self._plain(schema, views)

    def _views(self, schema: Json) -> tuple[list[Json], set[str]]:
        """The schemas that hold at once: itself, what it refers to, its ``allOf``; and the
        references that were followed. One that it stands inside of is not."""
        views: list[Json] = [schema]
        opened: set[str] = set()
        for view in views:
            reference = view.get("$ref")
            if isinstance(reference, str) and reference not in self._inside | opened:
                opened.add(reference)
                target = resolve(self._root, reference)
                views += [target] if isinstance(target, dict) else []
            views += [sub for sub in view.get("allOf", ()) if isinstance(sub, dict)]
        return views, opened

    def _plain(self, schema: Json, views: list[Json]) -> str:
        kinds = self._kinds.of(schema) - {"null"}
        if kinds == {"array"}:
            return self._list(views)
        if kinds == {"object"}:
            return self._map(views)
        if not kinds or kinds >= SCALARS:
            return _ANY if kinds else "null"
        if "number" in kinds:
            kinds -= {"integer"}
        formats = (str(view["format"]) for view in views if view.get("format") in _DATES)
        named = [kind for kind in _ORDER if kind in kinds]
        text = next(formats, "string")
        return " | ".join(text if kind == "string" else kind for kind in named)

    def _list(self, views: list[Json]) -> str:
        for view in views:
            items = view.get("prefixItems", view.get("items"))
            if isinstance(items, list):
                return "[" + ", ".join(map(self.render, items)) + "]"
            if items is not None:
                return f"[{self.render(items)}]"
        return f"[{_ANY}]"

    def _map(self, views: list[Json]) -> str:
        for view in views:
            values = [view.get("additionalProperties"), *view.get("patternProperties", {}).values()]
            for value in values:
                if isinstance(value, dict):
                    return f"{{string: {self.render(value)}}}"
        return "object"

    def _comment(self, schema: Subschema) -> str:
        text = schema.get("description") if isinstance(schema, dict) and self._comments else None
        if not isinstance(text, str) or not text.strip():
            return ""
        words = " ".join(text.replace("/*", "").replace("*/", "").split())
        if len(words) > MAX_COMMENT:
            words = words[:MAX_COMMENT].rsplit(" ", 1)[0] + _MORE
        return f" /* {words} */"


def _names_of_repeated(root: Json, kinds: Kinds) -> dict[str, str]:
    """A name for each reference to an object or a list that is used more than once. What is used
    once is written where it is used, so a form never unfolds without end."""
    uses: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[Subschema | None] = [root]
    while waiting:
        for schema in every(waiting.pop() or False):
            reference = schema.get("$ref")
            if id(schema) in seen or not isinstance(reference, str):
                continue
            seen.add(id(schema))
            uses[reference] += 1
            waiting.append(resolve(root, reference) if uses[reference] == 1 else None)
    names: dict[str, str] = {}
    for reference, count in uses.items():
        whole = resolve(root, reference) is root
        if (count > 1 or whole) and kinds.of({"$ref": reference}) & {"object", "array"}:
            names[reference] = _definition_name(reference, "form", set(names.values()))
    return names


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
