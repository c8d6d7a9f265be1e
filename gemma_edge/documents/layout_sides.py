"""Lines on both sides of a gutter: whether they are running text, and whether they belong
together. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from gemma_edge.documents.layout_lines import Placed, reference, segments

# Of a line of running text; labels with their values are shorter. Chinese has no spaces.
_LINE_CHARS, _LINE_WORDS, _NO_SPACES = 15, 4, 1
_LETTERS = 0.6  # share of its characters
_FULL = 0.7  # share of the column that its lines fill
_GAPS = 0.2  # share of a line that may be gaps
_OTHER_HEIGHT = 0.1  # of a word's height: lines of a table stand at one height
_MOST, _DENSE = 0.5, 0.4  # shares of lines: that stand beside none, and beside a full column


class Side(NamedTuple):
    """One line on one side of a gutter; ``gaps`` is the width of its gaps, pt."""

    left: float
    right: float
    words: int
    chars: int
    letters: int
    gaps: float
    top: float
    baseline: float
    height: float


def sides_of(words: Sequence[Placed], gutter: float) -> tuple[list[Placed], list[Placed]]:
    """The words to the left and to the right of ``gutter``."""
    left = [word for word in words if word.right <= gutter]
    return left, [word for word in words if word.right > gutter]


def measured_sides(
    lines: Sequence[Sequence[Placed]], gutter: float, cell: float
) -> tuple[list[Side], list[Side]]:
    """The lines to the left and to the right of ``gutter``, those that have words there."""
    both = [sides_of(line, gutter) for line in lines]
    left, right = ([_measured(words[at], cell) for words in both if words[at]] for at in (0, 1))
    return left, right


def is_running_text(side: Sequence[Side]) -> bool:
    """Whether most lines are full of words."""
    width = max(line.right for line in side) - min(line.left for line in side)
    chars = sum(line.chars for line in side)
    words = median(line.words for line in side)
    return (
        (words >= _LINE_WORDS or words <= _NO_SPACES)
        and median(line.chars for line in side) >= _LINE_CHARS
        and sum(line.letters for line in side) >= _LETTERS * chars
        and median(line.right - line.left for line in side) >= _FULL * width
        and median(line.gaps for line in side) <= _GAPS * width
    )


def stand_apart(left: Sequence[Side], right: Sequence[Side]) -> bool:
    """Whether the lines of the shorter side follow one another as text does, most of them at a
    height where the other side has none."""
    few, many = sorted((left, right), key=len)
    beside = [line.baseline for line in many if few[0].top <= line.baseline <= few[-1].baseline]
    alone = sum(
        all(abs(line.baseline - height) > _OTHER_HEIGHT * line.height for height in beside)
        for line in few
    )
    fewer, more = sorted((len(few), len(beside)))
    return alone > _MOST * len(few) and fewer >= _DENSE * more


def are_beside(left: Sequence[Side], right: Sequence[Side], least: int) -> bool:
    """Whether on either side at least so many lines stand at the height of the other."""
    top = max(left[0].top, right[0].top)
    bottom = min(left[-1].baseline, right[-1].baseline)
    return all(
        sum(top <= line.baseline and line.top <= bottom for line in side) >= least
        for side in (left, right)
    )


def _measured(words: Sequence[Placed], cell: float) -> Side:
    parts = segments(words, cell)
    reading = reference(words)
    return Side(
        parts[0].left, parts[-1].right, len(words), sum(len(word.text) for word in words),
        sum(char.isalpha() for word in words for char in word.text),
        sum(after.left - before.right for before, after in pairwise(parts)),
        reading.top, reading.baseline, reading.bottom - reading.top,
    )  # fmt: skip
