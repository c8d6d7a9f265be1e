"""Workbooks as a person sees them: values in their formats, what is hidden apart, what is missing
told; hostile ones within their limits."""

import io
import re
import sys
import zipfile
from datetime import date, datetime, time

import openpyxl
import pytest
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from gemma_edge.documents.document import MAX_CHARS, PageNumbers, ReadOptions
from gemma_edge.documents.open import read_apart, read_document
from gemma_edge.errors import InputError, UsageError
from gemma_edge.isolation import Child
from tests.documents.office_files import render_ods, render_xlsx, render_zip

HIDDEN = ReadOptions(hidden=True)


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
        "",
    ]
    assert [page.kind for page in document.pages] == ["text", "empty"]
    assert document.notes == (
        "book.xlsx: hidden text is left out (1 sheet, 19 characters); --hidden reads it",
    )
    second = read_document(data, "book.xlsx", pages=PageNumbers(((2, 2),), "2"))
    assert [page.number for page in second.pages] == [2]
    with pytest.raises(UsageError, match="there is no page 4"):
        read_document(data, "book.xlsx", pages=PageNumbers(((4, 4),), "4"))
    document = read_document(data, "book.xlsx", options=HIDDEN)
    assert document.pages[1].text == "Sheet: Notes\n\nsee | over | two lines"
    assert document.pages[1].reason.startswith('sheet "Notes", hidden')
    assert document.notes == (
        "book.xlsx: hidden text is in what was read (1 sheet, 19 characters)",
    )


def test_values_are_as_a_person_writes_them():
    row = [1e6, -2.5, True, date(2026, 5, 1), datetime(2026, 5, 1, 9, 30), time(9, 30), "00123"]
    text = read_document(render_xlsx({"S": [row]}), "x.xlsx").text
    assert text == "1000000 | -2.5 | TRUE | 2026-05-01 | 2026-05-01 9:30:00 | 9:30:00 | 00123"


def test_open_document_sheets():
    assert read_document(render_ods([["a", "b"], ["c"]]), "x.ods").text == "a | b\nc"


def test_sheets_that_are_too_much_are_cut_or_refused():
    long = render_xlsx({"S": [["x" * 30_000]] * 140, "T": [["y"]]})
    document = read_document(long, "x.xlsx")
    assert len(document.text) < 4_100_000
    assert document.notes[-1].startswith('x.xlsx in sheet "S" is cut: 4,000,000 characters')
    with pytest.raises(InputError, match="no cell with anything"):
        read_document(render_xlsx({"S": []}), "x.xlsx")


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
    return changed(render_ods([["a" * 1000, "b"]]), "content.xml", lambda xml: xml.replace(
        b"<table:table-row>", b"<table:table-row %s>" % times.encode()))  # fmt: skip


def corner_book() -> bytes:
    """A dense table of it would take 17 billion cells."""
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1"], book.active["A60000"] = "first", "wide", "deep"
    book.active["XFD1048576"] = "last"
    return saved(book)


def test_cells_far_out_take_nothing():
    assert read_document(corner_book(), "x.xlsx").text == "first | wide\n\ndeep\n\n | last"


@pytest.mark.parametrize(
    "data",
    [
        repeated_texts,
        lambda: repeated_cells('table:number-rows-repeated="99000000"'),
        lambda: changed(repeated_cells('table:number-rows-repeated="900000"'), "content.xml",
                        lambda xml: xml.replace(b"<table:table-cell ", b"<table:table-cell "
                                                b'table:number-columns-repeated="900000000" ')),
    ],
)  # fmt: skip
def test_what_would_take_gigabytes_is_cut(data):
    document = read_document(data(), "x.xlsx")
    assert 1_000_000 < len(document.text) <= MAX_CHARS
    assert "4,000,000 characters are the most" in document.notes[0]


def test_hidden_cells_that_are_repeated_end_too():
    hidden = 'table:visibility="collapse" table:number-rows-repeated="900000000"'
    with pytest.raises(InputError, match="no cell with anything") as caught:
        read_document(repeated_cells(hidden), "x.ods")
    assert caught.value.hint == "what is in it is hidden; --hidden reads it"


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
    texts = b"<sst>" + b"<si><t>%s</t></si>" % (b"x" * 1000) * 200_000 + b"</sst>"
    book = changed(render_xlsx({"S": [["x"]]}), "xl/sharedStrings.xml", lambda _: texts)
    with pytest.raises(InputError, match="out of memory: more than 150.0 MiB"):
        memory = (150 << 20) - 2 * len(book)
        read_apart("office", book, "x.xlsx", seconds=60, memory_bytes=memory)


