"""What a recipe is made of besides its schema, and how each part is written on a command line.
Pure."""

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, get_args

from gemma_edge.errors import InputError
from gemma_edge.extract.expressions.expression import CENTS, Expression, parse_expression
from gemma_edge.extract.values.types_reading import Habits, Order

Severity = Literal["error", "warn"]

# The line of the recipe's file, 0 where there is none; two parts that say the same are the same.
Line = int
_FIELD = re.compile(r"\s*([^\s:\"'][^:\"']{0,79}?)\s*:\s+(\S.*)", re.DOTALL)
_HABIT_HINT = "date=dmy, decimal=, region=DE and currency=EUR are habits"
# What documents may do in their own way, and the choices, or the form of a code.
HABITS: dict[str, Any] = {
    "date": get_args(Order),
    "decimal": (".", ","),
    "region": re.compile(r"[A-Z]{2}"),
    "currency": re.compile(r"[A-Z]{3}"),
}
_COMPUTED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)


def _line() -> Any:
    return field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """``text`` about ``field``, a place in the schema like ``items.price``; "" is about all."""

    text: str
    field: str = ""
    line: Line = _line()


@dataclass(frozen=True, slots=True)
class CounterExample:
    """What looks like the value of ``field`` and is not: ``text`` as a document prints it, or
    ``like`` in words; ``why`` it is not."""

    field: str
    text: str = ""
    like: str = ""
    why: str = ""
    line: Line = _line()


@dataclass(frozen=True, slots=True)
class Example:
    """Another document, as text, and the answer to it as the model writes it: as printed. ``name``
    is the file, "" where the text stands in the recipe."""

    text: str
    expect: Any
    name: str = ""
    line: Line = _line()


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that code computes and the model is never asked for."""

    name: str
    expression: Expression
    line: Line = _line()


@dataclass(frozen=True, slots=True)
class Check:
    """What has to hold; ``fields`` are asked again where it does not. ``tolerance`` is how far
    ``~=`` goes, ``why`` says in words what does not hold."""

    expression: Expression
    severity: Severity = "error"
    fields: tuple[str, ...] = ()
    tolerance: Decimal = CENTS
    why: str = ""
    line: Line = _line()


def parse_rule(text: str, fields: tuple[str, ...] = ()) -> Rule:
    """``--rule "total: after tax"`` is about a field if there is one of that name."""
    found = _FIELD.fullmatch(text)
    if found and found[1] in fields:
        return Rule(found[2].strip(), found[1])
    return Rule(_said(text, "rule"))


def parse_counter_example(text: str) -> CounterExample:
    """``--not "total: Balance forward 1,204.00"``; behind `` -- `` may stand why.

    Raises:
        InputError: no field is named.
    """
    found = _FIELD.fullmatch(_said(text, "counter-example"))
    if not found:
        raise InputError(
            f"the counter-example `{text[:80]}` names no field",
            hint='--not "total: Balance forward 1,204.00 -- of the previous invoice"',
        )
    shown, _, why = found[2].partition(" -- ")
    return CounterExample(found[1], shown.strip(), why=why.strip())


def parse_computed(text: str) -> Computed:
    """``--compute "net_days = (due_date - date).days"``.

    Raises:
        InputError: it is not of that form, or the expression is wrong.
    """
    found = _COMPUTED.fullmatch(text)
    if not found:
        raise InputError(
            f"`{text[:80]}` computes nothing: name = expression",
            hint='--compute "items_sum = sum(items.amount)"',
        )
    return Computed(found[1], parse_expression(found[2]))


def parse_check(text: str) -> Check:
    """``--check "subtotal + tax ~= total"``: an error if it does not hold; all of its fields are
    asked again.

    Raises:
        InputError: the expression is wrong.
    """
    return Check(parse_expression(text))


def set_habit(habits: Habits, name: str, value: str) -> Habits:
    """One habit of how the documents write: ``date`` is ``dmy``, ``decimal`` is ``,``.

    Raises:
        InputError: there is no such habit, or it cannot be that.
    """
    allowed = HABITS.get(name)
    if allowed is None:
        raise InputError(
            f"`{name[:40]}` is no habit; there are {', '.join(HABITS)}", hint=_HABIT_HINT
        )
    if isinstance(allowed, tuple) and value not in allowed:
        raise InputError(f"`{value[:20]}` is none of {' '.join(allowed)}", hint=_HABIT_HINT)
    if isinstance(allowed, re.Pattern) and not allowed.fullmatch(value):
        code = "DE" if name == "region" else "EUR"
        raise InputError(f"`{value[:20]}` is no code like {code}", hint=_HABIT_HINT)
    changed: Any = {name: value}
    return replace(habits, **changed)


def parse_habit(text: str, habits: Habits) -> Habits:
    """``--normalize date=dmy`` added to ``habits``.

    Raises:
        InputError: it is none.
    """
    name, _, value = text.partition("=")
    return set_habit(habits, name.strip(), value.strip())


def _said(text: str, what: str) -> str:
    if not text.strip():
        raise InputError(f"the {what} is empty", hint="write what the document's reader must know")
    return text.strip()
