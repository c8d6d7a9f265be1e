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
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
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
    """Folded month names to 1 to 12; folded weekdays; folded country names, and codes of three
    letters, to codes of two; currency codes and symbols to codes; countries to calling codes
    without the plus sign, and to the length of an IBAN."""

    months: Mapping[str, int]
    weekdays: Container[str]
    countries: Mapping[str, str]
    codes_of_three: Mapping[str, str]
    currencies: Mapping[str, list[str]]
    calling_codes: Mapping[str, str]
    iban_lengths: Mapping[str, int]


@lru_cache(maxsize=1)
def tables() -> Tables:
    found = json.loads(read_data("locales.json"))
    return Tables(**{**found, "weekdays": frozenset(found["weekdays"])})


def fold(text: str) -> str:
    """Without case, accents, dots and doubled spaces, as the keys of the tables are."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in plain if not unicodedata.combining(c) and c not in ".'’")
    return " ".join(kept.replace("-", " ").split())


# Printed numbers, amounts of money and percentages. A number has groups and a decimal sign, and
# which is which depends on the country. "1.234,56" and "1,234.56" say it themselves; "1.234" does
# not, unless a habit is known.

_GROUP = 3  # digits between two signs
_MINUS = "-−–"
_DECIMAL_ADVICE = "the decimal sign of the document"
_SPACES = dict.fromkeys(map(ord, " \u00a0\u2007\u2009\u202f'’`"))
_NUMBER = re.compile(r"\d(?:[\d.,'’` \u00a0\u2007\u2009\u202f]*\d)?|[.,]\d+")
_SPACED = re.compile(r"\d{1,3}([ \u00a0\u2007\u2009\u202f'’`]\d{3})+([.,]\d+)?")
_ROUND = re.compile(r"[.,](?:[-–—]{1,2}|=)(?=\D{0,64}$)")  # "12,- EUR", "5.–"
_BRACKETS = re.compile(r"\((?=[^()\d]*\d)([^()]*)\)")  # a loss, to accountants
_UNIT = re.compile(r"([^A-Za-z]*\d)\s?([^\W\d_]{1,20}\.?)")  # "3 pcs", "2.5 h"
_SIDES = frozenset(
    ["CR", "Cr", "DR", "Dr", "OD", "S", "H"]
)  # credit, debit, overdrawn; Soll and Haben
_PERCENT = re.compile(
    r"%|％|\b(?:percent|per cent|prozent|pour cent|por ciento|per cento|procent)\b", re.IGNORECASE
)


_MOST_DIGITS = 300  # a double ends at 10**308, and Python reads no whole number of 4,300


def read_number(digits: str, habits: Habits) -> list[Decimal]:
    """All that a run of digits, dots, commas and spaces can mean, without a sign; nothing where
    there are more than any number has."""
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
    whole, _, cents = plain.rpartition(last)
    if marks.count(last) == 1 and len(set(marks)) > 1:
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


def read_percent(text: str, habits: Habits) -> ReadValue:
    """ "7,5 %" and "7.5 percent" to 7.5, and 7.5 too: the sign may stand in the table's head."""
    bare, count = _PERCENT.subn("", text)
    if count > 1:
        return ReadValue.unreadable("several percent signs")
    bare, sign = _signed(_BRACKETS.sub(r"-\1", bare))
    if not _NUMBER.fullmatch(bare):
        return ReadValue.unreadable("not a number of percent")
    return ReadValue.one_of(
        [as_number(sign * each) for each in read_number(bare, habits)], _DECIMAL_ADVICE
    )


def read_money(text: str, habits: Habits) -> ReadValue:
    """An amount with its currency: a code or a symbol, before or after. ``currency`` is None where
    none is printed and no habit says it."""
    bare, sign = _signed(_ROUND.sub("", _BRACKETS.sub(r"-\1", text)))
    found = list(_NUMBER.finditer(bare))
    if len(found) != 1:
        return ReadValue.unreadable("no amount" if not found else "several amounts")
    beside = bare[: found[0].start()], bare[found[0].end() :]
    words, more = _signed(" ".join(each.strip() for each in beside))
    codes = list(_currencies(words, habits))
    if not codes:
        return ReadValue.unreadable(f'"{words[:20]}" is no currency')
    amounts = read_number(found[0][0], habits)
    if None not in codes and not _THREE_DIGITS & set(codes):
        amounts = amounts[:1]  # nobody prints three digits of cents
    choices = [
        {"amount": as_number(sign * more * amount), "currency": code}
        for amount in amounts
        for code in codes
    ]
    if len(codes) == 1:
        return ReadValue.one_of(choices, _DECIMAL_ADVICE)
    reading = ReadValue.one_of(choices, "the currency of the document")
    certain = {"amount": choices[0]["amount"], "currency": words} if len(amounts) == 1 else None
    return replace(reading, partly=certain)


def read_amount(text: str, habits: Habits) -> ReadValue:
    """The number alone: of money, or of anything else with a word for its unit."""
    unit = _UNIT.fullmatch(text.strip())
    if unit and unit[2].strip(".") in _SIDES:
        return ReadValue.unreadable(f'"{unit[2]}" says on which side of an account it is')
    found = read_money(text, habits)
    if unit and not (found.choices or found.value):
        found = read_money(unit[1], habits)
    if found.value is not None:
        return ReadValue(found.value["amount"])
    if not found.choices:
        return found
    return ReadValue.one_of([each["amount"] for each in found.choices], _DECIMAL_ADVICE)


