"""The text of a document, indexed once, so that each of many values is found quickly. Pure.

Two texts are kept: ``text``, the pages as they are, and a key of it without white space, case,
accents, ligatures, quotes and hyphens, in which "obli-\\ngation" is "obligation" and
"BANK OF AMERICA, N.A." is "bankofamericana". A place in the key leads back to the place in the
text, and that to a page and to the boxes of words.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from gemma_edge.documents import Box, Document, Page, Word

PAGE_BREAK = "\f"
MAX_HITS = 20_000  # of one value; a value that is printed more often says nothing
_MAX_TRIES = 200_000
_DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")
_BETWEEN_DIGITS = frozenset(".,/:") | _DASHES
_SIGNS = frozenset("%+#&@/=<>")  # they change what a word means ("C++", "AT&T")
_WORD = re.compile(r"\S{1,64}")  # a longer run is cut, so that finding a letter in it stays cheap
# Scripts that put no white space between words: Thai to Khmer, and from CJK radicals on.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0003ffff]")
_PART = re.compile(r"\S+(?: \S+)*")
_LONG = 4  # characters from which a value is too long to be a part of a word by chance
_SAME_LINE = 0.5  # of the lower word's height: how far two words of one line overlap


class Span(NamedTuple):
    """Offsets in ``TextIndex.text``."""

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
        """Where ``key`` stands as whole words."""
        found: list[Span] = []
        at = self.key.find(key) if key else -1
        tries = 0
        while at >= 0 and len(found) < MAX_HITS and tries < _MAX_TRIES:
            tries += 1
            span = Span(self._in_text(at), self._in_text(at + len(key) - 1) + 1)
            if self.is_whole(span):
                found.append(span)
            at = self.key.find(key, at + 1)
        return found

    def _in_text(self, at: int) -> int:
        """The offset in the text of the character whose key stands at ``at``."""
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
        long = end - start >= _LONG
        if _joined(before, first, long=long) or _joined(last, after, long=long):
            return False
        if first.isdigit() and before in tuple(".,") and text[max(0, start - 2)].isdigit():
            return False
        return not (last.isdigit() and after in tuple(".,") and text[end + 1 : end + 2].isdigit())

    def line(self, at: int) -> int:
        """The number of the line of an offset, over all pages."""
        return bisect_right(self.line_starts, at) - 1

    def line_span(self, line: int) -> Span:
        """The offsets of a line, without its end."""
        last = line + 1 >= len(self.line_starts)
        end = len(self.text) if last else self.line_starts[line + 1] - 1
        return Span(self.line_starts[line], end)

    def parts(self, line: int) -> list[Span]:
        """What a line holds, cut at gaps of two spaces or more: cells, labels, values."""
        start, end = self.line_span(line)
        return [Span(*found.span()) for found in _PART.finditer(self.text, start, end)]

    def word_span(self, first: int, last: int) -> Span:
        """From one word of ``words`` to another, which is included."""
        start = self._word_starts[last]
        return Span(self._word_starts[first], start + len(self._raw_word(start)))

    def page_at(self, at: int) -> Page:
        """The page of an offset."""
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
    """Whether two characters beside each other are of one word."""
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
    """The words of a page that reach into a part of its text."""
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
    """The key of a value, made as the key of the document is."""
    return "".join(map(word_key, text.split()))


@lru_cache(maxsize=1 << 16)
def word_key(word: str) -> str:
    """The key of characters without white space."""
    if word.isascii() and word.isalnum():
        return word.lower()
    return "".join(_pieces(word))


def _pieces(word: str) -> Iterator[str]:
    """What each character of a word becomes in the key."""
    for at, char in enumerate(word):
        if char.isalnum():
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
    """Small, without accents, ligatures opened."""
    plain = unicodedata.normalize("NFKD", char.casefold())
    return "".join(each for each in plain.casefold() if each.isalnum())
