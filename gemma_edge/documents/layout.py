"""Words with boxes to text that keeps its layout: lines, columns, tables, paragraphs. Pure.

Coordinates are points from the top left corner of the page as it is seen, y downwards. Words of
one reading direction are laid out together, so a page with an upright stamp in its margin gives
the page first and then the stamp. Lines that run down, as in Japanese and Chinese, are lines of a
page that was turned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from math import atan, cos, degrees, inf, radians, sin, tan
from statistics import median, median_low
from typing import NamedTuple
from unicodedata import bidirectional

from gemma_edge.documents.document import Word, lowered, raised

ACROSS, DOWN, UPSIDE_DOWN, UP = 0, 1, 2, 3  # ``turn``: reading directions, quarters clockwise
SLANTED = 4  # a ``turn`` that is no multiple of a quarter

_MAX_WORDS = 50_000  # that are laid out; a page of a phone book has 5,000
# Columns of a line, and spaces for each character of a page: hostile pages have no end.
_MAX_COLUMNS, _MAX_SPACES, _SPACES_PER_CHAR = 400, 100_000, 30
_OTHER_ANGLE = 3.0  # degrees from the rest of the page: a stamp
_PARAGRAPH = 1.4  # times the usual distance of lines


class Piece(NamedTuple):
    """Characters without white space, and where they stand.

    ``baseline`` is the y on which they stand, or the x where ``turn`` is odd. ``turn`` counts
    clockwise quarters of the reading direction, to which ``skew`` adds degrees. ``glued`` says that
    no white space came before."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    baseline: float
    turn: int = 0
    glued: bool = False
    skew: float = 0.0


class Placed(NamedTuple):
    """A word on a page that was turned so that its lines run from left to right; ``number`` is
    its place among all words of the page, the rest as in ``Piece``."""

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


def render_layout(
    pieces: Iterable[Piece], width: float, height: float
) -> tuple[str, tuple[Word, ...]]:
    """Text of a page of ``width`` x ``height`` pt, without the margin that is common to its
    lines, and its words in the order of the text."""
    pieces = list(pieces)
    texts = [piece.text for piece in pieces]  # as they are written
    laid = with_columns_turned(pieces)
    turns = _by_turn(laid)
    chars = {turn: sum(len(texts[at]) for at in group) for turn, group in turns.items()}
    rows: list[Row] = []
    # The direction with the most text first, slanted text last.
    for turn in sorted(turns, key=lambda turn: (turn == SLANTED, -chars[turn])):
        group = turns[turn]
        rows += [[]] if rows else []
        if turn == SLANTED or len(group) > _MAX_WORDS:  # a watermark, or no page that people read
            rows.append([(0, number) for number in group])
            continue
        words = [_upright(number, laid[number], width, height) for number in group]
        words = straightened(words, [laid[number].skew for number in group])
        words = with_marks(without_wide_letters(words))
        rows += _rows(words, texts)
    return _write(rows, pieces, texts)


def _by_turn(pieces: Sequence[Piece]) -> dict[int, list[int]]:
    """The numbers of the words of each direction. What lies at an angle to the rest, such as a
    stamp, is slanted."""
    turns: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        turns.setdefault(piece.turn, []).append(number)
    for turn, group in list(turns.items()):
        if turn == SLANTED or not any(pieces[at].skew for at in group):
            continue
        usual = _middle([(pieces[at].skew, len(pieces[at].text)) for at in group])
        apart = {at for at in group if abs(pieces[at].skew - usual) > _OTHER_ANGLE}
        if apart:
            turns[turn] = [at for at in group if at not in apart]
            turns[SLANTED] = sorted([*turns.get(SLANTED, []), *apart])
    return turns


def _middle(values: Sequence[tuple[float, int]]) -> float:
    """The median of values, each with its weight."""
    half, seen = sum(weight for _, weight in values) / 2, 0
    for value, weight in sorted(values):
        seen += weight
        if seen >= half:
            return value
    return 0.0


def _upright(number: int, piece: Piece, width: float, height: float) -> Placed:
    """The word with the page turned so that its lines run from left to right."""
    text, left, top, right, bottom, base, turn, glued, _ = piece
    match turn:
        case 1:  # DOWN
            left, top, right, bottom, base = top, width - right, bottom, width - left, width - base
        case 2:  # UPSIDE_DOWN
            left, top, right, bottom = width - right, height - bottom, width - left, height - top
            base = height - base
        case 3:  # UP
            left, top, right, bottom = height - bottom, left, height - top, right
    return Placed(text, left, top, right, bottom, base, glued, number)


def _rows(words: list[Placed], texts: list[str]) -> list[Row]:
    """``texts`` gets those words anew that are written in another way than they are stored."""
    cell = cell_width(words)
    from_right = is_right_to_left(words)
    rows: list[Row] = []
    for block, in_column in in_reading_order(words, cell, from_right=from_right):
        rows += [[]] if rows else []
        lines = find_lines(block)
        mirror = is_right_to_left(block, from_right)
        ends = min(word.left for word in block) + max(word.right for word in block)
        read = [as_read(line, ends if mirror else None) for line in lines]
        for word in chain(*read):
            texts[word.number] = word.text
        bases = [reference(line).baseline for line in lines]
        rows += _block_rows(read, bases, cell, may_be_justified=in_column)
    return rows


def _block_rows(
    lines: Sequence[Sequence[Placed]], bases: Sequence[float], cell: float, *,
    may_be_justified: bool,
) -> list[Row]:  # fmt: skip
    margin = min(line[0].left for line in lines)
    pitches = [below - above for above, below in pairwise(bases) if below > above]
    usual = median_low(pitches) if pitches else 0.0
    parts = [segments(line, cell, may_be_justified=may_be_justified) for line in lines]
    placed = place_rows(parts, bases, margin, cell)
    rows = placed[:1]
    for (above, below), row in zip(pairwise(bases), placed[1:], strict=True):
        if below - above > _PARAGRAPH * usual:
            rows.append([])
        rows.append(row)
    return rows


