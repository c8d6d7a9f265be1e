"""Semantic types: what is printed to a value, by code and never by the model. Pure.

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
``scripts/refresh_locales.py``.
"""

import re
from collections.abc import Callable, Mapping

from gemma_edge.extract.values.types_code import read_country, read_email, read_iban, read_phone
from gemma_edge.extract.values.types_date import read_date
from gemma_edge.extract.values.types_number import (
    read_amount,
    read_currency,
    read_money,
    read_percent,
)
from gemma_edge.extract.values.types_reading import Habits, Reading

KINDS: Mapping[str, Callable[[str, Habits], Reading]] = {
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
_NOTHING = re.compile(r"[-–—−.\s]*|n\.?\s?/?\s?a\.?|null|nil", re.IGNORECASE)


def is_nothing(text: str) -> bool:
    """Whether it says that there is no value: the dash of a table, "n/a"."""
    return _NOTHING.fullmatch(text) is not None


def read_as(kind: str, text: str, habits: Habits = Habits()) -> Reading:  # noqa: B008 (frozen)
    """What ``text`` means as ``kind``, one of ``KINDS``."""
    if len(text) > MAX_CHARS:
        return Reading.unreadable(f"longer than {MAX_CHARS} characters")
    text = " ".join(text.split()).rstrip(",;")  # of the sentence that it stood in
    if not text:
        return Reading.unreadable("empty")
    return KINDS[kind](text, habits)
