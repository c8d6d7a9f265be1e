"""What becomes of each keyword of a schema, and what decoding lets through: known data, tried."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import SchemaError
from gemma_edge.extraction.decoding import (
    DECODED,
    Dropped,
    Enforced,
    close_schema,
    enforce,
    refusal,
    refused_keywords,
)
from gemma_edge.extraction.json_schema import FORMATS, Json, children, every
from gemma_edge.extraction.schema import Schema
from gemma_edge.extraction.values import kind_of_leaf
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import TextConstraint

# What becomes of each keyword of a schema: enforced while decoding, checked afterwards, or only
# read. llguidance is asked about every schema that it does not take whole.

Fate = Literal["decoding", "afterwards", "refused", "read"]

_DEFINITIONS = ("$defs", "definitions")
_OTHER_DRAFT = "it is no keyword of the draft that the schema is of"
_NOT_TOLD = "it is not told to the decoder"
_READ = {"description": "the model reads it"}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of one keyword in one place; ``places`` counts where it is the same."""

    place: str
    keyword: str
    fate: Fate
    reason: str = ""
    places: int = 1


@dataclass(frozen=True, slots=True)
class Examination:
    """``enforced`` is None where decoding refuses the schema; then ``refusal`` says why, and all
    that decoding would enforce is "refused"."""

    rulings: tuple[Ruling, ...]
    enforced: Enforced | None
    refusal: str = ""

    def count(self, fate: Fate) -> int:
        return sum(each.places for each in self.rulings if each.fate == fate)


def examine(schema: Schema, *, strict: bool = False) -> Examination:
    """Every keyword of ``schema``, in the order in which it is read; the same keyword with the
    same fate for the same reason is listed once."""
    enforced, reason = None, ""
    try:
        enforced = enforce(schema.strict_decoding if strict else schema.decoding)
    except SchemaError as error:
        reason = error.message
    judge = _Judge(schema, enforced, reason)
    counts: Counter[tuple[str, Fate, str]] = Counter()
    first: dict[tuple[str, Fate, str], str] = {}
    for place, node in _iter_places("#", schema.source):
        for keyword, fate, why in judge.rulings(node):
            counts[keyword, fate, why] += 1
            first.setdefault((keyword, fate, why), place)
    rulings = tuple(Ruling(place, *said, places=counts[said]) for said, place in first.items())
    return Examination(rulings, enforced, reason)


def _iter_places(place: str, schema: Json) -> Iterator[tuple[str, Json]]:
    """Every schema in ``schema`` with its JSON pointer, outer ones first; a semantic type is one
    place, whatever it is made of."""
    yield place, schema
    for path, sub in () if kind_of_leaf(schema) else children(schema):
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
        yield from _iter_places("/".join((place, *steps)), sub)


@dataclass(slots=True)
class _Judge:
    schema: Schema
    enforced: Enforced | None
    refusal: str
    _known: dict[str, dict[str, str]] = field(default_factory=dict)

    def rulings(self, node: Json) -> Iterator[tuple[str, Fate, str]]:
        if kind := kind_of_leaf(node):
            rules = DECODED & self.schema.checker.keywords & node.keys()
            why = f"the {kind} is copied as it is printed, and converted by code"
            yield from ((keyword, "afterwards", why) for keyword in node if keyword in rules)
            yield from ((word, "read", _READ.get(word, "")) for word in node if word not in rules)
            return
        refused = self._refused(node)
        for keyword, value in node.items():
            if keyword in _DEFINITIONS:
                continue
            yield keyword, *self._fate(keyword, value, refused)

    def _fate(self, keyword: str, value: Any, refused: dict[str, str]) -> tuple[Fate, str]:
        rule = keyword in self.schema.checker.keywords
        if keyword not in DECODED:
            return ("afterwards", _NOT_TOLD) if rule else ("read", _READ.get(keyword, ""))
        if keyword == "format" and value not in FORMATS:
            return "read", f"nobody says what {json.dumps(value)} means"
        if self.enforced is None:
            return "refused", self.refusal
        if keyword not in refused:
            return "decoding", ""
        return ("afterwards", refused[keyword]) if rule else ("read", _OTHER_DRAFT)

    def _refused(self, node: Json) -> dict[str, str]:
        if self.enforced is None or not (self.enforced.relaxed or self.enforced.dropped):
            return {}
        decoded = {key: value for key, value in node.items() if key in DECODED}
        key = json.dumps(decoded)
        if key not in self._known:
            found = refused_keywords(decoded)
            if "oneOf" in decoded:  # whether the branches can be told apart
                root = self.schema.source
                around = {key: root[key] for key in _DEFINITIONS if key in root}
                branches = {"oneOf": decoded["oneOf"], **around}
                if reason := refusal(close_schema(branches, nullable=False)):
                    found["oneOf"] = f"read as anyOf: {reason}"
            for each in self.enforced.dropped:
                if each.keyword in decoded and _same(each, decoded[each.keyword]):
                    found.setdefault(each.keyword, each.reason)
            self._known[key] = found
        return self._known[key]