def _write(
    rows: Sequence[Row], pieces: Sequence[Piece], texts: Sequence[str]
) -> tuple[str, tuple[Word, ...]]:
    """Rows to text, with the place of every word in it. A word whose column is taken follows
    the one before it: at once, as ``place_rows`` says by a column of -1, or after a space."""
    parts: list[str] = []
    words: list[Word] = []
    at = 0  # of the text
    spaces = _MAX_SPACES + _SPACES_PER_CHAR * sum(len(piece.text) for piece in pieces)
    for row in rows:
        begin = at
        for column, number in row:
            if column >= 0 and (at > begin or column):
                pad = max(min(column, _MAX_COLUMNS) - (at - begin), 0) if spaces > 0 else 0
                pad = max(pad, int(at > begin))
                parts.append(" " * pad)
                spaces -= pad
                at += pad
            text, (left, top, right, bottom) = texts[number], pieces[number][1:5]
            words.append(Word(text, at, left, top, right, bottom))
            parts.append(text)
            at += len(text)
        parts.append("\n")
        at += 1
    return "".join(parts[:-1]), tuple(words)


# Words as they are to be laid out: vertical lines as lines of a turned page, a skewed page
# straight, letters that were spaced out as one word, and marks in the line that they belong to.


_UPRIGHT_CHARS = 4  # of a word that stands in a line that runs down, such as a number
_NEXT_BELOW, _DOWN = 0.8, 0.4  # of its height: from one character to the next, from end to end
_SIDEWAYS = 0.35  # of a character's width: how far the middles of two below one another differ
_MIN_DOWN = 3  # characters below one another
_DOWN_SHARE = 0.5  # of such characters of a page, from which the others run down, too


def with_columns_turned(pieces: Sequence[Piece]) -> list[Piece]:
    """The words; those that follow one another from top to bottom, as Japanese and Chinese can, get
    the direction ``DOWN``, with their middle as their baseline."""
    laid = list(pieces)
    singles = [
        at for at, piece in enumerate(pieces) if not piece.text.isascii() and is_east_asian(piece)
    ]
    if len(singles) < _MIN_DOWN:
        return laid
    columns = _columns_of(pieces)
    long = [column for column in columns if len(column) >= _MIN_DOWN]
    in_long = sum(is_east_asian(pieces[at]) for column in long for at in column)
    if in_long >= _DOWN_SHARE * len(singles):
        all_chars = sum(map(_count_east_asian, pieces))
        if in_long >= _DOWN_SHARE * all_chars:
            long = columns
    for column in long:
        middle = median((pieces[at].left + pieces[at].right) / 2 for at in column)
        half = median(pieces[at].right - pieces[at].left for at in column) / 2
        end = -inf  # of the one above
        for at in column:
            piece = pieces[at]
            gap = piece.top - end
            laid[at] = piece._replace(
                left=middle - half, right=middle + half, top=max(piece.top, end), turn=DOWN,
                baseline=middle, glued=gap < _GLUE_CELLS * (piece.bottom - piece.top),
            )  # fmt: skip
            end = piece.bottom
    return laid


def _columns_of(pieces: Sequence[Piece]) -> list[list[int]]:
    """Words that follow one another downwards, most of them of one Chinese or Japanese character
    each."""
    columns: list[list[int]] = []
    for at, piece in enumerate(pieces):
        may_be = piece.turn == DOWN or (piece.turn == 0 and len(piece.text) <= _UPRIGHT_CHARS)
        if not may_be:
            continue
        if columns and columns[-1][-1] == at - 1 and _is_below(pieces[at - 1], piece):
            columns[-1].append(at)
        else:
            columns.append([at])
    return [
        column for column in columns
        if 2 * sum(is_east_asian(pieces[at]) for at in column) > len(column)
    ]  # fmt: skip


def _is_below(above: Piece, piece: Piece) -> bool:
    width = min(above.right - above.left, piece.right - piece.left)
    height = min(above.bottom - above.top, piece.bottom - piece.top)
    off = abs(above.left + above.right - piece.left - piece.right) / 2
    gap, down = piece.top - above.bottom, piece.bottom - above.bottom
    return off <= _SIDEWAYS * width and gap <= _NEXT_BELOW * height and down >= _DOWN * height


def is_east_asian(piece: Piece) -> bool:
    """Whether it is one character of Chinese or Japanese writing."""
    return len(piece.text) == 1 and piece.text >= _FIRST_EAST_ASIAN and piece.turn == 0


def _count_east_asian(piece: Piece) -> int:
    if piece.text.isascii():
        return 0
    return sum(char >= _FIRST_EAST_ASIAN for char in piece.text)


_FIRST_EAST_ASIAN = "\u2e80"
_LEAST_SKEW = 0.15  # degrees that matter
_MOST_STEP, _MOST_STRIDE = 0.6, 4.0  # of the height: from a word to the next one of its line
_STEEPEST = tan(radians(11))
_STEPS, _STEADY, _STEADY_SHARE = 6, 0.01, 0.6  # words that step, by how much the slope may differ


def straightened(words: list[Placed], skews: Sequence[float]) -> list[Placed]:
    """The words of a page that lies askew, as a scanner may have it, with their places on a
    straight one. ``skews`` are degrees clockwise; without them the steps of the baselines say how
    far they are."""
    is_drawn = any(skews)  # the letters themselves, not only the lines
    if is_drawn:
        skew = _middle([(skew, len(word.text)) for skew, word in zip(skews, words, strict=True)])
    else:
        skew = _skew_of_steps(words)
    if abs(skew) < _LEAST_SKEW:
        return words
    across, up = cos(radians(skew)), sin(radians(skew))
    out = []
    for word in words:
        x, y = (word.left + word.right) / 2, (word.top + word.bottom) / 2
        wide, high = word.right - word.left, word.bottom - word.top
        if is_drawn:
            lean = abs(up)
            share = across**2 - lean**2
            wide, high = (
                max((wide * across - high * lean) / share, 0.1),
                max((high * across - wide * lean) / share, 0.1),
            )
        middle, level = x * across + y * up, y * across - x * up
        out.append(word._replace(
            left=middle - wide / 2, right=middle + wide / 2, top=level - high / 2,
            bottom=level + high / 2, baseline=word.baseline * across - x * up,
        ))  # fmt: skip
    return out


def _skew_of_steps(words: Sequence[Placed]) -> float:
    """Degrees by which the baselines of words that follow one another go down."""
    slopes: list[float] = []
    level = 0
    for one, two in pairwise(words):
        down = two.baseline - one.baseline
        if not down:
            level += 1
            continue
        height = one.bottom - one.top
        gap = two.left - one.right
        if abs(down) <= _MOST_STEP * height and 0 < gap <= _MOST_STRIDE * height:
            slopes.append(down / ((two.left + two.right - one.left - one.right) / 2))
    if len(slopes) < max(_STEPS, level):
        return 0.0
    usual = median(slopes)
    steady = sum(abs(slope - usual) <= _STEADY for slope in slopes)
    if steady < _STEADY_SHARE * len(slopes) or abs(usual) > _STEEPEST:
        return 0.0
    return degrees(atan(usual))


