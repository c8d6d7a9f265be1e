"""Cells to text: sheets of Excel and OpenDocument files, a page each, and CSV.

Workbooks are hostile bytes: ``read_sheets`` runs in the child process of ``open.py``. The library
that reads them holds a sheet as a table without gaps, and a text once for each cell that has it;
so what that would take is counted before.
"""

import csv
import io
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from gemma_edge.documents.document import (
    MAX_CELL,
    MAX_CHARS,
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    decode_text,
    render_row,
    shown,
)
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from zipfile import ZipFile

Cell = int | float | str | bool | time | date | datetime | timedelta

_CELL_DIGITS = 15  # what Excel itself shows of a number (its specification)

_SEPARATORS = ",;\t|"

_LOOKED_AT, _LOOKED_AT_CHARS = 20, 1 << 16  # rows that tell the separator, and of each so much
_MOST_READ = 2 * MAX_CHARS  # characters of a CSV; what comes of them is cut earlier

_MAX_OPEN = 1 << 20  # characters of a field in quotes; what comes after is no table

_MAX_SHEETS = 1000
_MAX_CELLS = 24_000_000  # of a sheet without gaps, 32 bytes each
_MAX_TEXT_BYTES = 256 << 20  # in all cells of a workbook


def read_sheets(data: bytes, name: str, options: ReadOptions = PLAIN) -> Iterator[ExtractedText]:
    """Every sheet of a workbook, one after another; hidden ones are read too, with a note.
    Raises InputError: it is encrypted, damaged, too large, or all empty."""
    import python_calamine as calamine

    try:
        check_sizes(data, name)
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except calamine.PasswordError:
        raise InputError(
            f"{name} is encrypted with a password", hint="save it without one, or as PDF"
        ) from None
    except calamine.CalamineError as error:
        raise _damaged(name, error) from None
    writer, is_empty = Writer(), True
    titled = len(book.sheet_names) > 1
    for number, sheet in enumerate(book.sheets_metadata):
        title, notes = shown(sheet.name), []
        if number == _MAX_SHEETS:
            more = f"{name}: {_MAX_SHEETS:,} sheets are the most that is read"
            yield ExtractedText((), (more,))
            break
        if sheet.typ != calamine.SheetTypeEnum.WorkSheet:
            note = f'{name}: sheet "{title}" has no cells (a chart or a macro)'
            yield ExtractedText((("", f'sheet "{title}", without cells'),), (note,))
            continue
        if sheet.visible != calamine.SheetVisibleEnum.Visible:
            notes.append(f'{name}: sheet "{title}" is hidden, and is read too')
        try:
            rows = book.get_sheet_by_name(sheet.name).iter_rows()
            text = _page(rows, writer, title if titled else "")
        except calamine.CalamineError as error:
            raise _damaged(name, error) from None
        is_empty = is_empty and not text
        notes += [cut_note(f'{name} in sheet "{title}"')] if writer.is_full else []
        yield ExtractedText(((text, f'sheet "{title}"'),), tuple(notes))
        if writer.is_full:
            return
    if is_empty:
        raise InputError(f"{name} has no cell with anything in it", hint="check how it was saved")


# What a workbook would take, counted in its XML without building anything of it.

_PIECE_BYTES, _OVERLAP_BYTES = 1 << 20, 1 << 16
_CELL = re.compile(  # its place; one without a value takes nothing
    rb"""<(?:\w{1,9}:)?c\s[^<>]{0,200}?\br\s{0,9}=\s{0,9}["']\$?([A-Za-z]{1,3})\$?([0-9]{1,9})["']"""
    rb"""[^<>]{0,200}(?<!/)>(?!</)"""
)
_TEXT_CELL = re.compile(  # the number of its text
    rb"""<(?:\w{1,9}:)?c\s[^<>]{0,200}\bt\s{0,9}=\s{0,9}["']s["'][^<>]{0,200}>\s{0,9}"""
    rb"""<(?:\w{1,9}:)?v[^<>]{0,99}>\s{0,9}([0-9]{1,9})"""
)
_SHEET = re.compile(rb"<(?:\w{1,9}:)?sheetData[\s/>]")
_TEXTS = re.compile(rb"<(?:\w{1,9}:)?sst[\s/>]")
_STRING = re.compile(rb"<(?:\w{1,9}:)?si[\s/>]")
_ODS_PART = re.compile(
    rb"<(/?)table:(table-row|table-cell|covered-table-cell|table)([\s/>][^<>]{0,4000})"
)
_REPEATED = re.compile(rb"""number-(?:columns|rows)-repeated\s{0,9}=\s{0,9}["']([0-9]{1,9})""")
_MAX_CHEAP_BYTES = 1 << 20  # of text in a piece of a sheet: it need not be counted


