"""Word files: text in the order in which a person reads it, numbers that Word only draws, and
what is hostile in one line."""

import io

import pytest
from docx.enum.text import WD_BREAK
from docx.oxml.parser import parse_xml
from PIL import Image

from gemma_edge.documents.office import render_number
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
    assert document.notes == ("a.docx: deleted passages (tracked changes) are left out (1)",)


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