_SPACED = 4  # letters of a heading that stand apart
_APART_LEAST, _APART_MOST, _BETWEEN_WORDS = 0.1, 0.9, 3.5  # of their height: the gaps
_EVEN, _WORD_GAP = 0.25, 1.5  # gaps differ by less, but between words


def without_wide_letters(words: list[Placed]) -> list[Placed]:
    """The words; letters of a heading that was spaced out ("I N V O I C E") touch."""
    singles = [len(word.text) == 1 and word.text.isalpha() for word in words]
    if sum(singles) < _SPACED:
        return words
    out = list(words)
    first = 0
    for at in range(1, len(words) + 1):
        goes_on = at < len(words) and singles[at] and singles[at - 1]
        if not (goes_on and _follows(words[at - 1], words[at])):
            _close_gaps(out, first, at)
            first = at
    return out


def _follows(one: Placed, two: Placed) -> bool:
    height = one.bottom - one.top
    level = abs(two.baseline - one.baseline) <= _LEVEL * height
    return level and 0 < two.left - one.right <= _BETWEEN_WORDS * height


def _close_gaps(words: list[Placed], first: int, end: int) -> None:
    if end - first < _SPACED:
        return
    gaps = [two.left - one.right for one, two in pairwise(words[first:end])]
    least, height = min(gaps), words[first].bottom - words[first].top
    close = [gap <= (1 + _EVEN) * least + 0.02 * height for gap in gaps]
    apart = [gap >= _WORD_GAP * least for gap in gaps]
    is_even = all(one or two for one, two in zip(close, apart, strict=True))
    if not (is_even and sum(close) >= _SPACED - 1):
        return
    if not _APART_LEAST * height <= least <= _APART_MOST * height:
        return
    for at, touches in enumerate(close, first):
        if touches:
            words[at] = words[at]._replace(right=words[at + 1].left)
            words[at + 1] = words[at + 1]._replace(glued=True)


_LEVEL = 0.08  # of the height: baselines and heights that are the same
_SMALLER = 0.92  # of its neighbour's height: a mark is at most so high
_MARK_CHARS, _FAR_CHARS = 10, 3  # of a mark; of one that does not follow its neighbour in the file
_RAISED, _LOWERED, _MOST_RAISED = 0.18, 0.1, 1.25  # of the mark's height: how far off the line
_CLOSE, _LOOSE, _INTO = 0.15, 0.35, 0.3  # of the neighbour's height: the gap to it, and the overlap
_CLEARLY = 0.35  # raised so far a mark may stand a little apart
_GRID = 12.0  # pt: a cell of the index of edges
_SLASHES = ("/", "\u2044")


def with_marks(words: list[Placed]) -> list[Placed]:
    """The words; small ones that stand above or below the line beside a larger one, such as the
    marks of notes, exponents and indices, stand in its line, and are written so that they are no
    digit of it."""
    heights = [word.bottom - word.top for word in words]
    if not words or min(heights) > _SMALLER * max(heights):
        return words
    return _Marks(words, heights).placed()


class _Marks:
    def __init__(self, words: list[Placed], heights: Sequence[float]) -> None:
        self._words, self._heights = words, heights
        self._out = list(words)
        self._edges: dict[tuple[int, int], list[int]] | None = None  # words by their right edge

    def placed(self) -> list[Placed]:
        """See ``with_marks``."""
        first = 0
        count = 0
        for at in range(1, len(self._words) + 1):
            count += len(self._words[at - 1].text)
            if at < len(self._words) and self._goes_on(at):
                continue
            if count <= _MARK_CHARS:
                self._place(first, at)
            first, count = at, 0
        return self._out

    def _goes_on(self, at: int) -> bool:
        """Whether a word is of the same line and size as the one before it."""
        one, two, height = self._words[at - 1], self._words[at], self._heights[at]
        return (
            abs(one.baseline - two.baseline) <= _LEVEL * height
            and abs(self._heights[at - 1] - height) <= _LEVEL * height
            and abs(two.left - one.right) <= 2 * height
        )

    def _place(self, first: int, end: int) -> None:
        mark = self._words[first]
        host = -1
        if first and self._shift(mark, first - 1, behind=True):
            host = first - 1
        elif end < len(self._words) and self._shift(self._words[end - 1], end, behind=False):
            host = end
        elif end == first + 1 and len(mark.text) <= _FAR_CHARS:
            host = next((at for at in self._near(mark) if self._shift(mark, at, behind=True)), -1)
        if host >= 0:
            self._write(first, end, host)

    def _shift(self, mark: Placed, host: int, *, behind: bool) -> float:
        """How far a mark stands above its neighbour's line, or below it where it is negative; 0
        where it is no mark of that."""
        word, high = self._words[host], self._heights[host]
        small = mark.bottom - mark.top
        if small > _SMALLER * high:
            return 0.0
        gap = mark.left - word.right if behind else word.left - mark.right
        shift = word.baseline - mark.baseline
        clear = abs(shift) >= _CLEARLY * small and len(mark.text) <= _FAR_CHARS
        if not -_INTO * high <= gap <= (_LOOSE if clear else _CLOSE) * high:
            return 0.0
        if not -_MOST_RAISED * small <= shift <= _MOST_RAISED * small:
            return 0.0
        if shift >= _RAISED * small and mark.bottom > word.top:
            return shift
        return shift if shift <= -_LOWERED * small and mark.top < word.bottom else 0.0

    def _near(self, mark: Placed) -> Iterator[int]:
        """Words that end where the mark begins, wherever they are in the file."""
        if self._edges is None:
            self._edges = {}
            for at, word in enumerate(self._words):
                cell = round(word.right / _GRID), round(word.baseline / _GRID)
                found = self._edges.setdefault(cell, [])
                if len(found) < _LOOKED_AT:
                    found.append(at)
        column, row = round(mark.left / _GRID), round(mark.baseline / _GRID)
        for across in (column, column - 1, column + 1):
            for down in (row, row + 1, row - 1):
                yield from self._edges.get((across, down), ())

    def _write(self, first: int, end: int, host: int) -> None:
        words, out = self._words, self._out
        line = out[host]
        is_raised = words[first].baseline < words[host].baseline
        is_behind = host != end
        before = line.text if is_behind else ""
        if is_raised and self._is_fraction(end):
            out[first] = words[first]._replace(
                baseline=line.baseline, glued=is_behind and not before[-1:].isdecimal()
            )
            return
        for at in range(first, end):
            text = words[at].text
            if before[-1:] not in _SLASHES:  # of a fraction
                text = raised(text, before) if is_raised else lowered(text)
            glued = words[at].glued if at > first else is_behind
            out[at] = words[at]._replace(text=text, baseline=line.baseline, glued=glued)
            before = text
        if end < len(words):
            # What goes on after it touches it, whatever the file has between them.
            nearest = out[end]
            gap = nearest.left - words[end - 1].right
            level = abs(nearest.baseline - line.baseline) <= _LEVEL * self._heights[end]
            if level and -_INTO <= gap / max(self._heights[end], 0.1) <= _TOUCHES:
                out[end] = nearest._replace(glued=True)

    def _is_fraction(self, end: int) -> bool:
        """Whether a slash and another number follow a raised one."""
        rest = self._words[end : end + 2]
        text = "".join(word.text for word in rest)
        return text[:1] in _SLASHES and text[1:2].isdecimal() and rest[0].glued


