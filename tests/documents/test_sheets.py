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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Statement for 2024\nOwner: Jane Doe, Bremen\nIBAN: DE89 3704 0044\n\n"
            "Date;Text;Amount\n01.02.2024;Rent;-500,00\n02.02.2024;Salary, March;2.500,00\n",
            "Statement for 2024\nOwner: Jane Doe, Bremen\nIBAN: DE89 3704 0044\n\n"
            "Date | Text | Amount\n01.02.2024 | Rent | -500,00\n02.02.2024 | "
            "Salary, March | 2.500,00",
        ),
        (
            "Report, May 2024\nACME, Inc., Berlin\n\nItem,Qty,Price\nPen,2,1.50\n"
            "\nTotal, net: 3.00\nThank you, come again, please, soon\n",
            "Report, May 2024\nACME, Inc., Berlin\n\nItem | Qty | Price\nPen | 2 | 1.50\n"
            "\nTotal, net: 3.00\nThank you, come again, please, soon",
        ),
        ("sep=;\na;b\n1,5;2,5\n", "a | b\n1,5 | 2,5"),
        ("SEP=^\na^b,c\n", "a | b,c"),
        ('"sep=,"\na,b;c\n', "a | b;c"),
        ("Betrag\n12,50\n8,00\n1.234,56\n", "Betrag\n12,50\n8,00\n1.234,56"),
        ("1,234\n5,678\n1,234,567\n", "1,234\n5,678\n1,234,567"),
        ("12,50 €\n8,00 €\n", "12,50 €\n8,00 €"),
        ("Miete;-500,00\nLohn;2.500,00\n", "Miete | -500,00\nLohn | 2.500,00"),
        ("Miete, Mai;-500,00\nLohn, Mai;2.500,00\n", "Miete, Mai | -500,00\nLohn, Mai | 2.500,00"),
        ("Name, first;Sum\nDoe, Jane, Dr.;5\nRoe, Jo;7,50\n",
         "Name, first | Sum\nDoe, Jane, Dr. | 5\nRoe, Jo | 7,50"),
        ("1,20,30\n2,25,31\n", "1 | 20 | 30\n2 | 25 | 31"),
        ("a,b\n12,50\n8,10\n", "a | b\n12 | 50\n8 | 10"),
        ('"12","50"\n"8","10"\n', "12 | 50\n8 | 10"),
        ("Name, Qty\nPen, 5\n\"Ink, blue\", 7\n", "Name | Qty\nPen | 5\nInk, blue | 7"),
        ("# from: shop, Berlin, DE\na,b\nx,1\n", "# from: shop, Berlin, DE\na | b\nx | 1"),
        ("a,b,c\n1,2,3\n1,2\n", "a | b | c\n1 | 2 | 3\n1 | 2"),
        ("#,Name\n1,Pen\n", "# | Name\n1 | Pen"),
        ("a|b|c\n1,5|2;3|4\n", "a | b | c\n1,5 | 2;3 | 4"),
        ("a\tb\n1,5\tx, y; z\n", "a | b\n1,5 | x, y; z"),
        ("a;b;c;;\n1;2;3;;\nTotal;;3,50;;\n", "a | b | c\n1 | 2 | 3\nTotal |  | 3,50"),
        ("a;b;c\r1;2\r3;4;5;6\r", "a | b | c\n1 | 2\n3 | 4 | 5 | 6"),
        ('\ufeffa;b\n"x; y";"1\n2"\n', "a | b\nx; y | 1 2"),
        ('Pipe 1/2";5,00\nHose 3/4";7,00\n', 'Pipe 1/2" | 5,00\nHose 3/4" | 7,00'),
        ("Konto;DE89 3704\nvon;01.02.2024\n\nTag;Text;Betrag\n1.2.;a;1,00\n2.2.;b;2,00\n",
         "Konto | DE89 3704\nvon | 01.02.2024\n\nTag | Text | Betrag\n1.2. | a | 1,00\n"
         "2.2. | b | 2,00"),
    ],
)  # fmt: skip
def test_tables_among_other_lines_and_amounts_with_commas(text, expected):
    assert read_document(text.encode(), "a.csv").text == expected


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
