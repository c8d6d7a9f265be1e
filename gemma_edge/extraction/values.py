"""What printed values mean: dates, amounts, numbers, codes; by code and never by the model.

    date     "6. März 2024", "03/04/2024"        2024-03-06; ambiguous without a habit
    money    "1.234,56 EUR", "CHF 1'234.50"      {"amount": 1234.56, "currency": "EUR"}
    amount   "1.234,56 EUR", "1,234.56"          1234.56
    currency "€", "zł", "USD"                    "EUR"; "$" is of many countries
    percent  "7,5 %", "7.5"                      7.5
    iban     "DE89 3704 0044 0532 0130 00"       without spaces, check digits right
    email    "Jane.Doe@EXAMPLE.org"              with the domain in small letters
    country  "Deutschland", "DEU"                "DE"
    phone    "030 / 123-456", region DE          "+4930123456"

What can mean two things stays ambiguous: both are listed, none is chosen. The tables are made by
`scripts/refresh_locales.py`.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from gemma_edge.engine.grounding import HELD
from gemma_edge.extraction import read_data
from gemma_edge.extraction.json_schema import (
    Json,
    Subschema,
    ValuePath,
    every,
    lone_references,
    step_into,
    views_of,
)
from gemma_edge.records import dataclass

# What reading a printed value gives, and the tables that it takes.

_SHOWN = 3  # choices that a message spells out

Order = Literal["dmy", "mdy", "ymd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the documents at hand write; "" where that is not known. ``date`` is the order of
    numbers in a date, ``decimal`` the sign before the cents, ``region`` the country (ISO 3166)
    of phone numbers without one, ``currency`` the code of amounts without one."""

    date: Order | Literal[""] = ""
    decimal: Literal["", ".", ","] = ""
    region: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True)
class ReadValue:
    """``value`` is JSON; None where there is none, and then ``problem`` says why. ``choices`` are
    the values of something ambiguous. ``partly`` is what is certain all the same: the amount of
    "$5", with the sign as it is printed."""

    value: Any
    problem: str = ""
    choices: tuple[Any, ...] = ()
    partly: Any = None

    @classmethod
    def unreadable(cls, problem: str) -> "ReadValue":
        return cls(None, problem)

    @classmethod
    def one_of(cls, choices: Iterable[Any], advice: str) -> "ReadValue":
        """The only choice, or all of them with what would decide; without any, unreadable."""
        found: list[Any] = []
        for choice in choices:
            if choice not in found:
                found.append(choice)
        if len(found) == 1:
            return cls(found[0])
        if not found:
            return cls.unreadable("not read")
        parts = (each.values() if isinstance(each, dict) else [each] for each in found[:_SHOWN])
        shown = [" ".join(str(part) for part in each if part is not None) for each in parts]
        if len(found) > _SHOWN:
            shown.append(f"{len(found) - _SHOWN} more")
        return cls(None, f"can be {' or '.join(shown)}; {advice} would decide", tuple(found))


@dataclass(frozen=True, slots=True)
class Tables:
    """Folded month names to 1 to 12, those that name two in two languages, and Persia's; folded
    weekdays and other words of dates, of Islamic dates and of taxes; folded words of scales to
    their power of ten, or to several with the currencies beside which they mean it (none is any);
    folded country names, and codes of three letters, to codes of two; currency codes and symbols
    to codes; countries to calling codes without the plus sign, and to the length of an IBAN."""

    months: Mapping[str, int]
    months_of_two: Mapping[str, list[int]]
    persian_months: Mapping[str, int]
    weekdays: AbstractSet[str]
    date_words: AbstractSet[str]
    islamic_words: AbstractSet[str]
    taxes: AbstractSet[str]
    scales: Mapping[str, int | Mapping[str, list[str]]]
    countries: Mapping[str, str]
    codes_of_three: Mapping[str, str]
    currencies: Mapping[str, list[str]]
    calling_codes: Mapping[str, str]
    iban_lengths: Mapping[str, int]


@lru_cache(maxsize=1)
def tables() -> Tables:
    found = json.loads(read_data("locales.json"))
    sets = ("weekdays", "date_words", "islamic_words", "taxes")
    words = {name: frozenset(found[name]) for name in sets}
    return Tables(**{**found, **words})


@lru_cache(maxsize=1 << 14)
def fold(text: str) -> str:
    """Without case, accents, dots and doubled spaces, as the keys of the tables are."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in plain if not unicodedata.combining(c) and c not in ".'’׳")
    return " ".join(kept.replace("-", " ").split())


class _Plain(dict[int, str]):
    """One character for each: digits of every script and full-width signs as those of ASCII."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if unicodedata.category(char) == "Nd":
            self[code] = str(unicodedata.decimal(char))
        else:
            wide = unicodedata.normalize("NFKC", char) if _WIDE[0] <= char <= _WIDE[1] else char
            self[code] = wide if len(wide) == 1 else char
        return self[code]


_WIDE = "\uff01\uffe6"  # ！ to ￦
_ASCII = _Plain({ord("\u066c"): "’", ord("﹣"): "-", ord("‐"): "-", ord("‑"): "-"})
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")


def plain(text: str) -> str:
    """The same with the digits and signs of ASCII, as long as it was: "１，２３４", "١٬٢٣٤"."""
    return text if text.isascii() else text.translate(_ASCII)


def printed(text: str) -> str:
    """The same without signs that nobody sees, such as those of the direction of writing."""
    return text if text.isascii() else _UNSEEN.sub("", text)


# Printed numbers, amounts of money and percentages. A number has groups and a decimal sign, and
# which is which depends on the country. "1.234,56" and "1,234.56" say it themselves; "1.234" does
# not, unless a habit is known.

_GROUP = 3  # digits between two signs
_MINUS = "-−–△"  # the last in Japan
_UP_OR_DOWN = "▲"
_DECIMAL = "\u066b"  # of Arabic and Persian numbers: it is nothing else
_DECIMAL_ADVICE = "the decimal sign of the document"
_SPACES = dict.fromkeys(map(ord, " \u00a0\u2007\u2009\u202f'’`"))
_NUMBER = re.compile(r"\d(?:[\d.,\u066b'’` \u00a0\u2007\u2009\u202f]*\d)?|[.,]\d+")
_SPACED = re.compile(r"\d{1,3}([ \u00a0\u2007\u2009\u202f'’`]\d{3})+([.,]\d+)?")
# India's groups of two, apart by spaces, are rare; those of four in China and Japan too.
_ROUND = re.compile(r"(?:([.,])(?:[-–—]{1,2}|=)|/[-–—=]{1,2})(?=\D{0,64}$)")  # "12,- EUR", "5/-"
_BRACKETS = re.compile(r"\((?=[^()\d]*\d)([^()]*)\)")  # a loss, to accountants
_SIDES = frozenset(
    ["CR", "Cr", "DR", "Dr", "OD", "S", "H"]
)  # credit, debit, overdrawn; Soll and Haben

# The number of a footnote behind a value: "1,234²", "12.50*", "1,234 (2)", "5[a]", "7^(1)".
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ªºᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ*†‡§¶#"
_LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_MARK = re.compile(
    rf"[ ]?(?:[{RAISED}]{{1,8}}|\((?:\d{{1,2}}|[a-z*†‡]{{1,2}})\)|\[(?:\d{{1,2}}|[a-z*†‡]{{1,2}})\]"
    r"|\^\([^()]{1,8}\)|\^[\da-z*]{1,2}),?$"
)
_MOST_MARKS = 4
RAISED_CENTS = re.compile(r"(?<![\d.,])(\d{1,6})([⁰¹²³⁴⁵⁶⁷⁸⁹]{2})(?![⁰¹²³⁴⁵⁶⁷⁸⁹⁾])")
_ENDS_OF_PRICES = "059"
POWER = re.compile(
    r"(\d)(?: ?[×x·*✕] ?10 ?(?:\^ ?\(?([-+−]?\d{1,2})\)?|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))"
    r"|[eE]([-+−]\d{1,2}))(?![\d⁰¹²³⁴⁵⁶⁷⁸⁹])"
)
_TEN = re.compile(r"10([⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}|\^\d{1,2})")


