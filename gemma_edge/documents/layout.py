"""Words with boxes to text that keeps its layout: lines, columns, paragraphs. Pure.

Coordinates are points from the top left corner of the page as it is seen, y downwards. Words of
one reading direction are laid out together, so a page with an upright stamp in its margin gives
the page first and then the stamp.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median_low
from unicodedata import bidirectional

ACROSS, DOWN, UPSIDE_DOWN, UP = 0, 1, 2, 3  # ``turn``: reading directions, quarters clockwise
SLANTED = 4  # a ``turn`` that is no multiple of a quarter

_COLUMN_CELLS = 1.6  # a gap from here on separates columns; justified text stays below it
_MAX_RUN = 120  # spaces; a wider gap says nothing more and costs tokens
_GLUE_CELLS = 0.5  # two words without white space between them touch below this gap
_PARAGRAPH = 1.4  # times the usual distance of lines
_SAME_SIZE = 0.75  # ratio of sizes above which two words count as one size
# Shares of the size by which baselines on one line differ: of equal words, of a superscript.
_SAME_LINE, _RAISED_LINE = 0.35, 0.65


@dataclass(frozen=True, slots=True)
class Word:
    """Characters without white space, and where they stand.

    ``baseline`` is the y on which they stand, or the x where ``turn`` is odd. ``turn`` counts
    clockwise quarters of the reading direction. ``glued`` says that no white space came before.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    baseline: float
    turn: int = 0
    glued: bool = False


def render_layout(words: Iterable[Word], width: float, height: float) -> str:
    """Text of a page of ``width`` x ``height`` pt; the common left margin is removed."""
    turns: dict[int, list[Word]] = {}
    for word in words:
        turns.setdefault(word.turn, []).append(word)
    blocks = []
    for turn, group in sorted(turns.items(), key=lambda item: _rank(*item)):
        if turn == SLANTED:  # a watermark: no lines to find
            blocks.append(" ".join(word.text for word in group))
        else:
            blocks.append(_render_upright([_upright(word, width, height) for word in group]))
    return "\n\n".join(block for block in blocks if block)


def _rank(turn: int, group: list[Word]) -> tuple[bool, int]:
    """The direction with the most text first, slanted text last."""
    return turn == SLANTED, -sum(len(word.text) for word in group)


def _upright(word: Word, width: float, height: float) -> Word:
    """The word with the page turned so that its lines run from left to right."""
    if word.turn == ACROSS:
        return word
    left, top, right, bottom, base = word.left, word.top, word.right, word.bottom, word.baseline
    if word.turn == DOWN:
        left, top, right, bottom, base = top, width - right, bottom, width - left, width - base
    elif word.turn == UPSIDE_DOWN:
        left, top, right, bottom = width - right, height - bottom, width - left, height - top
        base = height - base
    elif word.turn == UP:
        left, top, right, bottom = height - bottom, left, height - top, right
    return replace(word, left=left, top=top, right=right, bottom=bottom, baseline=base)


def _render_upright(words: list[Word]) -> str:
    cell = _cell_width(words)
    lines = [_in_order(line) for line in _lines(words)]
    margin = min(line[0].left for line in lines)
    bases = [_reference(line).baseline for line in lines]
    pitches = [below - above for above, below in pairwise(bases) if below > above]
    usual = median_low(pitches) if pitches else 0.0
    rows = [_render_line(line, margin, cell) for line in lines]
    out = rows[:1]
    for (above, below), row in zip(pairwise(bases), rows[1:], strict=True):
        if below - above > _PARAGRAPH * usual:
            out.append("")
        out.append(row)
    return "\n".join(out)


def _cell_width(words: Sequence[Word]) -> float:
    """The width of one column of text, pt: the median width of a character, words weighted by
    their length. In a monospaced text it is exact, so columns come out as they were typed."""
    widths = sorted(
        ((word.right - word.left) / len(word.text), len(word.text)) for word in words if word.text
    )
    half, seen = sum(count for _, count in widths) / 2, 0
    for width, count in widths:
        seen += count
        if seen >= half:
            return max(width, 0.1)
    return 1.0


def _lines(words: list[Word]) -> list[list[Word]]:
    """Words clustered by baseline, from top to bottom."""
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.baseline, word.left)):
        if lines and _on_line(word, _reference(lines[-1])):
            lines[-1].append(word)
        else:
            lines.append([word])
    return sorted(lines, key=lambda line: _reference(line).baseline)


def _reference(line: Sequence[Word]) -> Word:
    """The word that says where a line stands: the longest, so never a superscript. Only the
    first few are asked, to stay linear in pages of ten thousand words on one line."""
    return max(line[:64], key=lambda word: len(word.text))


def _on_line(word: Word, reference: Word) -> bool:
    small, large = sorted((word.bottom - word.top, reference.bottom - reference.top))
    share = _SAME_LINE if small >= _SAME_SIZE * large else _RAISED_LINE
    return abs(word.baseline - reference.baseline) <= share * small


def _in_order(line: Sequence[Word]) -> list[Word]:
    """The words of a line as they are read. Where most of them are Hebrew or Arabic, the line is
    mirrored in its own extent, so that the first word stands first."""
    ordered = sorted(line, key=lambda word: word.left)
    if 2 * sum(bidirectional(word.text[0]) in ("R", "AL") for word in line) <= len(line):
        return ordered
    ends = ordered[0].left + max(word.right for word in line)
    return [
        replace(word, left=ends - word.right, right=ends - word.left) for word in reversed(ordered)
    ]


def _render_line(line: Sequence[Word], margin: float, cell: float) -> str:
    """Words at their columns: a gap of the size of a space is one space, a wider one is filled
    up to the column where the next word stands, with two spaces at least."""
    out = " " * min(_MAX_RUN, round((line[0].left - margin) / cell))
    previous = line[0]
    out += previous.text
    for word in line[1:]:
        gap = (word.left - previous.right) / cell
        if gap >= _COLUMN_CELLS:
            column = round((word.left - margin) / cell)
            out += " " * min(_MAX_RUN, max(2, column - len(out)))
        elif not (word.glued and gap < _GLUE_CELLS):
            out += " "
        out += word.text
        previous = word
    return out
