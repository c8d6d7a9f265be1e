"""The place of a value that is printed a little differently: a letter that a scanner misread, a
word more or less, by rapidfuzz. Pure."""

import math
import re

from rapidfuzz import fuzz, process

from gemma_edge.extract.evidence.index import Span, TextIndex, text_key, word_key

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
    """Words to where they stand."""

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
            if score >= floor and self._has_digits(value, needle, span):
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
        rare = sorted((each for each in known if len(each[0]) <= _COMMON), key=_count)[:_VOTERS]
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
        """The word, or where the document has not got it the words that resemble it."""
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
        """The words around ``start`` that resemble ``needle`` most."""
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
    """With digits for the letters that scanners confuse with them, in words that have a digit."""
    return " ".join(
        word.translate(_CONFUSED) if any(map(str.isdigit, word)) else word for word in text.split()
    )


def _count(known: tuple[list[int], int]) -> int:
    return len(known[0])


def _refined(needle: str, words: list[str], left: int, right: int) -> tuple[int, int, float]:
    """A run of words moved at its ends while that makes it more similar."""
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
