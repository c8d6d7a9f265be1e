"""What reading a printed value gives, and the tables that it takes. Pure, but for the file."""

import json
import unicodedata
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

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
class Reading:
    """``value`` is JSON; None where there is none, and then ``problem`` says why. ``choices`` are
    the values of something ambiguous. ``partly`` is what is certain all the same: the amount of
    "$5", with the sign as it is printed."""

    value: Any
    problem: str = ""
    choices: tuple[Any, ...] = ()
    partly: Any = None

    @classmethod
    def unreadable(cls, problem: str) -> "Reading":
        """It is not what it should be."""
        return cls(None, problem)

    @classmethod
    def one_of(cls, choices: Iterable[Any], advice: str) -> "Reading":
        """The only choice, or all of them with what would decide; without any, unreadable."""
        found: list[Any] = []
        for choice in choices:
            if choice not in found:
                found.append(choice)
        if len(found) == 1:
            return cls(found[0])
        if not found:
            return cls.unreadable("not read")
        shown = " or ".join(map(_shown, found[:_SHOWN]))
        if len(found) > _SHOWN:
            shown += f" or {len(found) - _SHOWN} more"
        return cls(None, f"can be {shown}; {advice} would decide", tuple(found))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part is not None)
    return str(value)


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
    """The tables of ``locales.json``."""
    text = files("gemma_edge.extract.values").joinpath("locales.json").read_text(encoding="utf-8")
    found = json.loads(text)
    return Tables(**{**found, "weekdays": frozenset(found["weekdays"])})


def fold(text: str) -> str:
    """Without case, accents, dots and doubled spaces, as the keys of the tables are."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in plain if not unicodedata.combining(c) and c not in ".'’")
    return " ".join(kept.replace("-", " ").split())
