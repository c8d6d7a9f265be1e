"""The answer against the user's own schema, formats included. The last word on what is data.

A value that the document does not have comes as null. Where the user's schema does not require
the key, it is dropped, so that what is printed is valid as it stands; where it is required, null
is accepted and said aloud, unless ``strict``.
"""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from gemma_edge.errors import SchemaError
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from jsonschema import FormatChecker, ValidationError
    from jsonschema.protocols import Validator

# ----------------------------------------------------------------------------
# JSON text to values: strict, bounded, and with the place of what is wrong. Pure.


MAX_TEXT_BYTES = 4 << 20
MAX_NESTING = 200  # lists and objects of the JSON text; the deepest of 500 real schemas has 40

EXAMPLE_HINT = (
    'for example {"type": "object", "properties": {"vendor": {"type": "string"}}}, '
    'or in one line: "vendor, date, total num"'
)


def parse_json(text: str, name: str) -> Any:
    """JSON text to Python values; NaN, Infinity and bottomless nesting are refused.

    Raises:
        SchemaError: with the line and the column.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise SchemaError(
            f"{name} is larger than {render_bytes(MAX_TEXT_BYTES)}", hint="make it smaller"
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            hint=EXAMPLE_HINT,
        ) from None
    except ValueError as error:  # a constant that is not JSON, or a number of 5,000 digits
        raise SchemaError(f"{name} is not JSON: {error}", hint=EXAMPLE_HINT) from None
    except RecursionError:
        value = None
        _refuse_nesting(name)
    if _nesting(value) > MAX_NESTING:
        _refuse_nesting(name)
    return value


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


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _refuse_nesting(name: str) -> NoReturn:
    raise SchemaError(
        f"{name} is nested deeper than {MAX_NESTING} levels", hint="flatten it, or use $defs"
    )


def _nesting(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_NESTING:
        depth += 1
        level = [
            sub
            for item in level
            if isinstance(item, dict | list)
            for sub in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


# ----------------------------------------------------------------------------
# The formats of JSON Schema that the last check knows. Pure.


def known_formats() -> Mapping[str, Any]:
    """The formats that some draft defines, the newest definition of each. Draft 4 knows no
    ``date``, but whoever writes it means one, and decoding holds to it."""
    from jsonschema import validators

    drafts = (validators.Draft3Validator, validators.Draft4Validator, validators.Draft6Validator,
              validators.Draft7Validator, validators.Draft201909Validator,
              validators.Draft202012Validator)  # fmt: skip
    return {name: how for each in drafts for name, how in each.FORMAT_CHECKER.checkers.items()}


def make_format_checker(draft: type["Validator"]) -> "FormatChecker":
    """All known formats, by the draft's own definition where it has one."""
    from jsonschema import FormatChecker

    checker = FormatChecker()
    checker.checkers = {**known_formats(), **draft.FORMAT_CHECKER.checkers}
    return checker


# ----------------------------------------------------------------------------
# The shape of a JSON Schema: where its subschemas are, what a reference means, what a value may
# be. Pure; every walk ends, also over schemas that refer to themselves.


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


# ----------------------------------------------------------------------------
# Which schemas speak about one value of the data. Pure. Schemas go along as `(schema, firm)`: one
# that is not firm is a branch that may not hold.


Views = list[tuple[Json, bool]]


def iter_views(
    root: Json, schemas: Iterable[tuple[Subschema, bool]], seen: set[tuple[str, bool]]
) -> Iterator[tuple[Json, bool]]:
    """All schemas that speak about the same value as ``schemas``; ``seen`` starts empty."""
    for schema, firm in schemas:
        if not isinstance(schema, dict):
            continue
        yield schema, firm
        reference = schema.get("$ref")
        if isinstance(reference, str) and (reference, firm) not in seen:
            seen.add((reference, firm))
            target = resolve(root, reference)
            yield from iter_views(root, [(target or False, firm)], seen)
        yield from iter_views(root, [(sub, firm) for sub in schema.get("allOf", ())], seen)
        for keyword in ("anyOf", "oneOf"):
            yield from iter_views(root, [(sub, False) for sub in schema.get(keyword, ())], seen)
        branches = [schema[word] for word in ("then", "else") if word in schema]
        yield from iter_views(root, [(sub, False) for sub in branches], seen)