def lowered_digits(text: str) -> str:
    """Raised digits as plain ones."""
    return text.translate(_LOWERED)


def without_marks(text: str) -> str:
    """The value without the numbers of footnotes behind it."""
    text = text.lstrip("*†‡ ")
    for _ in range(_MOST_MARKS):
        found = _MARK.search(text, max(0, len(text) - _LONGEST_MARK))
        if not found or not any(map(str.isdecimal, text[: found.start()])):
            break
        last = text[found.start() - 1]
        if (
            last.isalpha()
            and found[0][0] in RAISED
            and not _ends_with_currency(text[: found.start()])
        ):
            break  # m², and what else is a unit
        text = text[: found.start()]
    return text


_LONGEST_MARK = 13


def _ends_with_currency(text: str) -> bool:
    return re.split(r"[\s\d]", text)[-1] in tables().currencies


_MOST_DIGITS = 300  # a double ends at 10**308, and Python reads no whole number of 4,300


def read_number(digits: str, habits: Habits) -> list[Decimal]:
    """All that a run of digits, dots, commas and spaces can mean, without a sign; nothing where
    there are more than any number has."""
    if _DECIMAL in digits:
        digits, habits = digits.replace(_DECIMAL, ".", 1), replace(habits, decimal=".")
    if len(digits) > _MOST_DIGITS or (
        re.search(r"[^\d.,]", digits) and not _SPACED.fullmatch(digits)
    ):
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
    if marks.count(last) == 1 and len(set(marks)) > 1:
        whole, _, cents = plain.rpartition(last)
        other = marks[0]
        return [_decimal(whole.replace(other, ""), cents)] if _is_grouped(whole, other) else []
    fits = _is_grouped(plain, last) and last != habits.decimal
    return [Decimal(plain.replace(last, ""))] if fits else []


def _one_mark(plain: str, mark: str, habits: Habits, *, grouped: bool) -> list[Decimal]:
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
    text = text.strip()
    for cut, sign in ((text[:1], text[1:]), (text[-1:], text[:-1])):
        if cut and cut in _MINUS:
            return sign.strip(), -1
        if cut == "+":
            return sign.strip(), 1
    return text, 1


_PERCENT = re.compile(
    r"[%٪]|\b(?:percent|per cent|prozent|pour cent|por ciento|per cento|procent)\b", re.IGNORECASE
)
_PER_MILLE = re.compile(r"‰|\b(?:promille|per mille)\b", re.IGNORECASE)
_BASIS_POINTS = re.compile(r"\b(?:bps?|basis points?|basispunkte?)\b|‱", re.IGNORECASE)
_BESIDE_PERCENT = re.compile(r"[^\W\d_]+(?:[.'][^\W\d_]+)*\.?")


