"""Schemas against instances that are known to be valid or not: what decoding lets through, and
what the last check accepts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.engine.grammar import TextConstraint
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.enforcing import Enforced, enforce
from gemma_edge.extract.schemas.schema import Schema
from gemma_edge.extract.schemas.spelling import spell

UNDECLARED = "not declared by the schema, and objects are closed while decoding"
_TAIL = 60  # characters of a text that could not go on
_NAMES = 3  # keys that are named

# For a constraint, whether it lets a text through in the tokens of a model.
InTokens = Callable[[JsonConstraint], Callable[[str], bool]]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance and what is known of it."""

    valid: bool
    data: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """``decodable``: there is an answer that says the data, and the constraint lets it through;
    ``why`` not. ``accepted``: the user's own schema takes the data; ``problems`` say why not."""

    valid: bool
    decodable: bool
    why: str
    accepted: bool
    problems: tuple[str, ...]

    @property
    def undeclared(self) -> bool:
        """It cannot be decoded because of keys that the schema does not declare."""
        return self.why.endswith(UNDECLARED)


@dataclass(frozen=True, slots=True)
class Trial:
    """``enforced`` is None where decoding refuses the schema, and ``refusal`` says why; then no
    instance is decodable."""

    enforced: Enforced | None
    refusal: str
    outcomes: tuple[Outcome, ...]

    @property
    def wrong(self) -> int:
        """Instances that the last check judges otherwise than is known."""
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
    try:
        walker = _Walker(schema, in_tokens, strict)
    except SchemaError as error:
        walker, refusal = None, error.message
    outcomes = []
    for instance in instances:
        why = walker.why_not(instance.data) if walker else refusal
        problems = schema.checker.check(instance.data, strict=True).problems
        outcomes.append(Outcome(instance.valid, not why, why, not problems, problems))
    if walker is None:
        return Trial(None, refusal, tuple(outcomes))
    return Trial(walker.enforced, "", tuple(outcomes))


class _Walker:
    """Walks answers through the constraint of one schema, compiled once.

    Raises:
        SchemaError: decoding refuses the schema.
    """

    def __init__(self, schema: Schema, in_tokens: InTokens, strict: bool) -> None:
        self._schema, self._strict = schema, strict
        self.enforced = enforce(schema.strict_decoding if strict else schema.decoding)
        held, rung = self.enforced.schema, self.enforced.rung
        wanted = JsonConstraint(schema=json.dumps(held), relaxed=rung)
        self._constraint, self._accepts = TextConstraint(wanted), in_tokens(wanted)

    def why_not(self, data: Any) -> str:
        """Why the constraint does not let ``data`` through, "" where it does."""
        self._constraint.reset()
        spelled = spell(self.enforced.schema, self._constraint, data, complete=not self._strict)
        if spelled.undeclared:
            names = ", ".join(f"`{name}`" for name in spelled.undeclared[:_NAMES])
            return f"{names}: {UNDECLARED}"
        if spelled.text is None:
            return f"{_shown(spelled.stuck)} cannot follow {_shown(spelled.reached, tail=True)}"
        if not _says(self._schema, spelled.text, data, self._strict):
            return "what decodes says more: a required key is missing in the data"
        return "" if self._accepts(spelled.text) else "the model's tokens do not spell it"


def _says(schema: Schema, text: str, data: Any, strict: bool) -> bool:
    """Whether the answer ``text`` means ``data``: the same, but for nulls and empty lists whose
    absence makes no difference to the last check."""
    answer = schema.checker.check(json.loads(text), strict=strict).data
    if answer == data:
        return True
    bare = _without_added(answer, data)
    judge = schema.checker.check
    return bool(bare == data and judge(data).problems == judge(answer).problems)


def _without_added(answer: Any, data: Any) -> Any:
    """The answer without nulls and empty lists under keys that the data does not have."""
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