# Words of a page to blocks in the order of reading: columns of running text one after another. A
# table is read line by line and stays one block. Columns differ from it by what stands in them:
# on both sides of a gutter lines that are full of words, or lines that stand at other heights than
# those beside them.


_GUTTER_CELLS = 1.2  # the narrowest gap between columns of a paper
_WIDE_GUTTER_CELLS = 2.0  # and of columns that are not both running text
_MIN_COLUMN_LINES = 5  # of a column
_MAX_LINES, _MAX_COLUMN_WORDS = 400, 20_000  # of a page that is looked at
_MAX_BANDS = 20  # pieces of a page that have columns
_MIN_COLUMN_ROWS = 3  # of a table
_CANDIDATES = 6  # left edges that are tried
_MAX_DEPTH = 3  # columns within columns
_NARROW_CELLS = 8  # no column is so close to the left margin
# Times the usual distance: a gap through both columns that parts rows of a table, or parts what
# stands above or below the columns.
_ROW_GAP, _APART = 1.2, 1.6
_AT_EDGE = 1.0  # cells from the edge of a column at which its lines begin
_SHARED = 0.7  # of the gaps on either side: that many go through both in a table
_CELL_LINES = 6  # lines between gaps, from which it is no row of a table

_Line = list[Placed]


def in_reading_order(
    words: Sequence[Placed], cell: float, depth: int = 0, *, from_right: bool = False
) -> list[tuple[list[Placed], bool]]:
    """Blocks of words that are read line by line, one after the other, each with whether there
    are columns beside it; ``cell`` is the width of a character, pt. ``from_right`` says how the
    page is read."""
    lines = find_lines(words) if len(words) <= _MAX_COLUMN_WORDS and depth < _MAX_DEPTH else []
    if not _MIN_COLUMN_LINES <= len(lines) <= _MAX_LINES:
        return [(list(words), depth > 0)]
    blocks: list[tuple[list[Placed], bool]] = []
    for _ in range(_MAX_BANDS):
        found = _find_band(lines, cell) if lines else None
        if found is None:
            break
        first, last, gutter = found
        blocks += [(list(chain(*lines[:first])), depth > 0)] if first else []
        band = list(chain(*lines[first:last]))
        sides = sides_of(band, gutter)
        for side in reversed(sides) if is_right_to_left(band, from_right) else sides:
            blocks += in_reading_order(side, cell, depth + 1, from_right=from_right)
        lines = lines[last:]
    return blocks + ([(list(chain(*lines)), depth > 0)] if lines else [])


def _find_band(lines: list[_Line], cell: float) -> tuple[int, int, float] | None:
    found = []
    for gutter in _left_edges(lines, cell):
        for first, last in _free_spans(lines, gutter, cell):
            trimmed = _trimmed(lines[first:last], gutter, cell)
            if trimmed is not None:
                found.append((first + trimmed[0], first + trimmed[1], gutter))
                break
    # The first on the page, and of several gutters there the longest, then the leftmost.
    return min(found, key=lambda band: (band[0], -band[1], band[2]), default=None)


def _left_edges(lines: list[_Line], cell: float) -> list[float]:
    """Where segments begin below one another, away from the left margin; the most common first,
    each a little to the left of the edge."""
    margin = min(line[0].left for line in lines) + _NARROW_CELLS * cell
    starts = Counter(
        round(segment.left / cell)
        for line in lines for segment in segments(line, cell) if segment.left > margin
    )  # fmt: skip
    # Edges that lie on a step's border count for both.
    counted = Counter({step: starts[step] + starts[step + 1] for step in starts})
    common = counted.most_common(_CANDIDATES)
    return [(step - 1) * cell for step, count in common if count >= _MIN_COLUMN_LINES]


def _free_spans(lines: list[_Line], gutter: float, cell: float) -> list[tuple[int, int]]:
    strip = gutter - (_GUTTER_CELLS - 1) * cell
    taken = [
        at for at, line in enumerate(lines)
        if any(word.left < gutter and word.right > strip for word in line)
    ]  # fmt: skip
    spans = ((before + 1, behind) for before, behind in pairwise([-1, *taken, len(lines)]))
    return [(first, last) for first, last in spans if last - first >= _MIN_COLUMN_LINES]


def _trimmed(lines: list[_Line], gutter: float, cell: float) -> tuple[int, int] | None:
    """The part of the lines that is columns, if any: without what stands apart above and below
    and has other edges, such as the authors of a paper."""
    parts = _parts(lines, gutter, _APART)
    good = list(range(len(parts)))
    if not _are_columns(lines, gutter, cell):
        good = [at for at in good if _are_columns(lines[slice(*parts[at])], gutter, cell)]
        if not good:
            return None
    core = lines[parts[good[0]][0] : parts[good[-1]][1]]
    edges = [min(word.left for word in side) for side in sides_of(list(chain(*core)), gutter)]
    fitting = [_begins_at(lines[slice(*part)], gutter, edges, cell) for part in parts]
    low, high = good[0], good[-1]
    while low < high and not fitting[low]:
        low += 1
    while low < high and not fitting[high]:
        high -= 1
    first, last = parts[low][0], parts[high][1]
    if not all(sides_of(list(chain(*lines[first:last])), gutter)):
        return None
    return None if _is_table(lines[first:last], gutter, cell) else (first, last)