def read_percent(text: str, habits: Habits) -> ReadValue:
    """ "7,5 %" and "7.5 percent" to 7.5, and 7.5 too: the sign may stand in the table's head. Per
    mille and basis points are parts of a percent."""
    bare, power = without_marks(plain(text)), 0
    for pattern, size in ((_PERCENT, 0), (_PER_MILLE, -1), (_BASIS_POINTS, -2)):
        bare, count = pattern.subn(" ", bare)
        power = size if count else power
        if count > 1:
            return ReadValue.unreadable("several percent signs")
        if count and all(fold(word) in tables().taxes for word in _BESIDE_PERCENT.findall(bare)):
            bare = _BESIDE_PERCENT.sub(" ", bare).replace(":", " ")
    bare, sign = _signed(_BRACKETS.sub(r"-\1", without_marks(bare.strip())))
    if not _NUMBER.fullmatch(bare):
        return ReadValue.unreadable("not a number of percent")
    numbers = [_times(sign * each, power) for each in read_number(bare, habits)]
    return ReadValue.one_of(map(as_number, numbers), _DECIMAL_ADVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """What an amount can be: the numbers, the currencies, and the words beside it as printed."""

    amounts: tuple[Decimal, ...]
    codes: tuple[str | None, ...]
    words: str
    advice: str


def read_money(text: str, habits: Habits) -> ReadValue:
    """An amount with its currency: a code or a symbol, before or after. ``currency`` is None where
    none is printed and no habit says it."""
    found = _read_sum(text, habits, unit=False)
    if isinstance(found, str):
        return ReadValue.unreadable(found)
    amounts = [*map(as_number, found.amounts)]
    if found.codes == (_STRANGE,):
        partly = {"amount": amounts[0], "currency": found.words} if len(amounts) == 1 else None
        return ReadValue(None, f'"{found.words[:20]}" is of no known currency', partly=partly)
    choices = [{"amount": amount, "currency": code} for amount in amounts for code in found.codes]
    if len(found.codes) == 1:
        return ReadValue.one_of(choices, found.advice)
    reading = ReadValue.one_of(choices, "the currency of the document")
    certain = {"amount": amounts[0], "currency": found.words} if len(amounts) == 1 else None
    return replace(reading, partly=certain)


def read_amount(text: str, habits: Habits) -> ReadValue:
    """The number alone: of money, or of anything else with a word for its unit."""
    found = _read_sum(text, habits, unit=True)
    if isinstance(found, str):
        return ReadValue.unreadable(found)
    return ReadValue.one_of(map(as_number, found.amounts), found.advice)


def _read_sum(text: str, habits: Habits, *, unit: bool) -> "_Sum | str":
    """The amount that a text is, with its scale and its currency, or the problem with it. With
    ``unit`` any word may stand behind it."""
    text = plain(text)
    if raised := _TEN.fullmatch(text):  # a power, or a ten with the number of a footnote
        power = int(raised[1].strip("^").translate(_LOWERED))
        both = _times(Decimal(1), power), Decimal(10)
        return _Sum(amounts=both, codes=(None,), words="", advice="what is raised")
    if (raised := RAISED_CENTS.search(text)) and not POWER.search(text):
        return _read_raised(text, raised, habits, unit=unit)
    bare, power = _without_power(text)
    bare = without_marks(bare)
    if rounded := _ROUND.search(bare):
        bare = bare[: rounded.start()] + bare[rounded.end() :]
        if rounded[1]:
            habits = replace(habits, decimal="," if rounded[1] == "," else ".")
    bare, sign = _signed(_BRACKETS.sub(r"-\1", bare))
    bare, summed = _without_chain(bare)
    found = list(_NUMBER.finditer(bare))
    if len(found) != 1:
        return "no amount" if not found else "several amounts"
    before, first = _signed(bare[: found[0].start()])
    behind, last = _signed(bare[found[0].end() :])
    meant = _Words(before.lstrip(_UP_OR_DOWN), behind, found[0][0], habits, unit=unit)
    if meant.problem:
        return meant.problem
    amounts = read_number(found[0][0], habits) if summed is None else [summed]
    if meant.codes[0] and not _THREE_DIGITS & {*meant.codes} and meant.powers == {0}:
        amounts = amounts[:1]  # nobody prints three digits of cents
    signs = (-1, 1) if before.startswith(_UP_OR_DOWN) else (sign * first * last,)
    values = [
        _times(each * one, power + scale)
        for scale in sorted(meant.powers, reverse=True) for each in amounts for one in signs
    ]  # fmt: skip
    advice = f'what "{meant.scale}" stands for' if len(meant.powers) > 1 else _DECIMAL_ADVICE
    words = f"{before} {behind}".strip()
    return _Sum(amounts=tuple(values), codes=meant.codes, words=words, advice=advice)


def _read_raised(text: str, raised: re.Match[str], habits: Habits, *, unit: bool) -> "_Sum | str":
    """ "12⁹⁹ €" is a price; without a currency, or with digits that no shop has, the two may be
    the number of a footnote."""
    before, behind = text[: raised.start()], text[raised.end() :]
    cents = f"{raised[1]}.{lowered_digits(raised[2])}"
    price = _read_sum(before + cents + behind, replace(habits, decimal="."), unit=unit)
    whole = _read_sum(before + raised[1] + behind, habits, unit=unit)
    if isinstance(price, str) or isinstance(whole, str):
        return price
    if price.codes[0] and cents[-1] in _ENDS_OF_PRICES:
        return price
    return replace(price, amounts=price.amounts + whole.amounts, advice="what is raised")


def _times(value: Decimal, power: int) -> Decimal:
    return Decimal(f"{value:f}e{power}") if power else value


def _without_power(text: str) -> tuple[str, int]:
    """ "1.2×10⁶" and "1.2E+06" are 1.2 and 6."""
    found = POWER.search(text)
    if not found:
        return text, 0
    return text[: found.end(1)] + text[found.end() :], power_of(found)


def power_of(found: re.Match[str]) -> int:
    """The exponent that ``POWER`` found."""
    said = found[2] or (found[3] or "").translate(_LOWERED) or found[4]
    return int(said.replace("−", "-"))


# Chinese, Japanese and Korean scales stand behind a number, one behind the other: 1億2,000万円.
_TENS = {
    "十": 1, "拾": 1, "십": 1, "百": 2, "佰": 2, "백": 2, "千": 3, "仟": 3, "천": 3, "万": 4,
    "萬": 4, "만": 4, "億": 8, "亿": 8, "억": 8, "兆": 12, "조": 12,
}  # fmt: skip
_ALL_TENS = "".join(_TENS)
CHAIN = re.compile(
    rf"(?<![\d.,])(?:\d{{1,20}}(?:[.,]\d{{1,9}}){{0,6}}[{''.join(_TENS)}]{{1,4}}){{1,6}}(?:\d{{1,9}})?"
)
_LINK = re.compile(rf"(\d+(?:[.,]\d+)*)[ ]?([{''.join(_TENS)}]*)[ ]?")
_FIRST_OF_CHAIN = re.compile(rf"\d[ ]?[{''.join(_TENS)}]")


def _without_chain(text: str) -> tuple[str, Decimal | None]:
    """The text with the first number of such a chain alone, and the sum; what is no such chain
    as it is."""
    if not _FIRST_OF_CHAIN.search(text):
        return text, None
    links = [*_LINK.finditer(text)]
    powers = [sum(_TENS[each] for each in link[2]) for link in links]
    apart = any(one.end() != other.start() for one, other in zip(links, links[1:], strict=False))
    if apart or any(one <= other for one, other in zip(powers, powers[1:], strict=False)):
        return text, None
    total = Decimal(0)
    for link, power in zip(links, powers, strict=True):
        numbers = read_number(link[1], Habits(decimal="."))
        if not numbers:
            return text, None
        total += _times(numbers[0], power)
    return f"{text[: links[0].end(1)]} {text[links[-1].end() :]}", total


def read_currency(text: str, habits: Habits) -> ReadValue:
    """The code of a currency by its code, sign or the words that a language has for it."""
    meant = _Words(plain(text), "", "", habits, unit=False)
    codes = [code for code in meant.codes if code]
    if meant.problem or meant.scale or not codes:
        return ReadValue.unreadable("not a currency")
    return replace(ReadValue.one_of(codes, "the currency of the document"), partly=text)


# ISO 4217: the currencies with three digits behind the decimal sign.
_THREE_DIGITS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
_STRANGE = ""  # the code of a sign that no table has
_IDLE = frozenset("金也整正")  # beside amounts in China and Japan
_UNIT = re.compile(r"[^\W\d_]{1,20}(?:[²³]|\^?[23])?\.?")  # "3 pcs", "2.5 h", "7 m²"
# "T€", "kEUR", "M€"; "€m", "USDbn".
_GLUED = re.compile(
    r"(Mio|Mrd|Md|MM|[TtKkMm])?\.?([^\W\d_]{0,3}[^\w\s.,;:()/]|[A-Z]{3}|kr)(bn|mn|m|k|M)?"
)
_PREFIXES = {"T": "tsd", "t": "tsd", "M": "mio", "m": "mio", "MM": "mio"}
# A thousand times as much in other languages.
_LONG_SCALES = frozenset(("billion", "billions", "trillion", "trillions"))
_UNITS_TOO = frozenset(("m", "M", "MM", "mm", "K", "B", "T", "mi", "bi", "tr", "ti", "nt", "mr"))
_UNITS_ONLY = frozenset(
    ("b", "t", "e", "E", "n", "N", "l", "L", "cr", "Cr", "CR")
)  # where no currency is beside them


class _Words:
    """What the words before and behind a number mean: ``codes`` of currencies, ``powers`` of ten
    by ``scale``, or the ``problem`` with them. With ``unit`` the last one may be any word."""

    def __init__(
        self, before: str, behind: str, number: str, habits: Habits, *, unit: bool
    ) -> None:
        self.codes: tuple[str | None, ...] = (habits.currency or None,)
        self.powers = {0}
        self.scale = self.problem = ""
        self._number, self._habits = number, habits
        self._meant: list[list[str]] = []
        self._scales: list[tuple[str, str]] = []
        parts = [part for each in before.strip(" :").split() for part in _parts_of(each)]
        self._before = len(parts)
        parts += [part for each in behind.strip(" :").split() for part in _parts_of(each)]
        at = 0
        while at < len(parts) and not self.problem:
            at += self._take(parts, at, unit=unit)
        if not self.problem:
            self._settle(f"{before} {behind}".strip())
        elif self.problem == _STRANGE_WORD:
            self.problem = f'"{" ".join((before + " " + behind).split())[:20]}" is no currency'

    def _take(self, parts: list[str], at: int, *, unit: bool) -> int:
        """How many of the words from one on were understood together."""
        for size in (3, 2, 1):
            some = parts[at : at + size]
            codes, key = _codes_of("".join(some)), fold(" ".join(some))
            is_scale = key in tables().scales and self._is_scale(parts, at)
            behind = bool(self._number) and at >= self._before
            if codes and not (is_scale and (behind or len(parts) > 1)):
                self._meant.append(codes)
            elif is_scale and len(some) == size:
                self._scales.append((key, " ".join(some)))
            else:
                continue
            return size
        self._take_word(parts[at], last=at == len(parts) - 1 >= self._before, unit=unit)
        return 1

    def _take_word(self, word: str, *, last: bool, unit: bool) -> None:
        if word in _SIDES and self._number:
            self.problem = f'"{word}" says on which side of an account it is'
        elif len(word) == 1 and unicodedata.category(word) == "Sc":
            self._meant.append([_STRANGE])
        elif not (word in _IDLE or (unit and last and _UNIT.fullmatch(word))):
            self.problem = _STRANGE_WORD

    def _is_scale(self, parts: list[str], at: int) -> bool:
        """Whether a word that can be a scale is one here: "t" and "cr" only beside a currency."""
        money = any(_codes_of(part) for part in parts[:at] + parts[at + 1 :])
        if not money and (at < self._before or parts[at] in _UNITS_ONLY):
            return False
        rupees = ["INR"] in map(_codes_of, parts)
        return parts[at] not in _SIDES or rupees

    def _settle(self, words: str) -> None:
        if self._meant:
            common = set(self._meant[0]).intersection(*self._meant)
            if not common:
                self.problem = f'"{words[:20]}" is no currency'
                return
            known = self._habits.currency
            self.codes = tuple(code for code in self._meant[0] if code in common)
            if len(common) > 1 and known in common:
                self.codes = (known,)
        for key, word in self._scales:
            self.scale = word
            own = self._powers_of(key, word)
            self.powers = {one + other for one in self.powers for other in own}

    def _powers_of(self, key: str, word: str) -> set[int]:
        said = tables().scales[key]
        if isinstance(said, int):
            powers = {said}
        else:
            codes = {*self.codes} if self._meant else set()
            fitting = {p for p, some in said.items() if not some or (codes and codes <= {*some})}
            powers = {int(power) for power in fitting or said}
            if key in _LONG_SCALES:
                powers = self._long_scale(sorted(map(int, said)), powers)
        if not self._meant and len(self._scales) == 1 and word in _UNITS_TOO:
            powers = powers | {0}
        return powers

    def _long_scale(self, sizes: list[int], powers: set[int]) -> set[int]:
        """English prints a point; "1 billion" is the same word in languages that mean more."""
        if "," in self._number[-_GROUP:] or self._habits.decimal == ",":
            return set(sizes)
        return powers if self._number == "1" else {sizes[0]}


_STRANGE_WORD = "?"


@lru_cache(maxsize=1 << 12)
def _codes_of(word: str) -> list[str] | None:
    known = tables().currencies
    bare = word.strip(".")
    return known.get(word) or known.get(bare) or known.get(bare.upper()) or known.get(bare.lower())


@lru_cache(maxsize=1 << 12)
def _parts_of(word: str) -> tuple[str, ...]:
    return tuple(_find_parts(word))


def _find_parts(word: str) -> Iterator[str]:
    """ "T€", "USDm" and "ล้านบาท" as two words; the numbers of footnotes are none."""
    word = word.strip(",:").rstrip(RAISED if _codes_of(word.rstrip(RAISED)) else "")
    scales = tables().scales
    if not word.strip(RAISED):
        return
    if _codes_of(word) or fold(word) in scales:
        yield word
    elif (found := _GLUED.fullmatch(word)) and _codes_of(found[2]):
        yield from filter(None, (_PREFIXES.get(found[1], found[1]), found[2]))
        if found[3]:
            yield _PREFIXES.get(found[3], found[3])
    else:
        cuts = () if word.isascii() or len(word) > _LONGEST_GLUED else range(1, len(word))
        cut = next((n for n in cuts if fold(word[:n]) in scales and _codes_of(word[n:])), None)
        yield from (word,) if cut is None else (word[:cut], word[cut:])


_LONGEST_GLUED = 20


@lru_cache(maxsize=1 << 14)
def scale_of_words(word: str, after: str = "") -> tuple[tuple[int, ...], int]:
    """The powers of ten that words behind a number can mean, and how many of the words do."""
    scales = tables().scales
    two, tens = fold(f"{word} {after}"), word[: len(word) - len(word.lstrip(_ALL_TENS))]
    if tens:
        return (sum(_TENS[each] for each in tens),), 1
    if after and two in scales:
        return _all_powers(two), 2
    some = [fold(part) for part in _parts_of(word)]
    return next(((_all_powers(each), 1) for each in some if each in scales), ((), 0))


def is_currency(word: str) -> bool | None:
    """Whether a word is a currency; None where one is a part of it, as in "TEUR" or "€m"."""
    parts = [*_parts_of(word)]
    some = [bool(_codes_of(part)) for part in parts]
    return None if any(some) and len(some) > 1 else all(some) and bool(some)


def _all_powers(key: str) -> tuple[int, ...]:
    said = tables().scales[key]
    return (said,) if isinstance(said, int) else tuple(map(int, said))


def as_number(value: Decimal) -> Any:
    return int(value) if value == value.to_integral_value() else float(value)


# Printed dates to ISO 8601, in the languages of the tables and in every order. "03/04/2024" is the
# third of April or the fourth of March: both are listed, unless a habit decides.

_ORDERS: tuple[Order, ...] = ("dmy", "mdy", "ymd")
_ADVICE = "the order of day and month in the document"
_TWENTIETH = 70  # two digits from here on are of the 20th century, as POSIX says (strptime %y: 69)
_YEAR_DIGITS = 4
_SHORT = 2
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d.*|Z|[+-]\d\d:\d\d)?")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
# Three numbers with the same sign between them, or white space with a space in it.
_NUMBERS = re.compile(
    r"(\d{1,4})(?:\s*([./-])\s*(\d{1,2})\s*\2\s*|[^\S ]* \s*(\d{1,2})[^\S ]* \s*)(\d{1,4})\.?"
)
_ASIAN = re.compile(r"(\d{1,4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]?")
# "12 tháng 3 năm 2024", folded.
_VIETNAMESE = re.compile(r"(?:ngay )?(\d{1,2}) (?:thang|thg) (\d{1,2}),? (?:nam )?(\d{4})")
# Words that stand in a date and mean nothing: endings of ordinals; the rest is in the tables.
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|er|e|o|º|ª|\.)(?![^\W\d])", re.IGNORECASE)
# Letters, and the signs of Indian, Thai and other scripts that stand with them.
_MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
    "\u0e00-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17ff"
)
WORD = re.compile(rf"(?:[^\W\d_]|[{_MARKS}])+|\d+")


