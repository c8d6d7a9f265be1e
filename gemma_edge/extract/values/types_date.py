"""Printed dates to ISO 8601, in the languages of the tables and in every order. Pure.

"03/04/2024" is the third of April or the fourth of March: both are listed, unless a habit decides.
"""

import re
from datetime import date

from gemma_edge.extract.values.types_reading import Habits, Order, Reading, fold, tables

_ORDERS: tuple[Order, ...] = ("dmy", "mdy", "ymd")
_ADVICE = "the order of day and month in the document"
_TWENTIETH = 70  # two digits from here on are of the 20th century, as POSIX says (strptime %y: 69)
_YEAR_DIGITS = 4
_SHORT = 2
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d.*)?")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
_NUMBERS = re.compile(r"(\d{1,4})\s*([./\- ])\s*(\d{1,2})\s*\2\s*(\d{1,4})\.?")
_ASIAN = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]")
# Words that stand in a date and mean nothing: articles, "of", endings of ordinals.
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|er|e|o|º|ª|\.)(?![^\W\d])", re.IGNORECASE)
_FILLERS = frozenset(
    ("of", "the", "de", "del", "d", "di", "den", "der", "le", "el", "am", "on", "dated")
)
_WORD = re.compile(r"[^\W\d_]+|\d+")


def read_date(text: str, habits: Habits) -> Reading:
    """A day; a month without a day is none."""
    for pattern in (_ISO, _COMPACT, _ASIAN):
        if found := pattern.fullmatch(text):
            return _only(_day(*map(int, found.groups())))
    if found := _NUMBERS.fullmatch(text):
        return _from_numbers((found[1], found[3], found[4]), found[2], habits)
    return _from_words(text)


def _only(found: str | None) -> Reading:
    return Reading(found) if found else Reading.unreadable("there is no such day")


def _day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _from_numbers(parts: tuple[str, str, str], sign: str, habits: Habits) -> Reading:
    """Three numbers; a year of four digits, dots, or a habit leave fewer orders."""
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
        return Reading.unreadable("there is no such day")
    return Reading.one_of(found, _ADVICE)


def possible_orders(text: str) -> list[Order]:
    """The orders that a date of three numbers can be read in; none where it is something else, or
    where dots or the year's place say it for any document."""
    found = _NUMBERS.fullmatch(" ".join(text.split()))
    if not found or found[2] == "." or len(found[1]) == _YEAR_DIGITS:
        return []
    parts = (found[1], found[3], found[4])
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


def _from_words(text: str) -> Reading:
    """A month by its name, a day and a year: the name says which number is which. Passports have
    it in two languages, 12 AUG/AOÛT 74."""
    words = list(_WORD.findall(_ORDINAL.sub(" ", text)))
    months = [_month(word) for word in words]
    named = set(filter(None, months))
    if len(named) != 1:
        return Reading.unreadable("no month" if not named else "several months")
    (month,) = named
    numbers = [word for word in words if word.isdigit()]
    others = [word for word, its in zip(words, months, strict=True) if not its]
    if len(numbers) != _SHORT or any(map(_is_strange, others)):
        return Reading.unreadable("not a day, a month and a year")
    day, year = reversed(numbers) if len(numbers[0]) == _YEAR_DIGITS else numbers
    if len(day) > _SHORT or len(year) not in (_SHORT, _YEAR_DIGITS):
        return Reading.unreadable("not a day, a month and a year")
    return _only(_day(_year(year), month, int(day)))


def _month(word: str) -> int | None:
    return tables().months.get(fold(word)) if not word.isdigit() else None


def _is_strange(word: str) -> bool:
    """A word that has no place in a date: no number, no weekday, no article."""
    folded = fold(word)
    return not word.isdigit() and folded not in _FILLERS and folded not in tables().weekdays
