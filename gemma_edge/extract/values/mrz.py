"""The machine-readable zone of passports, ID cards and visas (ICAO 9303, parts 3 to 7). Pure.

TD1 has three lines of 30 characters, TD2 two of 36, TD3 two of 44; visas are like the latter two,
without the last check digit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from gemma_edge.extract.values.types_code import read_country
from gemma_edge.extract.values.types_reading import Habits

FILLER = "<"
_WEIGHTS = (7, 3, 1)  # ICAO 9303-3, 4.9
_GERMANY = "D"  # the one code of one letter, ICAO 9303-3, 5


@dataclass(frozen=True, slots=True)
class _Format:
    """Where the fields stand: line, start, end. ``composite`` are the parts of the last check
    digit, which stands at its end."""

    fields: Mapping[str, tuple[int, int, int]]
    composite: tuple[tuple[int, int, int], ...]
    end: tuple[int, int] = (1, -1)


_TD1 = _Format(
    {"issuer": (0, 2, 5), "document_number": (0, 5, 14), "birth_date": (1, 0, 6),
     "sex": (1, 7, 8), "expiry_date": (1, 8, 14), "nationality": (1, 15, 18), "name": (2, 0, 30)},
    ((0, 5, 30), (1, 0, 7), (1, 8, 15), (1, 18, 29)),
)  # fmt: skip
_SECOND_LINE = {"document_number": (1, 0, 9), "nationality": (1, 10, 13), "birth_date": (1, 13, 19),
                "sex": (1, 20, 21), "expiry_date": (1, 21, 27)}  # fmt: skip
_TD2 = _Format(
    {"issuer": (0, 2, 5), "name": (0, 5, 36), **_SECOND_LINE},
    ((1, 0, 10), (1, 13, 20), (1, 21, 35)),
)
_TD3 = _Format(
    {"issuer": (0, 2, 5), "name": (0, 5, 44), **_SECOND_LINE},
    ((1, 0, 10), (1, 13, 20), (1, 21, 43)),
)
_FORMATS = {(3, 30): _TD1, (2, 36): _TD2, (2, 44): _TD3}
# Zones with fields of their own: French identity cards until 2021, driving licences (ISO 18013).
_NATIONAL = (("IDFRA", [36, 36]), ("D", [30]))
_CHECKED = ("document_number", "birth_date", "expiry_date")


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
        "document_number": _number(raw, lines, found).replace(FILLER, "") or None,
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


def _number(raw: Mapping[str, str], lines: list[str], found: _Format) -> str:
    """The document number; a long one goes on in the optional data, and ends with its digit."""
    number = raw["document_number"]
    if found is _TD1 and lines[0][14] == FILLER:
        rest = lines[0][15:30].partition(FILLER)[0]
        return number + rest[:-1] if rest else number
    return number


def _wrong(lines: list[str], found: _Format) -> list[str]:
    wrong = []
    for name in _CHECKED:
        at, start, end = found.fields[name]
        checked, digit = lines[at][start:end], lines[at][end]
        if name == "document_number" and found is _TD1 and digit == FILLER:
            rest = lines[0][15:30].partition(FILLER)[0]
            checked, digit = checked + digit + rest[:-1], rest[-1:]
        if not _fits(checked, digit):
            wrong.append(f"the check digit of {name} is not {digit or 'there'}")
    is_visa = lines[0].startswith("V")
    whole = "".join(lines[at][start:end] for at, start, end in found.composite)
    at, end = found.end
    if not is_visa and not _fits(whole, lines[at][end]):
        wrong.append(f"the last check digit is not {lines[at][end]}")
    return wrong


def _fits(text: str, digit: str) -> bool:
    if digit == FILLER:  # allowed where there is nothing to check
        return not text.strip(FILLER)
    return digit.isdigit() and check_digit(text) == int(digit)


def _country(code: str) -> str | None:
    bare = code.strip(FILLER)
    return "DE" if bare == _GERMANY else read_country(bare, Habits()).value


def _date(digits: str, expiry: str | None) -> str | None:
    """YYMMDD; documents expire in this century, and people are born before that."""
    if not digits.isdigit():
        return None
    try:
        found = date(2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:]))
    except ValueError:
        return None
    if expiry is not None and found.isoformat() >= expiry:
        found = found.replace(year=found.year - 100)
    return found.isoformat()