def words_of(text: str) -> list[str]:
    """The words and the numbers of a text; "มี.ค." is one."""
    return WORD.findall(text)


# A time behind a date or before it, with its zone: "14:30", "um 14.30 Uhr", "2:30 p.m. (CET)".
_HALF_DAY = (
    r"(?:[ap]\.? ?m\.?(?![^\W\d_])|午前|午後|上午|下午|오전|오후|Uhr|hrs?\b|h\b|น\.|[μπ]\.μ\.)"
)
_CLOCK = (
    r"(?:\d{1,2}(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?|[.h]\d\d(?= ?(?:Uhr|h\b|$))"
    r"|(?= ?(?:Uhr|[ap]\.?m)))"
    r"|\d{1,2} ?[時时시点點](?: ?\d{1,2} ?[分분](?: ?\d{1,2} ?[秒초])?)?)"
)
_AT = r"(?:um|at|à|a las|klo|kl|o|às|alle|ore|om|в|о|saat|T)\.? "
_ZONE = r"(?:[+-]\d\d:?\d\d|\(?[A-Z]{1,5}(?:[+-]\d{1,2})?\)?(?![^\W\d_]))"
_TIME_BEHIND = re.compile(
    rf"(?:[ ,;|/–-]{{1,3}}|(?<=[日일]))(?:{_AT})?(?:{_HALF_DAY} ?)?{_CLOCK}"
    rf"(?: ?{_HALF_DAY})?(?: ?{_ZONE}){{0,2}}$",
    re.IGNORECASE,
)
_TIME_BEFORE = re.compile(
    rf"^\d{{1,2}}:\d\d(?::\d\d)? ?(?:{_HALF_DAY})?[ ,]{{1,2}}(?:on )?", re.IGNORECASE
)
# "Berlin, den", "г. Москва,": where a letter was written.
_PLACE = re.compile(
    r"(?:[^\W\d_]{1,3}\. )?[^\W\d_a-z](?:[^\W\d_]|[ .'’-]){1,40}(?:\([^()]{1,20}\))?, ?"
)


