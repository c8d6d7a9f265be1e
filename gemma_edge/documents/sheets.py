"""Cells of a CSV or TSV file to text, rows with a sign between their cells."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
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

_SEPARATORS = "\t;|,"  # where two do as well, the one that stands in fewer texts

_LOOKED_AT, _LOOKED_AT_CHARS = 60, 1 << 16  # rows that tell the separator, and of each so much
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
    told = _TOLD.match(text)  # an instruction to Excel, and no data
    if told:
        text = text[told.end() :]
    sign, width, is_sure = _separator(text)
    if told:
        sign, width, is_sure = told[1], width if sign == told[1] else 0, False
    try:
        page = _page(_rows(text, sign, width, begun=not is_sure), writer)
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


_TOLD = re.compile(r'"?sep=([^"\n])"?[;,\t]*(?:\n|\Z)', re.IGNORECASE)
_QUOTED = re.compile(r'(?m)((?:^|[;,\t|]) ?)"[^"]*"(?:"[^"]*")*')
_DECIMAL = re.compile(r"(?<=[0-9]),[0-9]{1,3}(?![0-9])")
_GROUPED = re.compile(r"[^0-9,]*[0-9]{1,3}(?:,[0-9]{3})+[^0-9,]*")


def _rows(text: str, sign: str, width: int, *, begun: bool) -> Iterator[Sequence[str]]:
    """The rows of a table of so many columns; what stands above it (where it has not ``begun``) or
    below, or is a comment, is not cut where it has the sign as texts have it.
    Raises csv.Error: a quote is not closed, or closed too early."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text):
            taken.append(line)
            yield line

    for row in csv.reader(lines(), delimiter=sign or "\x1f", strict=True, skipinitialspace=True):
        line = _bare("".join(taken).strip("\n")) if len(row) > 1 and sign in (";", ",") else ""
        spaced = sign != "" and 0 < line.count(sign) == line.count(f"{sign} ")
        if len(row) == width:
            is_text = not begun and spaced
            begun = begun or not is_text
        else:
            is_amount = not begun and _parting(line, sign) < 1
            is_text = len(row) > 1 and (taken[0].startswith("#") or spaced or is_amount)
        yield ["".join(taken).strip("\n")] if is_text and sign in (";", ",") else row
        taken.clear()


def _bare(text: str) -> str:
    """Text with a letter for each field in quotes."""
    return _QUOTED.sub(r"\1Q", text)


def _parting(line: str, sign: str) -> int:
    """How often the sign parts fields in it: not within an amount, not as in a sentence."""
    within = len(_DECIMAL.findall(line)) if sign == "," else 0
    within += line.count(f"{sign} ") if sign in ";," else 0
    return line.count(sign) - within


def _separator(text: str) -> tuple[str, int, bool]:
    """The sign that parts most of the first rows into the same number of fields, that number, and
    whether the sign is not such as texts have, too; nothing and 1 where none does."""
    stream = io.StringIO(text)
    lines = iter(partial(stream.readline, _LOOKED_AT_CHARS), "")
    head = _bare("".join(islice(filter(str.strip, lines), _LOOKED_AT))).split("\n")
    head = [line for line in head if line.strip()]
    best, found = (0.0, 0), ("", 1, False)
    for sign in _SEPARATORS:
        widths = [line.count(sign) + 1 for line in head]
        width = max({*widths} - {1}, key=lambda each: (widths.count(each), each), default=1)
        if width > 1 and (worth := (_worth(head, widths, sign, width), width)) > best:
            best, found = worth, (sign, width, worth[0] >= 1)
    return found if best[0] else ("", 1, False)


def _worth(head: Sequence[str], widths: Sequence[int], sign: str, width: int) -> float:
    """How many of the lines it parts as fields are."""
    parting = [_parting(line, sign) for line in head]
    table = [part for part, each in zip(parting, widths, strict=True) if each == width]
    others = sum(
        part > 0 for part, each in zip(parting, widths, strict=True) if each not in (1, width)
    )
    is_even = len(table) == len(head)
    spaced = all(line.count(sign) == line.count(f"{sign} ") for line in head)
    numbers = width > 2 and not any(map(_GROUPED.fullmatch, head))  # noqa: PLR2004
    if table[0] > 0:  # the names of the columns
        return len(table) + others / 2
    real = sum(part > 0 for part in table) + others / 2
    return real or (0.5 if is_even and (spaced or numbers) else 0)