def check_sizes(data: bytes, name: str) -> None:
    """Raises InputError: a sheet, or the text of all, would take too much memory. An old .xls and
    what is damaged are left to the library."""
    if not data.startswith(b"PK"):
        return
    import zipfile  # a CSV needs none

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [each for each in archive.namelist() if each.lower().endswith(".xml")]
            if "content.xml" in entries:
                _check_open_document(archive, name)
            elif "xl/workbook.xml" in entries:
                _check_excel(archive, entries, name)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError,
            zlib.error) as error:  # fmt: skip
        raise _damaged(name, error) from None


def _pieces(archive: "ZipFile", entry: str) -> Iterator[bytes]:
    """An entry piece by piece; each begins before a ``<`` and ends before one, where there is any
    in a while."""
    rest = b""
    with archive.open(entry) as stream:
        while piece := stream.read(_PIECE_BYTES):
            whole = rest + piece
            end = whole.rfind(b"<", max(0, len(whole) - _OVERLAP_BYTES))
            end = len(whole) if end < 0 else end
            rest = whole[end:]
            yield whole[:end]
    yield rest


def _check_excel(archive: "ZipFile", entries: Sequence[str], name: str) -> None:
    texts = [each for each in entries if _TEXTS.search(archive.open(each).read(4096))]
    lengths = array("Q")
    for entry in texts:
        for piece in _pieces(archive, entry):
            starts = [found.start() for found in _STRING.finditer(piece)]
            if lengths:
                lengths[-1] += starts[0] if starts else len(piece)
            ends = [*starts[1:], len(piece)]
            lengths.extend(end - start for start, end in zip(starts, ends, strict=False))
    longest = max(lengths, default=0)
    total = 0
    for entry in (each for each in entries if each not in texts):
        width = height = 0
        is_sheet = False
        for piece in _pieces(archive, entry):
            is_sheet = is_sheet or _SHEET.search(piece) is not None
            places = _CELL.findall(piece) if is_sheet else []
            if places:
                width = max(width, *map(_column, {letters for letters, _ in places}))
                height = max(height, *(int(digits) for _, digits in places))
            if width * height > _MAX_CELLS:
                raise _too_large(name, f"{height:,} rows of {width:,} cells")
            if longest * len(places) <= _MAX_CHEAP_BYTES:
                continue
            numbers = map(int, _TEXT_CELL.findall(piece))
            total += sum(lengths[each] for each in numbers if each < len(lengths))
            if total > _MAX_TEXT_BYTES:
                raise _too_large(name, f"cells with {total >> 20:,} MiB of text")


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - ord("A") + 1
    return number


def _check_open_document(archive: "ZipFile", name: str) -> None:
    """Rows and cells that are repeated are written once, but held each for itself; those that are
    empty at the end of a row or of a sheet are not."""
    sheet = _Repeats()
    for piece in _pieces(archive, "content.xml"):
        found = list(_ODS_PART.finditer(piece))
        ends = [*(each.start() for each in found[1:]), len(piece)]
        for each, end in zip(found, ends, strict=False):
            sign, tag, more = each.groups()
            times = _REPEATED.search(more)
            text_bytes = 1 + end - each.end() if b"value-type" in more else 0
            sheet.add(tag, sign, int(times[1]) if times else 1, text_bytes)
        if sheet.cells > _MAX_CELLS or sheet.text_bytes > _MAX_TEXT_BYTES:
            raise _too_large(name, f"{sheet.cells:,} cells, most of them repeated")