# How years are counted: Thailand's are 543 more, Persia's 621 less, and begin in March.
_THAI, _PERSIAN, _OURS = "Thai", "Persian", "ours"
_THAI_ERA = re.compile(r"พ\.? ?ศ\.?|พุทธศักราช|(?<!\w)B\.? ?E\.?(?!\w)")
_PERSIAN_ERA = re.compile(r"ه\. ?ش\.?|هجری شمسی|خورشیدی")
_OUR_ERA = re.compile(r"(?:ปี)?(?:ค\.? ?ศ\.?|คริสต์ศักราช)|(?<!\w)(?:C\.? ?E\.?|A\.? ?D\.?|م)(?!\w)")
_THAI_LETTERS = re.compile("[\u0e01-\u0e5b]")
_THAI_DOT = re.compile(r"(?<=[\u0e00-\u0ece])\.(?=[\u0e00-\u0ece])")
_PERSIAN_DIGITS = re.compile("[\u06f0-\u06f9]{4}")
_BUDDHA = 543
_BUDDHIST_YEARS = range(2400, 2601)
_PERSIAN_YEARS, _RECENT = range(1300, 1500), range(1380, 1411)  # 2001 to 2031
_FIRST_PERSIAN_DAY = 226_893  # the ordinal of the day before Persia's calendar begins
# Reigns in Japan, with the year before the first and how many there were; Taiwan counts from 1912.
_REIGNS = {
    "令和": (2018, 99), "R": (2018, 99), "平成": (1988, 31), "H": (1988, 31), "昭和": (1925, 64),
    "S": (1925, 64), "大正": (1911, 15), "T": (1911, 15), "明治": (1867, 45), "M": (1867, 45),
    "民國": (1911, 199), "民国": (1911, 199),
}  # fmt: skip
_REIGN = re.compile(
    r"(?:中華|中华)?(令和|平成|昭和|大正|明治|民國|民国|[RHSTM])\.? ?(\d{1,3}|元) ?[年./-]"
    r" ?(\d{1,2}) ?[月./-] ?(\d{1,2}) ?日?"
)
_OTHER_YEAR = re.compile(r"\((?:[^\W\d]{0,4}(?:\d{1,4}|元)年?)\)(?=\d|年)")  # 令和6年(2024年)3月6日
_NUMERALS = re.compile("[〇零一二三四五六七八九十廿]{1,6}(?=[年月日])")
_NUMERAL = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {"零": 0}


def read_date(text: str, habits: Habits) -> ReadValue:
    """A day, with or without a time, a weekday and a place; a month without a day is none."""
    found = read_day(text, habits)
    if found.value is not None or found.choices:
        return found
    bare = _TIME_BEHIND.sub("", _TIME_BEFORE.sub("", plain(text), count=1)).strip()
    if (place := _PLACE.match(bare)) and not _has_names(place[0]):
        bare = bare[place.end() :]
    if bare == text:
        return found
    again = read_day(bare, habits)
    return again if again.value is not None or again.choices else found


def _has_names(text: str) -> bool:
    known = tables()
    names = (known.months, known.months_of_two)
    return any(fold(word) in each for word in words_of(text) for each in names)


def read_day(text: str, habits: Habits) -> ReadValue:
    """A day without a time and a place."""
    text, calendar = _without_era(text)
    if found := _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
        return _one_day(_days(found[1], found[2], found[3], calendar), _ADVICE)
    if text[:1] in _REIGNS_BEGIN:
        reign = _REIGN.fullmatch(_without_words(text, first=False))
        if reign:
            return _of_reign(*reign.groups())
    bare = _without_words(text)
    if found := _ASIAN.fullmatch(bare):
        return _asian(*found.groups())
    if found := _VIETNAMESE.fullmatch(fold(bare)):
        return _one_day(_days(found[3], found[2], found[1], calendar), _ADVICE)
    if found := _NUMBERS.fullmatch(bare):
        parts, sign = (found[1], found[3] or found[4], found[5]), found[2] or " "
        return _from_numbers(parts, sign, habits, calendar)
    return _from_words(text, calendar)


def _without_era(text: str) -> tuple[str, str]:
    """The text with plain digits and without what says how its years are counted, and that."""
    if text.isascii() and not _ERA_LETTERS.search(text):
        return text, ""
    calendar = _PERSIAN if _PERSIAN_DIGITS.search(text) else ""
    calendar = _THAI if _THAI_LETTERS.search(text) else calendar
    text = plain(text)
    for era, pattern in ((_THAI, _THAI_ERA), (_PERSIAN, _PERSIAN_ERA), (_OURS, _OUR_ERA)):
        text, count = pattern.subn(" ", text)
        calendar = era if count else calendar
    return " ".join(_NUMERALS.sub(_numeral, _OTHER_YEAR.sub("", text)).split()), calendar


_ERA_LETTERS = re.compile(r"[BC]\.? ?E|A\.? ?D|\(")
_REIGNS_BEGIN = frozenset("RHSTM令平昭大明民中")


def _numeral(found: re.Match[str]) -> str:
    """二〇二四, 十二, 二十一 as numbers."""
    text = found[0].replace("廿", "二十")
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return "".join(str(_NUMERAL[char]) for char in text)
    if len(tens) > 1 or len(ones) > 1:
        return found[0]
    return str(10 * _NUMERAL.get(tens, 1) + _NUMERAL.get(ones, 0))


_MOST_WORDS = 4
_ONE_WORD = rf"(?:[^\W\d_]|[{_MARKS}]){{1,20}}"
_FIRST_WORD = re.compile(rf"({_ONE_WORD})(?:[.,]{{1,2}} ?| |(?=\d))")
_LAST_WORD = re.compile(
    rf"(?:(?<=[\d., ])(?![日일])|(?<=[日일]))[,，]? ?\(?({_ONE_WORD})\.?\)?(?: {_ONE_WORD}\.?)?$"
)


def _without_words(text: str, *, first: bool = True) -> str:
    """A date of numbers without weekdays and prepositions around it: "vom 6.3.24"."""
    known = tables()

    def idle(word: str) -> bool:
        folded = fold(word)
        return folded in known.weekdays or folded in known.date_words

    for _ in range(_MOST_WORDS if first else 0):
        found = _FIRST_WORD.match(text)
        if not (found and idle(found[1])):
            break
        text = text[found.end() :]
    last = _LAST_WORD.search(text)
    return text[: last.start()].strip() if last and idle(last[1]) else text


def _one_day(choices: Iterable[str], advice: str) -> ReadValue:
    found = [*choices]
    return ReadValue.one_of(found, advice) if found else ReadValue.unreadable(_NO_DAY)


_NO_DAY = "there is no such day"


def _days(digits: str, month: str | int, day: str | int, calendar: str = "") -> list[str]:
    """What a day can be, by how its year is counted."""
    year, month, day = int(digits), int(month), int(day)
    years = [_year(digits)]
    if calendar == _THAI and len(digits) <= _SHORT:
        years = [2500 + year - _BUDDHA, *years]
    elif year in _BUDDHIST_YEARS and calendar != _OURS:
        years = [year - _BUDDHA] if calendar == _THAI else [year - _BUDDHA, year]
    found = [_day(each, month, day) for each in years]
    if year in _PERSIAN_YEARS and calendar in ("", _PERSIAN):
        found = [_persian_day(year, month, day), *(found if not calendar else ())]
    return [*dict.fromkeys(each for each in found if each)]


