"""The text of a document, indexed once, so that each of many values is found quickly.

Two texts are kept: ``text``, the pages as they are, and a key of it without white space, case,
accents, ligatures, quotes and hyphens, in which "obli-\ngation" is "obligation" and
"BANK OF AMERICA, N.A." is "bankofamericana". A place in the key leads back to the place in the
text, and that to a page and to the boxes of words.
"""

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import accumulate, islice
from typing import Any, Literal, NamedTuple

from rapidfuzz import fuzz, process

from gemma_edge.documents.document import Box, Document, Page, Word
from gemma_edge.engine.grounding import columns
from gemma_edge.extraction.values import (
    CHAIN,
    POWER,
    RAISED,
    WORD,
    Habits,
    fold,
    is_currency,
    month_of,
    plain,
    power_of,
    read_amount,
    read_date,
    read_day,
    read_number,
    read_phone,
    scale_of_words,
    tables,
)

PAGE_BREAK = "\f"
MAX_HITS = 20_000  # of one value; a value that is printed more often says nothing
_MAX_TRIES = 200_000
_DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")
_BETWEEN_DIGITS = frozenset(".,/:") | _DASHES
_SIGNS = frozenset("%+#&@/=<>")  # they change what a word means ("C++", "AT&T")
_WORD = re.compile(r"\S{1,64}")  # a longer run is cut, so that finding a letter in it stays cheap
# Scripts that put no white space between words: Thai to Khmer, and from CJK radicals on.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0003ffff]")
# The number of a footnote behind a number: it is no part of a key.
_MARK = re.compile(
    rf"(?<=\d)(?:[{RAISED}]{{1,8}}|\^\([^()]{{1,8}}\)|\^\d{{1,2}}|\[\w{{1,2}}\]"
    r"|\((?:\d{1,2}|[a-z])\)(?!\d))"
)
_TORN = re.compile(r"[.,]\d+[^\d.,]+\d")  # cents, and digits behind what is none
_PART = re.compile(r"\S+(?: \S+)*")
_LONG = 4  # characters from which a value is too long to be a part of a word by chance
_SAME_LINE = 0.5  # of the lower word's height: how far two words of one line overlap


class Span(NamedTuple):
    start: int
    end: int


class Place(NamedTuple):
    """A part of one page: offsets in ``Page.text``, and a box for each line of it, in points."""

    page: int
    start: int
    end: int
    boxes: tuple[Box, ...]


class TextIndex:
    """All pages that have text, one after another."""

    def __init__(self, document: Document) -> None:
        self.pages = [page for page in document.pages if page.text]
        self.text = PAGE_BREAK.join(page.text for page in self.pages)
        self._page_starts = [0, *accumulate(len(page.text) + 1 for page in self.pages)][:-1]
        self.line_starts = [0, *(found.end() for found in re.finditer(r"[\n\f]", self.text))]
        self._word_starts: list[int] = []
        self._key_starts: list[int] = []
        keys = []
        length = 0
        for found in _WORD.finditer(self.text):
            key = word_key(found[0])
            if key:
                self._word_starts.append(found.start())
                self._key_starts.append(length)
                keys.append(key)
                length += len(key)
        self.words = keys
        self.key = "".join(keys)

    def find(self, key: str) -> list[Span]:
        found: list[Span] = []
        at = self.key.find(key) if key else -1
        tries = 0
        while at >= 0 and len(found) < MAX_HITS and tries < _MAX_TRIES:
            tries += 1
            span = Span(self._in_text(at), self._in_text(at + len(key) - 1) + 1)
            if self.is_whole(span) and not self.is_torn(key, span):
                found.append(span)
            at = self.key.find(key, at + 1)
        return found

    def is_torn(self, key: str, span: Span) -> bool:
        """Whether a number would be one with the number of the footnote behind it."""
        if not key.replace(".", "").replace(",", "").isdecimal() or key.isdecimal():
            return False
        return _TORN.search(self.text, *span) is not None

    def _in_text(self, at: int) -> int:
        word = bisect_right(self._key_starts, at) - 1
        start, left = self._word_starts[word], at - self._key_starts[word]
        end = start
        raw = self._raw_word(start)
        if raw.isascii() and raw.isalnum():
            return start + left
        for piece in _pieces(raw):
            if left < len(piece):
                return end
            left -= len(piece)
            end += 1
        raise AssertionError("the key of a word has changed")

    def _raw_word(self, start: int) -> str:
        found = _WORD.match(self.text, start)
        return found[0] if found else ""

    def is_whole(self, span: Span) -> bool:
        """Whether a span does not begin or end within a word or a number: "1,250.50" holds no 50
        and no 250. A footnote's number may touch a longer word."""
        text, (start, end) = self.text, span
        before, after = text[start - 1 : start], text[end : end + 1]
        first, last = text[start], text[end - 1]
        after = "" if last.isdecimal() and after in tuple(RAISED) else after
        long = end - start >= _LONG
        if _joined(before, first, long=long) or _joined(last, after, long=long):
            return False
        if first.isdigit() and before in tuple(".,") and text[max(0, start - 2)].isdigit():
            return False
        return not (last.isdigit() and after in tuple(".,") and text[end + 1 : end + 2].isdigit())

    def line(self, at: int) -> int:
        return bisect_right(self.line_starts, at) - 1

    def line_span(self, line: int) -> Span:
        last = line + 1 >= len(self.line_starts)
        end = len(self.text) if last else self.line_starts[line + 1] - 1
        return Span(self.line_starts[line], end)

    def parts(self, line: int) -> list[Span]:
        """What a line holds, cut at gaps of two spaces or more: cells, labels, values."""
        start, end = self.line_span(line)
        return [Span(*found.span()) for found in _PART.finditer(self.text, start, end)]

    def word_span(self, first: int, last: int) -> Span:
        start = self._word_starts[last]
        return Span(self._word_starts[first], start + len(self._raw_word(start)))

    def page_at(self, at: int) -> Page:
        return self.pages[bisect_right(self._page_starts, at) - 1]

    def places(self, span: Span) -> tuple[Place, ...]:
        """A span, page by page: one, unless it goes over the end of a page."""
        first = bisect_right(self._page_starts, span.start) - 1
        found = []
        for page, begins in zip(self.pages[first:], self._page_starts[first:], strict=True):
            start, end = max(0, span.start - begins), min(len(page.text), span.end - begins)
            if begins >= span.end:
                break
            if start < end:
                found.append(Place(page.number, start, end, boxes_of(page, start, end)))
        return tuple(found)

    def span_of(self, page: int, start: int, end: int) -> Span:
        """A part of the text of a page, which counts from 0 among those with text."""
        first = self._page_starts[page]
        return Span(first + start, first + end)

    def left_edge(self, at: int) -> float:
        """Where an offset stands on its line: in points where words have boxes, else in columns
        of characters."""
        number = bisect_right(self._page_starts, at) - 1
        page, offset = self.pages[number], at - self._page_starts[number]
        word = next(iter_words(page, offset, offset + 1), None)
        if word is not None:
            return _part(word, offset, offset + 1).left
        return float(at - self.line_starts[self.line(at)])