def _is_table(lines: list[_Line], gutter: float, cell: float) -> bool:
    """Whether most gaps on either side go through both, at short distances: cells of text."""
    if not all(map(is_running_text, measured_sides(lines, gutter, cell))):
        return False  # their heights showed it
    rows = len(_parts(lines, gutter, _ROW_GAP))
    sides = zip(*(sides_of(line, gutter) for line in lines), strict=True)
    most = max(len(_parts([line for line in side if line], gutter, _ROW_GAP)) for side in sides)
    return rows >= _MIN_COLUMN_ROWS and rows >= _SHARED * most and len(lines) < _CELL_LINES * rows


def _begins_at(lines: list[_Line], gutter: float, edges: list[float], cell: float) -> bool:
    """Whether on every side that has any, some line begins at the edge of the column."""
    for side, edge in enumerate(edges):
        words = [sides_of(line, gutter)[side] for line in lines]
        starts = [line[0].left for line in words if line]
        if starts and all(abs(start - edge) > _AT_EDGE * cell for start in starts):
            return False
    return True


def _parts(lines: list[_Line], gutter: float, gap: float) -> list[tuple[int, int]]:
    """Spans of lines between gaps that go through both columns, of ``gap`` times the usual."""
    bases = [
        [reference(side).baseline if side else None for side in sides_of(line, gutter)]
        for line in lines
    ]
    pitches = []
    for column in zip(*bases, strict=True):
        known = [base for base in column if base is not None]
        pitches.append(median_low([below - above for above, below in pairwise(known)] or [0.0]))
    usual = min(filter(None, pitches), default=0.0)
    heights = [[base for base in pair if base is not None] for pair in bases]
    cuts = [
        at
        for at, (above, below) in enumerate(pairwise(heights), 1)
        if min(below) - max(above) > gap * usual
    ]
    return list(pairwise([0, *cuts, len(lines)]))


def _are_columns(lines: list[_Line], gutter: float, cell: float) -> bool:
    left, right = measured_sides(lines, gutter, cell)
    if not (left and right and are_beside(left, right, _MIN_COLUMN_LINES)):
        return False
    texts = is_running_text(left) + is_running_text(right)
    wide = min(line.left for line in right) - max(line.right for line in left)
    apart = texts == 1 and wide >= _WIDE_GUTTER_CELLS * cell and stand_apart(left, right)
    return apart or texts > 1


# Lines on both sides of a gutter: whether they are running text, and whether they belong together.


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


_OVERLAP = 0.25  # of a cell: boxes of neighbouring columns may overlap by this
# Lines of one segment that do not end a table: any, and those that are the rest of a cell.
_MAX_SINGLE, _MAX_REST = 2, 12
_SAME_EDGE = 0.6  # of a cell: edges that count as aligned
_MIN_ROWS = 2  # of several segments
_MAX_SEGMENTS = 4000  # of a table whose columns are looked for
_MAX_TRIES = 120  # segments that are left out before the search for columns ends
_LESS_LOOSE = 0.5  # of the segments in no column are left by a cut that is worth it
_CUTS = 6  # gaps between lines that are tried
_MIN_LINES = 3  # of several segments: fewer are the head of a table
_WIDE_GAP = 1.5  # times the usual distance of lines
_SAME_LEFT = 3  # cells
_STRIPE = 0.35  # of a cell: the least width of a gap that goes through all lines
_STRIPE_LINES, _STRIPE_NEAR = 3, 6  # lines that have words on both sides, within so many cells

_Rows = Sequence[Sequence[Segment]]


class TableEntry(NamedTuple):
    """A segment of a table: its line, and its place among the segments there."""

    row: int
    at: int
    segment: Segment


def find_tables(rows: _Rows, bases: Sequence[float], cell: float) -> Iterator[tuple[int, int]]:
    """Spans of lines, at least two of which have several segments, with the lines of one segment
    between them and those after them that may be the rest of a cell. ``bases`` are the heights of
    the lines."""
    several: list[int] = []
    skipped = 0.0
    for at, row in enumerate(rows):
        if len(row) > 1:
            several.append(at)
            skipped = 0.0
        elif several:
            goes_on = _goes_on(row, rows[several[-1]], cell)
            skipped += 1 / _MAX_REST if goes_on else 1 / _MAX_SINGLE
            if skipped > 1:
                yield from _whole(rows, bases, several, cell)
                several = []
    yield from _whole(rows, bases, several, cell)


def _whole(
    rows: _Rows, bases: Sequence[float], several: list[int], cell: float
) -> Iterator[tuple[int, int]]:
    if len(several) < _MIN_ROWS:
        return
    first, last = several[0], several[-1] + 1
    if sum(map(len, rows[first:last])) > _MAX_SEGMENTS:
        return
    *before, (first, last) = _cut(rows, bases, (first, last), cell)
    yield from before
    end = min(last + _MAX_REST, len(rows))
    while last < end and len(rows[last]) == 1 and _goes_on(rows[last], rows[several[-1]], cell):
        last += 1
    yield first, last


def _goes_on(single: Sequence[Segment], row: Sequence[Segment], cell: float) -> bool:
    """Whether a line of one segment is the rest of a cell of ``row``, not of its first."""
    left = single[0].left
    return any(abs(left - segment.left) <= _SAME_EDGE * cell for segment in row[1:])


def find_columns(table: _Rows, cell: float) -> list[list[TableEntry]]:
    """Segments that stand above one another, from left to right. Where two of one line fall
    together, the widest of all there reaches over several columns and is left out."""
    columns: list[list[TableEntry]] = []
    open_groups = [
        [TableEntry(number, at, segment) for number, row in enumerate(table)
         for at, segment in enumerate(row) if len(row) > 1]
    ]  # fmt: skip
    for _ in range(_MAX_TRIES):
        if not open_groups:
            break
        for group in _overlapping(open_groups.pop(), _OVERLAP * cell):
            if len({entry.row for entry in group}) == len(group):
                columns.append(group)
                continue
            widest = max(group, key=lambda entry: entry.segment.right - entry.segment.left)
            group.remove(widest)
            open_groups.append(group)
    return sorted(columns, key=lambda column: min(entry.segment.left for entry in column))


def part_at_stripes(table: _Rows, cell: float) -> list[list[Segment]]:
    """The lines, their segments cut also where a narrow gap goes through all of them: columns
    that nearly touch."""
    lines = [[word for segment in row for _, word in segment.words] for row in table]
    intervals = sorted((word.left, word.right) for line in lines for word in line)
    stripes: list[float] = []
    end = intervals[0][1]
    for left, right in intervals:
        if left - end >= _STRIPE * cell:
            middle = (end + left) / 2
            gaps = (_gap_at(line, middle) for line in lines)
            if sum(gap <= _STRIPE_NEAR * cell for gap in gaps) >= _STRIPE_LINES:
                stripes.append(middle)
        end = max(end, right)
    return [
        [part for segment in row for part in cut_segment(segment, stripes, cell)]
        if row[1:]
        else row
        for row in map(list, table)
    ]


