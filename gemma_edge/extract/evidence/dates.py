"""The dates that a document prints, by the days and months they can mean. Pure."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from gemma_edge.extract.evidence.index import Span, TextIndex
from gemma_edge.extract.evidence.numbers import DOUBTFUL, LIKELY, SURE, Printed
from gemma_edge.extract.values.types_date import read_date
from gemma_edge.extract.values.types_reading import Habits, fold, tables

_NUMERIC = re.compile(
    r"(?<![\w./-])(?:\d{1,4}([./-])[ ]?\d{1,2}\1[ ]?\d{1,4}|\d{8}"
    r"|\d{4}\s*[年년]\s*\d{1,2}\s*[月월]\s*\d{1,2}\s*[日일])(?![\d/])"
)
_MONTH_NUMBER = re.compile(r"(?<![\w./-])(?:(\d{1,2})[./-](\d{4})|(\d{4})[./-](\d\d))(?![\w/-])")
_WORD = re.compile(r"[^\W\d_]{3,}")
_TOKEN = re.compile(r"\S+")
_NUMBER = re.compile(r"\d+")
_DAY_AND_YEAR = 2  # numbers beside a month's name in a date
_NEAR = 14  # characters beside a month's name in which its day or its year begins
_MOST = 20_000  # names of months that are looked at
_REACH = 48  # characters on either side that are looked at
_BEFORE, _AFTER = 5, 4  # words on either side that can belong to a date
_EDGES = " \t\n,.;:()[]\"'“”"
_DAY_OF = re.compile(r"\bday\b", re.IGNORECASE)  # "the 17th day of August, 2007"
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d")


class DateIndex:
    """Days as ``2024-03-06``, months as ``2024-03``, to the places where they are printed."""

    def __init__(self, index: TextIndex) -> None:
        self._text = index.text
        self._places: dict[str, list[Printed]] = {}
        for found in _NUMERIC.finditer(self._text):
            self._read(Span(*found.span()))
        for found in _MONTH_NUMBER.finditer(self._text):
            month, year = (found[1], found[2]) if found[1] else (found[4], found[3])
            self._keep(f"{year}-{int(month):02}", Span(*found.span()), SURE)
        for span, month_number in islice(self._months(), _MOST):
            self._read_around(span, month_number)

    def find(self, iso: str) -> list[Printed]:
        """Where a day or a month is printed. The first of a month is also sought as the month
        alone, which is less than what was said."""
        found = self._places.get(iso, [])
        if not found and iso.endswith("-01") and len(iso) == len("2024-03-01"):
            return [Printed(span, DOUBTFUL) for span, _ in self._places.get(iso[:-3], ())]
        return found

    def _read(self, span: Span) -> None:
        reading = read_date(" ".join(self._text[span.start : span.end].split()), Habits())
        if reading.value:
            self._keep(reading.value, span, SURE)
        for choice in reading.choices:
            self._keep(choice, span, LIKELY)

    def _months(self) -> Iterator[tuple[Span, int]]:
        """Names of months with a number near them."""
        known = tables().months
        for found in _WORD.finditer(self._text):
            word = found[0].lower()
            month = known.get(word if word.isascii() else fold(word))
            near = self._text[max(0, found.start() - _NEAR) : found.end() + _NEAR]
            if month and _NUMBER.search(near):
                yield Span(*found.span()), month

    def _read_around(self, name: Span, month: int) -> None:
        """The shortest run of words around a month's name that is a date; else month and year."""
        text = self._text
        first, last = max(0, name.start - _REACH), name.end + _REACH
        tokens = [
            Span(*found.span())
            for found in _TOKEN.finditer(text, first, last)
            if (found.start() > first or not first) and (found.end() < last)  # no part of a word
        ]
        here = next((n for n, token in enumerate(tokens) if token.end >= name.end), None)
        if here is None:
            return
        numbers = [len(_NUMBER.findall(text, *token)) for token in tokens]
        runs = [
            (first, last)
            for first in range(max(0, here - _BEFORE), here + 1)
            for last in range(here, min(len(tokens), here + _AFTER))
            if sum(numbers[first : last + 1]) == _DAY_AND_YEAR
        ]
        for first, last in sorted(runs, key=lambda run: run[1] - run[0]):
            span = _trimmed(text, Span(tokens[first].start, tokens[last].end))
            words = _DAY_OF.sub("", " ".join(text[span.start : span.end].split()))
            found = _read_words(words)
            if found:
                self._keep(found, span, SURE)
                break
        for first, last in ((here, here + 1), (here - 1, here), (here, here + 2)):
            if first >= 0 and last < len(tokens):
                span = _trimmed(text, Span(tokens[first].start, tokens[last].end))
                year = _YEAR.fullmatch(text[span.end - 4 : span.end]) or _YEAR.match(
                    text[span.start : span.start + 4]
                )
                if year:
                    self._keep(f"{year[0]}-{month:02}", span, SURE)
                    return

    def _keep(self, iso: str, span: Span, rank: int) -> None:
        self._places.setdefault(iso, []).append(Printed(span, rank))


@lru_cache(maxsize=1 << 16)
def _read_words(words: str) -> str | None:
    found = read_date(words, Habits()).value
    return found if isinstance(found, str) else None


def _trimmed(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start] in _EDGES:
        start += 1
    while start < end and text[end - 1] in _EDGES:
        end -= 1
    return Span(start, end)
