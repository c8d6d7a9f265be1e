"""Printed numbers, amounts of money and percentages to values. Pure.

A number has groups and a decimal sign, and which is which depends on the country. "1.234,56" and
"1,234.56" say it themselves; "1.234" does not, unless a habit is known.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gemma_edge.extract.values.types_reading import Habits, Reading, tables

_GROUP = 3  # digits between two signs
_MINUS = "-−–"
_DECIMAL_ADVICE = "the decimal sign of the document"
_SPACES = dict.fromkeys(map(ord, " \u00a0\u2007\u2009\u202f'’`"))
_NUMBER = re.compile(r"\d(?:[\d.,'’` \u00a0\u2007\u2009\u202f]*\d)?|[.,]\d+")
_SPACED = re.compile(r"\d{1,3}([ \u00a0\u2007\u2009\u202f'’`]\d{3})+([.,]\d+)?")
_ROUND = re.compile(r"[.,](?:[-–—]{1,2}|=)(?=\D*$)")  # "12,- EUR", "5.–"
_BRACKETS = re.compile(r"\(([^()]*\d[^()]*)\)")  # a loss, to accountants
_UNIT = re.compile(r"([^A-Za-z]*\d)\s?([^\W\d_]{1,20}\.?)")  # "3 pcs", "2.5 h"
_SIDES = frozenset(
    ("CR", "Cr", "DR", "Dr", "OD", "S", "H")
)  # credit, debit, overdrawn; Soll and Haben
_PERCENT = re.compile(
    r"%|％|\b(?:percent|per cent|prozent|pour cent|por ciento|per cento|procent)\b", re.IGNORECASE
)


def read_number(digits: str, habits: Habits) -> list[Decimal]:
    """All that a run of digits, dots, commas and spaces can mean, without a sign."""
    if re.search(r"[^\d.,]", digits) and not _SPACED.fullmatch(digits):
        return []
    plain = digits.translate(_SPACES)
    marks = [char for char in plain if char in ".,"]
    if not marks:
        return [Decimal(plain)]
    last = marks[-1]
    if len(marks) == 1:
        return _one_mark(plain, last, habits, grouped=plain != digits)
    if plain != digits:  # spaces are the groups, so there is only a decimal sign
        return []
    whole, _, cents = plain.rpartition(last)
    if marks.count(last) == 1 and len(set(marks)) > 1:
        other = marks[0]
        return [_decimal(whole.replace(other, ""), cents)] if _is_grouped(whole, other) else []
    fits = _is_grouped(plain, last) and last != habits.decimal
    return [Decimal(plain.replace(last, ""))] if fits else []


def _one_mark(plain: str, mark: str, habits: Habits, *, grouped: bool) -> list[Decimal]:
    """A single dot or comma: before three digits it can be either sign."""
    whole, _, cents = plain.partition(mark)
    as_decimal, as_group = _decimal(whole, cents), Decimal(plain.replace(mark, ""))
    if grouped or whole in ("", "0") or not _is_grouped(plain, mark):
        return [as_decimal]
    if habits.decimal:
        return [as_decimal if habits.decimal == mark else as_group]
    return [as_group, as_decimal]


def _is_grouped(text: str, mark: str) -> bool:
    """Groups of three, or of two before the last three as in India."""
    first, *rest = text.split(mark)
    if not rest:
        return first.isdigit()
    if first.startswith("0") or not 1 <= len(first) <= _GROUP or len(rest[-1]) != _GROUP:
        return False
    inner = {len(part) for part in rest[:-1]}
    return inner <= {_GROUP} or (inner == {_GROUP - 1} and mark == "," and len(first) < _GROUP)


def _decimal(whole: str, cents: str) -> Decimal:
    return Decimal(f"{whole or '0'}.{cents or '0'}")


def _signed(text: str) -> tuple[str, int]:
    """The text without its sign, before it or after it, and the sign."""
    text = text.strip()
    for cut, sign in ((text[:1], text[1:]), (text[-1:], text[:-1])):
        if cut and cut in _MINUS:
            return sign.strip(), -1
        if cut == "+":
            return sign.strip(), 1
    return text, 1


def read_percent(text: str, habits: Habits) -> Reading:
    """ "7,5 %" and "7.5 percent" to 7.5, and 7.5 too: the sign may stand in the table's head."""
    bare, count = _PERCENT.subn("", text)
    if count > 1:
        return Reading.unreadable("several percent signs")
    bare, sign = _signed(_BRACKETS.sub(r"-\1", bare))
    if not _NUMBER.fullmatch(bare):
        return Reading.unreadable("not a number of percent")
    return Reading.one_of(
        [as_number(sign * each) for each in read_number(bare, habits)], _DECIMAL_ADVICE
    )


