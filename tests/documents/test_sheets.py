"""Cells as a person reads them, sheet by sheet; CSV in the ways in which it is written."""

import io
import re
import sys
import zipfile
from datetime import date, datetime, time

import openpyxl
import pytest

from gemma_edge.documents import sheets
from gemma_edge.documents.document import PageNumbers, Writer
from gemma_edge.documents.open import read_apart, read_document
from gemma_edge.documents.sheets import check_sizes, read_separated
from gemma_edge.errors import InputError, UsageError
from gemma_edge.isolation import Child
from tests.documents.office_files import render_ods, render_xlsx, render_zip


def test_each_sheet_is_a_page():
    data = render_xlsx(
        {
            "May": [["Item", "Qty"], ["Pen", 3.0], [], [None, 0.1 + 0.2]],
            "Notes": [["see | over", "two\nlines"]],
            "Empty": [],
        },
        hidden=("Notes",),
    )
    document = read_document(data, "book.xlsx")
    assert [page.text for page in document.pages] == [
        "Sheet: May\n\nItem | Qty\nPen | 3\n\n | 0.3",
        "Sheet: Notes\n\nsee | over | two lines",
        "",
    ]
    assert [page.kind for page in document.pages] == ["text", "text", "empty"]
    assert document.notes == ('book.xlsx: sheet "Notes" is hidden, and is read too',)
    second = read_document(data, "book.xlsx", pages=PageNumbers(((2, 2),), "2"))
    assert [page.number for page in second.pages] == [2]
    with pytest.raises(UsageError, match="there is no page 4"):
        read_document(data, "book.xlsx", pages=PageNumbers(((4, 4),), "4"))


def test_values_are_as_a_person_writes_them():
    row = [1e6, -2.5, True, date(2026, 5, 1), datetime(2026, 5, 1, 9, 30), time(9, 30), "00123"]
    text = read_document(render_xlsx({"S": [row]}), "x.xlsx").text
    assert text == "1000000 | -2.5 | TRUE | 2026-05-01 | 2026-05-01 09:30:00 | 09:30:00 | 00123"


def test_open_document_sheets():
    assert read_document(render_ods([["a", "b"], ["c"]]), "x.ods").text == "a | b\nc"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", 'Name,Total\n"Müller, K.",5\n', "Name | Total\nMüller, K. | 5"),
        ("a.csv", 'Name;Betrag\n"sagt ""ja""";1.234,50\n', 'Name | Betrag\nsagt "ja" | 1.234,50'),
        ("a.tsv", "a\tb, c\n1\t2\n", "a | b, c\n1 | 2"),
        ("a.csv", "only one column\nmore\n", "only one column\nmore"),
        ("a.csv", 'a,"two\nlines"\n', "a | two lines"),
        ("a.xls", "a\tb\n1\t2\n", "a | b\n1 | 2"),
        ("a.xls", "<table><tr><td>a<td>b</table>", "a | b"),
    ],
)
def test_separated_values(name, text, expected):
    assert read_document(text.encode(), name).text == expected


def test_quotes_that_never_end_leave_the_lines_as_they_are():
    assert read_document(b'a,"b\nc,d\n', "a.csv").text == 'a,"b\nc,d'


def test_sheets_that_are_too_much_are_cut_or_refused():
    long = render_xlsx({"S": [["x" * 30_000]] * 140, "T": [["y"]]})
    document = read_document(long, "x.xlsx")
    assert len(document.text) < 4_100_000
    assert document.notes[-1].startswith('x.xlsx in sheet "S" is cut: 4,000,000 characters')
    with pytest.raises(InputError, match="no cell with anything"):
        read_document(render_xlsx({"S": []}), "x.xlsx")


