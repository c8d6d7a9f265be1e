"""What becomes of each keyword of a schema: enforced while decoding, checked afterwards, or only
read. llguidance is asked about every schema that it does not take whole."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.decoding import DECODED, close_schema
from gemma_edge.extract.schemas.enforcing import (
    Dropped,
    Enforced,
    enforce,
    refusal,
    refused_keywords,
)
from gemma_edge.extract.schemas.formats import known_formats
from gemma_edge.extract.schemas.schema import Schema
from gemma_edge.extract.schemas.semantic import kind_of_leaf
from gemma_edge.extract.schemas.walk import LISTED, NAMED, SINGLE, Json

Fate = Literal["decoding", "afterwards", "refused", "read"]

_DEFINITIONS = ("$defs", "definitions")
_OTHER_DRAFT = "it is no keyword of the draft that the schema is of"
_NOT_TOLD = "it is not told to the decoder"


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
        """In how many places keywords have this fate."""
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
    for place, node in iter_places(schema.source):
        for keyword, fate, why in judge.rulings(node):
            counts[keyword, fate, why] += 1
            first.setdefault((keyword, fate, why), place)
    rulings = tuple(Ruling(place, *said, places=counts[said]) for said, place in first.items())
    return Examination(rulings, enforced, reason)


def iter_places(schema: Json) -> Iterator[tuple[str, Json]]:
    """Every schema in ``schema`` with its JSON pointer, outer ones first; a semantic type is one
    place, whatever it is made of."""
    waiting: list[tuple[str, Any]] = [("#", schema)]
    while waiting:
        place, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield place, node
        if kind_of_leaf(node):
            continue
        inner: list[tuple[str, Any]] = []
        for keyword, value in node.items():
            here = f"{place}/{keyword}"
            if keyword in NAMED and isinstance(value, dict):
                inner += [(f"{here}/{_escaped(name)}", sub) for name, sub in value.items()]
            elif keyword in LISTED and isinstance(value, list):
                inner += [(f"{here}/{number}", sub) for number, sub in enumerate(value)]
            elif keyword in SINGLE:
                inner.append((here, value))
        waiting += reversed(inner)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


@dataclass(slots=True)
class _Judge:
    """Asks llguidance about one schema at a time, and remembers its answers."""

    schema: Schema
    enforced: Enforced | None
    refusal: str
    _known: dict[str, dict[str, str]] = field(default_factory=dict)

    def rulings(self, node: Json) -> Iterator[tuple[str, Fate, str]]:
        """(keyword, fate, reason) of one schema's own keywords."""
        if kind := kind_of_leaf(node):
            rules = DECODED & self.schema.checker.keywords & node.keys()
            why = f"the {kind} is copied as it is printed, and converted by code"
            yield from ((keyword, "afterwards", why) for keyword in node if keyword in rules)
            yield from ((word, "read", _why_read(word)) for word in node if word not in rules)
            return
        refused = self._refused(node)
        for keyword, value in node.items():
            if keyword in _DEFINITIONS:
                continue
            yield keyword, *self._fate(keyword, value, refused)

    def _fate(self, keyword: str, value: Any, refused: dict[str, str]) -> tuple[Fate, str]:
        rule = keyword in self.schema.checker.keywords
        if keyword not in DECODED:
            return ("afterwards", _NOT_TOLD) if rule else ("read", _why_read(keyword))
        if keyword == "format" and value not in known_formats():
            return "read", f"nobody says what {json.dumps(value)} means"
        if self.enforced is None:
            return "refused", self.refusal
        if keyword not in refused:
            return "decoding", ""
        return ("afterwards", refused[keyword]) if rule else ("read", _OTHER_DRAFT)

    def _refused(self, node: Json) -> dict[str, str]:
        """Keywords that are not held while decoding, with llguidance's reasons."""
        if self.enforced is None or (not self.enforced.rung and not self.enforced.dropped):
            return {}
        told = {key: value for key, value in node.items() if key in DECODED}
        key = json.dumps(told)
        if key not in self._known:
            found = refused_keywords(told)
            if "oneOf" in told:
                reason = self._refusal_of_one_of(told["oneOf"])
                found |= {"oneOf": f"read as anyOf: {reason}"} if reason else {}
            for each in self.enforced.dropped:
                if each.keyword in told and _same(each, told[each.keyword]):
                    found.setdefault(each.keyword, each.reason)
            self._known[key] = found
        return self._known[key]

    def _refusal_of_one_of(self, branches: list[Any]) -> str:
        """Whether llguidance can tell the branches apart."""
        root = self.schema.source
        around = {key: root[key] for key in _DEFINITIONS if key in root}
        return refusal(close_schema({"oneOf": branches, **around}, nullable=False))


def _same(dropped: Dropped, value: Any) -> bool:
    """Whether it is this keyword that was taken out. Decoding has other schemas inside, and
    references to other places that keep the last word of the user's."""
    if dropped.keyword == "$ref":
        return str(dropped.value).rsplit("/", 1)[-1] == str(value).rsplit("/", 1)[-1]
    return dropped.keyword not in ("pattern", "format") or bool(dropped.value == value)


def _why_read(keyword: str) -> str:
    return "the model reads it" if keyword == "description" else ""