def read_money(text: str, habits: Habits) -> Reading:
    """An amount with its currency: a code or a symbol, before or after. ``currency`` is None where
    none is printed and no habit says it."""
    bare, sign = _signed(_ROUND.sub("", _BRACKETS.sub(r"-\1", text)))
    found = list(_NUMBER.finditer(bare))
    if len(found) != 1:
        return Reading.unreadable("no amount" if not found else "several amounts")
    beside = bare[: found[0].start()], bare[found[0].end() :]
    words, more = _signed(" ".join(each.strip() for each in beside))
    codes = list(_currencies(words, habits))
    if not codes:
        return Reading.unreadable(f'"{words[:20]}" is no currency')
    amounts = read_number(found[0][0], habits)
    if len(amounts) > 1 and _has_cents(codes):
        amounts = amounts[:1]  # nobody prints three digits of cents
    choices = [
        {"amount": as_number(sign * more * amount), "currency": code}
        for amount in amounts
        for code in codes
    ]
    if len(codes) == 1:
        return Reading.one_of(choices, _DECIMAL_ADVICE)
    reading = Reading.one_of(choices, "the currency of the document")
    certain = {"amount": choices[0]["amount"], "currency": words} if len(amounts) == 1 else None
    return replace(reading, partly=certain)


def read_amount(text: str, habits: Habits) -> Reading:
    """The number alone: of money, or of anything else with a word for its unit."""
    unit = _UNIT.fullmatch(text.strip())
    if unit and unit[2].strip(".") in _SIDES:
        return Reading.unreadable(f'"{unit[2]}" says on which side of an account it is')
    found = read_money(text, habits)
    if unit and not (found.choices or found.value):
        found = read_money(unit[1], habits)
    if found.value is not None:
        return Reading(found.value["amount"])
    if not found.choices:
        return found
    return Reading.one_of([each["amount"] for each in found.choices], _DECIMAL_ADVICE)


def read_currency(text: str, habits: Habits) -> Reading:
    """The code of a currency by its code, sign or the words that a language has for it."""
    codes = list(_currencies(text, habits))
    if not codes:
        return Reading.unreadable("not a currency")
    return replace(Reading.one_of(codes, "the currency of the document"), partly=text)


# ISO 4217: the currencies with three digits behind the decimal sign.
_THREE_DIGITS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def _has_cents(codes: list[str | None]) -> bool:
    """Whether all of the currencies are known, and none is divided into thousandths."""
    return None not in codes and not _THREE_DIGITS & set(codes)


def _currencies(words: str, habits: Habits) -> Iterator[str | None]:
    """The codes that the words beside an amount can mean; none where they mean something else."""
    words = words.strip(" :")
    known = tables().currencies
    if not words:
        yield habits.currency or None
        return
    parts = words.split()
    meant = (known.get(part.strip(".")) or known.get(part.upper()) for part in parts)
    exact = [codes for codes in meant if codes]
    if len(exact) != len(parts):
        return
    common = set(exact[0]).intersection(*exact)
    if len(common) > 1 and habits.currency in common:
        yield habits.currency
        return
    yield from (code for code in exact[0] if code in common)


def as_number(value: Decimal) -> Any:
    """An int where it is whole, else a float, which JSON prints in the same digits."""
    return int(value) if value == value.to_integral_value() else float(value)