def _gap_at(line: Sequence[Placed], x: float) -> float:
    at = bisect_right(line, x, key=lambda word: word.left)
    return line[at].left - line[at - 1].right if 0 < at < len(line) else inf


def _cut(
    rows: _Rows, bases: Sequence[float], span: tuple[int, int], cell: float
) -> Iterator[tuple[int, int]]:
    """The span, or parts of it whose columns stand at other places: cut at one of the widest gaps
    between its lines if that brings most of what is in no column into one."""
    first, last = span
    loose = _loose(rows[first:last], cell)
    if loose > 1:
        tried = [
            (_loose(rows[first:at], cell) + _loose(rows[at:last], cell), at)
            for at in _places_to_cut(rows, bases, span, cell)
        ]
        least, at = min(tried, default=(loose, first))
        if least <= _LESS_LOOSE * loose:
            yield from _cut(rows, bases, (first, at), cell)
            yield from _cut(rows, bases, (at, last), cell)
            return
    yield span


def _places_to_cut(
    rows: _Rows, bases: Sequence[float], span: tuple[int, int], cell: float
) -> list[int]:
    """The widest gaps between lines that may part two tables. The head of a table is not parted
    from it: it is short, and has nothing above the labels at the left."""
    first, last = span
    gaps = [bases[at] - bases[at - 1] for at in range(first + 1, last)]
    wide = _WIDE_GAP * median_low(gaps)
    found = []
    for at in sorted(range(first + 1, last), key=lambda at: bases[at - 1] - bases[at])[:_CUTS]:
        parts = rows[first:at], rows[at:last]
        lefts = [min(row[0].left for row in part) for part in parts]
        long = all(sum(len(row) > 1 for row in part) >= _MIN_LINES for part in parts)
        if long and gaps[at - first - 1] >= wide and abs(lefts[0] - lefts[1]) <= _SAME_LEFT * cell:
            found.append(at)
    return found


def _loose(table: _Rows, cell: float) -> int:
    table = part_at_stripes(table, cell)
    count = sum(len(row) for row in table if len(row) > 1)
    return count - sum(map(len, find_columns(table, cell)))


def _overlapping(entries: list[TableEntry], tolerance: float) -> list[list[TableEntry]]:
    groups: list[list[TableEntry]] = []
    right = -inf
    for entry in sorted(entries, key=lambda entry: entry.segment.left):
        if entry.segment.left >= right - tolerance:
            groups.append([])
            right = -inf
        groups[-1].append(entry)
        right = max(right, entry.segment.right)
    return groups


# Lines of segments to columns of characters: what stands in one column of the page stands in one
# column of the text. Every segment has a natural column, its place on the page by the width of a
# character. Lines that follow one another and have several segments are a table: their columns are
# found, and moved to the right where their text needs more room than their print.


_SPACES = 2  # between columns
_NEAR_EDGE = 1.5  # of a cell: edges of which one may hang over, as the bracket in "(1.0)"
_WIDEST = 40  # columns of the text that no line of a table uses: more say nothing

_ON_GRID, _TYPED = 0.1, 0.95  # of a cell: how far off a typed word stands; share of the words

# A line of the text: the column and the number of each word; none is a blank line.
Row = list[tuple[int, int]]


class _Column(NamedTuple):
    """``start`` and ``end`` are columns of the text, ``left`` and ``right`` places on the page."""

    start: int
    end: int
    left: float
    right: float


def place_rows(
    rows: Sequence[Sequence[Segment]], bases: Sequence[float], margin: float, cell: float
) -> list[Row]:
    """For each line the column and the number of its words, as ``layout._write`` takes them;
    ``bases`` are the heights of the lines, ``margin`` is where column 0 is on the page, ``cell``
    the width of a column, all in pt."""
    rows = list(rows)
    firsts = _snapped([row[0].left for row in rows], cell)
    starts = [
        [round((left - margin) / cell) for left in (first, *(part.left for part in row[1:]))]
        for first, row in zip(firsts, rows, strict=True)
    ]
    tables = () if _is_typed(rows, margin, cell) else find_tables(rows, bases, cell)
    for first, last in tables:
        rows[first:last] = part_at_stripes(rows[first:last], cell)
        starts[first:last] = _place_table(rows[first:last], margin, cell)
    return [_spelled(row, begin) for row, begin in zip(rows, starts, strict=True)]


def _snapped(lefts: Sequence[float], cell: float) -> list[float]:
    same: dict[float, float] = {}
    first = -inf
    for left in sorted(lefts):
        first = left if left - first > _SAME_EDGE * cell else first
        same[left] = first
    return [same[left] for left in lefts]


def _is_typed(rows: Sequence[Sequence[Segment]], margin: float, cell: float) -> bool:
    lefts = [
        (word.left - margin) / cell for row in rows for segment in row for _, word in segment.words
    ]
    on_grid = sum(abs(left - round(left)) <= _ON_GRID for left in lefts)
    return on_grid >= _TYPED * len(lefts)


def _spelled(row: Sequence[Segment], starts: Sequence[int]) -> Row:
    out: Row = []
    end = -_SPACES
    for segment, start in zip(row, starts, strict=True):
        begin = max(start, end + _SPACES, 0)
        end = begin + segment.length
        out += [
            (begin + offset if offset >= 0 else -1, word.number) for offset, word in segment.words
        ]
    return out


def _place_table(table: Sequence[Sequence[Segment]], margin: float, cell: float) -> list[list[int]]:
    starts: list[list[int | None]] = [[None] * len(row) for row in table]
    columns: list[_Column] = []
    for members in find_columns(table, cell):
        free = columns[-1].end + _SPACES if columns else 0
        columns.append(_place_column(members, starts, free, margin, cell))
    placed = [
        _place_loose(row, known, columns, margin, cell)
        for row, known in zip(table, starts, strict=True)
    ]
    return _squeezed(table, placed)


