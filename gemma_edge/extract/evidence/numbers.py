"""The numbers that a document prints, by what they can mean. Pure."""

import re
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from gemma_edge.extract.evidence.index import Span, TextIndex
from gemma_edge.extract.values.types_number import read_number
from gemma_edge.extract.values.types_reading import Habits

SURE, LIKELY, DOUBTFUL = 0, 1, 2  # how a printed form means a value: the sign differs in the last
_NUMBER = re.compile(
    r"(?<![\d.,])"
    r"(?:\d{1,3}(?:[ \u00a0\u2007\u2009\u202f'’]\d{3})+(?:[.,]\d+)?"  # groups apart by spaces
    r"|\d+(?:[.,]\d+)*|[.,]\d+)(?!\d)"
)
_PART = re.compile(r"\d+(?:[.,]\d+)*")
_SPACED = re.compile(r"[ \u00a0\u2007\u2009\u202f]")
_BEFORE = re.compile(r"(?:(\()|(?<![\w)])([-−–]))[ ]?(?:[^\w\s()]|[A-Z]{2,3}\$?)?[ ]?$")
_MINUS_BEHIND = re.compile(r"[ ]?[-−](?![\w-])")
_CLOSING = re.compile(r"[ ]?(?:[^\w\s()]|[A-Z]{3})?[ ]?\)")
_PERCENT = re.compile(r"[ \u00a0\u202f]?(?:[%％]|percent\b|per cent\b|Prozent\b)")
_SCALE = re.compile(
    r"[ \u00a0-]?(?:(thousand|Tausend|mille)|(million(?:en|s)?|Mio\.?|mln\.?)"
    r"|(billion|milliard(?:en|s)?|Mrd\.?|bn)|(trillion))\b",
    re.IGNORECASE,
)
_SCALES = (Decimal(10**3), Decimal(10**6), Decimal(10**9), Decimal(10**12))
_MOST = 300_000  # numbers of a document
_REACH = 6  # characters beside a number in which its sign, its brackets and its currency stand
_LONG = 3  # digits from which a number may touch letters ("FY2025", "EUR1234")


class Printed(NamedTuple):
    """A printed number, and how surely it means the value under which it is kept."""

    span: Span
    rank: int


class NumberIndex:
    """Values to the places where they are printed."""

    def __init__(self, index: TextIndex) -> None:
        self._text = index.text
        self._places: dict[Decimal, list[Printed]] = {}
        for found in islice(_NUMBER.finditer(self._text), _MOST):
            self._read(Span(*found.span()))
            if _SPACED.search(found[0]):  # or else several numbers beside each other
                for part in _PART.finditer(self._text, *found.span()):
                    self._read(Span(*part.span()))

    def find(self, value: Decimal) -> list[Printed]:
        """Where a number is printed; with the other sign only where it is nowhere as it is."""
        found = self._places.get(value, [])
        if found or not value:
            return found
        return [Printed(span, DOUBTFUL) for span, _ in self._places.get(-value, ())]

    def _read(self, span: Span) -> None:
        digits = self._text[span.start : span.end]
        readings = _readings(digits)
        if not readings or self._touches_letters(span, digits):
            return
        head = self._text[max(0, span.start - _REACH) : span.start]
        tail = self._text[span.end : span.end + 2 * _REACH]
        sign, closing = _BEFORE.search(head), _CLOSING.match(tail)
        behind = _MINUS_BEHIND.match(tail)
        in_brackets = bool(sign and sign[1] and closing)
        minus = bool((sign and sign[2]) or in_brackets or behind)
        whole = Span(
            span.start - (len(head) - sign.start() if sign and minus else 0),
            span.end
            + (closing.end() if closing and in_brackets else behind.end() if behind else 0),
        )
        note = in_brackets and digits.isdigit()  # a year, or the number of a footnote
        scale, percent = _SCALE.match(tail), _PERCENT.match(tail)
        for rank, reading in enumerate(readings):
            value = -reading if minus else reading
            self._keep(value, whole, max(LIKELY if note else SURE, min(rank, LIKELY)))
            if in_brackets:
                self._keep(reading, span, min(rank, LIKELY) if note else LIKELY)
            if scale and scale.lastindex:
                scaled = Span(whole.start, span.end + scale.end())
                self._keep(value * _SCALES[scale.lastindex - 1], scaled, LIKELY)
            if percent:
                self._keep(value / 100, Span(whole.start, span.end + percent.end()), LIKELY)

    def _touches_letters(self, span: Span, digits: str) -> bool:
        """Whether it is a part of a word, such as the 4 of "A4"."""
        before = self._text[span.start - 1 : span.start]
        behind = self._text[span.end : span.end + 1]
        return len(digits) < _LONG and (before.isalpha() or behind.isalpha())

    def _keep(self, value: Decimal, span: Span, rank: int) -> None:
        self._places.setdefault(value, []).append(Printed(span, rank))


@lru_cache(maxsize=1 << 14)
def _readings(digits: str) -> tuple[Decimal, ...]:
    return tuple(read_number(digits, Habits()))
