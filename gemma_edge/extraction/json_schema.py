"""The answer against the user's own schema, formats included. The last word on what is data.

A value that the document does not have comes as null. Where the user's schema does not require
the key, it is dropped, so that what is printed is valid as it stands. Where it is required, and
may not be null, it is named: the answer is not complete, or, where the schema is of our own
language, in which any value may be missing, that is a note.

No other module imports ``jsonschema_rs``. The library gets a copy of a schema with nothing in it
but the rules of its draft and references into that copy: there is nothing that could be fetched.
Every walk ends, also over schemas that refer to themselves.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote, unquote, urljoin

from gemma_edge.errors import SchemaError
from gemma_edge.records import dataclass
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from jsonschema_rs import FancyRegexOptions, RegexOptions, ValidationError, Validator

Json = dict[str, Any]
ValuePath = tuple[str | int, ...]  # the way to a value in data: ("items", 2, "qty")


def render_path(path: Iterable[str | int], whole: str = "") -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or whole


def iter_leaves(
    data: Any, path: ValuePath = (), *, empty: bool = False
) -> Iterator[tuple[ValuePath, Any]]:
    """The values of JSON data that hold no others, each with its path; ``empty`` lists and objects
    only where they are asked for."""
    waiting = [(path, data)]
    while waiting:
        here, value = waiting.pop()
        if isinstance(value, dict | list) and (value or not empty):
            members = value.items() if isinstance(value, dict) else enumerate(value)
            waiting.extend(((*here, step), member) for step, member in reversed([*members]))
        else:
            yield here, value


# JSON text to values: strict, bounded, and with the place of what is wrong.

MAX_TEXT_BYTES = 4 << 20
MAX_NESTING = 200  # lists and objects of the JSON text; the deepest of 500 real schemas has 40

EXAMPLE_HINT = (
    'for example {"type": "object", "properties": {"vendor": {"type": "string"}}}, '
    'or in one line: "vendor, date, total num"'
)


def parse_json(text: str, name: str, *, most: int = MAX_TEXT_BYTES) -> Any:
    """JSON text to Python values; NaN, Infinity, half a character and bottomless nesting are
    refused, and more than ``most`` characters.

    Raises:
        SchemaError: with the line and the column.
    """
    if len(text) > most:
        what = f"{name} is larger than {render_bytes(most)}"
        raise SchemaError(what, hint="make it smaller")
    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_float=parse_float)
        too_deep = _nesting(value) > MAX_NESTING
        escaped = _HALF_ESCAPED.search(text)
        refuse_half(json.dumps(value, ensure_ascii=False) if escaped else text)
    except ValueError as error:  # a constant that is not JSON, or a number of 5,000 digits, too
        said = str(error)
        if isinstance(error, json.JSONDecodeError):
            said = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise SchemaError(f"{name} is not JSON: {said}", hint=EXAMPLE_HINT) from None
    except RecursionError:
        too_deep = True
    if too_deep:
        what = f"{name} is nested deeper than {MAX_NESTING} levels"
        raise SchemaError(what, hint="flatten it, or use $defs")
    return value


_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def refuse_half(text: str) -> None:
    """
    Raises:
        ValueError: it holds a lone surrogate, half a character, which no file and no prompt can.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(f"{half} is half a character") from None


def parse_values(text: str, name: str) -> list[Any]:
    """One JSON value, or one a line (JSONL).

    Raises:
        SchemaError: it is neither; the place is the one of the whole text read as one value.
    """
    try:
        return [parse_json(text, name)]
    except SchemaError as whole:
        lines = [line for line in text.split("\n") if line.strip()]  # JSON may hold U+2028 as it is
        if not lines[1:] or not all(line.lstrip().startswith(("{", "[")) for line in lines):
            raise
        try:
            return [parse_json(line, name) for line in lines]
        except SchemaError:
            raise whole from None


def refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def parse_float(digits: str) -> float:
    """The number; ``1e999``, which Python's reader takes for an infinite one, is refused.

    Raises:
        ValueError: no float holds it.
    """
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return value


