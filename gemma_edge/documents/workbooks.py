"""Sheets of Excel and OpenDocument files to text, a page each, as a person sees their cells.

Workbooks are hostile bytes: ``read_sheets`` runs in the child process of ``open.py``. Their XML is
read as a stream, and of a sheet no more is kept than is printed, so that a cell far out, a text
that a million cells show or a repeated row take nothing. python-calamine, which knows values and
nothing else of a cell, reads the binary ones.
"""

import io
import posixpath
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import chain, islice
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from gemma_edge.documents.document import (
    MAX_CHARS,
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    hidden_note,
    lowered,
    raised,
    render_row,
    shown,
)
from gemma_edge.documents.number_formats import (
    BUILT_IN,
    NumberFormat,
    parse_format,
    render_general,
)
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from zipfile import ZipFile

Cell = int | float | str | bool | time | date | datetime | timedelta

_MAX_SHEETS = 1000
_PIECE_BYTES = 1 << 18
_MAX_CELL_CHARS = 1 << 20  # Excel takes 32,767
_MAX_STYLES = 100_000
_MAX_MERGED = 100_000
_MAX_CARRIED = 1 << 22  # cells that are looked at to carry merged ones on
_LAST_COLUMN = 1 << 14
_NO_MEMORY = 1  # what expat says then
_SHOWN_FORMULA, _SHOWN_PLACES = 80, 4  # characters; cells that a note names


def read_sheets(data: bytes, name: str, options: ReadOptions = PLAIN) -> Iterator[ExtractedText]:
    """Every sheet of a workbook, one after another, as a person sees its cells.
    Raises InputError: it is encrypted, damaged, too large, or all empty."""
    book = _Book(name, options)
    with _as_damaged(name):
        sheets = book.shown(_iter_sheets(data, book))
        head = list(islice(sheets, 1))
        if book.is_titled is None:
            head += islice(sheets, 1)
            book.is_titled = len(head) > 1
        for number, sheet in enumerate(chain(head, sheets)):
            if number == _MAX_SHEETS:
                book.notes.append(f"{name}: {_MAX_SHEETS:,} sheets are the most that is read")
                break
            yield book.page(sheet, is_titled=book.is_titled)
            if book.writer.is_full:
                break
    if book.is_empty:
        hint = "check how it was saved"
        if book.hidden_characters and not options.hidden:
            hint = "what is in it is hidden; --hidden reads it"
        raise InputError(f"{name} has no cell with anything in it", hint=hint)
    yield ExtractedText((), tuple(book.closing_notes()))


class _Sheet:
    """The cells of a sheet that are printed, ``rows[row][column]``, and what a person must know of
    the others. Rows and columns count from 1."""

    def __init__(self, name: str, *, keeps_hidden: bool, is_hidden: bool = False) -> None:
        self.name, self.is_hidden = name, is_hidden
        self.has_cells = True
        self.is_cut = False
        self.rows: dict[int, dict[int, str]] = {}
        self.merged: list[tuple[int, int, int, int]] = []  # first row, column; last row, column
        self.shapes: list[str] = []  # texts that lie above the cells
        self.uncalculated: list[str] = []
        self.errors: list[str] = []
        self.hidden_characters = 0
        self.hidden_rows: set[int] = set()
        self.hidden_columns: set[int] = set()
        self._columns = bytearray(_LAST_COLUMN + 1)  # 1 of those that are hidden
        self._gaps: set[int] = set()
        self._keeps_hidden, self._left = keeps_hidden, MAX_CHARS
        self._row, self._is_row_hidden, self._is_gap, self._is_blank = 0, False, False, False

    def hide_columns(self, first: int, last: int) -> None:
        first, last = max(1, first), min(last, _LAST_COLUMN)
        if first <= last:
            self._columns[first : last + 1] = b"\1" * (last + 1 - first)

    def begin_row(self, number: int, *, is_hidden: bool = False) -> None:
        """What is added from now on stands in this row."""
        self._is_gap = self._is_gap or self._is_blank or number > self._row + 1
        self._row, self._is_row_hidden, self._is_blank = number, is_hidden, not is_hidden

    def add(self, column: int, text: str, *, is_hidden: bool = False) -> None:
        """A cell; what would be more than is read of a document is left out."""
        if not text or text.isspace() or not 0 < column <= _LAST_COLUMN:
            return
        if self._left <= 0:
            self.is_cut = True
            return
        in_column = self._columns[column]
        if in_column or is_hidden or self._is_row_hidden or self.is_hidden:
            self.hidden_characters += len(text)
            if self._is_row_hidden:
                self.hidden_rows.add(self._row)
            if in_column:
                self.hidden_columns.add(column)
            if not self._keeps_hidden:
                return
        self._is_blank = False
        if self._is_gap:
            self._gaps.add(self._row)
            self._is_gap = False
        self._left -= len(text) + len(" | ")
        self.rows.setdefault(self._row, {})[column] = text

    def merge(self, top: int, left: int, bottom: int, right: int) -> None:
        if len(self.merged) < _MAX_MERGED and 0 < left <= _LAST_COLUMN:
            self.merged.append((top, left, bottom, min(right, _LAST_COLUMN)))

    def carry(self) -> None:
        """Merged cells: in rows that have other values, a value stands in each row that it spans,
        and above each of several columns that it heads."""
        numbers = sorted(self.rows)
        looked_at = 0
        for top, left, bottom, right in self.merged:
            text = self.rows.get(top, {}).get(left, "")
            start, end = bisect_left(numbers, top), bisect_left(numbers, bottom + 1)
            below = self.rows[numbers[end]] if end < len(numbers) and right > left else {}
            heads = sum(left <= column <= right for column in below) > 1
            looked_at += len(below)
            for number in numbers[start:end] if text else ():
                row = self.rows[number]
                looked_at += len(row) + right - left + 1
                if looked_at > _MAX_CARRIED or self._left <= 0:
                    return
                has_others = min(row) < left or max(row) > right
                for column in range(left, right + 1 if heads else left + 1) if has_others else ():
                    if column not in row:
                        row[column] = text
                        self._left -= len(text) + len(" | ")

    def write(self, writer: Writer, title: str) -> str:
        """The sheet as lines, without the columns that are all empty; nothing where no cell is."""
        self.carry()
        if title:
            writer.line(f"Sheet: {title}")
            writer.gap()
        columns = sorted({column for row in self.rows.values() for column in row})
        for number in sorted(self.rows):
            if number in self._gaps:
                writer.gap()
            row = self.rows[number]
            end = bisect_left(columns, max(row) + 1)
            writer.line(render_row([row.get(column, "") for column in columns[:end]]))
            if writer.is_full:
                break
        for shape in self.shapes:
            writer.gap()
            writer.line(" ".join(shape.split()))
        text = writer.take()
        return text if self.rows or self.shapes else ""


