"""The values that a text prints, by their kind, as they are printed: numbers, amounts, percentages,
dates, currencies, countries, addresses of e-mail and of the web, IBANs, telephone numbers. Pure.

They are what a value of that kind can be (``extraction.grounding``), so what may be one is rather
found than left out; only where a document shows how it writes amounts or dates, what is written
otherwise is none.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from gemma_edge.documents.document import Document
from gemma_edge.engine.grounding import NUMBER
from gemma_edge.extraction.addresses import find_addresses
from gemma_edge.extraction.evidence.search import (
    PAGE_BREAK,
    SCALE_BEHIND,
    SCALE_REACH,
    DateIndex,
    Span,
    find_scales,
)
from gemma_edge.extraction.values import (
    RAISED_CENTS,
    Habits,
    fold,
    lowered_digits,
    plain,
    read_amount,
    read_currency,
    read_iban,
    read_money,
    read_number,
    scale_of_words,
    tables,
)
from gemma_edge.records import dataclass

LIKE = "like "  # before a kind that only a name tells: where the document has none, any words
AMOUNT = "amount number"  # a number of those that stand for money
SCALE = "scale number"  # a number that says what the numbers of a table count in
QUANTITY = "quantity"  # of an amount that its name says is counted: plain digits too

_SPACE = " \u00a0\u2007\u2009\u202f"
_PRINTED_NUMBER = re.compile(
    rf"\d{{1,3}}(?:[{_SPACE}'’]\d{{3}})+(?!\d)(?:[.,\u066b]\d+)?|\d+(?:[.,\u066b]\d+)*"
)
_PART = re.compile(r"\d+(?:[.,]\d+)*")
_BEFORE = re.compile(r"(?:(\()|(?<![\w)])([-−–]))(?:[^\w\s()]|[A-Z]{2,3}\$?)?[ ]?$")
_BEHIND = re.compile(r"[-−](?=\s|$)")  # of an amount: "126926-" is the beginning of a code
_CLOSING = re.compile(r"[ ]?(?:[^\w\s()]|[A-Z]{3})?[ ]?\)")
_REACH = 8  # characters beside a number in which its sign and its currency stand
_MONEY_BEFORE = re.compile(r"([^\W\d_]{1,4}\.?|[^\W\d_]{0,3}[^\w\s,.;:()/]{1,3})[ ]{0,2}$")
_MONEY_BEHIND = re.compile(r"[ ]{0,2}([^\W\d_]{1,4}\b|[^\w\s,.;:()/]{1,3}|[円元원])")
_PERCENT = re.compile(r"[ \u00a0\u202f]?(?:[%％]|percent\b|per cent\b|Prozent\b)")
_UNIT = re.compile(  # of a quantity
    r"[ ]?(?:lit(?:re|er)s?|LIT(?:RE|ER)S?|ltrs?|LTRS?|kg|KG|ml|ML|cl|km|KM|cm|CM|mm|MM|m[²³2]"
    r"|kWh|kwh|pcs?|PCS?|stk|Stk|hrs?|HRS?|hours?|Std|days?|lbs?|LBS?|oz|OZ|gal|units?|[lgmh])\b"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d\d(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,4})?\b")
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"
# No longer than an address may be (RFC 5321), so that a long run of letters is read once.
_EMAIL = re.compile(rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}")
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"')\]]*[^\s<>\"')\].,;:]", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w+])\+?\(?\d[\d ()/.\-\u2010-\u2013]{5,24}\d")
_LEAST_PHONE = 7  # digits
_CURRENCY_WORD = re.compile(r"[^\W\d_]{1,5}\.?|[^\w\s.,;:/()\"'-]")
_NAME = re.compile(r"[^\W\d_][\w.'’-]*")
_COUNTRY_WORDS = 5
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_YEAR_OR_OPEN = re.compile(
    r"(?:\b(?i:spring|summer|autumn|fall|winter|frühjahr|frühling|sommer|herbst|printemps|été|automne"
    r"|hiver|primavera|verano|otoño|invierno|estate|autunno|inverno|FY|Q[1-4]|H[12]|WS|SS),?[ ]?)?"
    r"(?<![\w.,/-])(?:1[5-9]|20)\d\d(?:[ ]?[-–/][ ]?(?:(?:1[5-9]|20)?\d\d))?(?![\w/#*]|[.,]\d|-\w)"
    r"|\b(?i:present|current|ongoing|today|now|heute|aktuell|présent|actuel|aujourd'hui"
    r"|actualidad|actual|presente|oggi|heden|obecnie|hoje)\b"
)
_FEW = 3  # of them, where days are printed, are numbers of something
_SHORT_DAY = re.compile(r"\d{1,2}\W\d{1,2}\W?")  # without a year
_TAIL = re.compile(r"\d{3}(?!\d)")
_THOUSANDS = re.compile(
    r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3}){0,8}[ \u00a0\u2009\u202f]$"
)
_APART = re.compile(r"\S {3}")  # columns that spaces keep apart
_CENTS = re.compile(r"[.,]\d\d$")
# Rather a code or a quantity than an amount: "E8318", "420G", "RON 95".
_CODE = re.compile(r"[^\W\d_]{1,2}\d+|\d+[^\W\d_]{1,2}|[^\W\d_]+\.? ?\d\d?|\d\d? ?[^\W\d_]+")
_SURE = 3  # numbers with cents, from which a document prints amounts with them
_MOST_DIGITS = 8  # of an amount without any sign: what is longer is a number of something


@dataclass(frozen=True, slots=True)
class _Number:
    """A printed number: ``text`` as it is printed with its sign, ``bare`` without, ``values`` all
    that it can mean."""

    text: str
    bare: str
    values: tuple[Decimal, ...]
    start: int
    end: int


class Finder:
    """The candidates of one text; each kind is sought when it is asked for."""

    def __init__(self, document: Document) -> None:
        self.text = PAGE_BREAK.join(page.text for page in document.pages if page.text)
        self._plain = plain(self.text)
        self._numbers: list[_Number] | None = None
        self._dates: DateIndex | None = None
        self._has_columns: bool | None = None
        self._days: list[Span] | None = None
        self._cents: int | None = None

    def find(self, kind: str) -> tuple[str, ...] | None:
        """The texts of one kind, each once; None where nothing is known of it."""
        finder = _FINDERS.get(kind.removeprefix(LIKE))
        if finder is None:
            return None
        more = _MORE.get(kind)
        texts = chain(finder(self), more(self) if more else ())
        found = tuple(dict.fromkeys(" ".join(each.split()) for each in texts))
        return None if kind.startswith(LIKE) and not found else found

    def _date_index(self) -> DateIndex:
        if self._dates is None:
            self._dates = DateIndex(self.text)
        return self._dates

    def numbers(self) -> list[_Number]:
        if self._numbers is None:
            self._numbers = list(self._find_numbers())
        return self._numbers

    def _find_numbers(self) -> Iterator[_Number]:
        for found in _PRINTED_NUMBER.finditer(self._plain):
            yield from self._number(*found.span())
            if re.search(r"\D\d", found[0]) and not re.fullmatch(r"[\d.,]+", found[0]):
                for part in _PART.finditer(self._plain, *found.span()):
                    yield from self._number(*part.span())

    def _number(self, start: int, end: int) -> Iterator[_Number]:
        bare = self._plain[start:end]
        values = tuple(read_number(bare, _NO_HABITS))
        if not values:
            return
        yield _Number(self.text[start:end], bare, values, start, end)
        if (raised := RAISED_CENTS.match(self._plain, start)) and raised.end(1) == end:
            cents = f"{bare}.{lowered_digits(raised[2])}"  # "12⁹⁹ €"
            last = raised.end()
            yield _Number(self.text[start:last], cents, (Decimal(cents),), start, last)
        sign = _BEFORE.search(self._plain[max(0, start - _REACH) : start])
        tail = self._plain[end : end + _REACH]
        closing, behind = _CLOSING.match(tail), _BEHIND.match(tail)
        if sign and (sign[2] or closing):
            first = start - len(sign[0])
            last = end + (closing.end() if closing and sign[1] else 0)
        elif behind and not bare.isdigit():
            first, last = start, end + behind.end()
        else:
            return
        yield _Number(self.text[first:last], bare, tuple(-v for v in values), first, last)

    def json_numbers(self) -> Iterator[str]:
        """Each number as JSON writes it, with the zeros that are printed and without."""
        for each in self.numbers():
            yield from _as_json(each.values)
            yield from _as_json(self._scaled(each))
            if _PERCENT.match(self.text, each.end):
                yield from (f"{value / 100:f}" for value in each.values)

    def json_amounts(self) -> Iterator[str]:
        """Those of them that are amounts; all where none is."""
        priced = self._priced()
        some = [each for each in self.numbers() if self._is_amount(each) or each in priced]
        for each in some or self.numbers():
            yield from _as_json(each.values)
            yield from _as_json(self._scaled(each))

    def scales(self) -> Iterator[str]:
        """What the numbers of tables count in, as their notes say."""
        powers = {note.power for note in find_scales(self.text)}
        yield from (str(10**power) for power in sorted(powers))

    def _scale(self, number: _Number) -> tuple[tuple[int, ...], int]:
        """The powers of ten that the words behind a number can mean, and where they end."""
        found = SCALE_BEHIND.match(self._plain, number.end, number.end + SCALE_REACH)
        powers, words = scale_of_words(*found.groups("")) if found else ((), 0)
        return powers, found.end(words) if found and powers else number.end

    def _scaled(self, number: _Number) -> Iterator[Decimal]:
        """What a number means with the scale behind it: "1.5 million" is 1500000 too."""
        for power in self._scale(number)[0]:
            yield from (value.scaleb(power) for value in number.values)

    def dates(self) -> Iterator[str]:
        """Days, and what says less of one: a month with its year, a day with its month. Where days
        are printed, a few numbers such as "2/4" are something else."""
        days = self._texts(self._all_days())
        partial = self._texts(
            span for span in self._date_index().partial() if not self._in_day(span)
        )
        short = [text for text in partial if _SHORT_DAY.fullmatch(text)]
        doubtful = short if days and len(short) <= max(len(days), _FEW) else ()
        yield from (*days, *(text for text in partial if text not in doubtful))

    def years(self) -> Iterator[str]:
        """What a text that is called a date can be beside: a year or years, with their season, or
        that it has no end yet. Where days are printed, a few years alone are parts of names."""
        found = [
            each for each in _YEAR_OR_OPEN.finditer(self.text) if not self._in_day(each.span())
        ]
        alone = {each[0] for each in found if _YEAR.fullmatch(each[0])}
        doubtful = alone if len(alone) <= len(self._texts(self._all_days())) else ()
        for each in found:
            if each[0] not in doubtful:
                yield each[0]
                yield from (year[0] for year in _YEAR.finditer(each[0]))

    def _texts(self, spans: Iterable[tuple[int, int]]) -> list[str]:
        return [*dict.fromkeys(self.text[start:end] for start, end in spans)]

    def _in_day(self, span: tuple[int, int]) -> bool:
        """Whether it begins in a printed day."""
        days = self._all_days()
        at = bisect_right(days, span[0], key=itemgetter(0)) - 1
        return at >= 0 and span[0] < days[at].end

    def _all_days(self) -> list[Span]:
        if self._days is None:
            self._days = self._date_index().days()
        return self._days

    def amounts(self) -> Iterator[str]:
        """Numbers that are no part of a date, with their currency and without. Where three of them
        have cents, plain digits are a quantity or a number of something, but for those beside a
        currency that stands beside cents too. A number before "million" is none without it."""
        priced = self._priced()
        for number in self.numbers():
            texts = [number.text] if self._is_amount(number) else []
            texts += priced.get(number, ())
            end = self._scale(number)[1]
            if end > number.end and texts:
                scaled = self.text[number.end : end].strip()
                texts.insert(0, self.text[number.start : end])
                sure = [each for each in texts if scaled in each and _is_sure(each)]
                texts = [each for each in texts if scaled in each] if sure else texts
            yield from texts

    def quantities(self) -> Iterator[str]:
        """Numbers that are no part of a date."""
        for number in self.numbers():
            if not self._in_day((number.start, number.end)):
                yield number.text

    def _priced(self) -> dict[_Number, list[str]]:
        """The numbers beside a currency, with it."""
        found = [
            (number, text, currency)
            for number in self.numbers()
            if not self._in_day((number.start, number.end))
            for text, currency in self._with_currency(number)
        ]
        sure = {currency for number, _, currency in found if _CENTS.search(number.bare)}
        priced: dict[_Number, list[str]] = {}
        for number, text, currency in found:
            is_code = currency not in sure if sure else _CODE.fullmatch(text)
            if not (self._has_cents and is_code) or _CENTS.search(number.bare):
                priced.setdefault(number, []).append(text)
        return priced

    @property
    def _has_cents(self) -> bool:
        """Whether the document prints amounts with cents."""
        if self._cents is None:
            self._cents = sum(_CENTS.search(each.bare) is not None for each in self.numbers())
        return self._cents >= _SURE

    def _is_amount(self, number: _Number) -> bool:
        plain = number.bare.isdigit()
        if self._has_cents and (plain or _UNIT.match(self.text, number.end)):
            return False
        long = plain and len(number.bare) > _MOST_DIGITS
        return not (long or self._in_day((number.start, number.end)) or self._is_tail(number))

    def _is_tail(self, number: _Number) -> bool:
        """Whether it is the end of an amount whose thousands a space keeps apart, `515,29` of
        `8 515,29`: where columns stand far apart, one space is between no two of them."""
        if not _TAIL.match(number.bare):
            return False
        if self._has_columns is None:
            self._has_columns = _APART.search(self.text) is not None
        head = self.text[max(0, number.start - _REACH) : number.start]
        return self._has_columns and _THOUSANDS.search(head) is not None

    def _with_currency(self, number: _Number) -> Iterator[tuple[str, str]]:
        """A number with the currency before it or behind it, and the currency."""
        text, end = self.text, self._scale(number)[1]
        before = _MONEY_BEFORE.search(text[max(0, number.start - _REACH) : number.start])
        behind = _MONEY_BEHIND.match(text[end : end + _REACH])
        spans = []
        if before:
            spans.append((number.start - len(before[0]), end, before[1]))
        if behind:
            spans.append((number.start, end + behind.end(), behind[1]))
        for first, last, currency in spans:
            printed = " ".join(text[first:last].split())
            reading = read_money(printed, _NO_HABITS)
            bare = currency.strip(" -–")
            if bare and (reading.value is not None or reading.choices):
                yield printed, bare

    def percents(self) -> Iterator[str]:
        for each in self.numbers():
            yield each.text
            if sign := _PERCENT.match(self.text, each.end):
                yield self.text[each.start : sign.end()]

    def currencies(self) -> Iterator[str]:
        for word in dict.fromkeys(found[0] for found in _CURRENCY_WORD.finditer(self.text)):
            reading = read_currency(word, _NO_HABITS)
            is_word = word.isascii() and word.islower() and word not in tables().currencies
            if (reading.value or reading.choices) and not is_word:
                yield word

    def codes(self) -> Iterator[str]:
        """What a text that is called a currency can be beside: the code of a printed sign."""
        for word in self.currencies():
            reading = read_currency(word, _NO_HABITS)
            yield from (reading.value,) if isinstance(reading.value, str) else reading.choices

    def countries(self) -> Iterator[str]:
        names, codes = tables().countries, _country_codes()
        words = list(_NAME.finditer(self.text))
        begin = _first_words(tuple(names))
        begins = {word: fold(word).split(" ")[0] in begin for word in {each[0] for each in words}}
        for at, first in enumerate(words):
            if first[0] in codes:
                yield first[0]
            if not (first[0][0].isupper() and begins[first[0]]):
                continue
            for last in words[at : at + _COUNTRY_WORDS]:
                text = " ".join(self.text[first.start() : last.end()].split())
                if fold(text) in names:
                    yield text

    def ibans(self) -> Iterator[str]:
        for found in _IBAN.finditer(self.text):
            words = found[0].split(" ")
            runs = [" ".join(words[:size]) for size in range(len(words), 0, -1)]
            right = next((run for run in runs if read_iban(run, _NO_HABITS).value), None)
            yield right or found[0]

    def phones(self) -> Iterator[str]:
        for found in _PHONE.finditer(self.text):
            if sum(map(str.isdigit, found[0])) >= _LEAST_PHONE:
                yield found[0]


@lru_cache(maxsize=1)
def _country_codes() -> frozenset[str]:
    codes = tables().codes_of_three
    return frozenset((*codes, *codes.values()))


@lru_cache(maxsize=1)
def _first_words(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.split(" ")[0] for name in names)


def _as_json(values: Iterable[Decimal]) -> Iterator[str]:
    for value in values:
        plain = f"{value:f}"
        yield plain
        if "." in plain:
            yield plain.rstrip("0").removesuffix(".")


def _is_sure(text: str) -> bool:
    return read_amount(text, _NO_HABITS).value is not None


_NO_HABITS = Habits()
_FINDERS: Mapping[str, Callable[[Finder], Iterator[str]]] = {
    NUMBER: Finder.json_numbers,
    AMOUNT: Finder.json_amounts,
    "date": Finder.dates,
    "money": Finder.amounts,
    "amount": Finder.amounts,
    QUANTITY: Finder.quantities,
    SCALE: Finder.scales,
    "percent": Finder.percents,
    "currency": Finder.currencies,
    "country": Finder.countries,
    "iban": Finder.ibans,
    "phone": Finder.phones,
    "address": lambda finder: iter(find_addresses(finder.text)),
    "email": lambda finder: (found[0] for found in _EMAIL.finditer(finder.text)),
    "url": lambda finder: (found[0] for found in _URL.finditer(finder.text)),
}

# Of a plain string that only its name tells the kind of.
_MORE: Mapping[str, Callable[[Finder], Iterator[str]]] = {
    f"{LIKE}date": Finder.years,
    f"{LIKE}currency": Finder.codes,
}
