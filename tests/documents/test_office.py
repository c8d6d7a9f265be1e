"""Word files: text in the order in which a person reads it, numbers that Word only draws, and
what is hostile in one line."""

import io

import pytest
from docx.enum.text import WD_BREAK
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml.parser import parse_xml
from PIL import Image

from gemma_edge.documents.document import ReadOptions
from gemma_edge.documents.office import read_office, render_number
from gemma_edge.documents.open import read_apart, read_document
from gemma_edge.errors import InputError
from tests.documents.office_files import W, new_docx, raw_docx, render_docx, render_xlsx, render_zip


def text_of(data: bytes, name: str = "a.docx") -> str:
    return read_document(data, name).text


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def box(text: str) -> str:
    """A run with a text box, and its copy for old programs."""
    spaces = f'xmlns:w="{W}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    return (
        f'<w:r {spaces}><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><w:txbxContent>'
        f"{paragraph(text)}</w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict>"
        f"<w:txbxContent>{paragraph(text)}</w:txbxContent></w:pict></mc:Fallback>"
        "</mc:AlternateContent></w:r>"
    )


def test_paragraphs_lists_and_tables_in_order():
    word = new_docx()
    word.sections[0].header.paragraphs[0].text = "ACME Ltd"
    word.sections[0].footer.paragraphs[0].text = "Registered in Leeds"
    word.add_heading("Terms", 1)
    word.add_paragraph("first", style="List Number")
    word.add_paragraph("second", style="List Number")
    word.add_paragraph("a point", style="List Bullet")
    table = word.add_table(2, 2)
    for cell, text in zip(
        [each for row in table.rows for each in row.cells],
        ["Item", "Price", "Pen,\nblue", "4.75"],
        strict=True,
    ):
        cell.text = text
    word.add_paragraph("Thank you")
    document = read_document(render_docx(word), "bill.docx")
    assert document.text == (
        "ACME Ltd\n\n# Terms\n\n1. first\n2. second\n- a point\n\n"
        "Item | Price\nPen, blue | 4.75\n\nThank you\n\nRegistered in Leeds"
    )
    assert (document.media, document.notes, document.pages[0].kind) == ("text", (), "text")


def test_pages_end_where_word_ended_them():
    word = new_docx()
    run = word.add_paragraph("one").add_run()
    run.add_break(WD_BREAK.PAGE)
    run.add_text("two")
    word.add_paragraph().add_run().add_break(WD_BREAK.PAGE)
    word.add_paragraph("three")
    pages = read_document(render_docx(word), "a.docx").pages
    assert [(page.number, page.text) for page in pages] == [(1, "one"), (2, "two"), (3, "three")]
    cells = "".join(
        f"<w:tr><w:tc><w:p><w:r>{mark}<w:t>{text}</w:t></w:r></w:p></w:tc></w:tr>"
        for mark, text in (("", "pen"), ("<w:lastRenderedPageBreak/>", "ink"))
    )
    pages = read_document(raw_docx(f"<w:tbl>{cells}</w:tbl>"), "a.docx").pages
    assert [page.text for page in pages] == ["pen", "ink"]


def test_what_python_docx_leaves_out_is_read():
    boxed = f"<w:p>{box('in a box')}</w:p>"
    control = f"<w:sdt><w:sdtContent>{paragraph('in a control')}</w:sdtContent></w:sdt>"
    changed = (
        "<w:p><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>"
    )
    document = read_document(raw_docx(boxed + control + changed), "a.docx")
    assert document.text == "in a box\n\nin a control\n\ninserted"
    assert document.notes == (
        "a.docx: deleted passages (tracked changes) are left out (1)",
        "a.docx: inserted passages (tracked changes) are read (1)",
    )


def test_heads_with_boxes_and_notes_and_comments():
    word = new_docx()
    word.add_paragraph("the body")
    head = word.sections[0].header.paragraphs[0]
    head._p.append(parse_xml(box("ACME in a box")))
    word.add_comment(word.paragraphs[0].runs, text="really?")
    document = read_document(render_docx(word), "a.docx")
    assert document.text == "ACME in a box\n\nthe body"
    assert document.notes == ("a.docx: comments are left out (1)",)