def _same(dropped: Dropped, value: Any) -> bool:
    """Whether it is this keyword that was taken out. Decoding has other schemas inside, and
    references to other places that keep the last word of the user's."""
    if dropped.keyword == "$ref":
        return str(dropped.value).rsplit("/", 1)[-1] == str(value).rsplit("/", 1)[-1]
    return dropped.keyword not in ("pattern", "format") or bool(dropped.value == value)


# Data to the text that a constraint lets through, if there is one. A constraint fixes the order of
# the keys and asks for every declared one, so the text is looked for: the data's own keys where
# they may stand; for keys that it does not have null, or an empty list; numbers and texts in each
# of their spellings.

MAX_TRIES = 20_000  # pieces of text that are tried for one answer


@dataclass(frozen=True, slots=True)
class Spelled:
    """``text`` is the whole answer, None where none was found; ``reached`` is how far one got,
    and ``stuck`` what could not follow. ``undeclared`` are keys that stood in the way."""

    text: str | None
    reached: str = ""
    stuck: str = ""
    undeclared: tuple[str, ...] = ()


def spell(decoding: Json, constraint: "TextConstraint", data: Any, *, complete: bool) -> Spelled:
    """The text of ``data`` under ``constraint``, which is at its start and of the schema
    ``decoding``. With ``complete`` keys may be added that the data does not have. The search
    gives up after ``MAX_TRIES``."""
    speller = _Speller(decoding, constraint, complete)
    if speller.value(data) and constraint.complete:
        return Spelled("".join(speller.pieces))
    if not speller.pieces:  # else it is the constraint that wants more
        again = _Speller(decoding, constraint, complete, skip=True)
        if again.value(data) and constraint.complete:
            return Spelled(None, speller.reached, speller.stuck, tuple(again.skipped))
    return Spelled(None, speller.reached, speller.stuck)