def _day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _persian_day(year: int, month: int, day: int) -> str | None:
    """By the cycle of 33 years, which is right from 1300 to 1500 (1921 to 2122)."""
    leap = year % 33 in (1, 5, 9, 13, 17, 22, 26, 30)
    longest = 31 if month <= 6 else 30 if month < 12 or leap else 29  # noqa: PLR2004
    if not (1 <= month <= _MONTHS and 1 <= day <= longest):
        return None
    before = 31 * (month - 1) - max(0, month - 7)
    leaps = 8 * (year // 33) + (year % 33 + 3) // 4
    first = _FIRST_PERSIAN_DAY + 365 * (year - 1) + leaps
    return date.fromordinal(first + before + day).isoformat()


_MONTHS = 12


def _of_reign(reign: str, year: str, month: str, day: str) -> ReadValue:
    begins, most = _REIGNS[reign]
    number = 1 if year == "元" else int(year)
    found = _day(begins + number, int(month), int(day)) if 1 <= number <= most else None
    return ReadValue(found) if found else ReadValue.unreadable(_NO_DAY)


def _asian(year: str, month: str, day: str) -> ReadValue:
    """A year of one to three digits may be one of Taiwan: 民國113年."""
    if len(year) == _YEAR_DIGITS:
        return _one_day(_days(year, month, day), "the calendar of the document")
    choices = [_day(1911 + int(year), int(month), int(day))]
    if len(year) == _SHORT:
        choices.append(_day(_year(year), int(month), int(day)))
    return _one_day(filter(None, choices), "the calendar of the document")


def _from_numbers(
    parts: tuple[str, str, str], sign: str, habits: Habits, calendar: str = ""
) -> ReadValue:
    orders = _ORDERS
    if len(parts[0]) == _YEAR_DIGITS:
        orders = ("ymd",)
        if sign == "/" and int(parts[0]) in _RECENT:
            calendar = calendar or _PERSIAN
    elif len(parts[2]) == _YEAR_DIGITS:
        orders = ("dmy", "mdy")
    if sign == "." and "dmy" in orders:
        orders = ("dmy",)  # no locale of CLDR writes the month first with dots
    if habits.date in orders:
        orders = (habits.date,)
    found = [day for order in orders for day in _in_order(order, parts, calendar)]
    return _one_day(found, _ADVICE if len(orders) > 1 else "the calendar of the document")


def _possible_orders(text: str) -> list[Order]:
    """The orders that a date of three numbers can be read in; none where it is something else, or
    where dots or the year's place say it for any document."""
    found = _NUMBERS.fullmatch(" ".join(text.split()))
    if not found or found[2] == "." or len(found[1]) == _YEAR_DIGITS:
        return []
    parts = (found[1], found[3] or found[4], found[5])
    return [order for order in _ORDERS if _in_order(order, parts)]


def _in_order(order: Order, parts: tuple[str, str, str], calendar: str = "") -> list[str]:
    by_letter = dict(zip(order, parts, strict=True))
    longest = max(len(by_letter["d"]), len(by_letter["m"]))
    if longest > _SHORT or len(by_letter["y"]) not in (_SHORT, _YEAR_DIGITS):
        return []
    return _days(by_letter["y"], by_letter["m"], by_letter["d"], calendar)


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) > _SHORT:
        return year
    return year + (1900 if year >= _TWENTIETH else 2000)


def _from_words(text: str, calendar: str = "") -> ReadValue:
    """A month by its name, a day and a year: the name says which number is which. Passports have
    it in two languages, 12 AUG/AOÛT 74."""
    known = tables()
    words = [fold(word) for word in words_of(_ORDINAL.sub(" ", _THAI_DOT.sub("", text)))]
    words = list(_joined(words))
    numbers = [word for word in words if word.isdecimal()]  # and no ², which is none to `int`
    meant = [set(_months_of(word)) for word in words if any(_months_of(word))]
    if not meant:
        islamic = not known.islamic_words.isdisjoint(words)
        said = "an Islamic date, which is not converted" if islamic else "no month"
        return ReadValue.unreadable(said)
    named = set.intersection(*meant)
    if not named or len(named) > _SHORT:
        return ReadValue.unreadable("several months")
    fitting = (numbers, known.months, known.months_of_two, known.persian_months, known.weekdays,
               known.date_words)  # fmt: skip
    if len(numbers) != _SHORT or any(not any(word in each for each in fitting) for word in words):
        return ReadValue.unreadable("not a day, a month and a year")
    day, year = reversed(numbers) if len(numbers[0]) == _YEAR_DIGITS else numbers
    if len(day) > _SHORT or len(year) not in (_SHORT, _YEAR_DIGITS):
        return ReadValue.unreadable("not a day, a month and a year")
    if not calendar and int(year) in _PERSIAN_YEARS:
        calendar = _OURS  # a month of ours, long ago
    days = [
        each for name, month in sorted(named) for each in _days(year, month, day, name or calendar)
    ]
    return _one_day(days, "the calendar or the language of the document")


@lru_cache(maxsize=1)
def _begin_of_names() -> frozenset[str]:
    """The first words of the months' names that have several."""
    return frozenset(name.partition(" ")[0] for name in tables().months if " " in name)


def _joined(words: list[str]) -> Iterator[str]:
    """The words, those that name a month together as one: in Syria, Lebanon, Mongolia."""
    months, at = tables().months, 0
    if _begin_of_names().isdisjoint(words):
        yield from words
        return
    while at < len(words):
        some = next((n for n in (3, 2) if " ".join(words[at : at + n]) in months), 1)
        yield " ".join(words[at : at + some])
        at += some


def month_of(folded: str) -> int | None:
    """The month that a folded word names; 0 for one of two, or of another calendar than ours."""
    months = _months_of(folded)
    if not months:
        return None
    return months[0][1] if len(months) == 1 and not months[0][0] else 0


def _months_of(word: str) -> list[tuple[str, int]]:
    """The calendar and the number of each month that a word can name."""
    known = tables()
    if word in known.persian_months:
        return [(_PERSIAN, known.persian_months[word])]
    one = known.months.get(word)
    return [("", each) for each in ([one] if one else known.months_of_two.get(word, ()))]


# IBANs, e-mail addresses, countries and phone numbers as they are printed, to their one form.

_IBAN = re.compile(r"[A-Z]{2}\d\d[A-Z0-9]{8,30}")
_MODULUS = 97  # ISO 13616, ISO 7064 MOD 97-10
# The addr-spec of RFC 5321 without quoted names and address literals.
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@((?:[^\W_](?:[^\W_]|-){0,62}\.)+[^\W\d_](?:[^\W_]|-){0,61}[^\W_])"
)
_MAX_EMAIL = 254
_PHONE = re.compile(r"\+?[\d\s()/.\-\u2010-\u2013]+")
_EXTENSION = re.compile(r"(?:ext\.?|extension|x|durchwahl|poste)\s*\d+$", re.IGNORECASE)
_LABEL = re.compile(r"^(?:tel|phone|telephone|telefon|fon|mobile|mobil|fax)[.:]*\s*", re.IGNORECASE)
_MIN_DIGITS, _MAX_DIGITS = 7, 15  # E.164, and the shortest numbers with a country in use
# Countries whose numbers keep a leading zero behind the calling code, or have none to drop.
_KEEP_ZERO = frozenset(("IT", "SM", "VA"))
_MAX_NATIONAL_1 = 10  # digits of a number in the North American plan


def read_iban(text: str, habits: Habits) -> ReadValue:
    """Without spaces, when length and check digits are right; never mended."""
    bare = re.sub(r"[\s.\-\u2010-\u2013]", "", re.sub(r"^IBAN\s*:?", "", text, flags=re.I)).upper()
    if not _IBAN.fullmatch(bare):
        return ReadValue.unreadable("not of the form of an IBAN")
    length = tables().iban_lengths.get(bare[:2])
    if length is None:
        return ReadValue.unreadable(f"{bare[:2]} has no IBAN")
    if len(bare) != length:
        return ReadValue.unreadable(f"{len(bare)} characters, an IBAN of {bare[:2]} has {length}")
    if not has_check_digits(bare):
        return ReadValue.unreadable("the check digits are wrong")
    return ReadValue(bare)