def _joined(one: str, other: str, *, long: bool) -> bool:
    if not (one.isalnum() and other.isalnum()):
        return False
    if long and one.isalpha() != other.isalpha():
        return False
    return not (_UNSPACED.match(one) or _UNSPACED.match(other))


def boxes_of(page: Page, start: int, end: int) -> tuple[Box, ...]:
    """The boxes of a part of a page's text: words of one line and next to each other are one."""
    boxes: list[Box] = []
    behind = start
    for word in iter_words(page, start, end):
        box = _part(word, start, end)
        joined = boxes and "\n" not in page.text[behind : word.start]
        if joined and _overlap(boxes[-1], box):
            boxes[-1] = _around(boxes[-1], box)
        else:
            boxes.append(box)
        behind = word.end
    return tuple(boxes)


def iter_words(page: Page, start: int, end: int) -> Iterator[Word]:
    at = bisect_right(page.words, start, key=lambda word: word.end)
    while at < len(page.words) and page.words[at].start < end:
        yield page.words[at]
        at += 1


def _part(word: Word, start: int, end: int) -> Box:
    """The box of the part of a word between two offsets; its letters count as equally wide."""
    first = max(0, start - word.start) / len(word.text)
    last = min(len(word.text), end - word.start) / len(word.text)
    if word.bottom - word.top > len(word.text) * (word.right - word.left):  # upright text
        return word.box
    width = word.right - word.left
    return Box(word.left + first * width, word.top, word.left + last * width, word.bottom)


def _overlap(one: Box, other: Box) -> bool:
    lower = min(one.bottom - one.top, other.bottom - other.top)
    return min(one.bottom, other.bottom) - max(one.top, other.top) >= _SAME_LINE * lower


def _around(one: Box, other: Box) -> Box:
    return Box(
        min(one.left, other.left), min(one.top, other.top),
        max(one.right, other.right), max(one.bottom, other.bottom),
    )  # fmt: skip


def text_key(text: str) -> str:
    return "".join(map(word_key, text.split()))


@lru_cache(maxsize=1 << 16)
def word_key(word: str) -> str:
    if word.isascii() and word.isalnum():
        return word.lower()
    return "".join(_pieces(word))


def _pieces(word: str) -> Iterator[str]:
    marks = () if word.isalpha() else [found.span() for found in _MARK.finditer(word)]
    for at, char in enumerate(word):
        if marks and any(start <= at < end for start, end in marks):
            yield ""
        elif char.isalnum():
            yield _folded(char)
        elif char in _BETWEEN_DIGITS and _is_digit(word, at - 1) and _is_digit(word, at + 1):
            yield "-" if char in _DASHES else char
        elif char in _SIGNS or unicodedata.category(char) == "Sc":
            yield char
        else:
            yield ""


def _is_digit(word: str, at: int) -> bool:
    return 0 <= at < len(word) and word[at].isdigit()


@lru_cache(maxsize=4096)
def _folded(char: str) -> str:
    plain = unicodedata.normalize("NFKD", char.casefold())
    return "".join(each for each in plain.casefold() if each.isalnum())


# The place of a value that is printed a little differently: a letter that a scanner misread, a
# word more or less, by rapidfuzz.