def _squeezed(table: Sequence[Sequence[Segment]], starts: list[list[int]]) -> list[list[int]]:
    """The places without what is empty beyond ``_WIDEST`` columns in all lines of a table."""
    used = sorted(
        (start, start + segment.length)
        for row, places in zip(table, starts, strict=True)
        for segment, start in zip(row, places, strict=True)
        if len(row) > 1
    )
    moved = [0]  # by how much, from the column at the same place of ``begins`` on
    begins = [0]
    end = 0
    for start, behind in used:
        if start - end > _WIDEST:
            begins.append(start)
            moved.append(moved[-1] + start - end - _WIDEST)
        end = max(end, behind)
    return [
        [start - moved[max(0, bisect_right(begins, start) - 1)] for start in row] for row in starts
    ]


def _place_column(
    members: list[TableEntry], starts: list[list[int | None]], free: int, margin: float, cell: float
) -> _Column:
    """Give each entry of a column its place, aligned as most of them are: at their left edges or
    at their right ones. ``free`` is the first column of the text that is not taken."""
    left = min(entry.segment.left for entry in members)
    right = max(entry.segment.right for entry in members)
    lefts = [entry.segment.left - left for entry in members]
    rights = [right - entry.segment.right for entry in members]
    (most_left, left_edge), (most_right, right_edge) = _edge(lefts, cell), _edge(rights, cell)
    at_right = most_right > most_left
    distances, edge = (rights, right_edge) if at_right else (lefts, left_edge)
    offsets = [
        round((edge if abs(distance - edge) <= _SAME_EDGE * cell else distance) / cell)
        for distance in distances
    ]
    width = max(
        offset + entry.segment.length for offset, entry in zip(offsets, members, strict=True)
    )
    natural = round((right - margin) / cell) - width if at_right else round((left - margin) / cell)
    start = max(natural, free)
    for offset, (row, at, segment) in zip(offsets, members, strict=True):
        starts[row][at] = start + (width - offset - segment.length if at_right else offset)
    return _Column(start, start + width, left, right)


def _edge(distances: list[float], cell: float) -> tuple[int, float]:
    ordered = sorted(distances)
    best, where, first = 0, 0.0, 0
    for at, distance in enumerate(ordered):
        while distance - ordered[first] > _SAME_EDGE * cell:
            first += 1
        if at - first + 1 > best:
            best, where = at - first + 1, (distance + ordered[first]) / 2
    return best, where


def _place_loose(
    row: Sequence[Segment], known: list[int | None], columns: list[_Column], margin: float,
    cell: float,
) -> list[int]:  # fmt: skip
    """The places of a line, those included that belong to no column: aligned with one where an
    edge says so, else where their middle is; to the left of what follows, if that is free."""
    out: list[int] = []
    end = -_SPACES
    following: list[int | None] = [None]  # of each the next place that is known, from the last
    for place in reversed(known):
        following.append(following[-1] if place is None else place)
    for segment, start, behind in zip(row, known, following[-2::-1], strict=True):
        if start is None:
            start = _aligned(segment, columns, margin, cell)
            start = start if behind is None else min(start, behind - _SPACES - segment.length)
        start = max(start, end + _SPACES, 0)
        end = start + segment.length
        out.append(start)
    return out


def _aligned(segment: Segment, columns: list[_Column], margin: float, cell: float) -> int:
    edges = [(abs(segment.left - column.left), column.start, 0) for column in columns]
    edges += [(abs(segment.right - column.right), column.end, segment.length) for column in columns]
    distance, stop, back = min(edges, default=(inf, 0, 0))
    if distance <= _NEAR_EDGE * cell:
        return stop - back
    left, right = (_mapped(x, columns, margin, cell) for x in (segment.left, segment.right))
    return round((left + right - segment.length) / 2)


def _mapped(x: float, columns: list[_Column], margin: float, cell: float) -> float:
    places = [margin, *(edge for column in columns for edge in (column.left, column.right))]
    stops = [0, *(stop for column in columns for stop in (column.start, column.end))]
    at = bisect_right(places, x)
    if at in (0, len(places)):
        at = max(at - 1, 0)
        return stops[at] + (x - places[at]) / cell
    wide = places[at] - places[at - 1]
    share = (x - places[at - 1]) / wide if wide > 0 else 0.0
    return stops[at - 1] + share * (stops[at] - stops[at - 1])


# Words to lines, and lines to segments: words that stand together.


_COLUMN_CELLS = 1.6  # a gap from here on separates columns; justified text stays below it
_CELL_HEIGHT = 0.4  # of a word's height: a cell of large print is at least so wide
_SPACE_CELLS = 0.8  # no space is so wide, but in justified text
_EQUAL_CELLS = 0.5  # spaces of a justified line differ by less
_GLUE_CELLS = 0.5  # two words without white space between them touch below this gap
_SAME_SIZE = 0.75  # ratio of sizes above which two words count as one size
# Shares of the size by which baselines on one line differ: of equal words, of a superscript.
_SAME_LINE, _RAISED_LINE = 0.35, 0.65
_TOUCHES = 0.12  # of the height: less than a space
_SIGNS = "+-\u2212"
_BRACKETS = frozenset("()[]{}")
_LOOKED_AT = 64  # words of a line: linear also where ten thousand stand on one


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
    longest = None  # the reference of the last line
    for word in sorted(words, key=lambda word: (word.baseline, word.left)):
        if longest is not None and _on_line(word, longest):
            lines[-1].append(word)
            if len(word.text) > len(longest.text) and len(lines[-1]) <= _LOOKED_AT:
                longest = word
        else:
            lines.append([word])
            longest = word
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
    spaces = [word.left - before.right for before, word in pairwise(line) if not word.glued]
    equal = len(spaces) > 1 and max(spaces) - min(spaces) <= _EQUAL_CELLS * cell
    for before, word in pairwise(line):
        gap = word.left - before.right
        height = min(before.bottom - before.top, word.bottom - word.top)
        too_wide = gap >= _COLUMN_CELLS * max(cell, _CELL_HEIGHT * height)
        if too_wide and not (may_be_justified and equal):
            found.append(_segment(open_words, length))
            open_words, length = [(0, word)], len(word.text)
            continue
        touches = word.glued and gap < _GLUE_CELLS * cell
        open_words.append((-1 if touches else length + 1, word))
        length += len(word.text) + (not touches)
    return [*found, _segment(open_words, length)]


def cut_segment(segment: Segment, stripes: Sequence[float], cell: float) -> list[Segment]:
    """The segment cut at the places ``stripes`` on the page, where its gap is wider than a
    space."""
    out: list[Segment] = []
    words: list[tuple[int, Placed]] = []
    length = 0
    for offset, word in segment.words:
        end = words[-1][1].right if words else word.left
        wide = word.left - end >= _SPACE_CELLS * cell
        if wide and any(end <= x <= word.left for x in stripes):
            out.append(_segment(words, length))
            words, length = [], 0
        touches = offset < 0 and length > 0
        words.append((-1 if touches else length + (length > 0), word))
        length += len(word.text) + (length > 0 and not touches)
    return [*out, _segment(words, length)]


