"""Pages in groups that fit the context, and the header of a table that goes on in the next group.
Pure.

A group begins with the last page of the one before it, where both have text: a row that a page
break cuts is whole in one of them, and a row that stands in both is known by its place.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from gemma_edge.extract.job.prompting import Sheet

LEAST_PAGES = 3  # of a group that repeats a page: else too much would be read twice
_GAP = re.compile(r"\s{2,}|\t|\s*\|\s*")  # between two cells of a line of ``Page.text``
_NUMBER = re.compile(r"[(+-]?\s*[€$£%]?\s*\d[\d.,'/ -]*\s*[)%€$£-]?")
_TABLE_ROWS = 2  # lines with the same number of cells that make a table
_NARROW = 2  # cells of a row where none may be missing
_UNEVEN = 1  # cells that a row may lack or have more
_NEAR = 6  # lines of a page's own header or footer between a table and the page break


def group(sheets: Sequence[Sheet], sizes: Sequence[int], room: int) -> list[tuple[Sheet, ...]]:
    """Groups of sheets whose ``sizes``, in tokens, sum up to ``room`` at most; a sheet that is
    larger stands alone."""
    groups: list[list[int]] = [[]]
    for index, size in enumerate(sizes):
        current = groups[-1]
        if current and sum(sizes[each] for each in current) + size > room:
            groups.append(_overlap(sheets, current, sizes, room - size))
        groups[-1].append(index)
    return [_with_head(sheets, indices) for indices in groups if indices]


def _overlap(
    sheets: Sequence[Sheet], before: Sequence[int], sizes: Sequence[int], left: int
) -> list[int]:
    """The last page of a group, if the next one may begin with it."""
    last = before[-1]
    repeats = (
        len(before) >= LEAST_PAGES and sheets[last].text and not sheets[last].pictures
        and not sheets[last].part and sizes[last] * (LEAST_PAGES - 1) <= left
    )  # fmt: skip
    return [last] if repeats else []


def _with_head(sheets: Sequence[Sheet], indices: Sequence[int]) -> tuple[Sheet, ...]:
    first, *rest = (sheets[index] for index in indices)
    head = find_head([each.text for each in sheets[: indices[0]]], first.text)
    return (replace(first, head=head), *rest)


def split_sheet(sheet: Sheet, parts: int) -> list[Sheet]:
    """A page cut between lines into parts of about the same length; blank lines are preferred."""
    lines = sheet.text.split("\n")
    length = max(1, len(sheet.text) // parts)
    pieces: list[list[str]] = [[]]
    size = 0
    for line in lines:
        if size + len(line) > length and pieces[-1] and len(pieces) < parts:
            pieces.append([])
            size = 0
        pieces[-1].append(line)
        size += len(line) + 1
    texts = ["\n".join(piece) for piece in pieces]
    return [replace(sheet, text=text, part=number) for number, text in enumerate(texts, 1)]


def fit_sheets(
    sheets: Sequence[Sheet], size: Callable[[Sheet], int], room: int
) -> tuple[list[Sheet], list[int]]:
    """The sheets with their sizes in tokens, those that are larger than ``room`` cut into parts; a
    line that is too long by itself stays whole."""
    whole: list[Sheet] = []
    sizes: list[int] = []
    for sheet in sheets:
        tokens = size(sheet)
        parts = [sheet]
        count = 1
        while tokens > room and len(parts) == count and "\n" in sheet.text and not sheet.pictures:
            count = max(count + 1, -(-tokens * count // room) if count == 1 else count + 1)
            parts = split_sheet(sheet, count)
            tokens = max(map(size, parts))
        whole += parts
        sizes += [size(part) for part in parts] if len(parts) > 1 else [tokens]
    return whole, sizes


def find_head(before: Sequence[str], text: str) -> str:
    """The header lines of the table that the pages ``before`` end with and ``text`` goes on with;
    "" where it does not, or has a header itself."""
    lines = _lines(text)
    table = next(_tables(lines), None)
    if table is None or table.start > _NEAR or _is_head(lines[table.start]):
        return ""
    columns = len(_cells(lines[table.start]))
    for earlier in reversed(before):
        lines = _lines(earlier)
        tables = list(_tables(lines))
        if not tables or len(lines) - tables[-1].stop > _NEAR:
            return ""
        rows = [lines[at] for at in tables[-1]]
        if not _alike(len(_cells(rows[-1])), columns):
            return ""
        head = list(takewhile(_is_head, rows))
        if head or tables[-1].start > _NEAR:
            return "\n".join(head)
    return ""


def _tables(lines: Sequence[str]) -> Iterator[range]:
    """Runs of lines with about the same number of cells, more than one."""
    start = 0
    for at in range(1, len(lines) + 1):
        counts = tuple(len(_cells(line)) for line in lines[at - 1 : at + 1])
        if len(counts) == 1 or not _alike(*counts):
            if at - start >= _TABLE_ROWS:
                yield range(start, at)
            start = at


def _alike(one: int, other: int) -> bool:
    """Whether lines of so many cells may be rows of one table; of three or more one may lack."""
    few = min(one, other)
    return few > 1 and (one == other or (few > _NARROW and abs(one - other) <= _UNEVEN))


def _is_head(line: str) -> bool:
    """Whether no cell is a number."""
    return not any(_NUMBER.fullmatch(cell) for cell in _cells(line))


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _cells(line: str) -> list[str]:
    return [cell for cell in _GAP.split(line.strip()) if cell]