class _Book:
    """What a person must know of all sheets of a workbook; how it is read."""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self.name, self.options = name, options
        self.notes: list[str] = []
        self.is_titled: bool | None = None  # whether there are several sheets, where that is known
        self.writer, self.is_empty = Writer(), True
        self.hidden_characters = self._sheets = self._rows = self._columns = 0
        self._formulas, self._errors = _Places(), _Places()

    def new_sheet(self, name: str, *, is_hidden: bool = False) -> _Sheet:
        return _Sheet(name, keeps_hidden=self.options.hidden, is_hidden=is_hidden)

    def shown(self, sheets: Iterable[_Sheet]) -> Iterator[_Sheet]:
        """The sheets that are read; of the others it is counted what is in them."""
        for sheet in sheets:
            self.hidden_characters += sheet.hidden_characters
            if sheet.is_hidden:
                self._sheets += sheet.hidden_characters > 0
            else:
                self._rows += len(sheet.hidden_rows)
                self._columns += len(sheet.hidden_columns)
            if self.options.hidden or not sheet.is_hidden:
                yield sheet

    def page(self, sheet: _Sheet, *, is_titled: bool) -> ExtractedText:
        title = shown(sheet.name)
        if not sheet.has_cells:
            note = f'{self.name}: sheet "{title}" has no cells (a chart or a macro)'
            return ExtractedText((("", f'sheet "{title}", without cells'),), (note,))
        before = f"{title}!" if is_titled else ""
        self._formulas.add(before, sheet.uncalculated)
        self._errors.add(before, sheet.errors)
        text = sheet.write(self.writer, title if is_titled else "")
        self.is_empty = self.is_empty and not text
        is_cut = sheet.is_cut or self.writer.is_full
        notes = (cut_note(f'{self.name} in sheet "{title}"'),) if is_cut else ()
        what = ", hidden" if sheet.is_hidden else ""
        return ExtractedText(((text, f'sheet "{title}"{what}'),), notes)

    def comments(self, count: int) -> None:
        if count:
            self.notes.append(f"{self.name}: comments are left out ({count:,})")

    def closing_notes(self) -> Iterator[str]:
        name = self.name
        yield from self.notes
        if self._formulas.count:
            what = "formulas have" if self._formulas.count > 1 else "formula has"
            yield (
                f"{name}: {self._formulas.count:,} {what} no value in the file ({self._formulas}); "
                "open it in a spreadsheet program and save it there"
            )
        if self._errors.count:
            what = "cells hold" if self._errors.count > 1 else "cell holds"
            yield f"{name}: {self._errors.count:,} {what} an error, no value ({self._errors})"
        counts = ((self._sheets, "sheet"), (self._rows, "row"), (self._columns, "column"))
        where = ", ".join(f"{n:,} {what}{'s' if n > 1 else ''}" for n, what in counts if n)
        yield from hidden_note(name, self.hidden_characters, self.options, where)


