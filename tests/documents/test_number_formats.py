"""Numbers of a spreadsheet by their format codes: what Excel shows."""

import pytest

from gemma_edge.documents.number_formats import BUILT_IN, parse_format

DAY = 45357  # 6 March 2024


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("General", 0.1 + 0.2, "0.3"), ("General", 1e21, "1" + 21 * "0"), ("", 5, "5"),
        ("0%", 0.19, "19%"), ("0.00%", 0.075, "7.50%"), ("0.0%;[Red]-0.0%", -0.1234, "-12.3%"),
        ("00000", 1234, "01234"), ("#,##0", 1234567, "1,234,567"), ("#,##0", -5, "-5"),
        ('#,##0.00 "€"', 1234.5, "1,234.50 €"), ("[$€-407] #,##0.00", 12.5, "€ 12.50"),
        ("#,##0.00\\ [$zł-415]", 1234.5, "1,234.50 zł"), ("\\$0.00", -3, "-$3.00"),
        ("#,##0.00;(#,##0.00)", -1234.5, "(1,234.50)"), ("0.00_);(0.00)", 2, "2.00"),
        ('_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)', 0, "$ -"),
        ('_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)', -2, "$ (2.00)"),
        ("0.00;[Red]0.00", -5, "-5.00"), ("_-* 0 €_-;-* 0 €_-", -5, "-5 €"),
        ("#,##0;▲#,##0", -1500, "▲1,500"),
        ("#,##0,", 1234567, "1,235"), ('0.0,,"M"', 2_500_000, "2.5M"), ("0.00", 1.005, "1.01"),
        ('[>=1000000]0.0,,"M";[>=1000]0.0,"K";0', 1500, "1.5K"),
        ('[>=1000000]0.0,,"M";[>=1000]0.0,"K";0', -3, "-3"), ("[<0]0;0", -3, "-3"),
        ("[<=9999999]000-0000;(000) 000-0000", 5551234567, "(555) 123-4567"),
        ("000-00-0000", 123456789, "123-45-6789"), ('0 "pcs"', 5, "5 pcs"),
        ("0.00E+00", 1.5e-7, "1.50E-07"),
        ("0.0E+0", 99.99, "1.0E+2"), ("##0.0E+0", 12345, "12.3E+3"),
        ("# ?/?", 0.5, "1/2"), ("# ?/?", 1.75, "1 3/4"), ("# ??/100", 0.25, "25/100"),
        ("# ?/?", 2, "2"), ("?/8", 0.25, "2/8"), ("0.0##", 1, "1.0"), ("0.##", 5, "5"),
        ("+0.0%;-0.0%;0.0%", 0.01, "+1.0%"), ("0;-0;;@", 0, ""), (";;;", 5, ""), ("@", 5, "5"),
        ("General\\ \"t\"", 2.5, "2.5 t"), ('"n/a"', 1, "n/a"),
        ("yyyy-mm-dd", DAY, "2024-03-06"), ("d. mmmm yyyy", DAY, "6. March 2024"),
        ("[$-407]d. mmmm yyyy", DAY, "6. März 2024"),
        ("[$-40C]dddd d mmmm", DAY, "mercredi 6 mars"),
        ("[$-de-DE]dd. mmm yy", DAY, "06. Mär 24"), ("mmm yyyy", DAY, "Mar 2024"),
        ("dddd", DAY, "Wednesday"),
        ("dd.mm.yyyy", DAY, "06.03.2024"), ("yyyy/m/d", DAY, "2024/3/6"),
        ("dd/mm/yyyy", DAY, "06/03/2024 (2024-03-06)"), ("dd/mm/yyyy", DAY + 7, "13/03/2024"),
        ("m/d/yy;@", DAY, "3/6/24 (2024-03-06)"), ("[$-F800]dddd, mmmm d", DAY, "2024-03-06"),
        ('yyyy"年"m"月"d"日"', DAY, "2024年3月6日"),
        ('[$-411]ggge"年"m"月"d"日"', DAY, "令和6年3月6日"),
        ("[$-107041E]d mmmm yyyy", DAY, "6 March 2567"), ("[$-411]aaaa", DAY, "水曜日"),
        ("h:mm", DAY + 14.5 / 24, "14:30"), ("h:mm AM/PM", 0.75, "6:00 PM"),
        ("[h]:mm", 1.5, "36:00"), ("[m]", 0.5, "720"), ("[h]:mm:ss", -0.25, "-6:00:00"),
        ("yyyy-mm-dd h:mm:ss", 45358.60416666666, "2024-03-07 14:30:00"),
        ("mm:ss.0", 0.0001, "00:08.6"),
        ("d.m.yyyy", 1, "1.1.1900"), ("d.m.yyyy", -5, "-5"), ("d.m.yyyy", 1e9, "1000000000"),
        ("0" * 600, 5, "5"),
    ],
)  # fmt: skip
def test_numbers_are_as_excel_shows_them(code, value, expected):
    assert " ".join(parse_format(code).number(value).split()) == expected


def test_days_since_1904():
    assert parse_format("yyyy-mm-dd").number(DAY - 1462, from_1904=True) == "2024-03-06"


def test_texts_have_a_section_of_their_own():
    assert parse_format('0;-0;0;"Nr. "@').text("7a") == "Nr. 7a"
    assert parse_format('"Nr. "@').text("7a") == "Nr. 7a"
    assert parse_format("0.00").text("7a") == "7a"
    assert parse_format(";;;").text("7a") == ""


def test_every_code_gives_something_for_every_number():
    """Those of Excel, pieces of them, and what nobody would write."""
    pieces = ["0", "#", "?", ".", ",", "%", "/", "E+", "E+00", "yy", "m", "d", "h", "ss", "[h]",
              '"', "\\", "[", "]", "_", "*", ";", "@", "General", "AM/PM", "g", "e", "aaa",
              "[>5]"]  # fmt: skip
    codes = [
        *BUILT_IN.values(),
        *(a + b + c for a in pieces for b in pieces for c in ("", "0", "/")),
    ]
    for code in codes:
        for value in (0, -1.5, 45357.25, 1e308, 5e-324):
            assert isinstance(parse_format(code).number(value), str)
