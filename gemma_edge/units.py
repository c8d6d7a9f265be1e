"""Bytes and tokens as people read them. Integers inside, units only at the edge."""

import re
from math import inf

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAY_SECONDS = 86_400
_BARE_END = 1024  # from here on a number without a unit is not taken for GiB
_FEW_SECONDS = 100  # up to here they are counted
_LONGEST = 16  # characters of a time

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*(?:([kmgt])i?b?)?", re.IGNORECASE)


def render_bytes(count_bytes: int) -> str:
    """Bytes in binary units: ``1536`` -> ``1.5 KiB``."""
    if abs(count_bytes) < KIB:
        return f"{count_bytes} B"
    for unit, size in (("KiB", KIB), ("MiB", MIB)):
        if abs(count_bytes) < size * KIB:
            return f"{count_bytes / size:.1f} {unit}"
    return f"{count_bytes / GIB:.1f} GiB"


def render_tokens(count_tokens: int) -> str:
    """Tokens with thousands separators: ``131072`` -> ``131,072 tokens``."""
    return f"{count_tokens:,} token{'' if count_tokens == 1 else 's'}"


def parse_tokens(text: str) -> int:
    """``8192``, ``8k`` or ``128K`` to a number of tokens (k is 1024).

    Raises:
        ValueError: the text is not a positive number of tokens.
    """
    cleaned = text.strip().lower().replace(",", "").replace("_", "")
    factor = 1024 if cleaned.endswith("k") else 1
    digits = cleaned[:-1] if cleaned.endswith("k") else cleaned
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0:
        raise ValueError(text)
    return int(digits) * factor


def parse_bytes(text: str) -> int:
    """``8GiB``, ``16 GB``, ``512M``: powers of 1024 whatever the letters, as memory is sold. A bare
    number is in GiB, as far as a machine can have so many.

    Raises:
        ValueError: the text is not a size, or a number that may be one of MiB.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or (not found[2] and float(found[1]) >= _BARE_END):
        raise ValueError(text)
    return int(float(found[1]) * KIB ** ("kmgt".index((found[2] or "g").lower()) + 1))


_DURATION = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s?)?", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """``5m``, ``1h30m``, ``90s`` or ``90`` to seconds; ``forever``, or a negative one, to infinity.

    Raises:
        ValueError: the text is not a time.
    """
    cleaned = text.strip().lower()
    if cleaned == "forever" or re.fullmatch(r"-[0-9]+[smh]?", cleaned):
        return inf
    found = _DURATION.fullmatch(cleaned)
    if found is None or not cleaned or len(cleaned) > _LONGEST:
        raise ValueError(text)
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def render_duration(seconds: float) -> str:
    """``42 s``, ``4 min``, ``2 h 5 min``."""
    minutes = round(seconds / 60)
    if seconds < _FEW_SECONDS:
        return f"{seconds:.0f} s"
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def render_age(seconds: float) -> str:
    """In days: disks note a use no more exactly."""
    days = int(seconds // DAY_SECONDS)
    if days <= 0:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago"