class _Repeats:
    """What the tables of an OpenDocument file come to: ``cells`` of the largest without gaps, and
    ``text_bytes`` in the cells of all."""

    def __init__(self) -> None:
        self.cells = self.text_bytes = 0
        self._width = self._height = self._gap = 0  # of the table; rows without a value since
        self._times, self._row_width, self._row_gap, self._row_bytes = 1, 0, 0, 0

    def add(self, tag: bytes, sign: bytes, times: int, text_bytes: int) -> None:
        """One tag, ``sign`` before its name if it ends an element; ``text_bytes`` is 0 of a cell
        without a value."""
        if tag == b"table":
            self._width = self._height = self._gap = 0
        elif tag == b"table-row":
            self._end_row()
            self._begin_row(0 if sign else times)
        elif not sign:
            self._row_gap += times
            if text_bytes:
                self._row_width += self._row_gap
                self._row_gap = 0
                self._row_bytes += times * text_bytes
                height = self._height + self._gap + self._times
                self.cells = max(self.cells, height * max(self._width, self._row_width))

    def _begin_row(self, times: int) -> None:
        self._times, self._row_width, self._row_gap, self._row_bytes = times, 0, 0, 0

    def _end_row(self) -> None:
        if self._row_width:
            self._height += self._gap + self._times
            self._width, self._gap = max(self._width, self._row_width), 0
            self.text_bytes += self._times * self._row_bytes
        else:
            self._gap += self._times


def _too_large(name: str, what: str) -> InputError:
    message = f"{name} is too much to read: it holds {what}"
    return InputError(message, hint="save the part that matters as CSV, or as PDF")


def read_separated(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """CSV or TSV as one page; quotes are opened, so that values stand as they are.
    Raises InputError: not text, or empty."""
    text, notes = decode_text(data, name, options.encoding)
    is_long = len(text) > _MOST_READ
    if is_long:
        text = text[:_MOST_READ]
    csv.field_size_limit(MAX_CELL)
    writer = Writer()
    rows = csv.reader(io.StringIO(text), delimiter=_separator(text), strict=True)
    try:
        page = _page(rows, writer, "")
    except csv.Error:  # a quote that never ends, or ends too early: shown as it is
        if len(text) - text.rfind('"') > _MAX_OPEN and '"' in text:
            message = f"{name} is damaged (a quote is not closed within {_MAX_OPEN:,} characters)"
            raise InputError(message, hint="close it, or save it anew") from None
        writer = Writer()
        for line in io.StringIO(text):
            writer.line(line.rstrip("\n"))
            if writer.is_full:
                break
        page = writer.take()
    if is_long or writer.is_full:
        notes += (cut_note(name),)
    return ExtractedText(((page, "CSV"),), notes)


def _page(rows: Iterable[Sequence[Cell]], writer: Writer, title: str) -> str:
    lines = 0
    if title:
        writer.line(f"Sheet: {title}")
        writer.gap()
    for row in rows:
        line = render_row([_cell(cell) for cell in row])
        if line.strip(" |"):
            writer.line(line)
            lines += 1
        else:
            writer.gap()
        if writer.is_full:
            break
    text = writer.take()
    return text if lines else ""


def _cell(value: Cell) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.{_CELL_DIGITS}g}" if abs(value) < 10**_CELL_DIGITS else f"{value:.0f}"
    if isinstance(value, datetime):
        return str(value.date()) if value.time() == time() else value.isoformat(" ")
    return str(value)


def _separator(text: str) -> str:
    """The sign that parts most of the first rows into the same number of fields."""
    stream = io.StringIO(text)
    lines = iter(partial(stream.readline, _LOOKED_AT_CHARS), "")
    head = list(islice(filter(str.strip, lines), _LOOKED_AT))

    def worth(sign: str) -> tuple[int, int]:
        try:
            widths = [len(row) for row in csv.reader(head, delimiter=sign)]
        except csv.Error:  # an older Python refuses a NUL
            return 0, 0
        if not widths:
            return 0, 0
        usual = max(set(widths), key=widths.count)
        return (widths.count(usual), usual) if usual > 1 else (0, 0)

    return max(_SEPARATORS, key=worth)


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is damaged ({' '.join(str(error).split())[:120]})",
        hint="open it and save it anew, or as CSV",
    )