def test_a_thousand_sheets_are_enough():
    book = render_xlsx({f"S{at}": [["x"]] for at in range(1002)})
    document = read_document(book, "x.xlsx")
    assert len(document.pages) == 1000
    assert document.notes[-1] == "x.xlsx: 1,000 sheets are the most that is read"


def saved(book) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def sheet_xml(body: str, **others: str) -> bytes:
    """A workbook whose one sheet has this XML; ``others`` are parts of ``xl/``."""
    data = changed(render_xlsx({"S": [["x"]]}), "xl/worksheets/sheet1.xml", lambda xml: (
        xml[: xml.index(b"<sheetData")] + body.encode() + b"</worksheet>"))  # fmt: skip
    for name, text in others.items():
        data = changed(data, f"xl/{name}.xml", lambda _, text=text: text.encode())
    return data


def test_formulas_without_a_value_are_told():
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Qty", "Price", "Amount"])
    sheet.append([2, 10.5, "=A2*B2"])
    sheet.append(["Total", None, "=SUM(C2:C2)"])
    document = read_document(saved(book), "a.xlsx")
    assert document.text == (
        "Qty | Price | Amount\n2 | 10.5 | [=A2*B2, not calculated]\n"
        "Total |  | [=SUM(C2:C2), not calculated]"
    )
    assert document.notes == (
        "a.xlsx: 2 formulas have no value in the file (C2, C3); open it in a spreadsheet program "
        "and save it there",
    )


def test_zeros_of_writers_that_do_not_calculate():
    """XlsxWriter writes 0 for every formula, and that all is to be calculated again."""
    rows = (
        '<sheetData><row r="1"><c r="A1"><f>1+1</f><v>0</v></c><c r="B1"><f>2+2</f><v>4</v></c>'
        '<c r="C1" t="str"><f>""</f><v></v></c><c r="D1"><v>0</v></c>'
        '<c r="E1"><f t="shared" si="0"/></c></row></sheetData>'
    )
    text = read_document(sheet_xml(rows), "a.xlsx").text  # openpyxl says so, too
    assert text == "[=1+1, not calculated] | 4 | 0 | [a formula, not calculated]"
    calculated = changed(sheet_xml(rows), "xl/workbook.xml",
                         lambda xml: xml.replace(b'fullCalcOnLoad="1"', b""))  # fmt: skip
    text = read_document(calculated, "a.xlsx").text
    assert text == "0 | 4 | 0 | [a formula, not calculated]"


def test_errors_are_shown_and_told():
    cell = '<c r="{}" t="e"><f>A9</f><v>{}</v></c>'
    rows = "".join(cell.format(f"{letter}1", error)
                   for letter, error in zip("AB", ("#REF!", "#DIV/0!"), strict=True))  # fmt: skip
    document = read_document(sheet_xml(f"<sheetData><row>{rows}</row></sheetData>"), "a.xlsx")
    assert document.text == "#REF! | #DIV/0!"
    assert document.notes == ("a.xlsx: 2 cells hold an error, no value (A1: #REF!, B1: #DIV/0!)",)


def test_numbers_have_their_formats():
    book = openpyxl.Workbook()
    cells = (
        (0.19, "0%"),
        (1234, "00000"),
        (1234.5, '#,##0.00 "€"'),
        (1.5, "[h]:mm"),
        (-2, "0;(0)"),
    )
    for column, (value, code) in enumerate(cells, 1):
        book.active.cell(1, column, value).number_format = code
    assert read_document(saved(book), "a.xlsx").text == "19% | 01234 | 1,234.50 € | 36:00 | (2)"


def test_hidden_rows_and_columns_are_kept_apart():
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["a", "secret", "b"], ["c", "d", "e"], ["f", "g", "h"]):
        sheet.append(row)
    sheet.column_dimensions["B"].hidden = True
    sheet.row_dimensions[2].hidden = True
    document = read_document(saved(book), "a.xlsx")
    assert document.text == "a | b\nf | h"
    assert document.notes == (
        "a.xlsx: hidden text is left out (1 row, 1 column, 10 characters); --hidden reads it",
    )
    document = read_document(saved(book), "a.xlsx", options=HIDDEN)
    assert document.text == "a | secret | b\nc | d | e\nf | g | h"
    assert document.notes == (
        "a.xlsx: hidden text is in what was read (1 row, 1 column, 10 characters)",
    )


