"""Cells as a person reads them, sheet by sheet; CSV in the ways in which it is written."""

import io
from datetime import date, datetime, time

import openpyxl
import pytest

from gemma_edge.documents import sheets
from gemma_edge.documents.document import PageNumbers, Writer
from gemma_edge.documents.open import read_document
from gemma_edge.documents.sheets import read_separated
from gemma_edge.errors import InputError, UsageError
from tests.documents.office_files import render_ods, render_xlsx


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


def test_a_cell_in_the_last_corner_is_bounded():
    """A dense table of it would take 17 billion cells."""
    book = openpyxl.Workbook()
    book.active["A1"] = "first"
    book.active["XFD1048576"] = "last"
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(InputError) as caught:
        read_document(out.getvalue(), "x.xlsx")
    assert "too much to read" in caught.value.message
    assert "\n" not in caught.value.message


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
