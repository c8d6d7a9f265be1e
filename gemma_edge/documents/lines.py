"""Words to lines, and lines to segments: words that stand together. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple
from unicodedata import bidirectional

_COLUMN_CELLS = 1.6  # a gap from here on separates columns; justified text stays below it
_CELL_HEIGHT = 0.4  # of a word's height: a cell of large print is at least so wide
_SPACE_CELLS = 0.8  # no space is so wide, but in justified text
_EQUAL_CELLS = 0.5  # spaces of a justified line differ by less
_GLUE_CELLS = 0.5  # two words without white space between them touch below this gap
_SAME_SIZE = 0.75  # ratio of sizes above which two words count as one size
# Shares of the size by which baselines on one line differ: of equal words, of a superscript.
_SAME_LINE, _RAISED_LINE = 0.35, 0.65
_LOOKED_AT = 64  # words of a line: linear also where ten thousand stand on one


class Placed(NamedTuple):
    """A word on a page that was turned so that its lines run from left to right; ``number`` is
    its place among all words of the page, the rest as in ``layout.Piece``."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    baseline: float
    glued: bool
    number: int


class Segment(NamedTuple):
    """Words of a line that stand together, each with its offset in the segment's text of
    ``length`` characters; an offset of -1 marks a word that touches the one before."""

    words: tuple[tuple[int, Placed], ...]
    left: float
    right: float
    length: int


def cell_width(words: Sequence[Placed]) -> float:
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


def find_lines(words: Sequence[Placed]) -> list[list[Placed]]:
    """Words clustered by baseline, from top to bottom, those of a line from left to right."""
    lines: list[list[Placed]] = []
    for word in sorted(words, key=lambda word: (word.baseline, word.left)):
        if lines and _on_line(word, reference(lines[-1])):
            lines[-1].append(word)
        else:
            lines.append([word])
    lines.sort(key=lambda line: reference(line).baseline)
    return [sorted(line, key=lambda word: word.left) for line in lines]


def reference(line: Sequence[Placed]) -> Placed:
    """The word that says where a line stands: the longest, so never a superscript."""
    return max(line[:_LOOKED_AT], key=lambda word: len(word.text))


def segments(
    line: Sequence[Placed], cell: float, *, may_be_justified: bool = False
) -> list[Segment]:
    """A line cut at the gaps that are too wide for a space. In a narrow column that is justified
    the spaces of a line may be as wide, but then they are equal."""
    found: list[Segment] = []
    open_words = [(0, line[0])]
    length = len(line[0].text)
    whole = may_be_justified and _is_justified(line, cell)
    for before, word in pairwise(line):
        gap = word.left - before.right
        widest = _COLUMN_CELLS * max(cell, _CELL_HEIGHT * _smaller_height(before, word))
        if gap >= widest and not whole:
            found.append(_segment(open_words, length))
            open_words, length = [(0, word)], len(word.text)
            continue
        touches = word.glued and gap < _GLUE_CELLS * cell
        open_words.append((-1 if touches else length + 1, word))
        length += len(word.text) + (not touches)
    found.append(_segment(open_words, length))
    return found


def cut_segment(segment: Segment, stripes: Sequence[float], cell: float) -> list[Segment]:
    """The segment cut at the places ``stripes`` on the page, where its gap is wider than a
    space."""
    parts: list[list[tuple[int, Placed]]] = [[]]
    for offset, word in segment.words:
        end = parts[-1][-1][1].right if parts[-1] else word.left
        wide = word.left - end >= _SPACE_CELLS * cell
        if wide and any(end <= x <= word.left for x in stripes):
            parts.append([])
        parts[-1].append((offset, word))
    if len(parts) == 1:
        return [segment]
    out: list[Segment] = []
    for part in parts:
        length, words = 0, []
        for offset, word in part:
            touches = offset < 0 and length > 0
            words.append((-1 if touches else length + (length > 0), word))
            length += len(word.text) + (length > 0 and not touches)
        out.append(_segment(words, length))
    return out


def _is_justified(line: Sequence[Placed], cell: float) -> bool:
    gaps = [word.left - before.right for before, word in pairwise(line) if not word.glued]
    return len(gaps) > 1 and max(gaps) - min(gaps) <= _EQUAL_CELLS * cell


def is_right_to_left(words: Sequence[Placed]) -> bool:
    """Whether most of the words are Hebrew, Arabic or the like."""
    return 2 * sum(_direction(word) == "R" for word in words) > len(words)


def as_read(line: Sequence[Placed], ends: float | None) -> list[Placed]:
    """The words of a line in the order of reading. In a block that is read from the right,
    ``ends`` is the sum of its left and right edge: the line is mirrored in it, so that the first
    word stands first. Words of the other direction keep their own order."""
    mirrored = list(line)
    other = "R"
    if ends is not None or is_right_to_left(line):
        mirrored = _mirrored(line, line[0].left + line[-1].right if ends is None else ends)
        other = "L"
    out: list[Placed] = []
    run: list[Placed] = []  # from a word of the other direction on
    for word in mirrored:
        if _direction(word) == other or (run and not _direction(word)):
            run.append(word)
        else:
            out += [*_turned_run(run, other), word]
            run = []
    return out + _turned_run(run, other)


def _segment(words: list[tuple[int, Placed]], length: int) -> Segment:
    return Segment(tuple(words), words[0][1].left, max(word.right for _, word in words), length)


def _smaller_height(one: Placed, two: Placed) -> float:
    return min(one.bottom - one.top, two.bottom - two.top)


def _on_line(word: Placed, other: Placed) -> bool:
    small, large = sorted((word.bottom - word.top, other.bottom - other.top))
    share = _SAME_LINE if small >= _SAME_SIZE * large else _RAISED_LINE
    return abs(word.baseline - other.baseline) <= share * small


def _direction(word: Placed) -> str:
    """``L`` or ``R``, by the first letter; empty where there is none: numbers, signs."""
    for char in word.text:
        kind = bidirectional(char)
        if kind in ("L", "R", "AL"):
            return "L" if kind == "L" else "R"
    return ""


def _mirrored(words: Sequence[Placed], ends: float) -> list[Placed]:
    return [
        word._replace(left=ends - word.right, right=ends - word.left) for word in reversed(words)
    ]


def _turned_run(run: list[Placed], other: str) -> list[Placed]:
    """A run of the other direction the other way round, up to its last word of that direction."""
    if not run:
        return []
    last = max(at for at, word in enumerate(run) if _direction(word) == other)
    head = run[: last + 1]
    ends = head[0].left + head[-1].right
    return _mirrored(head, ends) + run[last + 1 :]