def is_right_to_left(words: Sequence[Placed], default: bool = False) -> bool:
    """Whether most of the words that have a direction are Hebrew, Arabic or the like; ``default``
    where none has one."""
    right = sum(map(_is_from_right, words))
    if not right:
        return default and not any(map(_direction, words))
    return right > sum(_direction(word) == "L" for word in words)


def as_read(line: Sequence[Placed], ends: float | None) -> list[Placed]:
    """The words of a line in the order of reading. In a block that is read from the right,
    ``ends`` is the sum of its left and right edge: the line is mirrored in it, so that the first
    word stands first. Words of the other direction keep their own order, and so does what touches:
    a number with its sign and brackets."""
    from_right = ends is not None or is_right_to_left(line)
    if not from_right and not any(map(_is_from_right, line)):
        return list(line)
    units = _units(line)
    if from_right:
        first, last = units[0][0], max(word.right for word in line)
        units = _turned(units, first.left + last if ends is None else ends)
    other = "L" if from_right else "R"
    out: list[Placed] = []
    run: list[_Line] = []  # from a unit of the other direction on
    for unit in units:
        if _direction_of(unit) == other or (run and not _direction_of(unit)):
            run.append(unit)
        else:
            out += _turned_run(run, other) + (_bracket_outside(unit) if from_right else unit)
            run = []
    return _as_written(out + _turned_run(run, other), from_right=from_right)


def _units(line: Sequence[Placed]) -> list[_Line]:
    """Words of a line that keep their order: those that touch and are not read from the right."""
    units = [[line[0]]]
    for before, word in pairwise(line):
        touches = _touches(before, word)
        if touches and _direction(before) != "R" and _direction(word) != "R":
            units[-1].append(word)
        else:
            units.append([word])
    return units


def _touches(before: Placed, word: Placed) -> bool:
    height = min(before.bottom - before.top, word.bottom - word.top)
    return word.left - before.right <= _TOUCHES * height


def _direction_of(unit: Sequence[Placed]) -> str:
    return next(filter(None, map(_direction, unit)), "")


def _as_written(line: Sequence[Placed], *, from_right: bool) -> list[Placed]:
    """The words of a line of Hebrew or Arabic with the characters that depend on the direction:
    brackets open before they close, and the sign of a number that is read from the right, behind
    it on the page, comes before it. White space is what the page shows, not what the file has."""
    words = [line[0]] + [
        word._replace(glued=_touches(before, word)) for before, word in pairwise(line)
    ]
    if from_right:
        words = [word._replace(text=_signed(word.text)) for word in words]
    text = "".join(word.text for word in words)
    for pair in ("()", "[]", "{}"):
        count = text.count(pair[0]) + text.count(pair[1])
        if count and count % 2 == 0 and not _is_balanced(text, pair):
            signs = iter(pair * (count // 2))
            words = [
                word._replace(
                    text="".join(next(signs) if char in pair else char for char in word.text)
                )
                for word in words
            ]
    return words


def _is_balanced(text: str, pair: str) -> bool:
    depth = 0
    for char in text:
        depth += (char == pair[0]) - (char == pair[1])
        if depth < 0:
            return False
    return depth == 0


def _signed(text: str) -> str:
    """``5-`` as ``-5``; Arabic digits have their percent sign behind them, too."""
    if text[-1] in _SIGNS and text[0] not in _SIGNS and any(map(str.isdecimal, text)):
        return text[-1] + text[:-1]
    if text[0] in "%\u066a" and bidirectional(text[-1]) == "AN":
        return text[1:] + text[0]
    return text


def _segment(words: list[tuple[int, Placed]], length: int) -> Segment:
    return Segment(tuple(words), words[0][1].left, max(word.right for _, word in words), length)


def _on_line(word: Placed, other: Placed) -> bool:
    small, large = sorted((word.bottom - word.top, other.bottom - other.top))
    share = _SAME_LINE if small >= _SAME_SIZE * large else _RAISED_LINE
    return abs(word.baseline - other.baseline) <= share * small


def _is_from_right(word: Placed) -> bool:
    return not word.text.isascii() and _direction(word) == "R"


def _direction(word: Placed) -> str:
    """``L`` or ``R``, by the first letter; empty where there is none: numbers, signs."""
    for char in word.text:
        kind = bidirectional(char)
        if kind in ("L", "R", "AL"):
            return "L" if kind == "L" else "R"
    return ""


def _turned(units: Sequence[_Line], ends: float) -> list[_Line]:
    """Units from the last to the first, each mirrored as a whole: inside it stays as it is."""
    out = []
    for unit in reversed(units):
        left, right = unit[0].left, max(word.right for word in unit)
        by = ends - right - left
        out.append([_shifted(word, by) for word in unit])
    return out


def _turned_run(run: Sequence[_Line], other: str) -> list[Placed]:
    """A run of the other direction the other way round, up to its last unit of that direction."""
    if not run:
        return []
    last = max(at for at, unit in enumerate(run) if _direction_of(unit) == other)
    head, rest = run[: last + 1], run[last + 1 :]
    ends = head[0][0].left + max(word.right for word in head[-1])
    turned = list(chain(*_turned(head, ends)))
    if other == "R":
        return [*turned, *chain(*rest)]
    return [*_bracket_outside(turned), *chain(*map(_bracket_outside, rest))]


def _bracket_outside(words: _Line) -> _Line:
    """Words that keep their order in a line that is read from the right. A bracket at their end
    that has no other among them belongs to that line: one to their right comes before them."""
    single = sum(len(_BRACKETS.intersection(word.text)) for word in words) == 1
    if not single or len(words) == 1:
        return words
    first, *middle = words
    *others, last = words
    if last.text in _BRACKETS:
        by = last.right - last.left
        moved = last._replace(left=first.left, right=first.left + by)
        return [moved, *(_shifted(word, by) for word in others)]
    if first.text in _BRACKETS:
        by = first.right - first.left
        moved = first._replace(left=last.right - by, right=last.right)
        return [*(_shifted(word, -by) for word in middle), moved]
    return words


def _shifted(word: Placed, by: float) -> Placed:
    return word._replace(left=word.left + by, right=word.right + by)