class _Speller:
    """``pieces`` is the text so far; what does not lead on is taken back. With ``skip`` keys that
    may stand nowhere in their object are left out, and listed in ``skipped``."""

    def __init__(
        self, decoding: Json, constraint: "TextConstraint", complete: bool, *, skip: bool = False
    ) -> None:
        names = (name for schema in every(decoding) for name in schema.get("properties", ()))
        self._ranks = {name: rank for rank, name in enumerate(dict.fromkeys(names))}
        self._constraint, self._complete = constraint, complete
        self._tries, self._size = MAX_TRIES, 0
        self.pieces: list[str] = []
        self.reached = self.stuck = ""
        self._skip = skip
        self.skipped: list[str] = []

    def value(self, data: Any) -> bool:
        if isinstance(data, dict):
            return self._object(data)
        if isinstance(data, list):
            return self._list(data)
        return any(self._take(text) for text in _spellings(data))

    def _list(self, data: list[Any]) -> bool:
        mark = len(self.pieces)
        whole = self._take("[")
        for index, item in enumerate(data):
            whole = whole and (not index or self._take(", ")) and self.value(item)
            if not whole:
                break
        return (whole and self._take("]")) or self._back_to(mark)

    def _object(self, data: dict[str, Any]) -> bool:
        mark = len(self.pieces)
        if not self._take("{"):
            return False
        chosen: list[tuple[str, int]] = []
        known: set[str] = set()  # keys that may stand here, whatever their value
        choices = [self._candidates(data, chosen)]
        while choices:
            if not self._left(data, chosen) and self._take("}"):
                return True
            for name, member in choices[-1]:
                before = len(self.pieces)
                comma = ", " if chosen else ""
                if any(self._take(f"{comma}{key}: ") for key in _spellings(name)):
                    known.add(name)
                    if self.value(member):
                        chosen.append((name, before))
                        choices.append(self._candidates(data, list(chosen)))
                        break
                self._back_to(before)
            else:
                if self._skip and not known & self._left(data, chosen) and self._take("}"):
                    self.skipped += sorted(self._left(data, chosen))
                    return True
                choices.pop()
                if chosen:
                    self._back_to(chosen.pop()[1])
        return self._back_to(mark)

    def _left(self, data: dict[str, Any], chosen: list[tuple[str, int]]) -> set[str]:
        return data.keys() - {name for name, _ in chosen}

    def _candidates(
        self, data: dict[str, Any], chosen: list[tuple[str, int]]
    ) -> Iterator[tuple[str, Any]]:
        behind = {name for name, _ in chosen}
        last = len(self._ranks)
        for name in sorted(data, key=lambda name: self._ranks.get(name, last)):
            if name not in behind:
                yield name, data[name]
        if not self._complete:
            return
        forced = _member_name(self._constraint.forced())
        for name in self._ranks if forced is None else (forced,):
            if name not in data and name not in behind:
                yield name, None
                yield name, []

    def _take(self, text: str) -> bool:
        self._tries -= 1
        if self._tries < 0:
            return False
        if not self._constraint.take(text):
            if self._size > len(self.reached) or not self.stuck:
                self.reached, self.stuck = "".join(self.pieces), text
            return False
        self.pieces.append(text)
        self._size += len(text)
        return True

    def _back_to(self, mark: int) -> bool:
        """Take back all pieces from ``mark`` on; False, for the caller's return."""
        count = sum(len(piece.encode("utf-8")) for piece in self.pieces[mark:])
        if count:
            self._constraint.take_back(count)
            self._size -= sum(map(len, self.pieces[mark:]))
            del self.pieces[mark:]
        return False


def _member_name(forced: str) -> str | None:
    try:
        name, _ = json.JSONDecoder().raw_decode(forced.lstrip(", "))
    except ValueError:
        return None
    return name if isinstance(name, str) else None


def _spellings(value: Any) -> Iterator[str]:
    plain = json.dumps(value, ensure_ascii=False)
    yield plain
    if isinstance(value, str) and "\x7f" in value:  # llguidance wants it escaped, Python does not
        yield plain.replace("\x7f", r"\u007f")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        whole = format(Decimal(plain), "f")
        if whole != plain:
            yield whole
        if value == int(value):
            yield f"{int(value)}.0" if isinstance(value, int) else str(int(value))


# Schemas against instances that are known to be valid or not: what decoding lets through, and
# what the last check accepts.

UNDECLARED = "not declared by the schema, and objects are closed while decoding"
_TAIL = 60  # characters of a text that could not go on
_NAMES = 3  # keys that are named

# For a constraint, whether it lets a text through in the tokens of a model.
InTokens = Callable[[JsonConstraint], Callable[[str], bool]]


@dataclass(frozen=True, slots=True)
class Instance:
    valid: bool
    data: Any


@dataclass(frozen=True, slots=True)
class InstanceResult:
    """``decodable``: there is an answer that says the data, and the constraint lets it through;
    ``why`` not. ``accepted``: the user's own schema takes the data; ``problems`` say why not."""

    valid: bool
    decodable: bool
    why: str
    accepted: bool
    problems: tuple[str, ...]

    @property
    def undeclared(self) -> bool:
        return self.why.endswith(UNDECLARED)