def has_check_digits(iban: str) -> bool:
    """ISO 13616: the first four moved to the end, letters as 10 to 35, leave 1 modulo 97."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % _MODULUS == 1


def read_email(text: str, habits: Habits) -> ReadValue:
    """As it is printed, without ``mailto:`` and brackets; only the domain has no case."""
    bare = re.sub(r"^mailto:", "", text.strip("<> "), flags=re.I)
    found = _EMAIL.fullmatch(bare)
    name = bare.rpartition("@")[0]
    if not found or len(bare) > _MAX_EMAIL or ".." in name or name[0] == "." or name[-1] == ".":
        return ReadValue.unreadable("not an e-mail address")
    return ReadValue(f"{name}@{found[1].lower()}")


def read_country(text: str, habits: Habits) -> ReadValue:
    """A name in one of the languages of the table, or a code in capital letters, to the code of
    two letters."""
    known = tables()
    found = known.countries.get(fold(text)) or known.codes_of_three.get(text)
    if found is None and text in known.codes_of_three.values():
        found = text
    return ReadValue(found) if found else ReadValue.unreadable("not the name of a country")


def read_phone(text: str, habits: Habits) -> ReadValue:
    """E.164; a number without its country takes the one of ``habits``. That the number exists is
    not checked."""
    bare = _LABEL.sub("", text)
    if _EXTENSION.search(bare):
        return ReadValue(None, "it has an extension", partly=text)
    if not _PHONE.fullmatch(bare):
        return ReadValue.unreadable("not a phone number")
    digits = re.sub(r"\D", "", bare.replace("(0)", "") if bare.startswith(("+", "00")) else bare)
    if bare.startswith("+"):
        return _international(digits)
    if digits.startswith("00"):
        return _international(digits[2:])
    code = tables().calling_codes.get(habits.region)
    if code is None:
        why = "it names no country, and the region of the document would"
        return ReadValue(None, why, partly=text)
    national = digits if habits.region in _KEEP_ZERO else digits.removeprefix("0")
    if code == "1" and len(national) > _MAX_NATIONAL_1:
        national = national.removeprefix("1")
    return _international(code + national)


def _international(digits: str) -> ReadValue:
    codes = set(tables().calling_codes.values())
    if not any(digits[:length] in codes for length in (1, 2, 3)):
        return ReadValue.unreadable(f"no country has the calling code of +{digits[:3]}")
    if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS:
        return ReadValue.unreadable(
            f"{len(digits)} digits; {_MIN_DIGITS} to {_MAX_DIGITS} are right"
        )
    return ReadValue(f"+{digits}")


# Semantic types in a schema: what a value means, and how it is asked for. A leaf with
# `"x-gemma-edge": "money"` (the one-line language writes it) or with the format `date` is copied
# as it is printed while decoding, converted by code, and judged by the schema that the user
# wrote: the model never computes a date, and what is printed can be found again.

KINDS: Mapping[str, Callable[[str, Habits], ReadValue]] = {
    "date": read_date,
    "money": read_money,
    "amount": read_amount,
    "currency": read_currency,
    "iban": read_iban,
    "email": read_email,
    "country": read_country,
    "phone": read_phone,
    "percent": read_percent,
}
MAX_CHARS = 200  # what is longer is a sentence, not a value
# What says that there is no value: the dash of a table, "n/a".
_NOTHING = re.compile(r"[-–—−.\s]*|n\.?\s?/?\s?a\.?|null|nil", re.IGNORECASE)


def read_as(kind: str, text: str, habits: Habits = Habits()) -> ReadValue:  # noqa: B008 (frozen)
    if len(text) > MAX_CHARS:
        return ReadValue.unreadable(f"longer than {MAX_CHARS} characters")
    text = " ".join(printed(text).split()).rstrip(",;،、")  # of the sentence that it stood in
    if not text:
        return ReadValue.unreadable("empty")
    return KINDS[kind](text, habits)


MARK = "x-gemma-edge"
# What each type is once it is converted. A currency that its sign does not tell ("$"), and a phone
# number without its country, stay as they are printed: most of them are like that.
CONVERTED: Mapping[str, Json] = {
    "date": {"type": "string", "format": "date"},
    "money": {
        "type": "object",
        "properties": {"amount": {"type": "number"}, "currency": {"type": ["string", "null"]}},
        "required": ["amount", "currency"],
        "additionalProperties": False,
    },
    "amount": {"type": "number"},
    "percent": {"type": "number"},
    "currency": {"type": "string"},
    "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "iban": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$"},
    "email": {"type": "string", "format": "email"},
    "phone": {"type": "string"},
}

_KEPT = frozenset(("title", "description", "default", "examples", MARK, HELD))
_PLAIN = _KEPT | {"type", "format", "$comment", "deprecated"}


def typed(kind: str) -> Json:
    return {**deepcopy(CONVERTED[kind]), MARK: kind}


def kind_of_leaf(schema: Any) -> str | None:
    """The semantic type of a schema: its mark, or ``date`` by its format. A date that the schema
    narrows (a pattern, an enum) is no leaf of ours: the model has to write it."""
    if not isinstance(schema, dict):
        return None
    mark = schema.get(MARK)
    if isinstance(mark, str) and mark in KINDS:
        return mark
    said = schema.get("type", "string")
    kinds = set(said) if isinstance(said, list) else {said}
    if schema.get("format") == "date" and kinds <= {"string", "null"} and schema.keys() <= _PLAIN:
        return "date"
    return None


def as_printed(source: Json) -> Json:
    if not any(map(kind_of_leaf, every(source))):
        return source
    printed = deepcopy(source)
    for node in every(printed):
        if kind_of_leaf(node):
            said = node.get("type", ())
            kind: Any = ["string", "null"] if "null" in said else "string"
            kept = {word: node[word] for word in _KEPT & node.keys()}
            node.clear()
            node.update({"type": kind, **kept})
    return printed


# How a document writes dates and numbers, from those in it that can be read in one way only.
# "03/04/2024" alone is April or March; beside "03/25/2024" it is March. Nothing is inferred where
# two of them contradict each other.

_DATE = re.compile(r"(?<![\w./-])\d{1,2}([/-])\d{1,2}\1(?:\d{4}|\d\d)(?![\w/-])")
# A number that says itself which sign is which: "1.234,56", "1,234.5".
_HABIT_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3})+,\d{1,2}(?![\w,])"
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
        sign, proof = _decimal_habit(printed, text)
        if sign:
            known = replace(known, decimal=sign)
            notes.append(f'"{sign}" is read as the decimal sign, as "{proof}" shows')
    return known, tuple(notes)


def _order(printed: Iterable[str]) -> tuple[Order | Literal[""], str]:
    """The only order of all dates that have one, and the date that shows it."""
    found: dict[Order, str] = {}
    for each in printed:
        orders = _possible_orders(each)
        if len(orders) == 1:
            found.setdefault(orders[0], each)
    return next(iter(found.items())) if len(found) == 1 else ("", "")


def _decimal_habit(printed: Iterable[str], text: str) -> tuple[Literal["", ".", ","], str]:
    found: dict[Literal["", ".", ","], str] = {}
    for each in _HABIT_NUMBER.finditer(text):
        found.setdefault("," if each[0].rfind(",") > each[0].rfind(".") else ".", each[0])
    for number in printed:
        if cents := _CENTS.search(number):
            found.setdefault("," if cents[1] == "," else ".", number)
    return next(iter(found.items())) if len(found) == 1 else ("", "")


# Data as it is printed to data as the schema means it. What cannot be converted, or can mean two
# things, stays as it is printed: the user's schema then says that it is wrong, and nothing is
# guessed.


@dataclass(frozen=True, slots=True)
class Unread:
    path: ValuePath
    kind: str
    text: str
    reading: ReadValue


@dataclass(frozen=True, slots=True)
class Normalized:
    data: Any
    unread: tuple[Unread, ...]
    notes: tuple[str, ...]


def normalize(data: Any, source: Json, habits: Habits, text: str = "") -> Normalized:
    """Convert every semantic leaf of ``data``, which is as printed; ``text`` is the document, for
    the habits that ``habits`` does not say.

    Raises:
        RecursionError: data of a schema that refers to itself, without end.
    """
    kinds: dict[ValuePath, tuple[str, str]] = {}
    root = lone_references(source)
    _find_kinds(data, [(root, True)], (), root, kinds)
    known, notes = infer_habits(habits, kinds.values(), text)
    unread: list[Unread] = []
    used = False

    def convert(value: Any, path: ValuePath) -> Any:
        nonlocal used
        if isinstance(value, dict):
            return {name: convert(member, (*path, name)) for name, member in value.items()}
        if isinstance(value, list):
            return [convert(item, (*path, index)) for index, item in enumerate(value)]
        if path not in kinds:
            return value
        kind, printed = kinds[path]
        if _NOTHING.fullmatch(printed):
            return None
        reading = read_as(kind, printed, known)
        used = used or reading != read_as(kind, printed, habits)
        if reading.value is not None:
            return reading.value
        unread.append(Unread(path, kind, printed, reading))
        return printed if reading.partly is None else reading.partly

    converted = convert(data, ()) if kinds else data
    return Normalized(converted, tuple(unread), notes if used else ())


def _find_kinds(
    data: Any,
    schemas: list[tuple[Subschema, bool]],
    path: ValuePath,
    root: Json,
    kinds: dict[ValuePath, tuple[str, str]],
) -> None:
    if not isinstance(data, dict | list | str):
        return
    views = views_of(root, schemas)
    if isinstance(data, str):
        kind = next(filter(None, (kind_of_leaf(view) for view, _ in views)), None)
        if kind:
            kinds[path] = kind, data
        return
    for step, member in data.items() if isinstance(data, dict) else enumerate(data):
        _find_kinds(member, step_into(views, step), (*path, step), root, kinds)


# What values mean, to be compared: the same number, the same day, the same text.

NOTHING: Hashable = None
_PLAIN_TYPES = re.compile(r"[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d*)(?:\.\d+)?")
_MAX_DATE = 40  # characters
_NO_HABITS = Habits()


def canonical(value: Any) -> Hashable:
    """What a value means, to compare and to hash; None for null and whatever is empty."""
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float | Decimal):
        return ("number", Decimal(str(value)).normalize())
    if isinstance(value, str):
        return _of_text(" ".join(unicodedata.normalize("NFC", value).split()))
    return ("other", fingerprint(value))


def fingerprint(value: Any) -> Hashable:
    """The same for what means the same, whatever the order of its records."""
    if isinstance(value, dict):
        members = ((key, fingerprint(member)) for key, member in value.items())
        return tuple(sorted((each for each in members if each[1] is not NOTHING), key=repr)) or None
    if isinstance(value, list):
        return ("list", *sorted(map(fingerprint, value), key=repr)) if value else NOTHING
    return canonical(value)


def _of_text(text: str) -> Hashable:
    if not text:
        return NOTHING
    if _PLAIN_TYPES.fullmatch(text):
        return ("number", Decimal(text.replace(",", "")).normalize())
    if len(text) <= _MAX_DATE and any(map(str.isdigit, text)):
        day = read_day(text, _NO_HABITS).value
        if day:
            return ("date", day)
    return ("text", text)


# The machine-readable zone of passports, ID cards and visas (ICAO 9303, parts 3 to 7). TD1 has
# three lines of 30 characters, TD2 two of 36, TD3 two of 44; visas are like the latter two,
# without the last check digit.

FILLER = "<"
_WEIGHTS = (7, 3, 1)  # ICAO 9303-3, 4.9
_GERMANY = "D"  # the one code of one letter, ICAO 9303-3, 5


@dataclass(frozen=True, slots=True)
class _Format:
    """Where the fields stand: line, start, end. ``composite`` are the parts of the last check
    digit, which ends the second line."""

    fields: Mapping[str, tuple[int, int, int]]
    composite: tuple[tuple[int, int, int], ...]


_TD1 = _Format(
    {"issuer": (0, 2, 5), "document_number": (0, 5, 14), "birth_date": (1, 0, 6),
     "sex": (1, 7, 8), "expiry_date": (1, 8, 14), "nationality": (1, 15, 18), "name": (2, 0, 30)},
    ((0, 5, 30), (1, 0, 7), (1, 8, 15), (1, 18, 29)),
)  # fmt: skip
_SECOND_LINE = {"document_number": (1, 0, 9), "nationality": (1, 10, 13), "birth_date": (1, 13, 19),
                "sex": (1, 20, 21), "expiry_date": (1, 21, 27)}  # fmt: skip
_FORMATS = {(3, 30): _TD1} | {
    (2, length): _Format(
        {"issuer": (0, 2, 5), "name": (0, 5, length), **_SECOND_LINE},
        ((1, 0, 10), (1, 13, 20), (1, 21, length - 1)),
    )
    for length in (36, 44)  # TD2, TD3
}
# Zones with fields of their own: French identity cards until 2021, driving licences (ISO 18013).
_NATIONAL = (("IDFRA", [36, 36]), ("D", [30]))


def read_mrz(printed: list[str]) -> dict[str, Any] | None:
    """The fields of a zone, and ``wrong``: what its check digits say, "" where they are right.
    A value that is not there is null; dates are ISO, countries codes of two letters. None for the
    zone of a country's own, which is not known here."""
    lines = [re.sub(r"\s", "", line).upper() for line in printed if line.strip()]
    lengths = list(map(len, lines))
    if any(lengths == its and lines[0].startswith(mark) for mark, its in _NATIONAL):
        return None
    found = _FORMATS.get((len(lines), lengths[0] if lines else 0))
    if found is None or len(set(lengths)) > 1:
        said = ", ".join(map(str, lengths))
        return {"wrong": f"no zone has lines of {said or 'no'} characters"}
    strange = re.search(r"[^A-Z0-9<]", "".join(lines))
    if strange:
        return {"wrong": f"{strange[0]} stands in no zone"}
    raw = {name: lines[at][start:end] for name, (at, start, end) in found.fields.items()}
    surname, _, given = raw["name"].strip(FILLER).partition("<<")
    expiry = _date(raw["expiry_date"], None)
    return {
        "document_number": _numbered(lines, found)[0].replace(FILLER, "") or None,
        "issuer": _country(raw["issuer"]),
        "nationality": _country(raw["nationality"]),
        "birth_date": _date(raw["birth_date"], expiry),
        "expiry_date": expiry,
        "sex": raw["sex"] if raw["sex"] in ("M", "F") else None,
        "surname": surname.replace(FILLER, " ").strip() or None,
        "given_names": given.replace(FILLER, " ").strip() or None,
        "wrong": ", ".join(_wrong(lines, found)),
    }