def test_a_list_that_starts_anew():
    word = new_docx()
    lists = word.part.numbering_part.element
    shape = lists.num_having_numId(
        word.styles["List Number"].element.pPr.numPr.numId.val
    ).abstractNumId.val
    on, anew = lists.add_num(shape), lists.add_num(shape)
    anew.add_lvlOverride(ilvl=0).add_startOverride(1)
    for number, text in ((on, "a"), (on, "b"), (anew, "c"), (on, "d")):
        place = word.add_paragraph(text)._p.get_or_add_pPr().get_or_add_numPr()
        place.get_or_add_numId().val = number.numId
    assert text_of(render_docx(word)) == "1. a\n2. b\n1. c\n3. d"


def test_numbers_of_levels_and_kinds():
    assert [render_number(4, kind) for kind in ("decimal", "lowerRoman", "upperLetter")] == [
        "4", "iv", "D",
    ]  # fmt: skip
    assert render_number(28, "lowerLetter") == "bb"
    assert render_number(1994, "upperRoman") == "MCMXCIV"
    assert render_number(7, "decimalZero") == "07"


def test_pictures_in_it_are_told():
    word = new_docx()
    word.add_paragraph("logo:")
    picture = io.BytesIO()
    Image.new("RGB", (20, 20)).save(picture, "PNG")
    word.add_picture(picture)
    document = read_document(render_docx(word), "a.docx")
    assert document.notes == ("a.docx: pictures in it are not looked at; as PDF they are (1)",)
    empty = new_docx()
    empty.add_picture(picture)
    with pytest.raises(InputError, match="holds no text, only pictures"):
        read_document(render_docx(empty), "a.docx")


def bomb(name: str) -> bytes:
    """Gigabits of nothing in half a megabyte."""
    return render_zip({"[Content_Types].xml": "", name: bytes(401 << 20)})


def entities() -> bytes:
    """A billion laughs."""
    levels = "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(10)
    )
    return raw_docx(paragraph("&l9;") + paragraph("after"), before=f"<!DOCTYPE w [{levels}]>")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: bomb("word/document.xml"), "unpacks to 401.0 MiB"),
        (lambda: render_zip(dict.fromkeys(map(str, range(20_001)), "")), "holds 20,001 files"),
        (lambda: raw_docx(paragraph("x"))[:-200], "is damaged"),
        (lambda: b"PK\x03\x04rest", "is damaged"),
        (lambda: render_zip({"word/document.xml": "<w:t>hello</w:t>"}), "not a Word file"),
        (lambda: render_zip({"a.txt": "x"}), "is a ZIP archive"),
        (lambda: render_zip({"ppt/presentation.xml": "x"}), "is a PowerPoint file"),
        (
            lambda: render_zip({"mimetype": "application/vnd.oasis.opendocument.text"}),
            "is an OpenDocument text",
        ),
        (lambda: raw_docx("<w:p>" * 3000 + "</w:p>" * 3000), "is damaged"),
        (lambda: raw_docx(""), "holds no text"),
        (lambda: render_xlsx({"A": [["x"]]})[:-100], "is damaged"),
    ],
)
def test_what_is_hostile_or_damaged_is_one_line(data, message):
    with pytest.raises(InputError) as caught:
        read_document(data(), "thing.docx")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_entities_are_not_expanded():
    try:
        text = text_of(entities())
    except InputError as error:
        assert "\n" not in error.message
    else:
        assert "lol" not in text


def test_limits_end_the_reader():
    data = raw_docx(paragraph("word " * 10) * 50_000)
    with pytest.raises(InputError, match="took longer than 0.001 s"):
        read_apart("office", data, "a.docx", seconds=0.001)
    with pytest.raises(InputError, match="too much to read"):
        read_apart("office", data, "a.docx", memory_bytes=40 << 20)


def test_a_part_that_is_no_xml_is_damaged():
    with pytest.raises(InputError, match=r"a\.docx is damaged \(") as caught:
        read_document(raw_docx("<w:p>\0"), "a.docx")
    assert "\n" not in caught.value.message