@dataclass(frozen=True, slots=True)
class Trial:
    """``enforced`` is None where decoding refuses the schema, and ``refusal`` says why; then no
    instance is decodable."""

    enforced: Enforced | None
    refusal: str
    outcomes: tuple[InstanceResult, ...]

    @property
    def wrong(self) -> int:
        return sum(each.accepted != each.valid for each in self.outcomes)


def read_instances(value: Any, name: str) -> list[Instance]:
    """The ``tests`` of ``{"schema": …, "tests": [{"valid": true, "data": …}]}``.

    Raises:
        SchemaError: they are not of that form.
    """
    tests = value.get("tests") if isinstance(value, dict) else None
    if not isinstance(tests, list) or "schema" not in value:
        raise SchemaError(f"{name} has no instances", hint=_FORM_HINT)
    for number, test in enumerate(tests, 1):
        whole = isinstance(test, dict) and isinstance(test.get("valid"), bool) and "data" in test
        if not whole:
            raise SchemaError(f"{name}: instance {number} is not of the form", hint=_FORM_HINT)
    return [Instance(test["valid"], test["data"]) for test in tests]


_FORM_HINT = 'the form is {"schema": {…}, "tests": [{"valid": true, "data": …}]}'


def try_schema(
    schema: Schema, instances: Sequence[Instance], in_tokens: InTokens, *, strict: bool = False
) -> Trial:
    """Judge every instance, once by the constraint and once by the user's own schema. Nothing is
    lenient there: a null that the schema does not allow is wrong, ``strict`` or not."""
    from gemma_edge.engine.constraint import TextConstraint

    enforced, refused = None, ""
    try:
        enforced = enforce(schema.strict_decoding if strict else schema.decoding)
        wanted = JsonConstraint(schema=json.dumps(enforced.schema), relaxed=enforced.relaxed)
        constraint, accepts = TextConstraint(wanted), in_tokens(wanted)
    except SchemaError as error:
        enforced, refused = None, error.message

    def why_not(data: Any) -> str:
        if enforced is None:
            return refused
        constraint.reset()
        spelled = spell(enforced.schema, constraint, data, complete=not strict)
        if spelled.undeclared:
            names = ", ".join(f"`{name}`" for name in spelled.undeclared[:_NAMES])
            return f"{names}: {UNDECLARED}"
        if spelled.text is None:
            return f"{_shown(spelled.stuck)} cannot follow {_shown(spelled.reached, tail=True)}"
        if not _says(schema, spelled.text, data, strict):
            return "what decodes says more: a required key is missing in the data"
        return "" if accepts(spelled.text) else "the model's tokens do not spell it"

    outcomes = []
    for instance in instances:
        why = why_not(instance.data)
        problems = schema.checker.check(instance.data, strict=True).problems
        outcomes.append(InstanceResult(instance.valid, not why, why, not problems, problems))
    return Trial(enforced, refused, tuple(outcomes))


def _says(schema: Schema, text: str, data: Any, strict: bool) -> bool:
    answer = schema.checker.check(json.loads(text), strict=strict).data
    if answer == data:
        return True
    bare = _without_added(answer, data)
    judge = schema.checker.check
    return bool(bare == data and judge(data).problems == judge(answer).problems)


def _without_added(answer: Any, data: Any) -> Any:
    if isinstance(answer, dict) and isinstance(data, dict):
        return {
            name: _without_added(member, data.get(name))
            for name, member in answer.items()
            if name in data or member not in (None, [])
        }
    if isinstance(answer, list) and isinstance(data, list) and len(answer) == len(data):
        return [_without_added(*pair) for pair in zip(answer, data, strict=True)]
    return answer


def _shown(text: str, *, tail: bool = False) -> str:
    if len(text) > _TAIL:
        text = f"…{text[-_TAIL:]}" if tail else f"{text[:_TAIL]}…"
    return f"`{text.strip()}`" if text else "the start"
