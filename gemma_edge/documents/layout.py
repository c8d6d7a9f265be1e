"""Words with boxes to text that keeps its layout: lines, columns, tables, paragraphs. Pure.

Coordinates are points from the top left corner of the page as it is seen, y downwards. Words of
one reading direction are laid out together, so a page with an upright stamp in its margin gives
the page first and then the stamp.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from gemma_edge.documents.document import Word
from gemma_edge.documents.layout_columns import in_reading_order
from gemma_edge.documents.layout_lines import (
    Placed,
    as_read,
    cell_width,
    find_lines,
    is_right_to_left,
    reference,
    segments,
)
from gemma_edge.documents.layout_table import Row, place_rows

ACROSS, DOWN, UPSIDE_DOWN, UP = 0, 1, 2, 3  # ``turn``: reading directions, quarters clockwise
SLANTED = 4  # a ``turn`` that is no multiple of a quarter

_MAX_WORDS = 50_000  # that are laid out; a page of a phone book has 5,000
# Columns of a line, and spaces for each character of a page: hostile pages have no end.
_MAX_COLUMNS, _MAX_SPACES, _SPACES_PER_CHAR = 400, 100_000, 30
_PARAGRAPH = 1.4  # times the usual distance of lines


class Piece(NamedTuple):
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


def render_layout(
    pieces: Iterable[Piece], width: float, height: float
) -> tuple[str, tuple[Word, ...]]:
    """Text of a page of ``width`` x ``height`` pt, without the margin that is common to its
    lines, and its words in the order of the text."""
    pieces = list(pieces)
    turns: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        turns.setdefault(piece.turn, []).append(number)
    rows: list[Row] = []
    for turn, group in sorted(turns.items(), key=lambda item: _rank(item, pieces)):
        if rows:
            rows.append([])
        if turn == SLANTED or len(group) > _MAX_WORDS:  # a watermark, or no page of this world
            rows.append([(0, number) for number in group])
        else:
            rows += _rows([_upright(number, pieces[number], width, height) for number in group])
    return _write(rows, pieces)


def _rank(item: tuple[int, list[int]], pieces: list[Piece]) -> tuple[bool, int]:
    """The direction with the most text first, slanted text last."""
    turn, group = item
    return turn == SLANTED, -sum(len(pieces[number].text) for number in group)


def _upright(number: int, piece: Piece, width: float, height: float) -> Placed:
    """The word with the page turned so that its lines run from left to right."""
    text, left, top, right, bottom, base, turn, glued = piece
    if turn == DOWN:
        left, top, right, bottom, base = top, width - right, bottom, width - left, width - base
    elif turn == UPSIDE_DOWN:
        left, top, right, bottom = width - right, height - bottom, width - left, height - top
        base = height - base
    elif turn == UP:
        left, top, right, bottom = height - bottom, left, height - top, right
    return Placed(text, left, top, right, bottom, base, glued, number)


def _rows(words: list[Placed]) -> list[Row]:
    cell = cell_width(words)
    rows: list[Row] = []
    for block in in_reading_order(words, cell):
        if rows:
            rows.append([])
        rows += _block_rows(block.words, cell, may_be_justified=block.in_column)
    return rows


def _block_rows(block: Sequence[Placed], cell: float, *, may_be_justified: bool) -> list[Row]:
    """The rows of words that are read from line to line, blank ones between paragraphs."""
    lines = find_lines(block)
    mirror = is_right_to_left(block)
    ends = min(word.left for word in block) + max(word.right for word in block)
    bases = [reference(line).baseline for line in lines]
    lines = [as_read(line, ends if mirror else None) for line in lines]
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


def _write(rows: Sequence[Row], pieces: Sequence[Piece]) -> tuple[str, tuple[Word, ...]]:
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
            text, left, top, right, bottom = pieces[number][:5]
            words.append(Word(text, at, left, top, right, bottom))
            parts.append(text)
            at += len(text)
        parts.append("\n")
        at += 1
    return "".join(parts[:-1]), tuple(words)