class _Places:
    """How many cells there are of a kind, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, before: str, places: Sequence[str]) -> None:
        self.count += len(places)
        free = _SHOWN_PLACES - len(self._first)
        self._first += [before + place for place in places[:free]]

    def __str__(self) -> str:
        more = self.count - len(self._first)
        return ", ".join(self._first) + (f" and {more:,} more" if more else "")


@contextmanager
def _as_damaged(name: str) -> Iterator[None]:
    """What the libraries say of a file that is damaged, as one line."""
    import zipfile
    from xml.parsers.expat import ExpatError

    try:
        yield
    except (zipfile.BadZipFile, ExpatError, ValueError, KeyError, NotImplementedError, EOFError,
            RuntimeError, zlib.error) as error:  # fmt: skip
        if isinstance(error, ExpatError) and error.code == _NO_MEMORY:
            raise MemoryError from None
        raise _damaged(name, error) from None


def _iter_sheets(data: bytes, book: _Book) -> Iterator[_Sheet]:
    if data.startswith(b"PK"):
        import zipfile  # a CSV needs none

        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = {each.replace("\\", "/").lower(): each for each in archive.namelist()}
        if "content.xml" in entries:
            yield from _iter_open_document(archive, entries, book)
            return
        if "xl/workbook.xml" in entries:
            yield from _Excel(archive, entries, book).sheets()
            return
    yield from _iter_binary(data, book)


def _iter_binary(data: bytes, book: _Book) -> Iterator[_Sheet]:
    """Sheets of .xls and .xlsb files: values without the formats of their numbers."""
    import python_calamine as calamine

    name = book.name
    try:
        opened = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        for about in opened.sheets_metadata:
            is_hidden = about.visible != calamine.SheetVisibleEnum.Visible
            sheet = book.new_sheet(about.name, is_hidden=is_hidden)
            sheet.has_cells = about.typ == calamine.SheetTypeEnum.WorkSheet
            if sheet.has_cells:
                found = opened.get_sheet_by_name(about.name)
                for number, row in enumerate(found.iter_rows(), 1):
                    sheet.begin_row(number)
                    for column, value in enumerate(row, 1):
                        if value != "":
                            sheet.add(column, _cell(value))
                    if sheet.is_cut:
                        break
                row_before, column_before = found.start or (0, 0)
                for (top, left), (bottom, right) in found.merged_cell_ranges or ():
                    sheet.merge(
                        top - row_before + 1, left - column_before + 1,
                        bottom - row_before + 1, right - column_before + 1,
                    )  # fmt: skip
            yield sheet
    except calamine.PasswordError:
        raise _encrypted(name) from None
    except calamine.CalamineError as error:
        raise _damaged(name, error) from None
    book.notes.append(
        f"{name}: numbers stand without their formats, errors are blank, and hidden rows are read "
        "(a binary workbook); save it as .xlsx for what is seen"
    )


def _encrypted(name: str) -> InputError:
    return InputError(f"{name} is encrypted with a password", hint="save it without one, or as PDF")


# The XML of workbooks, as a stream. Names are taken without their name spaces, of which there are
# two for each kind of file.


class _Handler:
    """What is done where an element begins or ends, by its name; and the text that is taken from
    ``open`` on, ``close`` gives it."""

    def __init__(self) -> None:
        self.starts: dict[str, Callable[[dict[str, str]], None]] = {}
        self.ends: dict[str, Callable[[], None]] = {}
        self._taken: list[str] = []
        self._is_open, self._size = False, 0

    def text(self, data: str) -> None:
        if self._is_open and self._size < _MAX_CELL_CHARS:
            self._taken.append(data)
            self._size += len(data)

    def open(self, _: object = None) -> None:
        self._is_open = True

    def close(self) -> str:
        text = "".join(self._taken)
        self._taken, self._is_open, self._size = [], False, 0
        return text


def _parse(archive: "ZipFile", entry: str, handler: _Handler) -> Iterator[bool]:
    """Feeds an entry to a handler, piece by piece; yields False after each, True where time ended
    before it did. A file with a document type could expand what it names: it is damaged."""
    from xml.parsers import expat

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    starts, ends = handler.starts, handler.ends

    def begin(tag: str, attributes: dict[str, str]) -> None:
        found = starts.get(tag.rpartition(" ")[2])
        if found is not None:
            found(attributes)

    def end(tag: str) -> None:
        found = ends.get(tag.rpartition(" ")[2])
        if found is not None:
            found()

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = refuse
    with archive.open(entry) as stream:
        while piece := stream.read(_PIECE_BYTES):
            parser.Parse(piece, False)
            yield False
            if Writer.is_late():
                yield True
                return
    parser.Parse(b"", True)


def _parse_all(archive: "ZipFile", entry: str | None, handler: _Handler) -> None:
    for is_late in _parse(archive, entry, handler) if entry else ():
        if is_late:
            raise ValueError("reading it took too long")


def _whole(text: str | None, other: int = 0) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= 9 else other  # noqa: PLR2004


def _is_on(attributes: Mapping[str, str], name: str = "val") -> bool:
    return attributes.get(name, "1") not in ("0", "false", "off", "none")


class _RichText(_Handler):
    """Texts of Excel in runs: what is raised, lowered or struck is marked; how Japanese is
    pronounced is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._mark, self._is_struck, self._is_sound = "", False, False
        self.starts.update(
            t=self.open, r=self._begin_run, rPh=partial(self._sound, is_on=True),
            vertAlign=self._align, strike=self._strike,
        )  # fmt: skip
        self.ends.update(t=self._end_text, r=self._begin_run, rPh=partial(self._sound, is_on=False))

    def take(self) -> str:
        text = "".join(self._parts)
        self._parts = []
        return _ESCAPED.sub(_unescape, text) if "_x" in text else text

    def _begin_run(self, _: object = None) -> None:
        self._mark, self._is_struck = "", False

    def _sound(self, _: object = None, *, is_on: bool) -> None:
        self._is_sound = is_on

    def _align(self, attributes: dict[str, str]) -> None:
        self._mark = attributes.get("val", "")

    def _strike(self, attributes: dict[str, str]) -> None:
        self._is_struck = _is_on(attributes)

    def _end_text(self) -> None:
        text = self.close()
        if not self._is_sound:
            self._parts.append(_marked(text, self._mark, self._parts, is_struck=self._is_struck))