def read_currency(text: str, habits: Habits) -> ReadValue:
    """The code of a currency by its code, sign or the words that a language has for it."""
    codes = list(_currencies(text, habits))
    if not codes:
        return ReadValue.unreadable("not a currency")
    return replace(ReadValue.one_of(codes, "the currency of the document"), partly=text)


# ISO 4217: the currencies with three digits behind the decimal sign.
_THREE_DIGITS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def _currencies(words: str, habits: Habits) -> Iterator[str | None]:
    words = words.strip(" :")
    known = tables().currencies
    if not words.split():
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
    return int(value) if value == value.to_integral_value() else float(value)


# Printed dates to ISO 8601, in the languages of the tables and in every order. "03/04/2024" is the
# third of April or the fourth of March: both are listed, unless a habit decides.

_ORDERS: tuple[Order, ...] = ("dmy", "mdy", "ymd")
_ADVICE = "the order of day and month in the document"
_TWENTIETH = 70  # two digits from here on are of the 20th century, as POSIX says (strptime %y: 69)
_YEAR_DIGITS = 4
_SHORT = 2
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d.*)?")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
# Three numbers with the same sign between them, or white space with a space in it.
_NUMBERS = re.compile(
    r"(\d{1,4})(?:\s*([./-])\s*(\d{1,2})\s*\2\s*|[^\S ]* \s*(\d{1,2})[^\S ]* \s*)(\d{1,4})\.?"
)
_ASIAN = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]")
# Words that stand in a date and mean nothing: articles, "of", endings of ordinals.
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|er|e|o|º|ª|\.)(?![^\W\d])", re.IGNORECASE)
_FILLERS = frozenset(
    ["of", "the", "de", "del", "d", "di", "den", "der", "le", "el", "am", "on", "dated"]
)
_WORD = re.compile(r"[^\W\d_]+|\d+")


def read_date(text: str, habits: Habits) -> ReadValue:
    """A day; a month without a day is none."""
    for pattern in (_ISO, _COMPACT, _ASIAN):
        if found := pattern.fullmatch(text):
            return _a_day(map(int, found.groups()))
    if found := _NUMBERS.fullmatch(text):
        return _from_numbers((found[1], found[3] or found[4], found[5]), found[2] or " ", habits)
    return _from_words(text)


def _a_day(year_month_day: Iterable[int]) -> ReadValue:
    found = _day(*year_month_day)
    return ReadValue(found) if found else ReadValue.unreadable("there is no such day")


def _day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _from_numbers(parts: tuple[str, str, str], sign: str, habits: Habits) -> ReadValue:
    orders = _ORDERS
    if len(parts[0]) == _YEAR_DIGITS:
        orders = ("ymd",)
    elif len(parts[2]) == _YEAR_DIGITS:
        orders = ("dmy", "mdy")
    if sign == "." and "dmy" in orders:
        orders = ("dmy",)  # no locale of CLDR writes the month first with dots
    if habits.date in orders:
        orders = (habits.date,)
    found = [day for order in orders if (day := _in_order(order, parts))]
    if not found:
        return ReadValue.unreadable("there is no such day")
    return ReadValue.one_of(found, _ADVICE)


def _possible_orders(text: str) -> list[Order]:
    """The orders that a date of three numbers can be read in; none where it is something else, or
    where dots or the year's place say it for any document."""
    found = _NUMBERS.fullmatch(" ".join(text.split()))
    if not found or found[2] == "." or len(found[1]) == _YEAR_DIGITS:
        return []
    parts = (found[1], found[3] or found[4], found[5])
    return [order for order in _ORDERS if _in_order(order, parts)]


def _in_order(order: Order, parts: tuple[str, str, str]) -> str | None:
    by_letter = dict(zip(order, parts, strict=True))
    longest = max(len(by_letter["d"]), len(by_letter["m"]))
    if longest > _SHORT or len(by_letter["y"]) not in (_SHORT, _YEAR_DIGITS):
        return None
    return _day(_year(by_letter["y"]), int(by_letter["m"]), int(by_letter["d"]))


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) > _SHORT:
        return year
    return year + (1900 if year >= _TWENTIETH else 2000)


def _from_words(text: str) -> ReadValue:
    """A month by its name, a day and a year: the name says which number is which. Passports have
    it in two languages, 12 AUG/AOÛT 74."""
    known = tables()
    words = [fold(word) for word in _WORD.findall(_ORDINAL.sub(" ", text))]
    numbers = [word for word in words if word.isdecimal()]  # and no ², which is none to `int`
    named = {known.months[word] for word in words if word in known.months}
    if len(named) != 1:
        return ReadValue.unreadable("no month" if not named else "several months")
    (month,) = named
    fitting = (numbers, known.months, known.weekdays, _FILLERS)
    if len(numbers) != _SHORT or any(not any(word in each for each in fitting) for word in words):
        return ReadValue.unreadable("not a day, a month and a year")
    day, year = reversed(numbers) if len(numbers[0]) == _YEAR_DIGITS else numbers
    if len(day) > _SHORT or len(year) not in (_SHORT, _YEAR_DIGITS):
        return ReadValue.unreadable("not a day, a month and a year")
    return _a_day((_year(year), month, int(day)))


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
    text = " ".join(text.split()).rstrip(",;")  # of the sentence that it stood in
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
        day = read_date(text, _NO_HABITS).value
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