def test_white_tiny_and_unformatted_text_is_hidden():
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["seen", "white", "head", "tiny", 5])
    sheet["B1"].font = Font(color="FFFFFF")
    sheet["C1"].font, sheet["C1"].fill = Font(color="FFFFFF"), PatternFill("solid", "1F4E78")
    sheet["D1"].font = Font(size=1)
    sheet["E1"].number_format = ";;;"
    document = read_document(saved(book), "a.xlsx")
    assert document.text == "seen | head"
    assert "(10 characters)" in document.notes[0]
    assert read_document(saved(book), "a.xlsx", options=HIDDEN).text == (
        "seen | white | head | tiny | 5"
    )


def test_merged_cells_are_carried_on():
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["A title"], ["Region", 2023, None, 2024], [None, "Sales", "Cost", "Sales"],
                ["North", 1, 2, 3], [None, 4, 5, 6], ["note"], [], ["x", "y"]):  # fmt: skip
        sheet.append(row)
    for place in ("A1:D1", "A2:A3", "B2:C2", "A4:A5", "A6:D7"):
        sheet.merge_cells(place)
    assert read_document(saved(book), "a.xlsx").text == (
        "A title\nRegion | 2023 | 2023 | 2024\nRegion | Sales | Cost | Sales\n"
        "North | 1 | 2 | 3\nNorth | 4 | 5 | 6\nnote\n\nx | y"
    )


def test_a_form_on_squared_paper_is_not_repeated():
    """Labels and values over many narrow columns each."""
    book = openpyxl.Workbook()
    for row, (label, value) in enumerate((("Name", "Ann"), ("Town", "Ulm")), 1):
        book.active.cell(row, 1, label)
        book.active.cell(row, 6, value)
        book.active.merge_cells(f"A{row}:E{row}")
        book.active.merge_cells(f"F{row}:K{row}")
    assert read_document(saved(book), "a.xlsx").text == "Name | Ann\nTown | Ulm"


def test_runs_of_a_cell_are_marked():
    texts = (
        "<sst><si><r><t>1,234</t></r><r><rPr><vertAlign val='superscript'/></rPr><t>2</t></r></si>"
        "<si><r><rPr><strike/></rPr><t>old</t></r><r><t> new</t></r></si>"
        "<si><t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh></si>"
        "<si><t>a_x000D_b</t></si></sst>"
    )
    cells = "".join(f'<c t="s"><v>{at}</v></c>' for at in range(5))
    rows = f'<sheetData><row>{cells}<c t="inlineStr"><is><t>in</t></is></c></row></sheetData>'
    data = changed(sheet_xml(rows), "xl/sharedStrings.xml", lambda _: texts.encode())
    data = changed(data, "xl/_rels/workbook.xml.rels", lambda xml: xml.replace(
        b"</Relationships>", b'<Relationship Id="z" Target="/xl/sharedStrings.xml" '
        b'Type="http://purl.oclc.org/ooxml/officeDocument/relationships/sharedStrings"/>'
        b"</Relationships>"))  # fmt: skip
    assert read_document(data, "a.xlsx").text == "1,234² | ~~old~~ new | 東京 | a b | in"


def test_comments_and_boxes_of_a_sheet():
    book = openpyxl.Workbook()
    book.active["A1"] = "x"
    book.active["A1"].comment = Comment("why?", "Ann")
    assert read_document(saved(book), "a.xlsx").notes == ("a.xlsx: comments are left out (1)",)
    spaces = 'xmlns:xdr="urn:x" xmlns:a="urn:a"'
    box = f"<xdr:wsDr {spaces}><xdr:txBody><a:p><a:r><a:t>in a </a:t></a:r><a:r><a:t>box</a:t>"
    box += "</a:r></a:p></xdr:txBody></xdr:wsDr>"
    data = changed(render_xlsx({"S": [["x"]]}), "xl/drawings/drawing1.xml", lambda _: box.encode())
    data = changed(data, "xl/worksheets/_rels/sheet1.xml.rels", lambda _: (
        b'<Relationships><Relationship Id="r" Type="x/drawing" Target="../drawings/drawing1.xml"/>'
        b"</Relationships>"))  # fmt: skip
    assert read_document(data, "a.xlsx").text == "x\n\nin a box"


def test_a_document_type_is_refused():
    """It could name entities that grow."""
    bomb = b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><sst><si><t>&b;</t></si></sst>'
    data = changed(render_xlsx({"S": [["x"]]}), "xl/worksheets/sheet1.xml", lambda _: bomb)
    with pytest.raises(InputError, match="is damaged"):
        read_document(data, "a.xlsx")


