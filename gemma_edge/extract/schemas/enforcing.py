"""How far decoding can be held to a schema, asked of llguidance itself.

The ladder: exact; ``oneOf`` read as ``anyOf``; keywords that it does not know left to the last
check. A schema that even the last rung refuses (a pattern with look-around, a reference that
refers to itself and has keywords beside it) loses the keywords that stand in the way. What is not
held while decoding is checked afterwards in any case.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from gemma_edge.engine.grammar import TextConstraint
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.walk import LISTED, NAMED, SINGLE, Json, every

Rung = Literal["", "coerce_one_of", "lenient"]
LADDER: tuple[Rung, ...] = ("", "coerce_one_of", "lenient")

_MAX_TRIES = 120  # of putting keywords back
_IMPOSSIBLE = "Unsatisfiable schema"
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
    """``schema`` compiles on ``rung``; ``dropped`` are the keywords it lost for that; ``reason``
    is why it did not compile on the first rung, "" if it did."""

    schema: Json
    rung: Rung
    dropped: tuple[Dropped, ...] = ()
    reason: str = ""


def refusal(schema: Json, rung: Rung = "") -> str:
    """Why llguidance does not compile a schema on a rung, in its words; "" where it does."""
    try:
        TextConstraint(JsonConstraint(schema=json.dumps(schema), relaxed=rung))
    except SchemaError as error:
        return error.message.removeprefix(PREFIX)
    return ""


def enforce(decoding: Json) -> Enforced:
    """The first rung that holds a decoding schema, or the last one with what is left of it.

    Raises:
        SchemaError: nothing helps; the message is llguidance's reason.
    """
    first = ""
    for rung in LADDER:
        reason = refusal(decoding, rung)
        if not reason:
            return Enforced(decoding, rung, reason=first)
        first = first or reason
    relieved = relieve(decoding)
    if relieved is None:
        raise SchemaError(f"{PREFIX}{first}", hint="simplify the schema; gemma-edge schema check")
    return relieved


def relieve(decoding: Json) -> Enforced | None:
    """The schema without the keywords that even the last rung refuses; None where that does not
    help, where it refuses nothing, or where no answer could be valid in the end."""
    schema, dropped = deepcopy(decoding), list[Dropped]()
    reason = refusal(schema, LADDER[-1])
    if not reason or reason.startswith(_IMPOSSIBLE):
        return None
    for node in every(schema):
        for keyword, why in refused_keywords(node, LADDER[-1]).items():
            dropped.append(Dropped(keyword, node[keyword], why))
            _drop(node, keyword)
    if not refusal(schema, LADDER[-1]):
        return Enforced(schema, LADDER[-1], tuple(dropped), reason)
    for suspects in (*((one,) for one in _SUSPECTS), _SUSPECTS):
        changes = [change for one in suspects for change in _take_out(schema, one, reason)]
        if refusal(schema, LADDER[-1]):
            for change in reversed(changes):
                change.put_back()
        else:
            dropped += [each.dropped for each in _needed(schema, changes)]
            return Enforced(schema, LADDER[-1], tuple(dropped), reason)
    return None


@dataclass(frozen=True, slots=True)
class _Change:
    """One keyword of one schema, which can be taken out and put back."""

    node: Json
    dropped: Dropped

    def take_out(self) -> None:
        _drop(self.node, self.dropped.keyword)

    def put_back(self) -> None:
        self.node[self.dropped.keyword] = self.dropped.value
        if self.dropped.keyword == "patternProperties":
            self.node.pop("additionalProperties")


def _take_out(schema: Json, suspect: str, reason: str) -> list[_Change]:
    """Take a keyword out wherever it stands."""
    changes = []
    for node in list(every(schema)):
        for keyword in _suspected(node, suspect):
            if keyword == "patternProperties" and "additionalProperties" in node:
                continue  # to put that back would not be the same schema
            changes.append(_Change(node, Dropped(keyword, node[keyword], reason)))
            changes[-1].take_out()
    return changes


def _needed(schema: Json, changes: list[_Change]) -> list[_Change]:
    """Put back what does no harm, half by half; what must stay out."""
    needed: list[_Change] = []
    waiting, tries = [changes], _MAX_TRIES
    while waiting:
        some = waiting.pop()
        tries -= 1
        if tries < 0:
            needed += some
            continue
        for change in reversed(some):
            change.put_back()
        if not refusal(schema, LADDER[-1]):
            continue
        for change in some:
            change.take_out()
        if len(some) == 1:
            needed += some
        else:
            half = len(some) // 2
            waiting += [some[half:], some[:half]]
    return needed


def _suspected(node: Json, suspect: str) -> list[str]:
    if suspect != "beside $ref":
        return [suspect] if suspect in node else []
    if "$ref" not in node:
        return []
    return [keyword for keyword in node if keyword not in ("$ref", "$defs", "$schema")]


def _drop(node: Json, keyword: str) -> None:
    """Take a keyword out. Keys that patterns described are then free, not forbidden."""
    del node[keyword]
    if keyword == "patternProperties":
        node["additionalProperties"] = True


def refused_keywords(node: Json, rung: Rung = "") -> dict[str, str]:
    """The keywords of one schema that llguidance refuses on a rung, each with its reason; what
    lies inside of them is not looked at, nor what references mean."""
    shallow = dict(_shallow(node))
    found: dict[str, str] = {}
    while shallow and (reason := refusal(shallow, rung)):
        culprit = next(_culprits(shallow, rung), None)
        if culprit is None:
            break
        found[culprit] = reason
        del shallow[culprit]
    return found


def _culprits(shallow: Json, rung: Rung) -> Iterator[str]:
    """Keywords that are refused alone, then those without which the rest is not."""
    kind = {"type": shallow["type"]} if "type" in shallow else {}
    rules = sorted((word for word in shallow if word != "type"), key=_FRAME.__contains__)
    yield from (word for word in rules if refusal({**kind, word: shallow[word]}, rung))
    for word in rules:
        if not refusal({key: value for key, value in shallow.items() if key != word}, rung):
            yield word


def _shallow(node: Json) -> Iterator[tuple[str, Any]]:
    """The schema with every schema inside of it emptied, and without what is known to depend on
    them: ``oneOf`` is decided by its branches."""
    for keyword, value in node.items():
        if keyword in NAMED and isinstance(value, dict):
            if keyword not in ("$defs", "definitions"):
                yield keyword, {name: _emptied(sub) for name, sub in value.items()}
        elif keyword in LISTED and isinstance(value, list):
            if keyword != "oneOf":
                yield keyword, [_emptied(sub) for sub in value]
        elif keyword in SINGLE:
            yield keyword, _emptied(value)
        elif keyword != "$ref":
            yield keyword, value


def _emptied(sub: Any) -> Any:
    return {} if isinstance(sub, dict) else sub
