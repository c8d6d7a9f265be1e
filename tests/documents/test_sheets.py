"""CSV in the ways in which it is written."""

import pytest

from gemma_edge.documents import sheets
from gemma_edge.documents.document import Writer
from gemma_edge.documents.open import read_document
from gemma_edge.documents.sheets import read_separated


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