def open_document(rows: str, styles: str = "") -> bytes:
    spaces = " ".join(f'xmlns:{name}="urn:{name}"' for name in ("style", "fo", "table2"))
    calc = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"
    return changed(render_ods([["x"]]), "content.xml", lambda xml: (
        re.sub(rb"<table:table-row>.*</table:table-row>", lambda _: rows.encode(), xml)
        .replace(b"<office:body>", f"<office:s>{styles}</office:s><office:body>".encode())
        .replace(b"<office:document-content", (
            f'<office:document-content {spaces} xmlns:calcext="{calc}"').encode(), 1)
    ))  # fmt: skip


def ods_row(*cells: str, more: str = "") -> str:
    return f"<table:table-row {more}>{''.join(cells)}</table:table-row>"


def ods_cell(text: str = "", more: str = "") -> str:
    inner = f"<text:p>{text}</text:p>" if text else ""
    return f"<table:table-cell {more}>{inner}</table:table-cell>"


def test_open_document_cells_are_as_they_are_displayed():
    style = (
        '<style:style style:name="up"><style:text-properties style:text-position="super 58%"/>'
        "</style:style>"
    )
    kind = "office:value-type="
    document = read_document(open_document(
        ods_row(ods_cell("19%", f'{kind}"percentage" office:value="0.19"'),
                ods_cell("", f'{kind}"percentage" office:value="0.075"'),
                ods_cell("", f'{kind}"currency" office:value="12.5" office:currency="EUR"'),
                ods_cell("06/03/2024", f'{kind}"date" office:date-value="2024-03-06"'),
                ods_cell("", f'{kind}"time" office:time-value="PT14H30M00S"'))
        + ods_row(ods_cell('1,234<text:span text:style-name="up">2</text:span><text:s/>m'),
                  ods_cell("", 'table:formula="of:=SUM([.B2:.B4])"'),
                  ods_cell("#REF!", 'calcext:value-type="error" office:value-type="string"'),
                  ods_cell("", f'table:formula="of:=A1" {kind}"string"'),
                  "<table:table-cell><office:annotation><text:p>why?</text:p></office:annotation>"
                  "<text:p>said</text:p></table:table-cell>"),
        style), "a.ods")  # fmt: skip
    assert document.text == (
        "19% | 7.5% | 12.5 EUR | 06/03/2024 (2024-03-06) | 14:30:00\n"
        "1,234² m | [=SUM(B2:B4), not calculated] | #REF! |  | said"
    )
    assert [note.partition(": ")[2][:30] for note in document.notes] == [
        "comments are left out (1)",
        "1 formula has no value in the ",
        "1 cell holds an error, no valu",
    ]


def test_hidden_and_merged_parts_of_open_document_sheets():
    hidden = 'table:visibility="filter"'
    rows = (
        '<table:table-column/><table:table-column table:visibility="collapse"/>'
        + ods_row(ods_cell("Region"), ods_cell("secret"), ods_cell("Sum"))
        + ods_row(ods_cell("North", 'table:number-rows-spanned="2"'), ods_cell(), ods_cell("1"))
        + ods_row("<table:covered-table-cell/>", ods_cell(), ods_cell("2"))
        + ods_row(ods_cell("gone"), ods_cell(), ods_cell("9"), more=hidden)
        + ods_row(ods_cell("South"), ods_cell(), ods_cell("3"))
    )
    document = read_document(open_document(rows), "a.ods")
    assert document.text == "Region | Sum\nNorth | 1\nNorth | 2\nSouth | 3"
    assert document.notes == (
        "a.ods: hidden text is left out (1 row, 1 column, 11 characters); --hidden reads it",
    )
    style = (
        '<style:style style:name="ta"><style:table-properties table:display="false"/></style:style>'
    )
    sheet = changed(open_document(rows, style), "content.xml", lambda xml: xml.replace(
        b'table:name="S"', b'table:name="S" table:style-name="ta"'))  # fmt: skip
    with pytest.raises(InputError, match="no cell with anything"):
        read_document(sheet, "a.ods")
    assert "secret" in read_document(sheet, "a.ods", options=HIDDEN).text


def test_an_encrypted_open_document_sheet():
    data = changed(render_ods([["x"]]), "META-INF/manifest.xml",
                   lambda xml: xml + b"<m:encryption-data/>")  # fmt: skip
    with pytest.raises(InputError, match="encrypted with a password"):
        read_document(data, "a.ods")
