"""Cells to text: sheets of Excel and OpenDocument files, a page each, and CSV.

Workbooks are hostile bytes: ``read_sheets`` runs in the child process of ``open.py``.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta

from gemma_edge.documents.document import (
    MAX_CELL,
    ExtractedText,
    Writer,
    cut_note,
    decode_text,
    render_row,
    shown,
)
from gemma_edge.errors import InputError

Cell = int | float | str | bool | time | date | datetime | timedelta

_CELL_DIGITS = 15  # what Excel itself shows of a number (its specification)

_SEPARATORS = ",;\t|"

_LOOKED_AT = 20  # rows that tell the separator
_LINE_LOOKED_AT = 1 << 16  # characters of each


def read_sheets(data: bytes, name: str) -> ExtractedText:
    """Every sheet of a workbook; hidden ones are read too, with a note.
    Raises InputError: it is encrypted, damaged, or all empty."""
    import python_calamine as calamine

    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except calamine.PasswordError:
        raise InputError(
            f"{name} is encrypted with a password", hint="save it without one, or as PDF"
        ) from None
    except calamine.CalamineError as error:
        raise _damaged(name, error) from None
    writer, pages, notes = Writer(), [], []
    for sheet in book.sheets_metadata:
        title = shown(sheet.name)
        if sheet.typ != calamine.SheetTypeEnum.WorkSheet:
            notes.append(f'{name}: sheet "{title}" has no cells (a chart or a macro)')
            pages.append(("", f'sheet "{title}", without cells'))
            continue
        if sheet.visible != calamine.SheetVisibleEnum.Visible:
            notes.append(f'{name}: sheet "{title}" is hidden, and is read too')
        try:
            rows = book.get_sheet_by_name(sheet.name).iter_rows()
            text = _page(rows, writer, title if len(book.sheet_names) > 1 else "")
        except calamine.CalamineError as error:
            raise _damaged(name, error) from None
        pages.append((text, f'sheet "{title}"'))
        if writer.is_full:
            notes.append(cut_note(f'{name} in sheet "{title}"'))
            break
    if not any(text for text, _ in pages):
        raise InputError(f"{name} has no cell with anything in it", hint="check how it was saved")
    return ExtractedText(tuple(pages), tuple(notes))


def read_separated(data: bytes, name: str) -> ExtractedText:
    """CSV or TSV as one page; quotes are opened, so that values stand as they are.
    Raises InputError: not text, or empty."""
    text, notes = decode_text(data, name)
    csv.field_size_limit(MAX_CELL)
    writer = Writer()
    rows = csv.reader(io.StringIO(text), delimiter=_separator(text), strict=True)
    try:
        page = _page(rows, writer, "")
    except csv.Error:  # a quote that never ends, or ends too early: shown as it is
        writer = Writer()
        for line in text.split("\n"):
            writer.line(line)
        page = writer.take()
    if writer.is_full:
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
    lines = text.lstrip().split("\n", _LOOKED_AT + 1)[:_LOOKED_AT]
    head = [line[:_LINE_LOOKED_AT] for line in lines if line.strip()]

    def worth(sign: str) -> tuple[int, int]:
        try:
            widths = [len(row) for row in csv.reader(head, delimiter=sign)]
        except csv.Error:  # an older Python refuses a NUL
            return 0, 0
        usual = max(set(widths), key=widths.count)
        return (widths.count(usual), usual) if usual > 1 else (0, 0)

    return max(_SEPARATORS, key=worth)


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is damaged ({' '.join(str(error).split())[:120]})",
        hint="open it and save it anew, or as CSV",
    )
