"""The values that expressions compute with: JSON in, decimals and dates inside, JSON out. Pure."""

import ast
import decimal
import operator
import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

MAX_DIGITS = 50  # of a result; money has 15
MAX_DAYS = 4_000_000  # that are added to a date: more than the calendar has
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
CONTEXT = decimal.Context(
    prec=MAX_DIGITS, Emax=300, Emin=-300,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)  # fmt: skip


class RunError(Exception):
    """Something that cannot be computed; ``column`` is where, from 0."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


def lift(value: Any) -> Any:
    """JSON to what is computed with: numbers are decimal, texts that are ISO dates are dates."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return Decimal(repr(value))
    if isinstance(value, str) and _ISO.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return value
    return value


def plain(value: Any) -> Any:
    """What was computed as JSON; a whole number is an int."""
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value(context=CONTEXT)
        return int(value) if whole else float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def lift_all(value: Any) -> Any:
    """``lift``, also in lists."""
    return [lift_all(each) for each in value] if isinstance(value, list) else lift(value)


def kind_in_words(value: Any) -> str:
    """What a value is, for a message."""
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (Decimal, "a number"), (int, "a number"), (float, "a number"),
             (date, "a date"), (str, "a text"), (list, "a list"))  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")


def as_decimal(value: Any) -> Decimal:
    """A number.

    Raises:
        RunError: it is something else.
    """
    if isinstance(value, Decimal):
        return value
    shown = f" ({value!r:.40})" if isinstance(value, str) else ""
    raise RunError(f"{kind_in_words(value)}{shown} is no number")


def arithmetic(sign: type[ast.operator], left: Any, right: Any) -> Any:
    """One operation on numbers, or on dates and days."""
    if isinstance(left, date) or isinstance(right, date):
        return _with_dates(sign, left, right)
    left, right = as_decimal(left), as_decimal(right)
    operations: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
        ast.Add: CONTEXT.add,
        ast.Sub: CONTEXT.subtract,
        ast.Mult: CONTEXT.multiply,
        ast.Div: CONTEXT.divide,
        ast.FloorDiv: CONTEXT.divide_int,
        ast.Mod: CONTEXT.remainder,
    }
    return operations[sign](left, right)


def _with_dates(sign: type[ast.operator], left: Any, right: Any) -> Any:
    """Date minus date is a number of days; date and days is a date."""
    if sign is ast.Sub and isinstance(left, date) and isinstance(right, date):
        return Decimal((left - right).days)
    if sign in (ast.Add, ast.Sub) and isinstance(left, date):
        days = as_decimal(right)
        if days != days.to_integral_value(context=CONTEXT) or abs(days) > MAX_DAYS:
            raise RunError(f"{days} is no number of days")
        return left + timedelta(days=int(days if sign is ast.Add else -days))
    raise RunError("dates are only subtracted, and days added to them")


def compared(sign: type[ast.cmpop], left: Any, right: Any) -> bool:
    """One comparison of values of one kind."""
    if sign in (ast.Eq, ast.NotEq):
        return bool((left == right) == (sign is ast.Eq))
    if kind_in_words(left) != kind_in_words(right) or isinstance(left, bool | dict):
        raise RunError(f"{kind_in_words(left)} and {kind_in_words(right)} have no order")
    orders: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
        ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    }  # fmt: skip
    return bool(orders[sign](left, right))