def check_digit(text: str) -> int:
    """ICAO 9303-3, 4.9: letters are 10 to 35, the filler 0, weights 7, 3, 1, modulo 10."""
    values = (0 if char == FILLER else int(char, 36) for char in text)
    return sum(value * _WEIGHTS[at % 3] for at, value in enumerate(values)) % 10


def _numbered(lines: list[str], found: _Format) -> tuple[str, str]:
    """The document number and its check digit; a long number goes on in the optional data of TD1,
    behind a filler, and ends with the digit."""
    at, start, end = found.fields["document_number"]
    number, digit = lines[at][start:end], lines[at][end]
    if found is _TD1 and digit == FILLER:
        rest = lines[at][15:30].partition(FILLER)[0]
        return number + FILLER + rest[:-1], rest[-1:]
    return number, digit


def _wrong(lines: list[str], found: _Format) -> list[str]:
    checked = {"document_number": _numbered(lines, found)}
    for name in ("birth_date", "expiry_date"):
        at, start, end = found.fields[name]
        checked[name] = lines[at][start:end], lines[at][end]
    wrong = [
        f"the check digit of {name} is not {digit or 'there'}"
        for name, (text, digit) in checked.items()
        if not _fits(text, digit)
    ]
    whole, last = "".join(lines[at][start:end] for at, start, end in found.composite), lines[1][-1]
    if not lines[0].startswith("V") and not _fits(whole, last):  # no visa
        wrong.append(f"the last check digit is not {last}")
    return wrong


def _fits(text: str, digit: str) -> bool:
    if digit == FILLER:  # allowed where there is nothing to check
        return not text.strip(FILLER)
    return digit.isdecimal() and check_digit(text) == int(digit)


def _country(code: str) -> str | None:
    bare = code.strip(FILLER)
    return "DE" if bare == _GERMANY else read_country(bare, Habits()).value


def _date(digits: str, expiry: str | None) -> str | None:
    """YYMMDD; documents expire in this century, and people are born before that."""
    if not digits.isdecimal():
        return None
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    found = _day(2000 + year, month, day)
    if expiry is not None and (found is None or found >= expiry):
        return _day(1900 + year, month, day)  # which 29 February may not have
    return found
