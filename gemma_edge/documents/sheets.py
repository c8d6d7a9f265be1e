"""Cells of a CSV or TSV file to text, rows with a sign between their cells."""

import csv
import io
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

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
)
from gemma_edge.errors import InputError

_SEPARATORS = ",;\t|"

_LOOKED_AT, _LOOKED_AT_CHARS = 20, 1 << 16  # rows that tell the separator, and of each so much
_MOST_READ = 2 * MAX_CHARS  # characters of a CSV; what comes of them is cut earlier

_MAX_OPEN = 1 << 20  # characters of a field in quotes; what comes after is no table


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
        page = _page(rows, writer)
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


def _page(rows: Iterable[Sequence[str]], writer: Writer) -> str:
    for row in rows:
        line = render_row(row)
        if line.strip(" |"):
            writer.line(line)
        else:
            writer.gap()
        if writer.is_full:
            break
    return writer.take()


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