_SHORTEST = 5  # characters; what is shorter resembles too much
# The least similarity (0 to 1) of a value shorter than so many characters.
_FLOORS = ((12, 0.86), (40, 0.82), (math.inf, 0.75))
_WITH_ITS_DIGITS = 40  # a value shorter than this has all its digits right, or it is another one
_COMMON = 2000  # a word that stands in more places says nothing about which
_VOTERS = 64  # words of a value, the rarest, that are asked where it stands
_SIMILAR_WORD = 70  # rapidfuzz's ratio (0 to 100) from which one word may be another
_SIMILAR_WORDS = 4  # of one word
_TRIED = 6  # places that are compared letter by letter
_MOVES = 8  # of the ends of such a place, a word each
_LONGEST = 8000  # characters compared
_DIGITS = re.compile(r"\d+")
_MISREAD = 0.95  # the similarity of what differs only in such letters
_CONFUSED = str.maketrans("OoQDlIi|SsBZz", "0000111155822")  # letters that scanners see for digits


class SimilarIndex:
    def __init__(self, index: TextIndex) -> None:
        self._index = index
        self._places: dict[str, list[int]] = {}
        for number, word in enumerate(index.words):
            self._places.setdefault(word, []).append(number)
        self._vocabulary = list(self._places)
        self._resembling: dict[str, list[str]] = {}

    def find(self, value: str) -> list[tuple[Span, float]]:
        """Places that resemble ``value``, the best first, each with its similarity (0 to 1)."""
        words = [key for key in map(word_key, value[:_LONGEST].split()) if key]
        needle = "".join(words)
        if len(needle) < _SHORTEST:
            return []
        floor = next(least for length, least in _FLOORS if len(needle) < length)
        found: dict[Span, float] = {}
        for start in self._starts(words):
            span, score = self._align(needle, start, len(words))
            if score < floor or self._index.is_torn(needle, span):
                continue
            if self._has_digits(value, needle, span):
                found[span] = score
        return sorted(found.items(), key=lambda item: (-item[1], item[0].start))

    def _starts(self, words: list[str]) -> list[int]:
        """The numbers of the words with which a similar text most likely begins: each of its
        words votes with its rarity."""
        coarse = max(4, len(words) // 4)
        known = [
            (self._places[each], number)
            for number, word in enumerate(words)
            for each in self._known(word)
        ]
        rare = [each for each in known if len(each[0]) <= _COMMON]
        rare = sorted(rare, key=lambda each: len(each[0]))[:_VOTERS]
        votes: dict[int, float] = {}
        for places, number in rare:
            weight = math.log1p(len(self._index.words) / len(places))
            for place in places:
                bucket = (place - number) // coarse
                votes[bucket] = votes.get(bucket, 0.0) + weight
        # A border may part what belongs together.
        sums = {bucket: own + 0.5 * votes.get(bucket + 1, 0.0) for bucket, own in votes.items()}
        best = sorted(sums, key=lambda bucket: (-sums[bucket], bucket))[:_TRIED]
        return [max(0, bucket * coarse) for bucket in best]

    def _known(self, word: str) -> list[str]:
        if word in self._places:
            return [word]
        if word not in self._resembling:
            found = process.extract(
                word, self._vocabulary, scorer=fuzz.ratio, score_cutoff=_SIMILAR_WORD,
                limit=_SIMILAR_WORDS,
            )  # fmt: skip
            self._resembling[word] = [match[0] for match in found]
        return self._resembling[word]

    def _align(self, needle: str, start: int, count: int) -> tuple[Span, float]:
        slack = max(4, count // 2)
        first = max(0, start - slack)
        words = self._index.words[first : start + count + 2 * slack]
        window = "".join(words)
        found = fuzz.partial_ratio_alignment(needle, window)
        if found is None or len(window) < len(needle):
            begin, end = 0, len(window)
        else:
            begin, end = found.dest_start, found.dest_end
        inside, at = [], 0
        for number, word in enumerate(words):  # a word belongs to it with more than its half
            overlap = min(at + len(word), end) - max(at, begin)
            if 2 * overlap > len(word):
                inside.append(number)
            at += len(word)
        if not inside:
            return Span(0, 0), 0.0
        left, right, score = _refined(needle, words, inside[0], inside[-1])
        span = self._index.word_span(first + left, first + right)
        if self._is_scanned(span):
            near = "".join(words[left : right + 1]).translate(_CONFUSED)
            score = max(score, _MISREAD * fuzz.ratio(needle.translate(_CONFUSED), near) / 100)
        return span, score

    def _is_scanned(self, span: Span) -> bool:
        return self._index.page_at(span.start).kind.endswith("ocr-layer")

    def _has_digits(self, value: str, needle: str, span: Span) -> bool:
        """Whether a short value's digits are all there, and no others: an invoice's number that
        differs in one digit is another invoice."""
        if len(needle) >= _WITH_ITS_DIGITS:
            return True
        text = self._index.text[span.start : span.end]
        if _digits(value) == _digits(text):
            return True
        if not self._is_scanned(span):
            return False
        return _digits(_unconfused(value)) == _digits(_unconfused(text))


def _unconfused(text: str) -> str:
    return " ".join(
        word.translate(_CONFUSED) if any(map(str.isdigit, word)) else word for word in text.split()
    )


def _refined(needle: str, words: list[str], left: int, right: int) -> tuple[int, int, float]:
    best = (fuzz.ratio(needle, "".join(words[left : right + 1])), left, right)
    for _ in range(_MOVES):
        _, left, right = best
        ends = [(left - 1, right), (left + 1, right), (left, right - 1), (left, right + 1)]
        tried = [
            (fuzz.ratio(needle, "".join(words[one : other + 1])), one, other)
            for one, other in ends
            if 0 <= one <= other < len(words)
        ]
        better = max(tried, default=best)
        if better[0] <= best[0]:
            break
        best = better
    return best[1], best[2], best[0] / 100


def _digits(text: str) -> list[str]:
    return _DIGITS.findall(text_key(text))


# What the numbers of a table count in: "(in millions, except per share data)", "単位：百万円".

_TOKEN_OF_NOTE = re.compile(r"[^\s,;:()\[\]|]{1,24}")
_COUNTED = re.compile(r"[十百千万萬億亿백천만억]{1,4}[円元圆圓원]$")
_THOUSANDS = re.compile(r"(?:[A-Z]{0,3}[$€£¥]|[A-Z]{3})?['’]?000['’]?s?")
_IN_THOUSANDS = re.compile(
    r"\b(?:in|en|em|i|w|v) (?:[A-Z]{3} ?|[$€£¥] ?)?1[ .,'’]000 ?(?:[A-Z]{3}\b|[$€£¥]|[Ee]uro)"
)
_EDGES_BEFORE = ("\n", "|", "(", "[", "\t", "  ")
_EDGE_BEHIND = re.compile(r"[\n|)\]\t]|  |$")
_MOST_NOTES, _LONGEST_NOTE = 2000, 60  # places that are looked at; characters without brackets
_BEFORE_SCALE = frozenset(
    fold(word)
    for line in (
        "in en em i v ve w в u у au to are is a the all unit units unidad einheit einheiten unité",
        "unités birim jednostka jednotka единица ед изм đơn vị tính amounts amount figures values",
        "angaben beträge betrag werte alle montants chiffres cifras importes valores importi",
        "valori bedragen kwoty суммы данные показатели částky hodnoty adatok összegek belopp",
        "beløb tal dollars euros pounds euro us u s presented expressed stated exprimés expresado",
        "単位 单位 單位 단위",
    )
    for word in line.split()
)
_BEHIND_SCALE = frozenset(("of", "de", "von", "van", "di", "except", "other", "unless", "u", "us"))


class ScaleNote(NamedTuple):
    """A note that says that the numbers behind it count in powers of ten."""

    span: Span
    power: int


def find_scales(text: str) -> list[ScaleNote]:
    """The notes that say what the numbers of tables count in, down the text. What is prose
    ("millions of homes"), and what follows a number, is none."""
    text = plain(text)
    words = {word for word in set(_TOKEN_OF_NOTE.findall(text)) if _is_of_scale(word)}
    found = [
        ScaleNote(Span(*each.span()), _GROUP_OF_ZEROS)
        for each in islice(_IN_THOUSANDS.finditer(text), _MOST_NOTES)
    ]
    places = (each for each in _TOKEN_OF_NOTE.finditer(text) if each[0] in words) if words else ()
    for each in islice(places, _MOST_NOTES):
        power = _power_of_note(text, *each.span())
        if power:
            found.append(ScaleNote(Span(*each.span()), power))
    return sorted(found)


_GROUP_OF_ZEROS = 3


def _is_of_scale(word: str) -> bool:
    return bool(
        scale_of_words(word.strip("."))[0] or _THOUSANDS.fullmatch(word) or _COUNTED.search(word)
    )


def _power_of_note(text: str, start: int, end: int) -> int:
    """The power of ten of a word for a scale, where its cell or its brackets are such a note;
    else 0."""
    head = text[max(0, start - _LONGEST_NOTE) : start]
    edges = (head.rfind(edge) + len(edge) for edge in _EDGES_BEFORE if edge in head)
    head = head[max(edges, default=0) :]
    tail = text[end : end + _LONGEST_NOTE]
    if edge := _EDGE_BEHIND.search(tail):
        tail = tail[: edge.start()]
    bracketed = text[start - len(head) - 1 : start - len(head)] in tuple("([")
    word = text[start:end]
    before, behind = _TOKEN_OF_NOTE.findall(head), _TOKEN_OF_NOTE.findall(tail)
    money = [each for each in (*before, *behind[:2]) if is_currency(each)]
    said = [each for each in before if not is_currency(each)]
    is_note = all(fold(each) in _BEFORE_SCALE for each in said) and _goes_on(tail, behind)
    if not is_note or not (bracketed or len(head) + len(tail) + len(word) <= _LONGEST_NOTE):
        return 0
    if _THOUSANDS.fullmatch(word):
        return _GROUP_OF_ZEROS if word != "000" or money else 0
    counted = _COUNTED.search(word)
    word = counted[0] if counted else word
    if not (said or money or counted or is_currency(word) is None):
        return 0
    amount = read_amount(" ".join(("2", word, *money[:1])), Habits()).value
    return len(str(amount)) - 1 if isinstance(amount, int) and str(amount).strip("20") == "" else 0


def _goes_on(tail: str, behind: list[str]) -> bool:
    """Whether what stands behind the scale lets it be one of a table: nothing, a currency, what
    is left out."""
    if not behind or tail.lstrip()[:1] in tuple(",;"):
        return True
    first = fold(behind[0])
    elided = behind[0][:2].lower() in ("d'", "d’")
    return first in _BEHIND_SCALE or elided or is_currency(behind[0]) is True


# The numbers that a document prints, by what they can mean.

# How a printed form means a value: the sign differs in the third, and the last is scaled by what
# its table counts in.
SURE, LIKELY, DOUBTFUL, SCALED = 0, 1, 2, 3
_NUMBER = re.compile(
    r"(?<![\d.,])"
    r"(?:\d{1,3}(?:[ \u00a0\u2007\u2009\u202f'’]\d{3})+(?:[.,\u066b]\d+)?"  # groups apart by spaces
    r"|\d+(?:[.,\u066b]\d+)*|[.,]\d+)(?!\d)"
)
_NUMBER_PART = re.compile(r"\d+(?:[.,]\d+)*")
_SPACED = re.compile(r"[ \u00a0\u2007\u2009\u202f]")
_BEFORE = re.compile(r"(?:(\()|(?<![\w)])([-−–]))[ ]?(?:[^\w\s()]|[A-Z]{2,3}\$?)?[ ]?$")
_MINUS_BEHIND = re.compile(r"[ ]?[-−](?![\w-])")
_CLOSING = re.compile(r"[ ]?(?:[^\w\s()]|[A-Z]{3})?[ ]?\)")
_PERCENT = re.compile(r"[ \u00a0\u202f]?(?:[%％]|percent\b|per cent\b|Prozent\b)")
# What follows a number and can be a scale: "million", "mil millones", "Mio. €", "万円".
SCALE_BEHIND = re.compile(
    r"[ \u00a0-]?([^\W\d_][^\s\d,;:()]{0,15})(?: ([^\W\d_][^\s\d,;:()]{0,15}))?"
)
SCALE_REACH = 34
_MOST = 300_000  # numbers of a document
_REACH = 6  # characters beside a number in which its sign, its brackets and its currency stand
_LONG_NUMBER = 3  # digits from which a number may touch letters ("FY2025", "EUR1234")


class Printed(NamedTuple):
    span: Span
    rank: int


class NumberIndex:
    def __init__(self, index: TextIndex) -> None:
        self._text = plain(index.text)
        self._places: dict[Decimal, list[Printed]] = {}
        self._notes = find_scales(index.text)
        self._note_starts = [note.span.start for note in self._notes]
        for span, power in self._notes:
            self._keep(Decimal(10**power), span, LIKELY)
        for found in CHAIN.finditer(self._text):
            amount = read_amount(found[0], Habits()).value
            if amount is not None:
                self._keep(Decimal(str(amount)), Span(*found.span()), LIKELY)
        for found in islice(_NUMBER.finditer(self._text), _MOST):
            self._read(Span(*found.span()))
            if _SPACED.search(found[0]):  # or else several numbers beside each other
                for part in _NUMBER_PART.finditer(self._text, *found.span()):
                    self._read(Span(*part.span()))

    def find(self, value: Decimal) -> list[Printed]:
        """Where a number is printed; else where it is scaled by the note of a table; else where
        it has another sign."""
        found = self._places.get(value, [])
        if found or not value:
            return found
        scaled = [Printed(span, SCALED) for span in self._scaled(value)]
        return scaled or [Printed(span, DOUBTFUL) for span, _ in self._places.get(-value, ())]

    def _scaled(self, value: Decimal) -> Iterator[Span]:
        """Where a number stands that the last note before it makes this value."""
        for power in sorted({note.power for note in self._notes}):
            for span, rank in self._places.get(value.scaleb(-power), ()):
                at = bisect_right(self._note_starts, span.start) - 1
                if rank == SURE and at >= 0 and self._notes[at].power == power:
                    yield span

    def _read(self, span: Span) -> None:
        digits = self._text[span.start : span.end]
        readings = _readings(digits)
        scales = SCALE_BEHIND.match(self._text, span.end, span.end + SCALE_REACH)
        powers, words = scale_of_words(*scales.groups("")) if scales else ((), 0)
        beside = self._text[span.start - 1 : span.start], self._text[span.end : span.end + 1]
        in_word = len(digits) < _LONG_NUMBER and any(
            each.isalpha() and not _UNSPACED.match(each) for each in beside
        )  # the 4 of "A4"
        if not readings or (in_word and not powers):
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
        percent, power = _PERCENT.match(tail), POWER.match(self._text, span.end - 1)
        for rank, reading in enumerate(readings):
            value = -reading if minus else reading
            self._keep(value, whole, max(LIKELY if note else SURE, min(rank, LIKELY)))
            if in_brackets:
                self._keep(reading, span, min(rank, LIKELY) if note else LIKELY)
            for each in powers:
                scaled = Span(whole.start, scales.end(words) if scales else span.end)
                self._keep(value.scaleb(each), scaled, LIKELY)
            if power:
                self._keep(value.scaleb(power_of(power)), Span(whole.start, power.end()), LIKELY)
            if percent:
                self._keep(value / 100, Span(whole.start, span.end + percent.end()), LIKELY)

    def _keep(self, value: Decimal, span: Span, rank: int) -> None:
        self._places.setdefault(value, []).append(Printed(span, rank))


@lru_cache(maxsize=1 << 14)
def _readings(digits: str) -> tuple[Decimal, ...]:
    return tuple(read_number(digits, Habits()))


# The dates that a document prints, by the days and months they can mean.

_NUMERIC = re.compile(
    r"(?<![\w./-])(?:\d{1,4}([./-])[ ]?\d{1,2}\1[ ]?\d{1,4}|\d{8}"
    r"|[RHST]\.?\d{1,2}[./]\d{1,2}[./]\d{1,2})(?![\d/])|(?:(?:令和|平成|昭和|大正|明治|中?華?民[國国])\s?(?:\d{1,3}|元)|(?<!\d)\d{2,4})\s?[年년]"
    r"(?:\([^()\n]{1,8}\))?\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일]"
    r"|(?:\b[Nn]gày )?(?<!\d)\d{1,2} (?:tháng|thg) \d{1,2},? (?:năm )?\d{4}(?!\d)"
    r"|[〇二一][〇零一二三四五六七八九]{3}年[一二三四五六七八九十]{1,2}月[一二三四五六七八九十]{1,3}日"
)
_MONTH_NUMBER = re.compile(r"(?<![\w./-])(?:(\d{1,2})[./-](\d{4})|(\d{4})[./-](\d\d))(?![\w/-])")
_TOKEN = re.compile(r"\S+")
_DATE_NUMBER = re.compile(r"\d+")
_DAY_AND_MONTH = re.compile(
    r"(?<![\w.,/-])([0-3]?\d)(?:[/-]([0-3]?\d)(?![\w/-]|[.,]\d)|\.([01]?\d)\.(?![\w/-]))"
)
_DAY_BEFORE = re.compile(r"(?<![\w.,/-])[0-3]?\d(?:st|nd|rd|th|\.|er)?[ -]$")
_DAY_BEHIND = re.compile(r"\.?[ -][0-3]?\d(?:st|nd|rd|th|\.)?(?![\w/-]|[.,]\d)")
_MOST_MONTHS = 12
_LEAST_MONTH = 3  # letters of a month's name in a text
_DAY_AND_YEAR = 2  # numbers beside a month's name in a date
_NEAR = 14  # characters beside a month's name in which its day or its year begins
_MOST_DATES = 20_000  # names of months that are looked at
_DATE_REACH = 48  # characters on either side that are looked at
_BEFORE_DATE, _AFTER = 5, 4  # words on either side that can belong to a date
_EDGES = " \t\n,.;:()[]\"'“”"
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d")
_YEAR_COMMA = re.compile(r"(?:1[5-9]|20|21)\d\d,")


class DateIndex:
    """Days as ``2024-03-06``, months as ``2024-03``, to the places where they are printed."""

    def __init__(self, text: str) -> None:
        self._text, self._printed = plain(text), text
        self._places: dict[str, list[Printed]] = {}
        for found in _NUMERIC.finditer(self._text):
            raw = text[found.start() : found.end()]
            reading = read_date(" ".join(raw.split()), Habits())
            if reading.value:
                self._keep(reading.value, Span(*found.span()), SURE)
            for choice in reading.choices:
                self._keep(choice, Span(*found.span()), LIKELY)
        for found in _MONTH_NUMBER.finditer(self._text):
            month, year = (found[1], found[2]) if found[1] else (found[4], found[3])
            self._keep(f"{year}-{int(month):02}", Span(*found.span()), SURE)
        for span, month_number in islice(self._months(), _MOST_DATES):
            self._read_around(span, month_number)

    def find(self, iso: str) -> list[Printed]:
        """Where a day or a month is printed. The first of a month is also sought as the month
        alone, which is less than what was said."""
        found = self._places.get(iso, [])
        if not found and iso.endswith("-01") and len(iso) == len("2024-03-01"):
            return [Printed(span, DOUBTFUL) for span, _ in self._places.get(iso[:-3], ())]
        return found

    def days(self) -> list[Span]:
        """Where a day is printed, in the order of the text."""
        days = (found for iso, found in self._places.items() if len(iso) > len("2024-03"))
        return sorted({each.span for found in days for each in found})

    def partial(self) -> list[Span]:
        """Where a month with its year is printed, or a day with its month and no year."""
        months = (found for iso, found in self._places.items() if len(iso) == len("2024-03"))
        spans = {each.span for found in months for each in found}
        for found in _DAY_AND_MONTH.finditer(self._text):
            if any(0 < int(number) <= _MOST_MONTHS for number in found.groups() if number):
                spans.add(Span(*found.span()))
        for name, _ in islice(self._months(), _MOST_DATES):
            before = _DAY_BEFORE.search(self._text[max(0, name.start - _NEAR) : name.start])
            behind = _DAY_BEHIND.match(self._text, name.end)
            if before:
                spans.add(Span(name.start - len(before[0]), name.end))
            elif behind:
                spans.add(Span(name.start, behind.end()))
        return sorted(spans)

    def _months(self) -> Iterator[tuple[Span, int]]:
        """Where months are named, each with its number; 0 where it is one of two."""
        for found in WORD.finditer(self._text):
            month = self._month_words.get(found[0])
            if month is not None and _DATE_NUMBER.search(
                self._text, max(0, found.start() - _NEAR), found.end() + _NEAR
            ):
                yield Span(*found.span()), month

    @cached_property
    def _month_words(self) -> dict[str, int]:
        """The words of the text that name a month, each read once."""
        found = {}
        for word in set(WORD.findall(self._text)):
            if len(word) >= _LEAST_MONTH:
                month = month_of(word.lower() if word.isascii() else fold(word))
                if month is not None:
                    found[word] = month
        return found

    def _read_around(self, name: Span, month: int) -> None:
        """The shortest run of words around a month's name that is a date; else month and year."""
        text = self._text
        tokens, here = self._tokens_around(name)
        if here is None:
            return
        numbers = [len(_DATE_NUMBER.findall(text, *token)) for token in tokens]
        runs = [
            (first, last)
            for first in range(max(0, here - _BEFORE_DATE), here + 1)
            for last in range(here, min(len(tokens), here + _AFTER))
            if sum(numbers[first : last + 1]) == _DAY_AND_YEAR
        ]
        # A comma behind a year rather begins another date.
        years = [bool(_YEAR_COMMA.fullmatch(text, *token)) for token in tokens]
        # Words in one place of a line are rather a date than those of two columns, or of two lines.
        apart = [
            text[token.end : after.start] != " "
            for token, after in zip(tokens, tokens[1:], strict=False)
        ]
        runs.sort(key=lambda run: (
            any(apart[slice(*run)]), any(years[slice(*run)]), run[1] - run[0]
        ))  # fmt: skip
        for first, last in runs:
            span = _trimmed(text, Span(tokens[first].start, tokens[last].end))
            words = " ".join(self._printed[span.start : span.end].split())
            days = _read_words(words)
            for day in days:
                self._keep(day, span, SURE if len(days) == 1 else LIKELY)
            if days:
                break
        for first, last in (
            () if not month else ((here, here + 1), (here - 1, here), (here, here + 2))
        ):
            if first >= 0 and last < len(tokens):
                span = _trimmed(text, Span(tokens[first].start, tokens[last].end))
                ends = text[span.end - 4 : span.end], text[span.start : span.start + 4]
                if year := next(filter(None, map(_YEAR.fullmatch, ends)), None):
                    self._keep(f"{year[0]}-{month:02}", span, SURE)
                    return

    @cached_property
    def _tokens(self) -> list[Span]:
        return [Span(*found.span()) for found in _TOKEN.finditer(self._text)]

    @cached_property
    def _token_ends(self) -> list[int]:
        return [token.end for token in self._tokens]

    def _tokens_around(self, name: Span) -> tuple[list[Span], int | None]:
        """The words around a month's name that can belong to its date, and which of them holds it;
        None where that is far too long a word. From one date to another is no date: a dash ends
        them."""
        tokens = self._tokens
        first, last = name.start - _DATE_REACH, name.end + _DATE_REACH

        def belongs(at: int) -> bool:
            token = tokens[at]
            near = (token.start > first or first <= 0) and token.end < last
            return near and not _DASHES.issuperset(self._text[slice(*token)])

        here = bisect_left(self._token_ends, name.end)
        if not belongs(here):
            return [], None
        begin, end = here, here + 1
        while begin > max(0, here - _BEFORE_DATE) and belongs(begin - 1):
            begin -= 1
        while end < min(len(tokens), here + _AFTER) and belongs(end):
            end += 1
        return tokens[begin:end], here - begin

    def _keep(self, iso: str, span: Span, rank: int) -> None:
        self._places.setdefault(iso, []).append(Printed(span, rank))


@lru_cache(maxsize=1 << 16)
def _read_words(words: str) -> tuple[str, ...]:
    found = read_day(words, Habits())
    return found.choices if found.value is None else (found.value,)


def _trimmed(text: str, span: Span) -> Span:
    bare = text[span.start : span.end].rstrip(_EDGES)
    return Span(span.start + len(bare) - len(bare.lstrip(_EDGES)), span.start + len(bare))


# All places where a value may be printed, in any form that means it. The readers of the
# semantic types decide what a printed form means; what is the same letter for letter (white space
# apart) is `exact`, what means the same is `normalized`, what does with the note of its table
# ("in thousands") is `scaled`, what only resembles it is `fuzzy`.

Status = Literal["exact", "normalized", "scaled", "fuzzy", "not_found"]
_ISO = re.compile(r"\d{4}-\d\d(-\d\d)?(?:[T ]00:00(?::00)?(?:\.0+)?Z?)?")
_CODE = re.compile(r"[A-Z]{2,3}")
_NUMERIC_TYPES = re.compile(r"[^\w\s]?\s?[-−–(]?[^\w\s]?\s?(\d[\d.,'’ \u00a0]*)\s?%?\)?")
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


class Occurrence(NamedTuple):
    """A place where a value may stand; ``score`` from 0 to 1 is how much alike they are.
    ``further`` is the rest of a value that goes on in the cells below."""

    span: Span
    status: Status
    score: float
    rank: int = 0
    further: tuple[Span, ...] = ()


class Forms:
    """A document's text, searched for values; what one search needs is indexed at the first."""

    def __init__(self, document: Document) -> None:
        self.index = TextIndex(document)
        self._known: dict[tuple[type, Any], list[Occurrence]] = {}

    @cached_property
    def _numbers(self) -> NumberIndex:
        return NumberIndex(self.index)

    @cached_property
    def _dates(self) -> DateIndex:
        return DateIndex(self.index.text)

    @cached_property
    def _similar(self) -> SimilarIndex:
        return SimilarIndex(self.index)

    def candidates(self, value: Any) -> list[Occurrence]:
        name = (type(value), value)
        if name not in self._known:
            found = sorted(self._search(value), key=lambda each: (each.span, each.rank))
            self._known[name] = list({each.span: each for each in reversed(found)}.values())[::-1]
        return self._known[name]

    def _search(self, value: Any) -> list[Occurrence]:
        if isinstance(value, bool):
            words = _BOOLEANS[value]
            return [_in_other_form(span) for word in words for span in self.index.find(word)]
        if isinstance(value, int | float):
            return self._number(Decimal(str(value)))
        text = " ".join(str(value).split())
        found = self._literal(text) + list(self._other_forms(text)) or list(self._downwards(text))
        if not found:
            found = [Occurrence(span, "fuzzy", score) for span, score in self._similar.find(text)]
        return found

    def _number(self, value: Decimal) -> list[Occurrence]:
        found = []
        for span, rank in self._numbers.find(value):
            exact = not rank and _PLAIN_NUMBER.fullmatch(self.index.text, span.start, span.end)
            found.append(Occurrence(span, "exact", 1.0) if exact else _in_other_form(span, rank))
        return found

    def _literal(self, value: str) -> list[Occurrence]:
        key = text_key(value)
        code = len(key) <= _SHORT and value.isupper()
        found = []
        for span in self.index.find(key):
            whole = self._with_edges(span, value)
            text = " ".join(self.index.text[whole.start : whole.end].split())
            if text == value:
                found.append(Occurrence(whole, "exact", 1.0))
            elif not (code and text.islower()):
                found.append(Occurrence(whole, "normalized", 1.0, 1))
        return found

    @cached_property
    def _columns(self) -> list[list[Span]]:
        found, begins = [], 0
        for page in self.index.pages:
            for cells in columns(page.text):
                found.append([Span(begins + start, begins + end) for start, end in cells])
            begins += len(page.text) + len(PAGE_BREAK)
        return found

    def _downwards(self, value: str) -> Iterator[Occurrence]:
        """Where a value stands in cells below each other, letter for letter."""
        for cells in self._columns:
            texts = [self.index.text[cell.start : cell.end] for cell in cells]
            at = " ".join(texts).find(value)
            if at < 0:
                continue
            spans, end = [], at + len(value)
            for cell in cells:
                length = cell.end - cell.start
                start, stop = max(0, at), min(length, end)
                if start < stop:
                    spans.append(Span(cell.start + start, cell.start + stop))
                at, end = at - length - 1, end - length - 1
            if all(self.index.is_whole(span) for span in spans):
                yield Occurrence(spans[0], "exact", 1.0, further=tuple(spans[1:]))

    def _with_edges(self, span: Span, value: str) -> Span:
        """The span with the signs at the value's ends, which its key has not."""
        first, last = _edges(value)
        start, end = span.start - len(first), span.end + len(last)
        text = self.index.text
        return Span(
            start if start >= 0 and _alike(text[start : span.start], first) else span.start,
            end if _alike(text[span.end : end], last) else span.end,
        )

    def _other_forms(self, value: str) -> Iterator[Occurrence]:
        if iso := _ISO.fullmatch(value):
            for span, rank in self._dates.find(value[: 10 if iso[1] else 7]):
                yield _in_other_form(span, rank)
        elif _CODE.fullmatch(value):
            for name in _names_of(value):
                yield from map(_in_other_form, self._find_name(name))
        elif _PHONE_VALUE.fullmatch(value):
            yield from map(_in_other_form, self._find_phone(value))
        elif found := _NUMERIC_TYPES.fullmatch(value):
            negative = any(sign in value for sign in "-−–(")
            for number in read_number(found[1].strip(), Habits()):
                for span, rank in self._numbers.find(-number if negative else number):
                    yield _in_other_form(span, rank)

    def _find_name(self, name: str) -> list[Span]:
        if any(map(str.isalpha, name)):
            return [
                span
                for span in self.index.find(text_key(name))
                if self.index.text[span.start].isupper()
            ]
        return [Span(*found.span()) for found in re.finditer(re.escape(name), self.index.text)]

    @cached_property
    def _phones(self) -> list[tuple[str, Span]]:
        runs = _PHONE.finditer(self.index.text)
        return [(re.sub(r"\D", "", run[0])[-_LAST_DIGITS:], Span(*run.span())) for run in runs]

    def _find_phone(self, number: str) -> Iterator[Span]:
        habits = [Habits(region=each) for each in _regions(number)]
        for last, span in self._phones:
            if number.endswith(last):
                text = self.index.text[span.start : span.end]
                if any(read_phone(text, habit).value == number for habit in habits):
                    yield span


def _in_other_form(span: Span, rank: int = SURE) -> Occurrence:
    if rank == SCALED:
        return Occurrence(span, "scaled", 1.0, 1 + rank)
    if rank >= DOUBTFUL:
        return Occurrence(span, "fuzzy", _DOUBT, rank)
    return Occurrence(span, "normalized", 1.0, 1 + rank)


def _alike(one: str, other: str) -> bool:
    return one.translate(_PLAIN_SIGNS) == other.translate(_PLAIN_SIGNS)


@lru_cache(maxsize=4096)
def _edges(value: str) -> tuple[str, str]:
    kept = [at for at, char in enumerate(value) if text_key(char)]
    if not kept:
        return "", ""
    return value[: kept[0]], value[kept[-1] + 1 :]


@lru_cache(maxsize=256)
def _names_of(code: str) -> tuple[str, ...]:
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