def _marked(text: str, mark: str, before: Sequence[str], *, is_struck: bool) -> str:
    if mark.startswith("super"):
        text = raised(text, before[-1] if before else "")
    elif mark.startswith("sub"):
        text = lowered(text)
    return f"~~{text}~~" if is_struck and text.strip() else text


_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


def _unescape(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


class _SharedTexts(_RichText):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.ends["si"] = lambda: self.texts.append(self.take())


class _Style(NamedTuple):
    """How a cell of Excel is shown; ``format`` is None where it is ``General``."""

    format: NumberFormat | None = None
    is_struck: bool = False
    is_hidden: bool = False


_PLAIN_STYLE = _Style()
_WHITE = frozenset(("FFFFFFFF", "00FFFFFF", "FFFFFF"))


def _is_white(attributes: Mapping[str, str]) -> bool:
    is_tinted = attributes.get("tint", "0").strip("0.") != ""
    white = attributes.get("rgb", "").upper() in _WHITE or attributes.get("indexed") in ("1", "9")
    return white or (attributes.get("theme") == "0" and not is_tinted)


class _Styles(_Handler):
    """Formats, fonts and fills of Excel, for the cells that name them."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[_Style] = []
        self._codes = dict(BUILT_IN)
        self._fonts: list[dict[str, bool]] = []
        self._is_filled: list[bool] = []
        self._list = ""
        lists = ("fonts", "fills", "cellXfs")
        for name in lists:
            self.starts[name] = partial(self._begin, name)
            self.ends[name] = partial(self._begin, "")
        self.starts.update(
            numFmt=self._code, font=self._font, color=self._color, sz=self._tiny,
            strike=self._strike, fill=self._fill, patternFill=self._pattern, fgColor=self._shade,
            gradientFill=self._gradient, xf=self._cell,
        )  # fmt: skip

    def _begin(self, name: str, _: object = None) -> None:
        self._list = name

    def _code(self, attributes: dict[str, str]) -> None:
        if len(self._codes) < _MAX_STYLES:
            self._codes[_whole(attributes.get("numFmtId"))] = attributes.get("formatCode", "")

    def _font(self, _: object) -> None:
        if self._list == "fonts" and len(self._fonts) < _MAX_STYLES:
            self._fonts.append({})

    def _told(self, what: str, value: bool) -> None:
        if self._list == "fonts" and self._fonts:
            self._fonts[-1][what] = value

    def _color(self, attributes: dict[str, str]) -> None:
        self._told("white", _is_white(attributes))

    def _tiny(self, attributes: dict[str, str]) -> None:
        self._told("tiny", attributes.get("val", "").partition(".")[0] in ("0", "1"))

    def _strike(self, attributes: dict[str, str]) -> None:
        self._told("struck", _is_on(attributes))

    def _fill(self, _: object) -> None:
        if self._list == "fills" and len(self._is_filled) < _MAX_STYLES:
            self._is_filled.append(False)

    def _pattern(self, attributes: dict[str, str]) -> None:
        self._is_shaded(attributes.get("patternType", "none") != "none")

    def _gradient(self, _: object) -> None:
        self._is_shaded(True)

    def _shade(self, attributes: dict[str, str]) -> None:
        if _is_white(attributes):
            self._is_shaded(False)

    def _is_shaded(self, value: bool) -> None:
        if self._list == "fills" and self._is_filled:
            self._is_filled[-1] = value

    def _cell(self, attributes: dict[str, str]) -> None:
        if self._list != "cellXfs" or len(self.cells) >= _MAX_STYLES:
            return
        code = self._codes.get(_whole(attributes.get("numFmtId")), "")
        font_at, fill_at = _whole(attributes.get("fontId")), _whole(attributes.get("fillId"))
        font = self._fonts[font_at] if font_at < len(self._fonts) else {}
        is_filled = fill_at < len(self._is_filled) and self._is_filled[fill_at]
        is_hidden = font.get("tiny", False) or (font.get("white", False) and not is_filled)
        is_plain = not code or code.lower() == "general"
        shape = None if is_plain else parse_format(code)
        self.cells.append(_Style(shape, font.get("struck", False), is_hidden))


class _Excel:
    """The parts of an .xlsx file."""

    def __init__(self, archive: "ZipFile", entries: Mapping[str, str], book: _Book) -> None:
        self._archive, self._entries, self._book = archive, entries, book
        self.texts: list[str] = []
        self.styles: list[_Style] = []
        self.from_1904 = self.is_uncalculated = False

    def sheets(self) -> Iterator[_Sheet]:
        listed: list[dict[str, str]] = []
        handler = _Handler()
        handler.starts["sheet"] = listed.append
        handler.starts["workbookPr"] = self._dates
        handler.starts["calcPr"] = self._calculation
        _parse_all(self._archive, self._entries["xl/workbook.xml"], handler)
        parts = self._related("xl/workbook.xml")
        kinds = {kind: place for kind, place in parts.values()}
        texts, styles = _SharedTexts(), _Styles()
        for kind, handler in (("sharedStrings", texts), ("styles", styles)):
            entry = kinds.get(kind) or self._entries.get(f"xl/{kind}.xml".lower())
            _parse_all(self._archive, entry, handler)
        self.texts, self.styles = texts.texts, styles.cells
        seen = sum(each.get("state", "visible") == "visible" for each in listed)
        self._book.is_titled = (len(listed) if self._book.options.hidden else seen) > 1
        for each in listed:
            number = next((each[key] for key in each if key.rpartition(" ")[2] == "id"), "")
            kind, place = parts.get(number, ("", ""))
            is_hidden = each.get("state", "visible") != "visible"
            sheet = self._book.new_sheet(each.get("name", ""), is_hidden=is_hidden)
            sheet.has_cells = kind == "worksheet"
            if sheet.has_cells:
                self._read(sheet, place)
            yield sheet
        self._book.comments(self._count("comment", "xl/comments"))

    def _dates(self, attributes: dict[str, str]) -> None:
        self.from_1904 = "date1904" in attributes and _is_on(attributes, "date1904")

    def _calculation(self, attributes: dict[str, str]) -> None:
        told = "fullCalcOnLoad"
        self.is_uncalculated = told in attributes and _is_on(attributes, told)

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """Of the parts that one names by a number: their kind and their entry."""
        folder, _, file = part.rpartition("/")
        found: list[dict[str, str]] = []
        handler = _Handler()
        handler.starts["Relationship"] = found.append
        _parse_all(self._archive, self._entries.get(f"{folder}/_rels/{file}.rels".lower()), handler)
        related: dict[str, tuple[str, str]] = {}
        for each in found:
            target = each.get("Target", "").replace("\\", "/")
            path = target.lstrip("/") if target[:1] == "/" else f"{folder}/{target}"
            entry = self._entries.get(posixpath.normpath(path).lower())
            if entry is not None:
                related[each.get("Id", "")] = each.get("Type", "").rpartition("/")[2], entry
        return related

    def _read(self, sheet: _Sheet, entry: str) -> None:
        cells = _ExcelCells(sheet, self)
        for is_late in _parse(self._archive, entry, cells):
            sheet.is_cut = sheet.is_cut or is_late
            if sheet.is_cut:
                return
        for kind, place in self._related(entry.replace("\\", "/")).values():
            if kind == "drawing":
                shapes = _Shapes(sheet)
                _parse_all(self._archive, place, shapes)

    def _count(self, tag: str, begin: str) -> int:
        """The elements with this name in all entries that begin so."""
        handler = _Counter(tag)
        for key, entry in self._entries.items():
            if key.startswith(begin) and key.endswith(".xml"):
                _parse_all(self._archive, entry, handler)
        return handler.count


class _Counter(_Handler):
    def __init__(self, tag: str) -> None:
        super().__init__()
        self.count = 0
        self.starts[tag] = self._add

    def _add(self, _: object) -> None:
        self.count += 1


class _Shapes(_Handler):
    """Texts of boxes that lie above the cells."""

    def __init__(self, sheet: _Sheet) -> None:
        super().__init__()
        self._sheet = sheet
        self.starts.update(txBody=self._begin, t=self.open)
        self.ends.update(t=self._add, p=self._space, txBody=self._end)
        self._parts: list[str] = []

    def _begin(self, _: object) -> None:
        self._parts = []

    def _add(self) -> None:
        self._parts.append(self.close())

    def _space(self) -> None:
        self._parts.append(" ")

    def _end(self) -> None:
        text = "".join(self._parts).strip()
        if text:
            self._sheet.shapes.append(text)


class _ExcelCells(_RichText):
    """The rows of one sheet, from its XML."""

    def __init__(self, sheet: _Sheet, book: _Excel) -> None:
        super().__init__()
        self._sheet, self._book = sheet, book
        self._row = self._column = 0
        self._kind, self._style = "", _PLAIN_STYLE
        self._formula: str | None = None
        self._value: str | None = None
        self.starts.update(
            row=self._begin_row, c=self._begin_cell, v=self.open, f=self.open, col=self._hide,
            mergeCell=self._merge,
        )  # fmt: skip
        self.ends.update(c=self._end_cell, v=self._end_value, f=self._end_formula)

    def _begin_row(self, attributes: dict[str, str]) -> None:
        self._row = _whole(attributes.get("r"), self._row + 1)
        self._column = 0
        is_hidden = "hidden" in attributes and _is_on(attributes, "hidden")
        self._sheet.begin_row(self._row, is_hidden=is_hidden)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r")
        self._column = _column(place) if place else self._column + 1
        self._kind = attributes.get("t", "n")
        at, styles = _whole(attributes.get("s"), -1), self._book.styles
        self._style = styles[at] if 0 <= at < len(styles) else _PLAIN_STYLE
        self._formula = self._value = None

    def _hide(self, attributes: dict[str, str]) -> None:
        is_narrow = attributes.get("width", "1").strip("0.") == ""
        if is_narrow or ("hidden" in attributes and _is_on(attributes, "hidden")):
            first = _whole(attributes.get("min"))
            self._sheet.hide_columns(first, _whole(attributes.get("max"), first))

    def _merge(self, attributes: dict[str, str]) -> None:
        first, _, last = attributes.get("ref", "").partition(":")
        places = [(_whole(each.lstrip(_LETTERS)), _column(each)) for each in (first, last or first)]
        (top, left), (bottom, right) = places
        self._sheet.merge(top, left, bottom, right)

    def _end_value(self) -> None:
        self._value = self.close()

    def _end_formula(self) -> None:
        self._formula = self.close()

    def _end_cell(self) -> None:
        rich = self.take() if self._parts else None
        if self._value is None and self._formula is None and rich is None:
            return
        text, is_hidden = self._shown(self._value if rich is None else rich)
        style = self._style
        if style.is_struck and text:
            text = f"~~{text}~~"
        self._sheet.add(self._column, text, is_hidden=is_hidden or style.is_hidden)

    def _shown(self, value: str | None) -> tuple[str, bool]:
        """What stands in the cell, and whether its format hides it."""
        kind, shape = self._kind, self._style.format
        if self._formula is not None and self._is_uncalculated(value):
            self._sheet.uncalculated.append(self._place)
            return _uncalculated(self._formula), False
        value = value or ""
        if kind == "s":
            at = _whole(value.strip(), -1)
            value = self._book.texts[at] if 0 <= at < len(self._book.texts) else ""
        elif kind == "n":
            return self._number(value)
        elif kind == "b":
            return ("TRUE" if _is_on({"val": value.strip()}) else "FALSE"), False
        elif kind == "e":
            self._sheet.errors.append(f"{self._place}: {shown(value)}")
            return value, False
        if kind == "d":
            return value.removesuffix("T00:00:00").replace("T", " "), False
        text = value if shape is None else shape.text(value)
        return (text, False) if text or not value else (value, True)

    def _number(self, value: str) -> tuple[str, bool]:
        shape = self._style.format
        try:
            number = float(value)
        except ValueError:
            return value, False
        if not isfinite(number):
            return value, False
        if shape is None:
            return render_general(number), False
        text = shape.number(number, from_1904=self._book.from_1904)
        return (text, False) if text or not number else (render_general(number), True)

    def _is_uncalculated(self, value: str | None) -> bool:
        """Programs that write formulas without calculating them leave the value out, or write 0
        and that all is to be calculated again; a text may be empty."""
        if not value:
            return value is None or self._kind != "str"
        is_zero = self._kind == "n" and value.strip() == "0"
        return is_zero and self._book.is_uncalculated

    @property
    def _place(self) -> str:
        return f"{_letters(self._column)}{self._row}"


_LETTERS = "$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _letters(column: int) -> str:
    letters = ""
    while column > 0:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _column(place: str) -> int:
    """The number of the column in ``AB12``; 0 where there is none."""
    number = 0
    for letter in place[:4].upper():
        if "A" <= letter <= "Z":
            number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _iter_open_document(
    archive: "ZipFile", entries: Mapping[str, str], book: _Book
) -> Iterator[_Sheet]:
    manifest = entries.get("meta-inf/manifest.xml")
    if manifest and b"encryption-data" in archive.open(manifest).read(_PIECE_BYTES):
        raise _encrypted(book.name)
    handler = _OpenDocument(book)
    for is_late in _parse(archive, entries["content.xml"], handler):
        if is_late and handler.sheet:
            handler.sheet.is_cut = True
            handler.done.append(handler.sheet)
        yield from handler.done
        handler.done.clear()
    yield from handler.done
    book.comments(handler.comments)


class _OpenDocument(_Handler):
    """The tables of an OpenDocument file; ``done`` are those that are read."""

    def __init__(self, book: _Book) -> None:
        super().__init__()
        self.done: list[_Sheet] = []
        self.sheet: _Sheet | None = None
        self.comments = 0
        self._book = book
        self._depth = self._comment = 0  # of tables in cells; of comments
        self._style = ""
        self._hidden: set[str] = set()  # styles of tables
        self._marks: dict[str, tuple[str, bool]] = {}  # of texts
        self._open_marks: list[tuple[str, bool]] = []
        self._row = self._column = self._times = 0
        self._groups: list[bool] = []
        self._is_row_hidden = False
        self._about: dict[str, str] = {}
        self._cells: list[tuple[int, int, str]] = []  # of a row: column, repeated, text
        self._spans: list[tuple[int, int, int]] = []
        self._parts: list[str] = []
        self.starts.update({
            "style": self._begin_style, "table-properties": self._table_style,
            "text-properties": self._text_style, "table": self._begin_table,
            "table-column": self._column_tag, "table-row": self._begin_row,
            "table-row-group": self._group, "table-column-group": self._group,
            "table-cell": self._begin_cell, "covered-table-cell": self._begin_cell,
            "annotation": self._begin_comment, "p": self._begin_text, "h": self._begin_text,
            "span": self._begin_span, "s": self._spaces, "tab": self._space,
            "line-break": self._space,
        })  # fmt: skip
        self.ends.update({
            "table": self._end_table, "table-row": self._end_row, "table-row-group": self._ungroup,
            "table-column-group": self._ungroup, "table-cell": self._end_cell,
            "covered-table-cell": self._end_cell, "annotation": self._end_comment,
            "p": self._end_text, "h": self._end_text, "span": self._end_span,
        })  # fmt: skip

    def _begin_style(self, attributes: dict[str, str]) -> None:
        self._style = _local(attributes).get("name", "")

    def _table_style(self, attributes: dict[str, str]) -> None:
        if _local(attributes).get("display") == "false" and len(self._hidden) < _MAX_STYLES:
            self._hidden.add(self._style)

    def _text_style(self, attributes: dict[str, str]) -> None:
        told = _local(attributes)
        place = told.get("text-position", "")
        mark = "super" if place.startswith("super") else "sub" if place.startswith("sub") else ""
        if place[:1].isdecimal() and place.strip("0% "):
            mark = "super"
        elif place[:1] == "-":
            mark = "sub"
        is_struck = told.get("text-line-through-style", "none") != "none"
        if (mark or is_struck) and len(self._marks) < _MAX_STYLES:
            self._marks[self._style] = mark, is_struck

    def _begin_table(self, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            told = _local(attributes)
            is_hidden = told.get("style-name", "") in self._hidden
            self.sheet = self._book.new_sheet(told.get("name", ""), is_hidden=is_hidden)
            self._row = self._column = 0
            self._groups = []

    def _end_table(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self.sheet is not None:
            self.done.append(self.sheet)
            self.sheet = None

    def _group(self, attributes: dict[str, str]) -> None:
        self._groups.append(_local(attributes).get("display") == "false")

    def _ungroup(self) -> None:
        if self._groups:
            self._groups.pop()

    def _is_hidden(self, told: Mapping[str, str]) -> bool:
        return told.get("visibility", "visible") != "visible" or any(self._groups)

    def _column_tag(self, attributes: dict[str, str]) -> None:
        if self.sheet is None or self._depth > 1:
            return
        told = _local(attributes)
        first = self._column + 1
        self._column += _times(told, "columns")
        if self._is_hidden(told):
            self.sheet.hide_columns(first, self._column)

    def _begin_row(self, attributes: dict[str, str]) -> None:
        if self.sheet is None or self._depth > 1:
            return
        told = _local(attributes)
        self._times, self._column = _times(told, "rows"), 0
        self._cells, self._spans = [], []
        self._is_row_hidden = self._is_hidden(told)
        self.sheet.begin_row(self._row + 1, is_hidden=self._is_row_hidden)

    def _end_row(self) -> None:
        sheet = self.sheet
        if sheet is None or self._depth > 1:
            return
        # Of repeated rows that are left out one tells enough.
        is_kept = self._book.options.hidden or not (self._is_row_hidden or sheet.is_hidden)
        for again in range(self._times if self._cells and is_kept else 1):
            if again:
                sheet.begin_row(self._row + 1 + again, is_hidden=self._is_row_hidden)
            for column, times, text in self._cells:
                for at in range(column, min(column + times, _LAST_COLUMN + 1)):
                    sheet.add(at, text)
            if sheet.is_cut or sheet.hidden_characters > MAX_CHARS:
                break
        for column, width, height in self._spans:
            sheet.merge(self._row + 1, column, self._row + height, column + width - 1)
        self._row += self._times

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        if self._depth == 1:
            self._about = _local(attributes)
            self._parts, self._open_marks = [], []

    def _end_cell(self) -> None:
        if self.sheet is None or self._depth > 1:
            return
        told, times = self._about, _times(self._about, "columns")
        column, self._column = self._column + 1, self._column + times
        text = self._shown("".join(self._parts).strip(), column)
        self._parts = []
        if not text or len(self._cells) >= _LAST_COLUMN:
            return
        self._cells.append((column, times, text))
        width, height = (
            _whole(told.get(f"number-{each}-spanned"), 1) for each in ("columns", "rows")
        )
        if width > 1 or height > 1:
            self._spans.append((column, width, height))

    def _shown(self, text: str, column: int) -> str:
        told, sheet = self._about, self.sheet
        kind = told.get("value-type", "")
        place = f"{_letters(column)}{self._row + 1}"
        if sheet is None:
            return ""
        if "formula" in told and not text and not kind:
            sheet.uncalculated.append(place)
            return _uncalculated(_open_formula(told["formula"]))
        if text and (told.get("calcext:value-type") == "error" or text[:4] == "Err:"):
            sheet.errors.append(f"{place}: {shown(text)}")
        if not text:
            return _open_value(kind, told)
        day = told.get("date-value", "")[:10]
        return f"{text} ({day})" if day and _is_ambiguous(text) else text

    def _begin_comment(self, _: object) -> None:
        self.comments += self._comment == 0
        self._comment += 1

    def _end_comment(self) -> None:
        self._comment -= 1

    def _begin_text(self, _: object) -> None:
        if self._depth and not self._comment:
            self._parts.append(" ")
            self.open()

    def _end_text(self) -> None:
        self._flush()
        self.close()

    def _begin_span(self, attributes: dict[str, str]) -> None:
        is_open = self._is_open
        self._flush()
        name = _local(attributes).get("style-name", "")
        self._open_marks.append(self._marks.get(name, ("", False)))
        self._is_open = is_open

    def _end_span(self) -> None:
        is_open = self._is_open
        self._flush()
        if self._open_marks:
            self._open_marks.pop()
        self._is_open = is_open

    def _flush(self) -> None:
        text = self.close()
        if text and self._depth and not self._comment:
            mark, is_struck = self._open_marks[-1] if self._open_marks else ("", False)
            self._parts.append(_marked(text, mark, self._parts, is_struck=is_struck))

    def _spaces(self, attributes: dict[str, str]) -> None:
        self.text(" " * min(_whole(_local(attributes).get("c"), 1), 80))

    def _space(self, _: object) -> None:
        self.text(" ")


def _local(attributes: Mapping[str, str]) -> dict[str, str]:
    """Without name spaces; one that two of them have is told apart."""
    return {
        ("calcext:" if ":calcext:" in name else "") + name.rpartition(" ")[2]: value
        for name, value in attributes.items()
    }


def _times(told: Mapping[str, str], what: str) -> int:
    return max(1, _whole(told.get(f"number-{what}-repeated"), 1))


def _uncalculated(formula: str) -> str:
    flat = " ".join(formula.split())
    flat = flat if len(flat) <= _SHOWN_FORMULA else f"{flat[:_SHOWN_FORMULA]}…"
    return f"[={flat}, not calculated]" if flat else "[a formula, not calculated]"


def _open_formula(text: str) -> str:
    """``SUM(B2:B4)`` of ``of:=SUM([.B2:.B4])``."""
    formula = text.partition("=")[2] or text
    return formula.replace("[.", "").replace(":.", ":").replace("[", "").replace("]", "")


def _open_value(kind: str, told: Mapping[str, str]) -> str:
    """A value whose text the file does not have."""
    value = told.get("value", "")
    with suppress(ValueError):
        if kind == "percentage":
            return f"{render_general(100 * float(value))}%"
        if kind in ("float", "currency"):
            return f"{render_general(float(value))} {told.get('currency', '')}".strip()
    if kind == "date":
        return told.get("date-value", "").replace("T", " ")
    if kind == "time":
        return ":".join(re.findall("[0-9]{1,9}", told.get("time-value", "")))
    if kind == "boolean":
        return told.get("boolean-value", "").upper()
    return told.get("string-value", value)


_SHORT_DATE = re.compile(r"([0-9]{1,2})[/-]([0-9]{1,2})[/-][0-9]{2,4}")


def _is_ambiguous(text: str) -> bool:
    found = _SHORT_DATE.fullmatch(text)
    return found is not None and found[1] != found[2] and max(int(found[1]), int(found[2])) <= 12  # noqa: PLR2004


def _cell(value: Cell) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return render_general(value)
    if isinstance(value, datetime):
        return str(value.date()) if value.time() == time() else value.isoformat(" ")
    return str(value)


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is damaged ({' '.join(str(error).split())[:120]})",
        hint="open it and save it anew, or as CSV",
    )
