"""Lines of segments to columns of characters: what stands in one column of the page stands in one
column of the text. Pure.

Every segment has a natural column, its place on the page by the width of a character. Lines that
follow one another and have several segments are a table: their columns are found, and moved to
the right where their text needs more room than their print.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from gemma_edge.documents.layout_cells import Entry, find_columns, find_tables, part_at_stripes
from gemma_edge.documents.layout_lines import Segment

_SPACES = 2  # between columns
_SAME_EDGE = 0.6  # of a cell: edges that count as aligned
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
    """Edges that nearly agree made equal, so that rounding does not part them."""
    ordered = sorted(set(lefts))
    same: dict[float, float] = {}
    first = ordered[0]
    for left in ordered:
        if left - first > _SAME_EDGE * cell:
            first = left
        same[left] = first
    return [same[left] for left in lefts]


def _is_typed(rows: Sequence[Sequence[Segment]], margin: float, cell: float) -> bool:
    """Whether the words stand as a typewriter puts them; then their columns are right already."""
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
    members: list[Entry], starts: list[list[int | None]], free: int, margin: float, cell: float
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
    """How many of the distances are nearly the same, and which that is."""
    ordered = sorted(distances)
    best, where, first = 0, 0.0, 0
    for at, distance in enumerate(ordered):
        while distance - ordered[first] > _SAME_EDGE * cell:
            first += 1
        if at - first + 1 > best:
            best, where = at - first + 1, (distance + ordered[first]) / 2
    return best, where


def _place_loose(
    row: Sequence[Segment],
    known: list[int | None],
    columns: list[_Column],
    margin: float,
    cell: float,
) -> list[int]:
    """The places of a line, those included that belong to no column: aligned with one where an
    edge says so, else where their middle is; to the left of what follows, if that is free."""
    out: list[int] = []
    end = -_SPACES
    for at, segment in enumerate(row):
        start = known[at]
        if start is None:
            start = _aligned(segment, columns, margin, cell)
            following = next((place for place in known[at + 1 :] if place is not None), None)
            if following is not None:
                start = min(start, following - _SPACES - segment.length)
        start = max(start, end + _SPACES, 0)
        end = start + segment.length
        out.append(start)
    return out


def _aligned(segment: Segment, columns: list[_Column], margin: float, cell: float) -> int:
    edges = [(abs(segment.left - column.left), column.start, 0) for column in columns]
    edges += [(abs(segment.right - column.right), column.end, segment.length) for column in columns]
    distance, mark, back = min(edges, default=(inf, 0, 0))
    if distance <= _NEAR_EDGE * cell:
        return mark - back
    left, right = (_mapped(x, columns, margin, cell) for x in (segment.left, segment.right))
    return round((left + right - segment.length) / 2)


def _mapped(x: float, columns: list[_Column], margin: float, cell: float) -> float:
    """The column of the text that belongs to a place on the page, between known ones."""
    places = [margin, *(edge for column in columns for edge in (column.left, column.right))]
    marks = [0, *(mark for column in columns for mark in (column.start, column.end))]
    at = bisect_right(places, x)
    if at == len(places) or at == 0:
        at = max(at - 1, 0)
        return marks[at] + (x - places[at]) / cell
    wide = places[at] - places[at - 1]
    share = (x - places[at - 1]) / wide if wide > 0 else 0.0
    return marks[at - 1] + share * (marks[at] - marks[at - 1])
