"""Which lines are a table, where its columns stand, and what stands in each. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import inf
from statistics import median_low
from typing import NamedTuple

from gemma_edge.documents.layout_lines import Placed, Segment, cut_segment

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


class Entry(NamedTuple):
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


def find_columns(table: _Rows, cell: float) -> list[list[Entry]]:
    """Segments that stand above one another, from left to right. Where two of one line fall
    together, the widest of all there reaches over several columns and is left out."""
    columns: list[list[Entry]] = []
    open_groups = [
        [Entry(number, at, segment) for number, row in enumerate(table)
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
    """The width of the gap between two words at ``x``; infinite where it is not between two."""
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
    """How many segments are in no column."""
    table = part_at_stripes(table, cell)
    count = sum(len(row) for row in table if len(row) > 1)
    return count - sum(map(len, find_columns(table, cell)))


def _overlapping(entries: list[Entry], tolerance: float) -> list[list[Entry]]:
    groups: list[list[Entry]] = []
    right = 0.0
    for entry in sorted(entries, key=lambda entry: entry.segment.left):
        if groups and entry.segment.left < right - tolerance:
            groups[-1].append(entry)
            right = max(right, entry.segment.right)
        else:
            groups.append([entry])
            right = entry.segment.right
    return groups