def member_schemas(views: Views, name: str) -> list[tuple[Subschema, bool]]:
    """What the views say about a member of an object."""
    found = []
    for view, firm in views:
        if name in view.get("properties", {}):
            found.append((view["properties"][name], firm))
        elif isinstance(view.get("additionalProperties"), dict):
            found.append((view["additionalProperties"], firm))
        for pattern, sub in view.get("patternProperties", {}).items():
            if re.search(pattern, name):
                found.append((sub, firm))
    return found


def item_schemas(views: Views, index: int) -> list[tuple[Subschema, bool]]:
    """What the views say about an element of a list."""
    found = []
    for view, firm in views:
        items = view.get("items")
        listed = view.get("prefixItems", items if isinstance(items, list) else ())
        if index < len(listed):
            found.append((listed[index], firm))
        elif isinstance(items, dict):
            found.append((items, firm))
    return found


MAX_PROBLEMS = 20  # spelled out; the rest is counted
MAX_MESSAGE = 160  # characters of one problem; the library quotes whole objects

# A place in the data for people: ``items[2].price``; the whole answer is "".
Path = str


@dataclass(frozen=True, slots=True)
class Verdict:
    """``data`` without the nulls that only meant "not there"; ``problems`` make it wrong;
    ``missing`` are required places that hold null. ``failing`` are the steps to what is wrong, one
    for each of the ``problems`` that names a place."""

    data: Any
    problems: tuple[str, ...]
    missing: tuple[Path, ...]
    failing: tuple[tuple[str | int, ...], ...] = ()


def find_flaw(source: Json) -> str:
    """Why ``source`` is no JSON Schema, in one line; empty where it is one."""
    problem = ""
    for draft in _drafts(source):
        error = next(iter(draft(draft.META_SCHEMA).iter_errors(source)), None)
        if error is None:
            return _bad_pattern(source)
        problem = problem or _in_words(error, "it")
    return problem


class Checker:
    """Judges answers by one schema (without flaws); what is slow is done once."""

    def __init__(self, source: Json) -> None:
        self._draft = next(
            draft for draft in _drafts(source) if draft(draft.META_SCHEMA).is_valid(source)
        )
        self._root = lone_references(source)
        # A "$schema" inside would bring the draft's own rules back, without our exceptions.
        self._plain = copy.deepcopy(source)
        for schema in every(self._plain):
            schema.pop("$schema", None)

    @property
    def keywords(self) -> Set[str]:
        """The keywords that are rules in the schema's draft; all others are read, not checked."""
        return self._draft.VALIDATORS.keys() | {"then", "else", "minContains", "maxContains"}

    def check(self, data: Any, *, strict: bool = False) -> Verdict:
        """Judge ``data``, parsed JSON."""
        missing: list[Path] = []
        if data is None and not strict and Kinds(self._root).of(self._root) & SCALARS:
            return Verdict(None, (), ("the whole answer",))
        if not strict:
            data = _Pruner(self._root, missing).value(data, [(self._root, True)], "")
        found = self._validator(strict).iter_errors(data)
        errors = sorted(found, key=lambda error: error.json_path)
        problems = [_in_words(error, "the answer") for error in errors[:MAX_PROBLEMS]]
        if len(errors) > MAX_PROBLEMS:
            problems.append(f"{len(errors) - MAX_PROBLEMS:,} more problems")
        failing = tuple(tuple(_inner(error).absolute_path) for error in errors[:MAX_PROBLEMS])
        return Verdict(data, tuple(problems), tuple(missing), failing)

    def _validator(self, strict: bool) -> "Validator":
        from referencing import Registry

        draft = self._draft if strict else _forgiving(self._draft)
        # An empty registry: the library would fetch what is not there.
        return draft(
            self._plain, registry=Registry(), format_checker=make_format_checker(self._draft)
        )


def _drafts(source: Json) -> Iterator[type["Validator"]]:
    """The draft that the schema names, or those that one without a name may be of."""
    from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator, validators

    named = validators.validator_for(source, default=Draft202012Validator)
    yield named
    if named is Draft202012Validator and "$schema" not in source:
        yield from (Draft7Validator, Draft4Validator)


