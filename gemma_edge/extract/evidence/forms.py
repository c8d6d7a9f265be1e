"""All places where a value may be printed, in any form that means it. Pure.

The readers of the semantic types decide what a printed form means; what is the same letter for
letter (white space apart) is ``exact``, what means the same is ``normalized``, what only resembles
it is ``fuzzy``.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from gemma_edge.documents import Document
from gemma_edge.extract.evidence.dates import DateIndex
from gemma_edge.extract.evidence.index import Span, TextIndex, text_key
from gemma_edge.extract.evidence.numbers import DOUBTFUL, NumberIndex, Printed
from gemma_edge.extract.evidence.similar import SimilarIndex
from gemma_edge.extract.values.types_code import read_phone
from gemma_edge.extract.values.types_number import read_number
from gemma_edge.extract.values.types_reading import Habits, tables

Status = Literal["exact", "normalized", "fuzzy", "not_found"]
_ISO = re.compile(r"\d{4}-\d\d(-\d\d)?(?:[T ]00:00(?::00)?(?:\.0+)?Z?)?")
_CODE = re.compile(r"[A-Z]{2,3}")
_NUMERIC = re.compile(r"[^\w\s]?\s?[-−–(]?[^\w\s]?\s?(\d[\d.,'’ \u00a0]*)\s?%?\)?")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PHONE_VALUE = re.compile(r"\+\d{7,15}")
_PHONE = re.compile(r"(?<![\w+])\+?\(?\d[\d ()/.\-\u2010-\u2013]{5,24}\d")
_LAST_DIGITS = 5  # of a phone number, by which it is looked up
_SHORT = 3  # letters up to which case tells a code ("DE") from a word ("de")
_PLAIN_SIGNS = str.maketrans(
    "\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a\u2013\u2014\u2212", '"""""\'\'\'---'
)
_DOUBT = 0.8  # the score of what says less, or has another sign
_BOOLEANS = {True: ("true", "yes"), False: ("false", "no")}


class Candidate(NamedTuple):
    """A place where a value may stand; ``score`` from 0 to 1 is how much alike they are."""

    span: Span
    status: Status
    score: float
    rank: int = 0