def test_any_cut_or_changed_byte_is_one_line_or_text():
    good = raw_docx(paragraph("a letter"))
    for at in range(0, len(good), len(good) // 6):
        bad = good[:at] + bytes([good[at] ^ 0x5A]) + good[at + 1 :]
        try:
            read_document(bad, "a.docx")
        except InputError as error:
            assert "\n" not in error.message


def test_the_names_of_what_is_refused():
    for stream, message in (
        ("EncryptedPackage", "encrypted with a password"),
        ("WordDocument", "an old Word file"),
        ("__properties_version1.0", "an Outlook message"),
        ("", "an old Office file"),
    ):
        data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + stream.encode("utf-16-le")
        with pytest.raises(InputError, match=message):
            read_document(data + bytes(4), "old.doc")


def test_boxes_within_boxes_are_read_once():
    """Twenty of them were read a million times."""
    inner = "the innermost"
    for depth in range(20):
        drawn = f"<w:drawing><w:txbxContent>{paragraph(inner)}</w:txbxContent></w:drawing>"
        inner = f"{depth}</w:t></w:r><w:r>{drawn}</w:r><w:r><w:t>"
    text = text_of(raw_docx(f"<w:p><w:r><w:t>{inner}</w:t></w:r></w:p>"))
    assert text.count("the innermost") == 1
    numbers = list(map(str, range(19, -1, -1)))
    assert [line for line in text.split("\n") if line] == [*numbers, "the innermost"]


def test_a_head_that_many_sections_share_is_read_once():
    word = new_docx()
    word.sections[0].header.paragraphs[0].text = "ACME Ltd"
    word.add_paragraph("the body")
    for _ in range(5):
        word.add_section()
    assert text_of(render_docx(word)) == "ACME Ltd\n\nthe body"


def test_the_pattern_of_a_number_has_an_end():
    word = new_docx()
    word.add_paragraph("first", style="List Number")
    for pattern in word.part.numbering_part.element.iter(f"{{{W}}}lvlText"):
        pattern.set(f"{{{W}}}val", "%1" * 100_000)
    assert len(text_of(render_docx(word))) < 200


def run(text: str, looks: str = "") -> str:
    return f'<w:r><w:rPr>{looks}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def line(*runs: str, more: str = "") -> str:
    return f"<w:p><w:pPr>{more}</w:pPr>{''.join(runs)}</w:p>"


WHITE = '<w:color w:val="FFFFFF"/>'
UP, DOWN = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
STYLES = (
    '<w:docDefaults><w:rPrDefault><w:rPr><w:sz w:val="22"/></w:rPr></w:rPrDefault></w:docDefaults>'
    '<w:style w:type="character" w:styleId="Secret"><w:rPr><w:vanish/></w:rPr></w:style>'
    '<w:style w:type="character" w:styleId="More"><w:basedOn w:val="Secret"/></w:style>'
    '<w:style w:type="character" w:styleId="Mark"><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
    '</w:style><w:style w:type="paragraph" w:styleId="Aside"><w:rPr><w:vanish/></w:rPr></w:style>'
)


def styled(body: str) -> bytes:
    """A Word file with these styles besides its own."""
    word = new_docx()
    spaces = f'xmlns:w="{W}" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    for each in parse_xml(f"<w:styles {spaces}>{STYLES}</w:styles>"):
        word.styles.element.append(each)
    parts = list(parse_xml(f"<w:body {spaces}>{body}</w:body>"))
    for at, each in enumerate(parts):
        word.element.body.insert(at, each)
    return render_docx(word)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((run("1,234"), run("2", UP)), "1,234²"),
        ((run("1,234"), run("1", UP), run("0", UP)), "1,234¹⁰"),
        ((run("1,234"), run("1,2", UP)), "1,234^(1,2)"),
        ((run("1,234"), run("2", '<w:position w:val="6"/>')), "1,234²"),
        ((run("1,234"), run("2", '<w:rStyle w:val="Mark"/>')), "1,234²"),
        ((run("H"), run("2", DOWN), run("O")), "H₂O"),
        ((run("1"), run("st", UP), run(" of May")), "1st of May"),
        ((run("2024", '<w:position w:val="6"/>'),), "2024"),
        ((run("1,234"), run("56", '<w:position w:val="1"/>')), "1,23456"),
        ((run("old", "<w:strike/>"), run(" new")), "~~old~~ new"),
        ((run("5", '<w:strike w:val="0"/>'),), "5"),
    ],
)
def test_marks_of_runs(runs, expected):
    assert text_of(styled(line(*runs))) == expected


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("<m:f><m:num>{1}</m:num><m:den>{2}</m:den></m:f>", "3 1/2"),
        ("<m:f><m:num>{1+x}</m:num><m:den>{2}</m:den></m:f>", "3(1+x)/2"),
        ("<m:sSup><m:e>{x}</m:e><m:sup>{2}</m:sup></m:sSup>", "3 x²"),
        ("<m:sSup><m:e>{x}</m:e><m:sup>{AB}</m:sup></m:sSup>", "3 x^(AB)"),
        ("<m:sSub><m:e>{x}</m:e><m:sub>{i}</m:sub></m:sSub>", "3 xᵢ"),
        ("<m:rad><m:deg/><m:e>{x+1}</m:e></m:rad>", "3√(x+1)"),
        ('<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{i=1}</m:sub><m:sup>{n}</m:sup>'
         "<m:e>{i}</m:e></m:nary>", "3∑ᵢ₌₁ⁿ i"),
        ("<m:d><m:e>{a}</m:e></m:d>", "3(a)"),
        ("<m:m><m:mr><m:e>{1}</m:e><m:e>{2}</m:e></m:mr><m:mr><m:e>{3}</m:e></m:mr></m:m>",
         "3[1, 2; 3]"),
        ("<m:func><m:fName>{sin}</m:fName><m:e>{x}</m:e></m:func>", "3 sin x"),
    ],
)  # fmt: skip
def test_formulas_in_one_line(inner, expected):
    math = inner.replace("{", "<m:r><m:t>").replace("}", "</m:t></m:r>")
    assert text_of(styled(line(run("3"), f"<m:oMath>{math}</m:oMath>"))) == expected