def _nesting(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_NESTING:
        depth += 1
        level = [sub for item in level for sub in _members(item)]
    return depth


def _members(value: Any) -> Iterable[Any]:
    """What an object or a list holds."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


# The shape of a JSON Schema: where its subschemas are, what a reference means, what a value may
# be, which schemas speak about one value.

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


def children(schema: Json) -> Iterator[tuple[ValuePath, Json]]:
    """The direct subschemas that say something, each with its way; ``{"properties": {"$ref": …}}``
    is a property, not a reference."""
    for keyword, value in schema.items():
        found: list[tuple[ValuePath, Any]] = []
        if keyword in NAMED and isinstance(value, dict):
            found = [((keyword, name), sub) for name, sub in value.items()]
        elif keyword in LISTED and isinstance(value, list):
            found = [((keyword, number), sub) for number, sub in enumerate(value)]
        elif keyword in SINGLE:
            found = [((keyword,), value)]
        yield from (each for each in found if isinstance(each[1], dict))


def map_children(keyword: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if keyword in NAMED and isinstance(value, dict):
        return {name: change(sub) for name, sub in value.items()}
    if keyword in LISTED and isinstance(value, list):
        return [change(sub) for sub in value]
    return change(value) if keyword in SINGLE else value


def every(schema: Subschema) -> Iterator[Json]:
    waiting = [schema] if isinstance(schema, dict) else []
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(sub for _, sub in children(current))


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


_INDEX = re.compile("[0-9]{1,9}")


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
        elif isinstance(current, list) and _INDEX.fullmatch(key) and int(key) < len(current):
            current = current[int(key)]
        else:
            return None
    return current if isinstance(current, dict | bool) else None


def local_references(source: Json) -> Json:
    """The schema with each reference as ``#/a/pointer`` from its root, where schemas with an
    ``$id`` of their own are in it: those are what a relative reference in them, an anchor or a
    pointer is meant from. What points at nothing stays as it is."""
    if not any(_id_of(source, schema) for schema in every(source) if schema is not source):
        return source
    root = deepcopy(source)
    bundle = _Bundle(root)
    for schema, meant in bundle.meant():
        schema["$ref"] = meant
    for schema in every(root):
        if schema is not root and (name := _id_of(root, schema)) and not name.startswith("#"):
            schema.pop("$id", schema.pop("id", None))
    return root


_OWN_BASE = "http://schema.invalid/"  # of a schema that has no address


def _id_of(root: Json, schema: Json) -> str:
    """The address or anchor that a schema gives itself; beside a reference it is void up to Draft
    7, and before Draft 6 it was called ``id``."""
    draft = str(root.get("$schema"))
    if schema is not root and "$ref" in schema and "/draft-0" in draft:
        return ""
    word = "id" if "/draft-04" in draft or "/draft-03" in draft else "$id"
    return str(schema[word]) if isinstance(schema.get(word), str) else ""


class _Bundle:
    """Where the schemas are that a schema holds: each by its address."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._places: dict[str, ValuePath] = {}
        self._schemas: list[tuple[Json, str]] = []  # with the base of their references
        waiting: list[tuple[ValuePath, Json, str]] = [((), root, _OWN_BASE)]
        while waiting:
            path, schema, base = waiting.pop()
            address, _, anchor = _id_of(root, schema).partition("#")
            base = urljoin(base, address) if address else base
            if address or not path:
                self._places.setdefault(base, path)
            for name in (anchor, schema.get("$anchor")):
                if isinstance(name, str) and name:
                    self._places.setdefault(f"{base}#{name}", path)
            self._schemas.append((schema, base))
            waiting += (((*path, *steps), sub, base) for steps, sub in children(schema))

    def meant(self) -> Iterator[tuple[Json, str]]:
        for schema, base in self._schemas:
            if not isinstance(schema.get("$ref"), str):
                continue
            address, _, fragment = schema["$ref"].partition("#")
            whole = urljoin(base, address) if address else base
            pointer = not fragment or fragment.startswith("/")
            place = self._places.get(whole if pointer else f"{whole}#{unquote(fragment)}")
            if place is not None:
                steps = (str(step).replace("~", "~0").replace("/", "~1") for step in place)
                where = "".join(f"/{quote(step, safe='~$')}" for step in steps)
                meant = f"#{where}{fragment if pointer else ''}"
                if resolve(self._root, meant) is not None:
                    yield schema, meant


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
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else kinds.get(type(value), "object")


_Values = tuple[Any, ...] | None  # None where there is no end of them


class Constants:
    """Which values a schema fixes: a constant is always itself, found in the document or not."""

    def __init__(self, root: Json) -> None:
        self._root, self._kinds = root, Kinds(root)
        self._known: dict[int, _Values] = {}
        self._tags = {id(each) for schema in every(root) for each in self._tags_of(schema)}

    def fixes(self, schema: Subschema | None) -> bool:
        """Whether no value but one can stand there, or one that says which object of a choice it
        is: nothing that could be missing."""
        return id(schema) in self._tags or self.value(schema) is not None

    def value(self, schema: Subschema | None) -> Any:
        """The only value that ``schema`` allows; None where it is no constant, or null."""
        values = self._values(schema)
        return values[0] if values and len(values) == 1 else None

    def marks(self, members: Json, required: Collection[str]) -> set[str]:
        """The constants that say something by being there: not required, and no default."""
        return {
            name
            for name, sub in members.items()
            if name not in required and id(sub) not in self._tags and isinstance(sub, dict)
            if (value := self.value(sub)) is not None and not same_json(sub.get("default"), value)
        }

    def is_constant(self, data: Any, subs: Iterable[tuple[Subschema, bool]]) -> bool:
        """Whether ``data`` is what one of the schemas that speak about it fixes."""
        fixed = (self._values(sub) or () for sub, _ in subs if self.fixes(sub))
        return any(same_json(data, value) for values in fixed for value in values)

    def filled(self, schemas: Iterable[tuple[Subschema, bool]]) -> Any:
        """What stands for a null: the constant of the schemas that surely speak about it."""
        found = (self.value(sub) for sub, firm in schemas if firm)
        return next((value for value in found if value is not None), None)

    def _values(self, schema: Subschema | None) -> _Values:
        if not isinstance(schema, dict):
            return None
        if id(schema) not in self._known:
            self._known[id(schema)] = None  # inside its own definition it says nothing
            self._known[id(schema)] = self._allowed(schema)
        return self._known[id(schema)]

    def _allowed(self, schema: Json) -> _Values:
        parts = [self._values(sub) for sub in schema.get("allOf", ())]
        if isinstance(schema.get("$ref"), str):
            parts.append(self._values(resolve(self._root, schema["$ref"])))
        parts.append((schema["const"],) if "const" in schema else None)
        parts.append(tuple(schema["enum"]) if isinstance(schema.get("enum"), list) else None)
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                each = [self._values(sub) for sub in schema[word]]
                whole = not any(values is None for values in each)
                parts.append(tuple(v for values in each for v in values or ()) if whole else None)
        limits = [values for values in parts if values is not None]
        if not limits:
            return None
        kinds = self._kinds.of(schema)
        found: list[Any] = []
        for value in limits[0]:
            held = all(any(same_json(value, other) for other in more) for more in limits[1:])
            known = any(same_json(value, other) for other in found)
            if held and not known and kind_of(value) in kinds:
                found.append(value)
        return tuple(found)

    def _tags_of(self, schema: Json) -> Iterator[Subschema]:
        """The members by which the objects of a choice are told apart."""
        branches = list(self._branches(schema, set()))
        if len(branches) < 2:  # noqa: PLR2004  (there is no choice)
            return
        named = schema.get("discriminator")
        name = named.get("propertyName") if isinstance(named, dict) else None
        for shared in {name for branch in branches for name in branch}:
            subs = [branch.get(shared, ()) for branch in branches]
            values = [next(filter(None, map(self._values, each)), None) for each in subs]
            if shared == name or _tell_apart(values):
                yield from (sub for each in subs for sub in each if self._values(sub))

    def _branches(self, schema: Json, seen: set[int]) -> Iterator[dict[str, list[Subschema]]]:
        """The members of each object that may stand there."""
        for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            members: dict[str, list[Subschema]] = {}
            inner = []
            for view, firm in views_of(self._root, [(branch, True)]):
                if firm and isinstance(view.get("properties"), dict):
                    for name, sub in view["properties"].items():
                        members.setdefault(name, []).append(sub)
                if firm and view.keys() & {"anyOf", "oneOf"} and id(view) not in seen:
                    inner.append(view)
            if members:
                yield members
            for view in inner if not members else ():
                seen.add(id(view))
                yield from self._branches(view, seen)


def _tell_apart(values: Sequence[_Values]) -> bool:
    """Whether each has values of its own."""
    known: list[Any] = []
    for each in values:
        if not each or any(same_json(value, other) for value in each for other in known):
            return False
        known += each
    return True


def same_json(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


# A schema that speaks about a value, and whether it surely holds: a branch of a choice may not.
Views = list[tuple[Json, bool]]


def views_of(root: Json, schemas: Iterable[tuple[Subschema, bool]]) -> Views:
    """All schemas that speak about the same value as ``schemas``, from the outside in."""
    return list(_iter_views(root, schemas, set()))


def _iter_views(
    root: Json, schemas: Iterable[tuple[Subschema, bool]], seen: set[tuple[str, bool]]
) -> Iterator[tuple[Json, bool]]:
    for schema, firm in schemas:
        if not isinstance(schema, dict):
            continue
        yield schema, firm
        inner: list[tuple[Subschema, bool]] = []
        reference = schema.get("$ref")
        if isinstance(reference, str) and (reference, firm) not in seen:
            seen.add((reference, firm))
            inner.append((resolve(root, reference) or False, firm))
        inner += ((sub, firm) for sub in schema.get("allOf", ()))
        inner += ((sub, False) for word in ("anyOf", "oneOf") for sub in schema.get(word, ()))
        inner += ((schema[word], False) for word in ("then", "else") if word in schema)
        yield from _iter_views(root, inner, seen)


def step_into(views: Views, step: str | int) -> list[tuple[Subschema, bool]]:
    if isinstance(step, str):
        return [(sub, firm) for view, firm in views for sub in _member(view, step)]
    return [(sub, firm) for view, firm in views for sub in _element(view, step)]


def _member(view: Json, name: str) -> Iterator[Subschema]:
    if name in view.get("properties", {}):
        yield view["properties"][name]
    elif isinstance(view.get("additionalProperties"), dict):
        yield view["additionalProperties"]
    for pattern, sub in view.get("patternProperties", {}).items():
        if matches(pattern, name):
            yield sub


def _element(view: Json, index: int) -> Iterator[Subschema]:
    items = view.get("items")
    listed = view.get("prefixItems", items)  # of a draft that does not know it, it can be anything
    if isinstance(listed, list) and index < len(listed):
        yield listed[index]
    elif isinstance(items, dict):
        yield items


# What the editions ("drafts") of JSON Schema know: keywords, formats, patterns.


class _Draft(NamedTuple):
    """``keywords`` are the rules of a draft; all other words in a schema are read, not checked."""

    url: str
    keywords: frozenset[str]


_DRAFT_2020 = (RULES | NAMED | LISTED | SINGLE | {"$ref"}) - frozenset(
    ("dependencies", "additionalItems", "$defs", "definitions")
)
_DRAFT_2019 = (_DRAFT_2020 - {"prefixItems"}) | {"additionalItems"}
_DRAFT_7 = (_DRAFT_2019 | {"dependencies"}) - frozenset(
    ("dependentRequired", "dependentSchemas", "minContains", "maxContains")
    + ("unevaluatedItems", "unevaluatedProperties")
)
_DRAFT_6 = _DRAFT_7 - {"if", "then", "else"}
_NEWEST = _Draft("https://json-schema.org/draft/2020-12/schema", _DRAFT_2020)
_SEVENTH = _Draft("http://json-schema.org/draft-07/schema#", _DRAFT_7)
_FOURTH = _Draft(
    "http://json-schema.org/draft-04/schema#", _DRAFT_6 - {"const", "contains", "propertyNames"}
)
_DRAFTS = {
    draft.url.rstrip("#"): draft
    for draft in (
        _NEWEST,
        _Draft("https://json-schema.org/draft/2019-09/schema", _DRAFT_2019),
        _SEVENTH,
        _Draft("http://json-schema.org/draft-06/schema#", _DRAFT_6),
        _FOURTH,
    )
}
_DRAFTS["http://json-schema.org/draft-03/schema"] = _FOURTH  # as far as it says the same

# The formats of the newest draft count in all: whoever writes ``date`` in Draft 4, which knows
# none, means one. Draft 3 had other names for two of them, and the colours of CSS 2.1.
# ``info@müller.de`` is printed on letterheads: ``email`` takes it too.
_JUDGED_AS = {"host-name": "hostname", "ip-address": "ipv4", "email": "idn-email"}
FORMATS = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4")
    + ("ipv6", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer", "time")
    + ("uri", "uri-reference", "uri-template", "uuid", "color", "host-name", "ip-address")
)
_COLOUR = re.compile(
    r"aqua|black|blue|fuchsia|gray|green|lime|maroon|navy|olive|orange|purple|red|silver|teal|white"
    r"|yellow|#([0-9A-Fa-f]{3}){1,2}"
)


def _drafts(source: Json) -> tuple[_Draft, ...]:
    if "$schema" not in source:
        return (_NEWEST, _SEVENTH, _FOURTH)
    return (_DRAFTS.get(str(source["$schema"]).removesuffix("#"), _NEWEST),)


@cache
def _format_judges() -> dict[str, Callable[[str], bool]]:
    import jsonschema_rs

    judges: dict[str, Callable[[str], bool]] = {}
    for name in FORMATS:
        rules = {"format": _JUDGED_AS.get(name, name)}
        make = jsonschema_rs.Draft202012Validator
        judges[name] = make(rules, validate_formats=True, offline=True).is_valid
    judges["color"] = lambda text: bool(_COLOUR.fullmatch(text.lower()))
    return judges


def matches(pattern: str, text: str) -> bool:
    return _matcher(_accepted(pattern) or "").is_valid(_whole(text))


# Patterns are found in time that grows with the text. Only where a schema has one with look-around
# or a back-reference, which no such engine knows, another one steps back, and is stopped after so
# many steps (some milliseconds): such a text then does not match.
MAX_PATTERN = 10_000  # characters; a longer one takes seconds to be read
_MOST_STEPS = 100_000
_STOPPED = "Error executing regex"  # the library's words


def _with_engine(make: "Callable[[RegexOptions | FancyRegexOptions], Validator]") -> "Validator":
    """Raises ValueError: no engine knows a pattern."""
    import jsonschema_rs

    try:
        return make(jsonschema_rs.RegexOptions())
    except ValueError:
        return make(jsonschema_rs.FancyRegexOptions(backtrack_limit=_MOST_STEPS))


@cache
def _matcher(pattern: str) -> "Validator":
    """Raises ValueError for what is no regular expression."""
    import jsonschema_rs

    return _with_engine(
        lambda engine: jsonschema_rs.Draft202012Validator(
            {"pattern": pattern}, offline=True, pattern_options=engine
        )
    )


@cache
def _accepted(pattern: str) -> str | None:
    """The pattern as the library's engine takes it; None where it does not understand it."""
    if len(pattern) > MAX_PATTERN:
        return None
    for spelled in (pattern, _ODD.sub(_respelled, pattern)):
        try:
            _matcher(spelled)
        except ValueError:
            continue
        return spelled
    return None


# What the engine does not take as it stands: a pair of surrogates and a lone one, a NUL, an escape
# of a letter beyond ASCII, a brace that counts nothing, the classes of all characters and of none;
# Python's ends of a text and ``{,3}``.
_ODD = re.compile(
    r"""\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
    | \\u(?P<lone>[dD][89a-fA-F][0-9a-fA-F]{2})
    | \\[pPu]\{[^{}]*\} | \\(?P<escaped>.) | \{\d+(,\d*)?\} | (?P<upto>\{(?=,\d+\})) | (?P<brace>\{)
    | (?P<any>\[\^\]) | (?P<none>\[\]) | (?P<raw>[\ud800-\udfff])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"A": "^", "Z": "$", "0": r"\x00", "a": r"\x07"}
_SIGNS = {"upto": "{0", "brace": r"\{", "any": r"[\s\S]", "none": r"[^\s\S]"}


def _respelled(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found[0]
    if kind == "low":
        units = (found["high"] + found["low"]).lower()
        return bytes.fromhex(units).decode("utf-16-be")
    if kind in ("lone", "raw"):
        return str(_whole(chr(int(found["lone"], 16)) if kind == "lone" else text))
    if kind == "escaped":
        known = text[1] if not text[1].isascii() else text
        return _ESCAPES.get(text[1], known)
    return _SIGNS.get(kind or "", text)


def _patterns(schemas: Json) -> Json:
    found: Json = {}
    for pattern, schema in schemas.items():
        found.setdefault(_accepted(pattern) or "", []).append(schema)
    return {pattern: {"allOf": several} for pattern, several in found.items()}


def _whole(value: Any) -> Any:
    """JSON in which each half of a surrogate pair is a character of its own in private use: the
    library takes none that cannot be written in UTF-8."""
    return map_texts(value, lambda text: _HALF.sub(lambda half: chr(ord(half[0]) + 0x102000), text))


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): map_texts(member, change) for name, member in value.items()}
    return [map_texts(item, change) for item in value] if isinstance(value, list) else value


_HALF = re.compile("[\ud800-\udfff]")


class _Rules:
    """The rules of a schema as the library gets them. With ``nulls``, any member and any element
    may be null, and what holds a null may be of several branches of a ``oneOf``."""

    def __init__(self, source: Json, draft: _Draft, *, nulls: bool) -> None:
        self._source, self._draft, self._nulls = source, draft, nulls
        self._names: dict[int, str] = {}  # by the identity of what is referred to
        self._waiting: list[Json] = []

    def build(self) -> Json:
        definitions: Json = {"null": _HOLDS_NULL}
        whole = self._reference(self._source)
        while self._waiting:
            target = self._waiting.pop()
            definitions[self._names[id(target)]] = self._schema(target)
        rules: Json = _whole({"definitions": definitions, "allOf": [whole]})
        return {"$schema": self._draft.url, **rules}

    def _reference(self, target: Subschema | None) -> Json:
        if not isinstance(target, dict):
            return {} if target else {"not": {}}
        if id(target) not in self._names:
            self._names[id(target)] = f"d{len(self._names)}"
            self._waiting.append(target)
        return {"$ref": f"#/definitions/{self._names[id(target)]}"}

    def _schema(self, schema: Subschema) -> Subschema:
        if not isinstance(schema, dict):
            return schema  # a dependency's list of names is one too
        rules: Json = {}
        if isinstance(schema.get("$ref"), str):
            rules = self._reference(resolve(self._source, schema["$ref"]))
            if "/draft-0" in self._draft.url:  # what stands beside it is void up to Draft 7
                return rules
        for keyword in schema.keys() & self._draft.keywords - {"$ref"}:
            rules[keyword] = self._rule(keyword, schema[keyword])
        if self._nulls and "oneOf" in rules:
            branches = rules.pop("oneOf")
            loose = {"allOf": [_REFERS_TO_NULL, {"anyOf": branches}]}
            one = {"anyOf": [{"oneOf": branches}, loose], _EXCEPT: True}
            rules["allOf"] = [*rules.get("allOf", ()), one]
        return rules

    def _rule(self, keyword: str, value: Any) -> Any:
        if keyword == "pattern":
            return _accepted(value)
        inner: Callable[[Any], Subschema] = self._schema
        if self._nulls and keyword in _OF_MEMBERS:
            inner = self._loose
        elif self._nulls and keyword == "oneOf":
            inner = self._reference
        found = map_children(keyword, value, inner)
        return _patterns(found) if keyword == "patternProperties" else found

    def _loose(self, schema: Subschema) -> Json:
        return {"anyOf": [self._reference(schema), {"type": "null"}], _EXCEPT: True}


_OF_MEMBERS = ("properties", "patternProperties", "items", "prefixItems")
_EXCEPT = "x-except"  # marks an ``anyOf`` whose first branch is the user's rule
_REFERS_TO_NULL: Json = {"$ref": "#/definitions/null"}
_NO_NULL: Json = {"not": _REFERS_TO_NULL}
_HOLDS_NULL: Json = {
    "anyOf": [
        {"type": "null"},
        {"type": "object", "not": {"additionalProperties": _NO_NULL}},
        {"type": "array", "not": {"items": _NO_NULL}},
    ]
}

# The verdict.

MAX_PROBLEMS = 20  # spelled out; the rest is counted
MAX_MESSAGE = 160  # characters of one problem; the library quotes whole objects
_TOO_DEEP = "the answer: it is nested too deeply to be checked"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``data`` without the nulls that only meant "not there"; ``problems`` make it wrong;
    ``missing`` are required places ("items[2].price") that hold null. ``failing`` are the ways to
    what is wrong, one for each of the ``problems`` that names a place."""

    data: Any
    problems: tuple[str, ...]
    missing: tuple[str, ...]
    failing: tuple[ValuePath, ...] = ()


def find_flaw(source: Json) -> str:
    """Why ``source`` is no JSON Schema, in one line; empty where it is one."""
    problem = ""
    for draft in _drafts(source):
        found = _flaw(source, draft)
        if found is None:
            return _bad_pattern(source)
        part, error = found[0], _meant(found[1], {})
        steps, _ = _follow_steps(part, error.instance_path)
        problem = problem or _in_words(error, steps, "it" if part is source else "a part of it")
    return problem


def _flaw(source: Json, draft: _Draft) -> "tuple[Json, ValidationError] | None":
    """What the draft's own schema has against ``source``, or against a part of it that the draft
    does not look at; and that part."""
    import jsonschema_rs

    for part in (source, *_unseen(source, draft)):
        try:
            jsonschema_rs.meta.validate(_whole({**part, "$schema": draft.url}))
        except jsonschema_rs.ValidationError as error:
            return part, error
    return None


def _unseen(source: Json, draft: _Draft) -> Iterator[Json]:
    """Schemas that are used, and that are no schemas to the draft: below keywords that it does not
    know (``$defs`` up to Draft 7), and where a reference leads that is no place for one."""
    known = set[int]()
    for schema in every(source):
        known.add(id(schema))
        yield from (sub for (word, *_), sub in children(schema) if word not in draft.keywords)
    for schema in every(source):
        reference = schema.get("$ref")
        target = resolve(source, reference) if isinstance(reference, str) else None
        if isinstance(target, dict) and id(target) not in known:
            known.add(id(target))
            yield target


def _bad_pattern(source: Json) -> str:
    for schema in every(source):
        for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
            if isinstance(pattern, str) and _accepted(pattern) is None:
                return f'the pattern "{pattern[:60]}" is not understood{_reason(pattern)}'
    return ""


def _reason(pattern: str) -> str:
    """Why a pattern is none, in Python's words: the library has no reason."""
    if len(pattern) > MAX_PATTERN:
        return f" (it has {len(pattern):,} characters, {MAX_PATTERN:,} are the most)"
    try:
        re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        return f" ({error})"
    return ""


class Checker:
    """Judges answers by one schema (without flaws); what is slow is done once."""

    def __init__(self, source: Json) -> None:
        self._source, self._root = source, lone_references(source)
        self._kinds, self.constants = Kinds(self._root), Constants(self._root)
        self._draft = next(draft for draft in _drafts(source) if _flaw(source, draft) is None)
        self._built: dict[bool, tuple[Json, Validator]] = {}  # by whether nulls may be anywhere

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords that are rules in the schema's draft; all others are read, not checked."""
        return self._draft.keywords

    def check(self, data: Any, *, strict: bool = False, nullable: bool = True) -> Verdict:
        """What is wrong with ``data``. ``strict``: the answer was not to hold a null that the
        schema does not let be. Without ``nullable`` there are ``problems`` or ``missing`` unless
        the data is valid by the schema as it is written."""
        missing: list[str] = []
        if data is None and not strict and self._kinds.of(self._root) & SCALARS:
            return Verdict(None, (), ("the whole answer",))
        try:
            if not strict:
                data = self._without_nulls(data, [(self._root, True)], (), missing)
            errors = self._errors(data, nulls=not strict and _holds_null(data))
            if not (errors or missing or nullable or strict):
                errors = self._errors(data, nulls=False)
        except RecursionError:
            return Verdict(data, (_TOO_DEEP,), tuple(missing), ((),))
        failing = [_follow_steps(data, error.instance_path)[0] for error in errors[:MAX_PROBLEMS]]
        named = zip(errors, failing, strict=False)
        problems = [_in_words(error, steps, "the answer") for error, steps in named]
        if len(errors) > MAX_PROBLEMS:
            problems.append(f"{len(errors) - MAX_PROBLEMS:,} more problems")
        return Verdict(data, tuple(problems), tuple(missing), tuple(failing))

    def _without_nulls(
        self, data: Any, schemas: list[tuple[Subschema, bool]], path: ValuePath, missing: list[str]
    ) -> Any:
        """``data`` without null members that nothing requires; ``missing`` gets those that
        something does."""
        if not isinstance(data, dict | list):
            return data
        views = views_of(self._root, schemas)
        kept: dict[str | int, Any] = {}
        for step, member in data.items() if isinstance(data, dict) else enumerate(data):
            subs, place = step_into(views, step), (*path, step)
            may_be = not subs or any("null" in self._kinds.of(sub) for sub, _ in subs)
            if member is None and not may_be:
                if isinstance(step, str) and not any(_requires(*view, step) for view in views):
                    continue
                member = self.constants.filled(subs)
                missing += [render_path(place)] if member is None else []
            kept[step] = self._without_nulls(member, subs, place, missing)
        return kept if isinstance(data, dict) else list(kept.values())

    def fills(self, name: str) -> bool:
        """Whether that field of the root is a constant."""
        subs = step_into(views_of(self._root, [(self._root, True)]), name)
        return self.constants.filled(subs) is not None

    def constants_in(self, data: Any) -> set[ValuePath]:
        """Where in ``data`` the schema says what stands there: nobody looked that up."""
        found: set[ValuePath] = set()
        if any(map(self.constants.fixes, every(self._root))):
            waiting: list[tuple[Any, list[tuple[Subschema, bool]], ValuePath]]
            waiting = [(data, [(self._root, True)], ())]
            while waiting:
                value, schemas, path = waiting.pop()
                if self.constants.is_constant(value, schemas):
                    found |= {(*path, *inner) for inner, _ in iter_leaves(value)}
                elif isinstance(value, dict | list):
                    views = views_of(self._root, schemas)
                    members = value.items() if isinstance(value, dict) else enumerate(value)
                    waiting += ((sub, step_into(views, at), (*path, at)) for at, sub in members)
        return found

    def _errors(self, data: Any, *, nulls: bool) -> "list[ValidationError]":
        """What is wrong, by its place.

        Raises:
            RecursionError: the data is nested too deeply.
        """
        import jsonschema_rs

        if nulls not in self._built:
            rules = _Rules(self._source, self._draft, nulls=nulls).build()
            judges = _format_judges()
            validator = _with_engine(
                lambda engine: jsonschema_rs.validator_for(
                    rules, formats=judges, validate_formats=True, offline=True,
                    pattern_options=engine,
                )
            )  # fmt: skip
            self._built[nulls] = rules, validator
        rules, validator = self._built[nulls]
        try:
            errors = list(validator.iter_errors(_whole(data)))
        except ValueError:  # the library stops at 255 levels
            raise RecursionError from None
        found = (each for error in errors for each in _without_exceptions(error, rules))
        return sorted((_meant(each, rules) for each in found), key=_place)


def _without_exceptions(error: "ValidationError", rules: Json) -> "Iterator[ValidationError]":
    """What the user's rule says, where we had let something else pass too."""
    _, holder = _follow_steps(rules, error.schema_path[:-1])
    branches = _branches(error)
    if branches and isinstance(holder, dict) and _EXCEPT in holder:
        for inner in branches[0]:
            yield from _without_exceptions(inner, rules)
    else:
        yield error


def _follow_steps(value: Any, path: list[str | int]) -> tuple[ValuePath, Any]:
    """The library's path into ``value`` and what stands there (None where nothing does). The
    library takes a name such as "007" for the number 7."""
    steps: list[str | int] = []
    for step in path:
        if isinstance(value, dict):
            same = (name for name in value if _COUNT.fullmatch(name) and int(name) == step)
            step = str(step) if str(step) in value else next(same, str(step))
            value = value.get(step)
        else:
            value = value[step] if isinstance(value, list) and isinstance(step, int) else None
        steps.append(step)
    return tuple(steps), value


_COUNT = re.compile(r"\+?[0-9]{1,30}")


def _branches(error: "ValidationError") -> "list[list[ValidationError]]":
    return getattr(error.kind, "context", [])


def _holds_null(value: Any) -> bool:
    return value is None or any(map(_holds_null, _members(value)))


def _requires(view: Json, firm: bool, name: str) -> bool:
    """Whether a schema wants the key: always, or in a branch that describes it. A branch that
    only names it (``oneOf: [{"required": ["a"]}, …]``) offers a choice."""
    required = view.get("required")
    wanted = isinstance(required, list) and name in required
    return wanted and (firm or name in view.get("properties", {}))


def _meant(error: "ValidationError", rules: Json) -> "ValidationError":
    """What is really wrong where a schema offers a choice: what is wrong deepest inside, in a
    branch that is of the right type. Where branches do not differ in that, the choice itself."""
    while branches := _branches(error):
        inside = (each for branch in branches for each in branch)
        ranked = sorted(
            (each for inner in inside for each in _without_exceptions(inner, rules)), key=_rank
        )
        if not ranked or (ranked[1:] and _rank(ranked[0]) == _rank(ranked[1])):
            break
        error = ranked[0]
    return error


def _rank(error: "ValidationError") -> tuple[int, list[str], bool, bool]:
    kind = error.kind.name
    return -len(error.instance_path), _place(error), kind == "type", kind in ("anyOf", "oneOf")


def _place(error: "ValidationError") -> list[str]:
    return [str(step) for step in error.instance_path]


def _in_words(error: "ValidationError", path: ValuePath, whole: str) -> str:
    message = error.message
    if message.startswith(_STOPPED):
        message = (
            "a pattern with look-around or a back-reference takes too many steps on it;"
            " write the pattern without them"
        )
    if error.kind.name == "enum":  # the library names three of them
        options = json.dumps(error.kind.as_dict()["options"], ensure_ascii=False)
        message = f"{json.dumps(error.instance, ensure_ascii=False)} is not one of {options}"
    message = " ".join(message.split())
    if len(message) > MAX_MESSAGE:
        half = MAX_MESSAGE // 2
        message = f"{message[:half]} … {message[-half:]}"
    return f"{render_path(path, whole)}: {message}"