def corner_book() -> bytes:
    """A dense table of it would take 17 billion cells."""
    book = openpyxl.Workbook()
    book.active["A1"] = "first"
    book.active["XFD1048576"] = "last"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def changed(data: bytes, entry: str, change) -> bytes:
    """A workbook with one of its files changed, or made."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return render_zip({**files, entry: change(files.get(entry, b""))})


def repeated_texts() -> bytes:
    """A text of 30,000 characters that 20,000 cells show: 600 MB in 40 KB."""
    cells = b"".join(b'<row r="%d"><c r="A%d" t="s"><v>0</v></c></row>' % (at, at)
                     for at in range(1, 20_001))  # fmt: skip
    text = b"<sst><si><t>%s</t></si></sst>" % (b"x" * 30_000)
    book = changed(render_xlsx({"S": [["x"]]}), "xl/sharedStrings.xml", lambda _: text)
    return changed(book, "xl/worksheets/sheet1.xml", lambda xml: re.sub(
        rb"<sheetData>.*</sheetData>", b"<sheetData>" + cells + b"</sheetData>", xml))  # fmt: skip


def repeated_cells(times: str) -> bytes:
    return changed(render_ods([["a", "b"]]), "content.xml", lambda xml: xml.replace(
        b"<table:table-row>", b"<table:table-row %s>" % times.encode()))  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (corner_book, "it holds 1,048,576 rows of 16,384 cells"),
        (lambda: changed(corner_book(), "xl/worksheets/sheet1.xml", lambda xml: xml.replace(
            b'<c r="XFD1048576"', b"<c  t='n' r = 'XFD1048576'")), "rows of 16,384 cells"),
        (repeated_texts, "MiB of text"),
        (lambda: repeated_cells('table:number-rows-repeated="99000000"'), "most of them repeated"),
        (lambda: changed(repeated_cells(""), "content.xml", lambda xml: xml.replace(
            b"<table:table-cell ", b'<table:table-cell table:number-columns-repeated="900000000" ')
        ), "most of them repeated"),
    ],
)  # fmt: skip
def test_what_would_take_gigabytes_is_refused_before(data, message):
    with pytest.raises(InputError) as caught:
        check_sizes(data(), "x.xlsx")
    assert caught.value.message.startswith("x.xlsx is too much to read: it holds ")
    assert message in caught.value.message
    with pytest.raises(InputError, match="is too much to read"):
        read_document(data(), "x.xlsx")


def test_what_people_leave_far_out_takes_nothing():
    """Formats down to the last row, repeats that say that nothing follows, cells without value."""
    empty = b'<c r="XFD1048576" s="1"/><c r="XFC1048576" s="1"></c>'
    book = changed(render_xlsx({"S": [["a", "b"]]}), "xl/worksheets/sheet1.xml",
                   lambda xml: xml.replace(b"</row>", empty + b"</row>"))  # fmt: skip
    assert read_document(book, "x.xlsx").text == "a | b"
    rest = (b'<table:table-row table:number-rows-repeated="1048570"><table:table-cell '
            b'table:number-columns-repeated="16384"/></table:table-row></table:table>')  # fmt: skip
    sheet = changed(render_ods([["a", "b"]]), "content.xml",
                    lambda xml: xml.replace(b"</table:table>", rest))  # fmt: skip
    assert read_document(sheet, "x.ods").text == "a | b"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_is_limited_where_the_system_limits_none(monkeypatch):
    """As on macOS: what is not foreseen ends when it takes too much, not before."""
    monkeypatch.setattr(Child, "system_limits_memory", False)
    monkeypatch.setattr("gemma_edge.documents.sheets._MAX_CELLS", 1 << 40)
    book = openpyxl.Workbook()
    book.active["A1"], book.active.cell(5000, 4000).value = "first", "last"
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(InputError, match="out of memory: more than 250.0 MiB"):
        read_apart("office", out.getvalue(), "x.xlsx", memory_bytes=(250 << 20) - 2 * out.tell())


def test_a_thousand_sheets_are_enough():
    book = render_xlsx({f"S{at}": [["x"]] for at in range(1002)})
    document = read_document(book, "x.xlsx")
    assert len(document.pages) == 1000
    assert document.notes[-1] == "x.xlsx: 1,000 sheets are the most that is read"


def test_one_line_that_is_too_long_is_cut_and_not_lost():
    writer = Writer(10)
    for line in ("abc", "defghijklmnop", "next"):
        writer.line(line)
    assert (writer.take(), writer.is_full) == ("abc\ndefghi", True)


@pytest.mark.parametrize("blank", ["\n" * 19, "\n" * 25, " \n\t\n" * 500, "\n" * 100_000])
def test_lines_without_anything_before_the_first_row(blank):
    page = read_separated(f"{blank}a;b\n1;2\n".encode(), "a.csv").pages[0][0]
    assert page.replace(" ", "") == "a|b\n1|2"


def test_a_field_longer_than_the_reader_takes(monkeypatch):
    """64 Mi characters are too many for a test; the limit is the same one."""
    monkeypatch.setattr(sheets, "MAX_CELL", 1000)
    for text in ("a,b\n" + "x" * 2000 + ",1\n", "x" * 2000 + ",1\n", "x" * 70_000 + "\n"):
        page = read_separated(text.encode(), "a.csv").pages[0][0]
        assert "xxxx" in page