@pytest.mark.parametrize(
    "looks",
    [
        "<w:vanish/>", '<w:rStyle w:val="More"/>', '<w:color w:val="FFFFFF"/>', '<w:sz w:val="2"/>',
        '<w:color w:val="FFFFFF" w:themeColor="background1"/>',
    ],
)  # fmt: skip
def test_hidden_text_is_kept_apart(looks):
    data = styled(line(run("seen "), run("hidden", looks)))
    document = read_document(data, "a.docx")
    assert document.text == "seen"
    assert document.notes == ("a.docx: hidden text is left out (6 characters); --hidden reads it",)
    document = read_document(data, "a.docx", options=ReadOptions(hidden=True))
    assert document.text == "seen hidden"
    assert document.notes == ("a.docx: hidden text is in what was read (6 characters)",)


def test_hidden_paragraphs_and_rows():
    row = "<w:tr>{}<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc></w:tr>"
    rows = row.format("", "kept") + row.format("<w:trPr><w:hidden/></w:trPr>", "left out")
    hidden = line(run("aside"), more='<w:pStyle w:val="Aside"/>')
    document = read_document(styled(f"{hidden}<w:tbl>{rows}</w:tbl>"), "a.docx")
    assert (document.text, document.notes) == (
        "kept", ("a.docx: hidden text is left out (13 characters); --hidden reads it",),
    )  # fmt: skip
    with pytest.raises(InputError, match="holds no text") as caught:
        read_document(styled(hidden), "a.docx")
    assert caught.value.hint == "what is in it is hidden; --hidden reads it"


@pytest.mark.parametrize(
    "body",
    [
        line(run("x", '<w:color w:val="FFFFFF"/><w:shd w:val="clear" w:fill="1F4E78"/>')),
        line(run("x", '<w:color w:val="FFFFFF"/><w:highlight w:val="black"/>')),
        line(run("x", '<w:color w:val="FFFFFF"/>'), more='<w:shd w:val="clear" w:fill="000000"/>'),
        '<w:tbl><w:tr><w:tc><w:tcPr><w:shd w:val="clear" w:fill="1F4E78"/></w:tcPr>'
        + line(run("x", WHITE))
        + "</w:tc></w:tr></w:tbl>",
        line(run("x", '<w:rStyle w:val="More"/><w:vanish w:val="0"/>')),
        line(run("x", "<w:webHidden/>")),  # page numbers of a table of contents, on paper too
    ],
)
def test_what_is_seen_is_not_hidden(body):
    document = read_document(styled(body), "a.docx")
    assert (document.text, document.notes) == ("x", ())


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ('<w:sym w:font="Wingdings" w:char="F0FE"/>', "☑"),
        ('<w:sym w:font="Wingdings" w:char="F0A8"/>', "☐"),
        ('<w:sym w:font="Wingdings" w:char="00FC"/>', "✓"),
        ('<w:sym w:font="Wingdings 2" w:char="F052"/>', "☑"),
        ('<w:sym w:font="Symbol" w:char="F0B3"/>', "≥"),
        ('<w:sym w:font="Symbol" w:char="F061"/>', "α"),
        ('<w:sym w:font="Arial" w:char="00E9"/>', "é"),
        ('<w:sym w:font="Strange" w:char="F001"/>', "\uf001"),
        ('<w:rPr><w:rFonts w:ascii="Wingdings" w:hAnsi="Wingdings"/></w:rPr><w:t>þ</w:t>', "☑"),
        ("<w:t>\uf0a8</w:t>", "☐"),
        ('<w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="1"/>'
         "</w:checkBox></w:ffData></w:fldChar>", "☒"),
        ('<w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="1"/>'
         '<w:checked w:val="0"/></w:checkBox></w:ffData></w:fldChar>', "☐"),
        ('<w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>'
         '<w:listEntry w:val="no"/><w:listEntry w:val="yes"/></w:ddList></w:ffData></w:fldChar>',
         "yes"),
        ("<w:ruby><w:rt><w:r><w:t>と</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r>"
         "</w:rubyBase></w:ruby>", "東(と)"),
    ],
)  # fmt: skip
def test_signs_and_fields_of_forms(inner, expected):
    assert text_of(styled(line(f"<w:r>{inner}</w:r>", run(" end")))) == f"{expected} end"