def _forgiving(draft: type["Validator"]) -> type["Validator"]:
    """The draft, except that any member and any element may be null."""
    from jsonschema import validators

    own = draft.VALIDATORS
    extend: Any = validators.extend
    forgiving: type[Validator] = extend(
        draft,
        {
            "properties": _without_nulls(own["properties"]),
            "patternProperties": _without_nulls(own["patternProperties"]),
            "items": _items,
            "oneOf": _one_of(own.get("oneOf")),
        },
    )
    return forgiving


def _without_nulls(check: Callable[..., Any]) -> Callable[..., Any]:
    """The keyword over the members that are not null."""

    def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if isinstance(instance, dict):
            instance = {name: member for name, member in instance.items() if member is not None}
        yield from check(validator, value, instance, schema) or ()

    return keyword


def _items(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    """``items`` of any draft over the elements that are not null."""
    if not isinstance(instance, list):
        return
    first = len(schema.get("prefixItems", ())) if isinstance(schema, dict) else 0
    for index, item in enumerate(instance[first:], first):
        each = value if not isinstance(value, list) else (value[index:] or [True])[0]
        if item is not None:
            yield from validator.descend(item, each, path=index)


def _one_of(check: Callable[..., Any] | None) -> Callable[..., Any]:
    """``oneOf``; with nulls in it, a value may well be of several branches."""

    def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        several = _holds_null(instance) and any(
            validator.evolve(schema=branch).is_valid(instance) for branch in value
        )
        if check is not None and not several:
            yield from check(validator, value, instance, schema) or ()

    return keyword


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_null, value.values() if isinstance(value, dict) else value))
    return value is None


class _Pruner:
    """Drops null members that nothing requires; notes those that something does."""

    def __init__(self, root: Json, missing: list[Path]) -> None:
        self._root, self._kinds, self._missing = root, Kinds(root), missing

    def value(self, data: Any, schemas: list[tuple[Subschema, bool]], path: Path) -> Any:
        """``data`` without its superfluous nulls."""
        views = list(iter_views(self._root, schemas, set()))
        if isinstance(data, list):
            return [
                self.value(item, item_schemas(views, index), f"{path}[{index}]")
                for index, item in enumerate(data)
            ]
        if not isinstance(data, dict):
            return data
        kept = {}
        for name, member in data.items():
            place = f"{path}.{name}" if path else name
            subs = member_schemas(views, name)
            if member is None and subs and not self._may_be_null(subs):
                if not any(_requires(view, firm, name) for view, firm in views):
                    continue
                self._missing.append(place)
            kept[name] = self.value(member, subs, place)
        return kept

    def _may_be_null(self, schemas: list[tuple[Subschema, bool]]) -> bool:
        return any("null" in self._kinds.of(schema) for schema, _ in schemas)


def _requires(view: Json, firm: bool, name: str) -> bool:
    """Whether a schema wants the key: always, or in a branch that describes it. A branch that
    only names it (``oneOf: [{"required": ["a"]}, …]``) offers a choice."""
    required = view.get("required")
    wanted = isinstance(required, list) and name in required
    return wanted and (firm or name in view.get("properties", {}))


def _bad_pattern(source: Json) -> str:
    for schema in every(source):
        for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
            try:
                re.compile(pattern if isinstance(pattern, str) else "")
            except re.error as error:
                return f'the pattern "{pattern[:60]}" is not understood ({error})'
    return ""


def _in_words(error: "ValidationError", whole: str) -> str:
    """``items[2].qty: 'two' is not of type 'integer'``, in one line."""
    inner = _inner(error)
    path = inner.json_path.removeprefix("$").removeprefix(".") or whole
    message = " ".join(inner.message.split())
    if len(message) > MAX_MESSAGE:
        half = MAX_MESSAGE // 2
        message = f"{message[:half]} … {message[-half:]}"
    return f"{path}: {message}"


def _inner(error: "ValidationError") -> "ValidationError":
    """What is really wrong, where a schema offers a choice."""
    from jsonschema.exceptions import best_match

    return best_match([error]) or error
