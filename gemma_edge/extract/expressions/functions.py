"""The functions that expressions may call. Pure."""

import decimal
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from gemma_edge.extract.expressions.values import (
    CONTEXT,
    MAX_DIGITS,
    RunError,
    as_decimal,
    kind_in_words,
)
from gemma_edge.extract.values.mrz import read_mrz


class Steps(Protocol):
    """What a function needs of the evaluation: to be counted, and to go through lists."""

    def step(self) -> None:
        """Count one operation."""

    def each(self, values: list[Any], function: Callable[..., Any]) -> Any:
        """A function over scalars, and item by item over lists of one length."""


def _flat(run: Steps, value: Any) -> list[Any]:
    """The items of a list, also of lists in it."""
    if not isinstance(value, list):
        raise RunError(f"{kind_in_words(value)} is no list")
    found: list[Any] = []
    for each in value:
        run.step()
        found += _flat(run, each) if isinstance(each, list) else [each]
    return found


def _sum(run: Steps, value: Any) -> Any:
    if value is None:
        return None
    items = _flat(run, value)
    if None in items:
        return None
    total = Decimal(0)
    for item in items:
        total = CONTEXT.add(total, as_decimal(item))
    return total


def _extreme(choose: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def of(run: Steps, *values: Any) -> Any:
        items = _flat(run, list(values))
        if None in items or not items:
            return None
        if len(set(map(kind_in_words, items))) > 1 or isinstance(items[0], bool | dict):
            raise RunError("these values have no order")
        return choose(items)

    return of


def _length(run: Steps, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list | str):
        raise RunError(f"{kind_in_words(value)} has no length")
    return Decimal(len(value))


def _round(run: Steps, value: Any, digits: Any = Decimal(0)) -> Any:
    """To the nearest, half away from zero, as on invoices."""
    places = int(as_decimal(digits))
    if abs(places) > MAX_DIGITS:
        raise RunError(f"{places} digits are too many")
    step = Decimal(1).scaleb(-places)

    def rounded(number: Any) -> Decimal:
        return as_decimal(number).quantize(step, decimal.ROUND_HALF_UP, CONTEXT)

    return run.each([value], rounded)


def _absolute(run: Steps, value: Any) -> Any:
    return run.each([value], lambda number: abs(as_decimal(number)))


def _quantified(deciding: bool) -> Callable[..., Any]:
    """``any`` and ``all``: one item may decide; else a null leaves it open."""

    def of(run: Steps, value: Any) -> Any:
        if value is None:
            return None
        items = _flat(run, value)
        if any(item is not None and bool(item) is deciding for item in items):
            return deciding
        return None if None in items else not deciding

    return of


def _date(run: Steps, value: Any) -> Any:
    if value is not None and not isinstance(value, date):
        raise RunError(f"{kind_in_words(value)} is no date like 2024-05-06")
    return value


def _default(run: Steps, value: Any, instead: Any) -> Any:
    """``instead`` for null, also in a list."""
    if isinstance(value, list):
        return [_default(run, each, instead) for each in value]
    run.step()
    return instead if value is None else value


def _previous(run: Steps, value: Any, first: Any) -> Any:
    """The list moved by one: what stands in the row before, and ``first`` in the first row."""
    if value is None:
        return None
    return [first, *_rows(value)][: len(value)]


def _following(run: Steps, value: Any, last: Any) -> Any:
    """What stands in the row after, and ``last`` in the last row."""
    return None if value is None else [*_rows(value)[1:], last][: len(value)]


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RunError(f"{kind_in_words(value)} is no list")
    return value


def _mrz(run: Steps, value: Any) -> Any:
    if value is None or value == []:  # most documents have none
        return None
    lines = value.splitlines() if isinstance(value, str) else _rows(value)
    if not all(isinstance(line, str) for line in lines):
        raise RunError("the lines of a machine-readable zone are texts")
    return read_mrz(lines)


# The functions: the fewest and the most values, and what they do.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "sum": (1, 1, _sum),
    "min": (1, 9, _extreme(min)),
    "max": (1, 9, _extreme(max)),
    "len": (1, 1, _length),
    "round": (1, 2, _round),
    "abs": (1, 1, _absolute),
    "any": (1, 1, _quantified(True)),
    "all": (1, 1, _quantified(False)),
    "date": (1, 1, _date),
    "default": (2, 2, _default),
    "previous": (2, 2, _previous),
    "following": (2, 2, _following),
    "mrz": (1, 1, _mrz),
}
