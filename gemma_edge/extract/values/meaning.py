"""What values mean, to be compared: the same number, the same day, the same text. Pure."""

import re
import unicodedata
from collections.abc import Hashable
from decimal import Decimal
from typing import Any

from gemma_edge.extract.values.types_date import read_date
from gemma_edge.extract.values.types_reading import Habits

NOTHING: Hashable = None
_PLAIN = re.compile(r"[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d*)(?:\.\d+)?")
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
    if _PLAIN.fullmatch(text):
        return ("number", Decimal(text.replace(",", "")).normalize())
    if len(text) <= _MAX_DATE and any(map(str.isdigit, text)):
        day = read_date(text, _NO_HABITS).value
        if day:
            return ("date", day)
    return ("text", text)
