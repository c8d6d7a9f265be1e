"""The answer against the user's own schema, formats included. The last word on what is data.

A value that the document does not have comes as null. Where the user's schema does not require
the key, it is dropped, so that what is printed is valid as it stands; where it is required, null
is accepted and said aloud, unless ``strict``.
"""

import copy
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemma_edge.extract.schemas.formats import make_format_checker
from gemma_edge.extract.schemas.views import item_schemas, iter_views, member_schemas
from gemma_edge.extract.schemas.walk import SCALARS, Json, Kinds, Subschema, every, lone_references

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

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