def test_content_controls():
    box = ('<w:sdtPr><w14:checkbox xmlns:w14="http://schemas.microsoft.com/office/word/2010/'
           'wordml"><w14:checked w14:val="{}"/></w14:checkbox></w:sdtPr>')  # fmt: skip
    controls = (
        f"<w:sdt>{box.format(1)}<w:sdtContent>{run('☒')}</w:sdtContent></w:sdt>"
        f"<w:sdt>{box.format(1)}<w:sdtContent/></w:sdt><w:sdt>{box.format(0)}</w:sdt>"
        f"<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{run('Choose an item.')}"
        "</w:sdtContent></w:sdt>"
    )
    assert text_of(styled(line(controls))) == "☒☒☐[Choose an item.]"


def test_merged_cells_of_a_table_are_carried_on():
    def cell(text: str, more: str = "") -> str:
        return f"<w:tc><w:tcPr>{more}</w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"

    begun, goes_on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    wide = '<w:gridSpan w:val="2"/>'
    rows = (
        cell("A title over all", '<w:gridSpan w:val="3"/>'),
        cell("Region", begun) + cell("2023", wide),
        cell("", goes_on) + cell("Sales") + cell("Cost"),
        cell("North", begun) + cell("1") + cell("2"),
        cell("", goes_on) + cell("3") + cell("4"),
        cell("Sum") + cell("10", wide),
    )
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)
    assert text_of(styled(f"<w:tbl>{table}</w:tbl>")) == (
        "A title over all\nRegion | 2023 | 2023\nRegion | Sales | Cost\nNorth | 1 | 2\n"
        "North | 3 | 4\nSum | 10"
    )


def test_a_list_that_starts_at_five():
    word = new_docx()
    lists = word.part.numbering_part.element
    shape = lists.num_having_numId(
        word.styles["List Number"].element.pPr.numPr.numId.val
    ).abstractNumId.val
    number = lists.add_num(shape)
    number.add_lvlOverride(ilvl=0).add_startOverride(5)
    for text in "ab":
        place = word.add_paragraph(text)._p.get_or_add_pPr().get_or_add_numPr()
        place.get_or_add_numId().val = number.numId
    assert text_of(render_docx(word)) == "5. a\n6. b"


def test_files_in_a_word_file_come_along():
    word = new_docx()
    word.add_paragraph("see the sheet")
    sheet = render_xlsx({"S": [["x"]]})
    ole = b"\xd0\xcf\x11\xe0" + bytes(508) + b"%PDF-1.4 rest %%EOF" + bytes(100)
    parts = (
        ("a.xlsx", "package", sheet),
        ("b.bin", "oleObject", ole),
        ("c.bin", "oleObject", b"?"),
    )
    for name, kind, data in parts:
        part = Part(PackURI(f"/word/embeddings/{name}"), "application/x", data, word.part.package)
        word.part.relate_to(part, f"http://schemas.openxmlformats.org/relationships/{kind}")
    (found,) = read_office(render_docx(word), "a.docx")
    assert found.files == (("a.xlsx", sheet), ("b.pdf", b"%PDF-1.4 rest %%EOF"))
    assert found.notes == ("a.docx: files in it that are not read (1)",)