class Forms:
    """A document's text, searched for values; what one search needs is indexed at the first."""

    def __init__(self, document: Document) -> None:
        self.index = TextIndex(document)
        self._known: dict[tuple[type, Any], list[Candidate]] = {}

    @cached_property
    def _numbers(self) -> NumberIndex:
        return NumberIndex(self.index)

    @cached_property
    def _dates(self) -> DateIndex:
        return DateIndex(self.index)

    @cached_property
    def _similar(self) -> SimilarIndex:
        return SimilarIndex(self.index)

    def candidates(self, value: Any) -> list[Candidate]:
        """Every place of a string, a number or a boolean, in the order of the text."""
        name = (type(value), value)
        if name not in self._known:
            found = sorted(self._search(value), key=lambda each: (each.span, each.rank))
            self._known[name] = list({each.span: each for each in reversed(found)}.values())[::-1]
        return self._known[name]

    def _search(self, value: Any) -> list[Candidate]:
        if isinstance(value, bool):
            words = _BOOLEANS[value]
            return [_meant(span) for word in words for span in self.index.find(word)]
        if isinstance(value, int | float):
            return self._number(Decimal(str(value)))
        text = " ".join(str(value).split())
        found = self._literal(text) + list(self._other_forms(text))
        if not found:
            found = [Candidate(span, "fuzzy", score) for span, score in self._similar.find(text)]
        return found

    def _number(self, value: Decimal) -> list[Candidate]:
        return [
            Candidate(printed.span, "exact", 1.0)
            if not printed.rank
            and _is_plain(self.index.text[printed.span.start : printed.span.end])
            else _ranked(printed)
            for printed in self._numbers.find(value)
        ]

    def _literal(self, value: str) -> list[Candidate]:
        """Letter for letter, or up to case, hyphens, quotes, accents and white space."""
        key = text_key(value)
        code = len(key) <= _SHORT and value.isupper()
        found = []
        for span in self.index.find(key):
            whole = self._with_edges(span, value)
            text = " ".join(self.index.text[whole.start : whole.end].split())
            if text == value:
                found.append(Candidate(whole, "exact", 1.0))
            elif not (code and text.islower()):
                found.append(Candidate(whole, "normalized", 1.0, 1))
        return found

    def _with_edges(self, span: Span, value: str) -> Span:
        """The span with the signs at the value's ends, which its key has not."""
        first, last = _edges(value)
        start, end = span.start - len(first), span.end + len(last)
        text = self.index.text
        return Span(
            start if start >= 0 and _alike(text[start : span.start], first) else span.start,
            end if _alike(text[span.end : end], last) else span.end,
        )

    def _other_forms(self, value: str) -> Iterator[Candidate]:
        """What else means the value: dates, codes, numbers, phone numbers."""
        if iso := _ISO.fullmatch(value):
            yield from map(_ranked, self._dates.find(value[: 10 if iso[1] else 7]))
        elif _CODE.fullmatch(value):
            for name in _names_of(value):
                yield from (_meant(span) for span in self._find_name(name))
        elif _PHONE_VALUE.fullmatch(value):
            yield from map(_meant, self._find_phone(value))
        elif found := _NUMERIC.fullmatch(value):
            negative = any(sign in value for sign in "-−–(")
            for number in read_number(found[1].strip(), Habits()):
                yield from map(_ranked, self._numbers.find(-number if negative else number))

    def _find_name(self, name: str) -> list[Span]:
        """A country's name, or a currency's sign, which may touch the amount."""
        if any(map(str.isalpha, name)):
            return [
                span
                for span in self.index.find(text_key(name))
                if self.index.text[span.start].isupper()
            ]
        return [Span(*found.span()) for found in re.finditer(re.escape(name), self.index.text)]

    @cached_property
    def _phones(self) -> list[tuple[str, Span]]:
        """Whatever may be a phone number, with its last digits."""
        runs = _PHONE.finditer(self.index.text)
        return [(re.sub(r"\D", "", run[0])[-_LAST_DIGITS:], Span(*run.span())) for run in runs]

    def _find_phone(self, number: str) -> Iterator[Span]:
        """Where an international number is printed, with its country or without."""
        habits = [Habits(region=each) for each in _regions(number)]
        for last, span in self._phones:
            if number.endswith(last):
                text = self.index.text[span.start : span.end]
                if any(read_phone(text, habit).value == number for habit in habits):
                    yield span


def _is_plain(number: str) -> bool:
    """Whether a number is printed as JSON writes it, zeros at its end apart."""
    return _PLAIN_NUMBER.fullmatch(number) is not None


def _ranked(printed: Printed) -> Candidate:
    if printed.rank >= DOUBTFUL:
        return Candidate(printed.span, "fuzzy", _DOUBT, printed.rank)
    return Candidate(printed.span, "normalized", 1.0, 1 + printed.rank)


def _meant(span: Span) -> Candidate:
    return Candidate(span, "normalized", 1.0, 1)


def _alike(one: str, other: str) -> bool:
    """Whether two runs of signs differ at most in the form of quotes and dashes."""
    return one.translate(_PLAIN_SIGNS) == other.translate(_PLAIN_SIGNS)


@lru_cache(maxsize=4096)
def _edges(value: str) -> tuple[str, str]:
    """The signs before the first and behind the last character that the key keeps."""
    kept = [at for at, char in enumerate(value) if text_key(char)]
    if not kept:
        return "", ""
    return value[: kept[0]], value[kept[-1] + 1 :]


@lru_cache(maxsize=256)
def _names_of(code: str) -> tuple[str, ...]:
    """What a country or a currency with this code is called."""
    known = tables()
    signs = [sign for sign, codes in known.currencies.items() if code in codes and sign != code]
    country = known.codes_of_three.get(code, code)
    names = [name for name, two in known.countries.items() if two == country]
    return (*signs, *names)


@lru_cache(maxsize=256)
def _regions(number: str) -> tuple[str, ...]:
    """One country for each calling code with which an international number may begin."""
    codes = {code: region for region, code in tables().calling_codes.items()}
    return tuple(region for code, region in codes.items() if number.startswith(f"+{code}"))
