"""How a document writes dates and numbers, from those in it that can be read in one way only. Pure.

"03/04/2024" alone is April or March; beside "03/25/2024" it is March. Nothing is inferred where two
of them contradict each other.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from gemma_edge.extract.values.types_date import possible_orders
from gemma_edge.extract.values.types_reading import Habits, Order

_DATE = re.compile(r"(?<![\w./-])\d{1,2}([/-])\d{1,2}\1(?:\d{4}|\d\d)(?![\w/-])")
# A number that says itself which sign is which: "1.234,56", "1,234.5".
_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3})+,\d{1,2}(?![\w,])"
                     r"|(?<![\w.,])\d{1,3}(?:,\d{3})+\.\d{1,2}(?![\w.])")  # fmt: skip
_CENTS = re.compile(r"\d([.,])\d{1,2}(?!\d)\D*$")
_NUMERIC = frozenset(("money", "amount", "percent"))


def infer_habits(
    known: Habits, leaves: Iterable[tuple[str, str]], text: str = ""
) -> tuple[Habits, tuple[str, ...]]:
    """``known`` with what the document shows, and a line for each habit that was found.

    ``leaves`` are the kinds and texts of values as printed; ``text`` is the whole document, which
    has more of them.
    """
    leaves = list(leaves)
    notes = []
    if not known.date:
        printed = [text for kind, text in leaves if kind == "date"]
        order, proof = _order([*printed, *(found[0] for found in _DATE.finditer(text))])
        if order:
            known = replace(known, date=order)
            notes.append(f'dates are read as {order}, as "{proof}" shows')
    if not known.decimal:
        printed = [text for kind, text in leaves if kind in _NUMERIC]
        sign, proof = _decimal(printed, text)
        if sign:
            known = replace(known, decimal=sign)
            notes.append(f'"{sign}" is read as the decimal sign, as "{proof}" shows')
    return known, tuple(notes)


def _order(printed: Iterable[str]) -> tuple[Order | Literal[""], str]:
    """The only order of all dates that have one, and the date that shows it."""
    found: dict[Order, str] = {}
    for each in printed:
        orders = possible_orders(each)
        if len(orders) == 1:
            found.setdefault(orders[0], each)
    return next(iter(found.items())) if len(found) == 1 else ("", "")


def _decimal(printed: Iterable[str], text: str) -> tuple[Literal["", ".", ","], str]:
    """The only decimal sign of all numbers that show one, and the number that shows it."""
    found: dict[Literal["", ".", ","], str] = {}
    for each in _NUMBER.finditer(text):
        found.setdefault("," if each[0].rfind(",") > each[0].rfind(".") else ".", each[0])
    for number in printed:
        if cents := _CENTS.search(number):
            found.setdefault("," if cents[1] == "," else ".", number)
    return next(iter(found.items())) if len(found) == 1 else ("", "")
