"""What is printed in another form and means the same, and what only looks like it."""

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.extraction.evidence.evidence import ground
from gemma_edge.extraction.evidence.search import DateIndex, find_scales
from tests.extract.pages import document

SAME = [  # value, what the page prints, the part of it that means the value
    ("Acme Corp", "ACME CORP.", "ACME CORP"),
    ("obligation", "each obli-\ngation of", "obli-\ngation"),
    ("office", "the o\ufb03ce of", "o\ufb03ce"),
    ('the "Bank"', "the \u201cBank\u201d is", "the \u201cBank\u201d"),
    ("2019-2020", "(2019\u20132020)", "2019\u20132020"),
    ("Zoë Müller", "Zoe Muller", "Zoe Muller"),
    ("DE89370400440532013000", "IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
    (1234.5, "USD 1,234.50", "1,234.50"),
    (1234.5, "1.234,50 EUR", "1.234,50"),
    (1234.5, "1 234,50 \u20ac", "1 234,50"),
    (1234567, "1'234'567", "1'234'567"),
    ("1234.50", "$1,234.50", "1,234.50"),
    (-1234.5, "a loss of (1,234.50)", "(1,234.50)"),
    (-12.5, "\u221212,50", "\u221212,50"),
    (-7.25, "-$7.25 off", "-$7.25"),
    (-7.25, "7.25- credit", "7.25-"),
    (0.075, "at 7.5 % a year", "7.5 %"),
    (3_000_000_000, "of $3.0 billion", "3.0 billion"),
    ("2007-08-17", "as of August 17, 2007 among", "August 17, 2007"),
    ("2007-08-17", "the 17th day of August, 2007", "17th day of August, 2007"),
    ("2024-03-06", "am 6. März 2024.", "6. März 2024"),
    ("2024-03-06", "6 mars 2024", "6 mars 2024"),
    ("2024-03-06", "06.03.2024", "06.03.2024"),
    ("2024-03-06", "2024/03/06", "2024/03/06"),
    ("2031-03-12", "12/03/2031", "12/03/2031"),
    ("2031-12-03", "12/03/2031", "12/03/2031"),
    ("2024-03-06", "2024年3月6日", "2024年3月6日"),
    ("2024-03-06", "発行日令和6年3月6日", "令和6年3月6日"),
    ("2024-03-06", "R6.3.6 発行", "R6.3.6"),
    ("2024-03-06", "Hà Nội, ngày 6 tháng 3 năm 2024", "ngày 6 tháng 3 năm 2024"),
    ("2024-03-06", "วันที่ 6 มีนาคม 2567 ณ", "6 มีนาคม 2567"),
    ("2024-04-03", "تاریخ ۱۴۰۳/۰۱/۱۵ شماره", "۱۴۰۳/۰۱/۱۵"),
    ("2024-03-06", "от 6 марта 2024 г.", "6 марта 2024"),
    ("2024-03-13", "Date: Wed, 13 Mar 2024 14:30:00 +0100", "13 Mar 2024"),
    ("2024-11-06", "Dnia 6 listopada 2024 r.", "6 listopada 2024"),
    (1234, "in total 1,234² of", "1,234"),
    (1234, "in total 1,234^(2) of", "1,234"),
    (1_500_000, "of $1.5M in", "1.5M"),
    (2_500_000, "2,5 Mio. € Umsatz", "2,5 Mio."),
    (3_000_000_000, "3 mil millones de euros", "3 mil millones"),
    (30_000, "合計3万円", "3万"),
    (120_000_000, "売上高1億2,000万円", "1億2,000万"),
    (3_000, "3 тыс. руб.", "3 тыс."),
    (1_200_000, "1.2×10⁶ cells", "1.2×10⁶"),
    (1234.5, "المجموع ١٬٢٣٤٫٥٠", "١٬٢٣٤٫٥٠"),
    (1234, "合計１，２３４円", "１，２３４"),
    ("2024-03", "March 2024", "March 2024"),
    ("2024-03", "due 03/2024", "03/2024"),
    ("2024-03-06T00:00:00", "March 6, 2024", "March 6, 2024"),
    ("DE", "Land: Deutschland", "Deutschland"),
    ("USD", "Total $5.00", "$"),
    ("+4930123456", "Tel. 030 / 123-456", "030 / 123-456"),
    ("+4930123456", "Tel. +49 (0)30 123456", "+49 (0)30 123456"),
]


@pytest.mark.parametrize(("value", "printed", "meant"), SAME)
def test_another_form_is_normalized(value, printed, meant):
    (found,) = ground(document(printed), {"x": value})
    assert (found.status, found.text) == ("normalized", meant)


OTHER = [  # value, what the page prints
    (50, "1,250.50 and 2500"),
    (250, "1,250.50"),
    ("50.50", "1,250.50"),
    ("acre", "massacred acrelike"),
    ("R-2024-0117", "R-2024-0118 of today"),
    ("2024-03-06", "March 7, 2024"),
    ("2024-13-45", "March 7, 2024"),
    ("US", "tell us about it"),
    ("+4930123456", "Tel. 030 / 123-457"),
    (4, "A4 paper"),
    (True, "Approved"),
    (12.5, "12.6 and 125"),
    (1.2342, "1,234² and 1,234^(2) and 1,234(2)"),
    (12342, "1,234² and 1,234 (2)"),
    ("1,2342", "1,234² and 1,234^(2) and 1,234(2) and 1,234 (2)"),
    ("2024-03-06", "6 มีนาคม 2566"),
    ("Jane Doe", "nothing of that kind is printed here"),
]


@pytest.mark.parametrize(("value", "printed"), OTHER)
def test_another_value_is_not_found(value, printed):
    (found,) = ground(document(printed), {"x": value})
    assert found.status == "not_found"


SIMILAR = [
    ("Sapienza University of Rome", "Sapienza Univ. of Rome, Italy"),
    ("Rossi, I., Schmidt, H.", "Rossi, I. & Schmidt, H. (2021)"),
    ("Internationale Gesellschaft", "lnternationaie Geseilschaft mbH"),
    (-5.25, "5.25"),
    ("2024-03-01", "March 2024"),
]


@pytest.mark.parametrize(("value", "printed"), SIMILAR)
def test_something_similar_is_fuzzy_with_its_score(value, printed):
    (found,) = ground(document(printed), {"x": value})
    assert found.status == "fuzzy"
    assert 0.74 < found.score < 1


def test_letters_that_a_scanner_takes_for_digits():
    number = "INV-2024-01187"
    (found,) = ground(document("No. INV-2O24-O1I87", kind="scan+ocr-layer"), number)
    assert (found.status, found.text) == ("fuzzy", "INV-2O24-O1I87")
    assert ground(document("No. INV-2O24-O1I87"), number)[0].status == "not_found"


def test_exact_is_letter_for_letter():
    (found,) = ground(document("AcMe\n\n   corp"), {"x": "AcMe corp"})
    assert (found.status, found.score) == ("exact", 1.0)
    for value, printed in (
        (33, "33"),
        (7.5, "at 7.5% a year"),
        (-12.5, "-12.50"),
        (2018, "in press (2018)"),
    ):
        assert ground(document(printed), {"quantity": value})[0].status == "exact"
    assert ground(document("Nr. R-17."), {"x": "R-17."})[0].text == "R-17."
    for printed in ("1,234.50² of", "1,234.50(2) of", "1,234.50^(2) of"):
        (found,) = ground(document(f"in total {printed}"), {"x": "1,234.50"})
        assert (found.status, found.text) == ("exact", "1,234.50")


def test_scripts_without_white_space():
    (found,) = ground(document("請求書 株式会社東京商事 御中"), {"x": "東京商事"})
    assert (found.status, found.text) == ("exact", "東京商事")


def test_a_long_text_with_a_page_number_in_it():
    clause = [f"word{number} of the clause" for number in range(60)]
    pages = document("\n".join(clause[:40]) + "\n                 17", "\n".join(clause[40:]))
    (found,) = ground(pages, "\n".join(clause))
    assert (found.status, found.page, found.start) == ("fuzzy", 1, 0)
    assert found.score > 0.98
    assert [place.page for place in found.further] == [2]


@pytest.mark.parametrize("text", ["a" * 100_000, "1," * 50_000, "(1 " * 20_000, "may 1 " * 6_000])
def test_hostile_text_takes_bounded_time(text):
    data = {"a": "aa", "b": 1, "c": "2024-05-01", "d": "some words of text", "e": [{"x": 1}] * 9}
    assert len(ground(Document("x.txt", (Page(1, text),)), data)) == 13


def test_a_date_is_not_made_of_two_columns() -> None:
    """A number, a gap and a month with its day are no day of the year 1635."""
    for text in (
        "Document no.         Date\n1635                 January 9, 1999         Due on receipt",
        "Reference\n1635\nJanuary 9, 1999",
        "1635 | January 9, 1999 | 2001",
    ):
        spans = DateIndex(text).days()
        assert [text[span.start : span.end] for span in spans] == ["January 9, 1999"]
    two = "Mar 16, 2018   Mar 17, 2018   Direct debit"
    spans = DateIndex(two).days()
    assert [two[span.start : span.end] for span in spans] == ["Mar 16, 2018", "Mar 17, 2018"]


NOTES = [  # the head of a table, and what its numbers count in
    ("(in millions, except per share data)", 6),
    ("$ in thousands", 3),
    ("(Dollars in thousands)", 3),
    ("All amounts in millions of US dollars", 6),
    ("in T€", 3),
    ("TEUR", 3),
    ("Item   TEUR   TEUR", 3),
    ("(€ 000)", 3),
    ("£'000", 3),
    ("(in 1.000 EUR)", 3),
    ("Angaben in Mio. EUR", 6),
    ("Beträge in Tausend Euro", 3),
    ("en milliers d'euros", 3),
    ("(en millions de dollars)", 6),
    ("（単位：百万円）", 6),
    ("单位：人民币千元", 3),
    ("(단위: 백만원)", 6),
    ("в тыс. руб.", 3),
    ("(w tys. zł)", 3),
    ("MSEK", 6),
    ("€m", 6),
    ("(₹ in lakhs)", 5),
]


@pytest.mark.parametrize(("note", "power"), NOTES)
def test_the_note_of_a_table_scales_its_numbers(note, power):
    pages = document(f"Statement of income\n{note}\nRevenue   1,234   987\nCosts   4.56   3")
    assert {each.power for each in find_scales(pages.pages[0].text)} == {power}
    data = {"revenue": 1234 * 10**power, "costs": 4.56, "unit_scale": 10**power}
    revenue, costs, scale = ground(pages, data)
    assert (revenue.status, revenue.text) == ("scaled", "1,234")
    assert (costs.status, costs.text) == ("exact", "4.56")
    assert scale.found
    assert ground(document("Revenue   1,234"), {"revenue": 1234 * 10**power})[0].status != "scaled"


@pytest.mark.parametrize(
    "prose",
    ["We have invested in millions of homes, in thousands of towns and in many more of them.",
     "Revenue was 1.5 million", "Revenue in 2024: 5 TEUR", "a thousand times", "Miller (Mil) 12",
     "12,000", "in 5 M", "room 000"],
)  # fmt: skip
def test_prose_and_numbers_are_no_notes_of_a_table(prose):
    assert find_scales(f"{prose}\nRevenue   1,234") == []


def test_each_table_has_its_own_scale():
    pages = document("(in millions)\nRevenue   1,234", "(in thousands)\nHours   5,678")
    data = {"a": 1_234_000_000, "b": 5_678_000, "c": 1_234_000, "d": 5_678_000_000}
    assert [each.status for each in ground(pages, data)] == [
        "scaled", "scaled", "not_found", "not_found",
    ]  # fmt: skip
