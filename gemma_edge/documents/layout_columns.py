"""Words of a page to blocks in the order of reading: columns of running text one after another.
Pure.

A table is read line by line and stays one block. Columns are told from it by what stands in them:
on both sides of a gutter lines that are full of words, or lines that stand at other heights than
those beside them.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from gemma_edge.documents.layout_lines import (
    Placed,
    find_lines,
    is_right_to_left,
    reference,
    segments,
)
from gemma_edge.documents.layout_sides import (
    are_beside,
    is_running_text,
    measured_sides,
    sides_of,
    stand_apart,
)

_GUTTER_CELLS = 1.2  # the narrowest gap between columns of a paper
_WIDE_GUTTER_CELLS = 2.0  # and of columns that are not both running text
_MIN_LINES = 5  # of a column
_MAX_LINES, _MAX_WORDS = 400, 20_000  # of a page that is looked at
_MAX_BANDS = 20  # pieces of a page that have columns
_MIN_ROWS = 3  # of a table
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


class Block(NamedTuple):
    """Words that are read line by line; ``in_column`` says that there are columns beside it."""

    words: list[Placed]
    in_column: bool


def in_reading_order(words: Sequence[Placed], cell: float, depth: int = 0) -> list[Block]:
    """Blocks, one after the other; ``cell`` is the width of a character, pt."""
    lines = find_lines(words) if len(words) <= _MAX_WORDS and depth < _MAX_DEPTH else []
    if not _MIN_LINES <= len(lines) <= _MAX_LINES:
        return [Block(list(words), depth > 0)]
    blocks: list[Block] = []
    for _ in range(_MAX_BANDS):
        found = _find_band(lines, cell) if lines else None
        if found is None:
            break
        first, last, gutter = found
        if first:
            blocks.append(Block(_flat(lines[:first]), depth > 0))
        band = _flat(lines[first:last])
        sides = sides_of(band, gutter)
        for side in reversed(sides) if is_right_to_left(band) else sides:
            blocks += in_reading_order(side, cell, depth + 1)
        lines = lines[last:]
    if lines:
        blocks.append(Block(_flat(lines), depth > 0))
    return blocks


def _flat(lines: Sequence[_Line]) -> list[Placed]:
    return [word for line in lines for word in line]


def _find_band(lines: list[_Line], cell: float) -> tuple[int, int, float] | None:
    """The first lines that are columns, as a span, and where the gutter ends."""
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
    starts: dict[int, int] = {}
    margin = min(line[0].left for line in lines)
    for line in lines:
        for segment in segments(line, cell):
            step = round(segment.left / cell)
            if segment.left > margin + _NARROW_CELLS * cell:
                starts[step] = starts.get(step, 0) + 1
    # Edges that lie on a step's border count for both.
    counted = {step: count + starts.get(step + 1, 0) for step, count in starts.items()}
    common = sorted(counted, key=lambda step: -counted[step])
    return [(step - 1) * cell for step in common[:_CANDIDATES] if counted[step] >= _MIN_LINES]


def _free_spans(lines: list[_Line], gutter: float, cell: float) -> list[tuple[int, int]]:
    """Spans of lines that leave the strip before ``gutter`` free."""
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    strip = gutter - (_GUTTER_CELLS - 1) * cell
    for at, line in enumerate(lines):
        if any(word.left < gutter and word.right > strip for word in line):
            begin = None
            continue
        if begin is None:
            begin = at
            spans.append((at, at + 1))
        spans[-1] = (begin, at + 1)
    return [span for span in spans if span[1] - span[0] >= _MIN_LINES]


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
    edges = [min(word.left for word in side) for side in sides_of(_flat(core), gutter)]
    fitting = [_begins_at(lines[slice(*part)], gutter, edges, cell) for part in parts]
    low, high = good[0], good[-1]
    while low < high and not fitting[low]:
        low += 1
    while low < high and not fitting[high]:
        high -= 1
    first, last = parts[low][0], parts[high][1]
    if not all(sides_of(_flat(lines[first:last]), gutter)):
        return None
    return None if _is_table(lines[first:last], gutter, cell) else (first, last)


def _is_table(lines: list[_Line], gutter: float, cell: float) -> bool:
    """Whether most gaps on either side go through both, at short distances: cells of text."""
    left, right = measured_sides(lines, gutter, cell)
    if not (is_running_text(left) and is_running_text(right)):
        return False  # they were told by their heights
    rows = len(_parts(lines, gutter, _ROW_GAP))
    sides = zip(*(sides_of(line, gutter) for line in lines), strict=True)
    most = max(len(_parts([line for line in side if line], gutter, _ROW_GAP)) for side in sides)
    return rows >= _MIN_ROWS and rows >= _SHARED * most and len(lines) < _CELL_LINES * rows


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
    heights = [
        [reference(side).baseline for side in sides_of(line, gutter) if side] for line in lines
    ]
    pitches = []
    for side in (0, 1):
        words = [sides_of(line, gutter)[side] for line in lines]
        bases = [reference(line).baseline for line in words if line]
        pitches.append(median_low([below - above for above, below in pairwise(bases)] or [0.0]))
    usual = min(filter(None, pitches), default=0.0)
    cuts = [
        at
        for at, (above, below) in enumerate(pairwise(heights), 1)
        if min(below) - max(above) > gap * usual
    ]
    return list(pairwise([0, *cuts, len(lines)]))


def _are_columns(lines: list[_Line], gutter: float, cell: float) -> bool:
    left, right = measured_sides(lines, gutter, cell)
    if not (left and right and are_beside(left, right, _MIN_LINES)):
        return False
    texts = is_running_text(left) + is_running_text(right)
    wide = min(line.left for line in right) - max(line.right for line in left)
    apart = texts == 1 and wide >= _WIDE_GUTTER_CELLS * cell and stand_apart(left, right)
    return apart or texts > 1
