"""PDFs through the child process: text, kinds, pages by number, limits and refusals."""

import math
import re

import pytest

from gemma_edge.documents.document import Document, parse_page_numbers
from gemma_edge.documents.open import open_document, read_document
from gemma_edge.documents.pdf import PdfLimits, read_pdf
from gemma_edge.documents.pdf_child import FoundWords
from gemma_edge.errors import InputError, UsageError
from tests.documents.pdf_files import assemble, form_pdf, japanese_pdf, locked_pdf, stream
from tests.documents.pdf_files import page as page_of

BILL = """\
Wobblefix Gadget Ltd
14 Harbour Lane

Invoice No: 4711          Date: 2024-05-06

Description       Qty       Price
Cable               2       10.00
Lamp                1       31.50

                    Total: € 51.50"""
# One black and one white pixel, stretched over so many points.
IMAGE = "q {} 0 0 {} 0 0 cm BI /W 2 /H 1 /CS /G /BPC 8 ID \x01\xff EI Q\n"
WHITE = "q 595 0 0 842 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \xff EI Q\n"
SENTENCE = "A line that has more than twenty characters in it"


def refused(data, hint, **more):
    with pytest.raises(InputError) as caught:
        read_document(data, "bill.pdf", **more)
    assert caught.value.message.startswith("bill.pdf ")
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint
    return caught.value.message


def test_a_typed_page_comes_out_as_it_was_typed(make_pdf, type_lines, tmp_path):
    path = tmp_path / "bill.pdf"
    path.write_bytes(make_pdf([type_lines(BILL)]))
    document = open_document(path)
    assert document.text == BILL
    assert document.notes == ()
    assert (document.pages[0].kind, document.name) == ("text", str(path))
    assert document.pages[0].reason == "112 characters in the text layer"


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_turned_page_is_read_as_it_is_seen(make_pdf, type_lines, rotate):
    pdf = make_pdf([type_lines(BILL)], rotate=rotate)
    assert read_document(pdf, "bill.pdf").text == BILL


def test_text_that_is_turned_itself(make_pdf):
    lines = [(300, 400, 10, "up it goes", "up"), (100, 100, 10, "and across the whole page")]
    lines += [(500, 200, 10, "down", "down"), (300, 600, 10, "over", "over")]
    text = read_document(make_pdf([lines]), "bill.pdf").text
    assert text.startswith("and across the whole page\n\n")
    assert {"up it goes", "down", "over"} <= set(text.split("\n"))


def test_proportional_columns_line_up(make_pdf):
    rows = [("Illicit mill", "1.00"), ("WWW MMM", "22.00"), ("x", "333.00")]
    lines = [(50, 60 + 14 * at, 10, name) for at, (name, _) in enumerate(rows)]
    lines += [(300, 60 + 14 * at, 10, price) for at, (_, price) in enumerate(rows)]
    text = read_document(make_pdf([lines], font="Helvetica"), "bill.pdf").text
    columns = {line.index(price) for line, (_, price) in zip(text.split("\n"), rows, strict=True)}
    assert len(columns) == 1


def test_what_was_cropped_away_is_not_read(make_pdf):
    lines = [(20, 20, 10, "printer's mark"), (150, 150, 10, "the page")]
    page = read_document(make_pdf([lines], crop=(100, 100, 400, 800)), "bill.pdf").pages[0]
    assert page.text == "the page"
    assert (page.width, page.height) == (300, 700)


def test_ligatures_are_letters_and_a_hyphen_stays_as_printed(make_pdf, type_lines):
    pdf = make_pdf([type_lines("e~cient of#ce, hyphen-\nated word")], means={"~": "ﬃ", "#": "ﬁ"})
    assert read_document(pdf, "bill.pdf").text == "efficient office, hyphen-\nated word"


def test_hebrew_is_read_from_the_right(make_pdf):
    letters = dict(zip("ABCDEFG", "שלוםעבד", strict=True))
    # As it is seen, from the left: the second word, a number, the first word.
    lines = [(50, 50, 10, "GFE 12 DCBA")]
    document = read_document(make_pdf([lines], means=letters), "bill.pdf")
    assert document.text == "שלום 12 עבד"
    first, number, last = document.pages[0].words
    assert first.left > number.left > last.left


def test_a_table_in_hebrew_has_one_order_of_columns(make_pdf):
    letters = dict(zip("ABCDEFG", "שלוםעבד", strict=True))
    rows = [("DCBA", "GFE", "CB"), ("GFE DC", "2", "300.00"), ("DCBA", "14", "(667.00)")]
    lines = [
        (right - 6 * len(cell), 50 + 20 * at, 10, cell)
        for at, row in enumerate(rows)
        for right, cell in zip((540, 380, 160), row, strict=True)
    ]
    text = read_document(make_pdf([lines], means=letters), "bill.pdf").text
    rows = [["שלום", "עבד", "לו"], ["ום עבד", "2", "300.00"], ["שלום", "14", "(667.00)"]]
    assert [re.split(" {2,}", line) for line in text.split("\n")] == rows


def test_brackets_and_numbers_in_a_line_of_hebrew(make_pdf):
    letters = dict(zip("ABCDEFG", "שלוםעבד", strict=True))
    shown = "CB (667.00) 12/05/2024 GFE :DCBA"
    document = read_document(make_pdf([[(50, 50, 10, shown)]], means=letters), "bill.pdf")
    assert document.text == "שלום: עבד 12/05/2024 (667.00) לו"


def test_marks_above_the_line_are_no_digits_of_it(make_pdf):
    for raise_by in (1.4, 3, 5, 8):
        lines = [(50, 50, 10, "Revenue"), (92, 50 - raise_by, 7, "1"), (200, 50, 10, "1,234")]
        lines += [(230, 50 - raise_by, 7, "2"), (50, 64, 10, "Cost"), (200, 64, 10, "567")]
        (page,) = read_document(make_pdf([lines]), "bill.pdf").pages
        words = [page.text[word.start : word.end] for word in page.words]
        assert page.text.split() == ["Revenue¹", "1,234²", "Cost", "567"], raise_by
        assert words == [word.text for word in page.words]


def test_a_page_that_was_scanned_askew_keeps_its_rows(make_pdf):
    across, up = math.cos(math.radians(3)), math.sin(math.radians(3))
    rows = [("Item", "Price"), ("A blue vase", "10.00"), ("Total", "69.00")]
    lines = [
        (50 + x * across + 20 * at * up, 100 - x * up + 20 * at * across, 10, text, "tilted")
        for at, row in enumerate(rows)
        for x, text in zip((0, 300), row, strict=True)
    ]
    (page,) = read_document(make_pdf([lines]), "bill.pdf").pages
    assert [tuple(re.split(" {2,}", row)) for row in page.text.split("\n")] == rows
    places = {word.text: word for word in page.words}
    assert places["69.00"].top < places["Total"].top - 10  # as it lies on the page


def test_japanese_in_a_font_that_is_nowhere_is_read():
    document = read_document(japanese_pdf((72, 700, "請求書類"), (72, 680, "合計")), "bill.pdf")
    assert document.text == "請求書類\n合計"
    assert document.pages[0].kind == "text"


@pytest.mark.parametrize("encoding", ["UniJIS-UCS2-V", "UniJIS-UCS2-H"])
def test_lines_that_run_down_are_read_from_the_right(encoding):
    texts = ["契約書第一条甲は乙に対し", "代金百二十万円を支払う。", "末日"]
    lines = [(500 - 24 * at, 700, text) for at, text in enumerate(texts)]
    if encoding.endswith("H"):  # each character by itself, as many programs do it
        lines = [(x, y - 13 * at, char) for x, y, text in lines for at, char in enumerate(text)]
    document = read_document(japanese_pdf(*lines, encoding=encoding), "contract.pdf")
    assert document.text == "\n".join(texts)


def test_signs_of_fonts_of_signs_are_what_they_show(make_pdf):
    lines = [
        (50, 50, 10, "l one"),
        (50, 64, 10, "\xfe yes"),
        (50, 78, 10, "o no"),
        (50, 92, 10, "lot"),
    ]
    text = read_document(make_pdf([lines], font="Wingdings"), "form.pdf").text
    assert text.split("\n") == ["● one", "☑ yes", "☐ no", "lot"]
    assert read_document(make_pdf([lines]), "form.pdf").text.startswith("l one")
    private = read_document(make_pdf([lines[:1]], means={"l": "\uf0b7"}), "form.pdf")
    assert private.text == "• one"


def test_arabic_by_its_place_in_the_word_is_written_as_usual(make_pdf):
    forms = {"A": "\ufee1", "B": "\ufefc", "C": "\ufeb3"}  # as shown: the last letter first
    document = read_document(make_pdf([[(50, 50, 10, "ABC")]], means=forms), "bill.pdf")
    assert document.text == "سلام"


def test_several_pages_are_marked(make_pdf, type_lines):
    pdf = make_pdf([type_lines("one"), [], type_lines("three")])
    document = read_document(pdf, "bill.pdf")
    assert document.text == "[page 1]\none\n\n[page 3]\nthree"
    assert [page.kind for page in document.pages] == ["text", "empty", "text"]
    assert document.notes == ()


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [("2", [2]), ("-1", [5]), ("-2-", [4, 5]), ("1,-2--1", [1, 4, 5]), ("2--2", [2, 3, 4])],
)
def test_only_the_pages_that_were_asked_for_are_read(make_pdf, type_lines, asked, numbers):
    pdf = make_pdf([type_lines(f"page {number}") for number in range(1, 6)])
    document = read_document(pdf, "bill.pdf", pages=parse_page_numbers(asked))
    assert [page.number for page in document.pages] == numbers
    assert [page.text for page in document.pages] == [f"page {number}" for number in numbers]


@pytest.mark.parametrize("asked", ["6", "-6", "4--3"])
def test_a_page_that_there_is_not(make_pdf, asked):
    with pytest.raises(UsageError, match=r"^bill.pdf has 5 pages, ") as caught:
        read_document(make_pdf([[]] * 5), "bill.pdf", pages=parse_page_numbers(asked))
    assert caught.value.hint == "--pages 1-5"


def kind_of(pdf):
    (page,) = read_document(pdf, "bill.pdf").pages
    return page.kind, page.reason


def test_a_scan_is_an_image_with_no_text_to_speak_of(make_pdf):
    scan = IMAGE.format(595, 842)
    assert kind_of(make_pdf([[]], extra=scan)) == (
        "scan", "an image covers 100% of it, and it has no text layer",
    )  # fmt: skip
    kind, reason = kind_of(make_pdf([[(50, 50, 10, "Page 1")]], extra=scan))
    assert (kind, reason.endswith("it has 5 characters")) == ("scan", True)
    kind, reason = kind_of(make_pdf([[(50, 50, 10, SENTENCE)]], extra=scan))
    assert (kind, reason.endswith("with 40 characters beside it")) == ("scan", True)
    halves = "q 0.5 0 0 1 0 0 cm " + scan + "Q q 0.5 0 0 1 297.5 0 cm " + scan + "Q "
    assert kind_of(make_pdf([[]], extra=halves))[1].startswith("2 images cover 100% of it")


def test_the_text_of_a_scan_is_an_ocr_layer_where_it_is_invisible_or_lies_below(make_pdf):
    lines = [(50, 50 + 20 * at, 10, SENTENCE) for at in range(3)]
    kind, reason = kind_of(make_pdf([lines], extra=IMAGE.format(595, 842) + "3 Tr\n"))
    assert kind == "scan+ocr-layer"
    assert reason == "an image covers 100% of it, and 100% of its text lies hidden under it"
    below = f"BT /F 10 Tf 50 700 Td ({SENTENCE}) Tj ET\n"
    assert kind_of(make_pdf([[]], extra=below + IMAGE.format(595, 842)))[0] == "scan+ocr-layer"
    lines = [(50, 50 + 20 * at, 10, SENTENCE) for at in range(9)]
    pdf = make_pdf([lines], extra=IMAGE.format(595, 842))  # the text is over it
    assert kind_of(pdf)[0] == "mixed"


def test_letters_that_are_drawn_are_a_scan_too(make_pdf):
    boxes = "".join(f"{20 + 8 * (at % 60)} {100 + 12 * (at // 60)} 5 7 re f\n" for at in range(600))
    assert kind_of(make_pdf([[]], extra=boxes)) == (
        "scan", "it has no text layer, only 600 drawings",
    )  # fmt: skip
    kind, reason = kind_of(make_pdf([[(50, 50, 10, SENTENCE)]], extra=boxes))
    assert kind == "mixed"
    assert "600 drawings of the size of letters" in reason


def test_an_image_within_a_form_is_found_where_it_is_drawn(make_pdf):
    body = "BI /W 2 /H 1 /CS /G /BPC 8 ID \x01\xff EI"
    form = (
        "1000 0 obj << /Type /XObject /Subtype /Form /BBox [0 0 1 1] /Matrix [1 0 0 0.5 0 0] "
        f"/Length {len(body)} >>\nstream\n{body}\nendstream\nendobj\n"
    ).encode("latin-1")
    pdf = make_pdf([[(50, 50, 10, SENTENCE)]], extra="q 595 0 0 842 0 0 cm /X Do Q\n")
    pdf = pdf.replace(b"/Resources <<", b"/Resources << /XObject << /X 1000 0 R >>")
    kind, reason = kind_of(pdf.replace(b"xref\n", form + b"xxxx\n"))
    assert (kind, reason.endswith("an image covers 50% of it")) == ("mixed", True)


def test_an_image_beside_text(make_pdf, type_lines):
    lines = [(50, 50 + 20 * at, 10, SENTENCE) for at in range(3)]
    assert kind_of(make_pdf([lines], extra=IMAGE.format(100, 40)))[0] == "text"  # a logo
    kind, reason = kind_of(make_pdf([lines], extra=IMAGE.format(595, 421)))
    assert (kind, reason) == (
        "mixed", "120 characters in the text layer, and an image covers 50% of it",
    )  # fmt: skip


def test_text_without_a_meaning_is_looked_at(make_pdf):
    private = {char: chr(0xE000 + ord(char)) for char in "abcdefghij"}
    kind, reason = kind_of(make_pdf([[(50, 50, 10, SENTENCE)]], means=private))
    assert kind == "scan"
    assert re.fullmatch("its text cannot be trusted: .* of its characters have no meaning", reason)


PROSE = """This agreement is made between the parties named below and takes effect on the day
on which the last of them signs it. All amounts are due within thirty days of the invoice."""


def moved_by(places):
    """Letters that a file says are others, and blanks that it leaves alone."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return {char: chr(ord(char) + places) for char in letters}


@pytest.mark.parametrize("places", [1, -3, 5, -29])
def test_letters_that_are_moved_are_not_believed(make_pdf, type_lines, places):
    document = read_document(make_pdf([type_lines(PROSE)], means=moved_by(places)), "contract.pdf")
    (page,) = document.pages
    assert page.kind == "scan"
    assert page.reason.startswith("its text cannot be trusted: ")
    (note,) = document.notes
    assert note.startswith("page 1: its text cannot be trusted: ")
    assert "run OCR" in note


def test_numbers_of_characters_are_no_text(make_pdf, type_lines):
    text = "\n".join("(cid:12)(cid:7)(cid:133)" for _ in range(6))
    kind, reason = kind_of(make_pdf([type_lines(text)]))
    assert kind == "scan"
    assert "(cid:12)" in reason


def unsaid_pdf(text):
    """A page in a font whose characters have no more than numbers for names."""
    bodies = page_of(f"BT /F 10 Tf 50 700 Td ({text}) Tj ET".encode())
    numbers = range(33, 127)
    names = b" ".join(b"/g%d" % at for at in numbers)
    shapes = b" ".join(b"/g%d 6 0 R" % at for at in numbers)
    bodies[4] = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [.001 0 0 .001 0 0] "
        b"/FirstChar 33 /LastChar 126 /Widths [%b] /CharProcs << %b >> /Encoding << /Type "
        b"/Encoding /Differences [33 %b] >> >>" % (b"500 " * len(numbers), shapes, names)
    )
    bodies.append(stream(b"500 0 0 0 400 700 d1 0 0 400 700 re f"))
    return assemble(bodies)


def test_a_file_that_does_not_say_what_its_characters_are():
    words = [word for word in PROSE.split() if word.isalpha()]
    moved = "".join(chr((ord(char) - 97 + 12) % 26 + 97) for char in "".join(words).lower())
    kind, reason = kind_of(unsaid_pdf(moved))
    assert kind == "scan"
    assert reason.endswith(": the file does not say what its characters are")
    # Where their numbers are those of the letters, all is well.
    assert kind_of(unsaid_pdf("".join(words)))[0] == "text"


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "Dieser Vertrag wird zwischen den unten genannten Parteien geschlossen und tritt in Kraft.",
        "Zamawiajacy zobowiazuje sie do zaplaty wynagrodzenia w terminie trzydziestu dni od dnia",
        "Tedarikci fatura tarihinden itibaren otuz gun icinde odeme yapilmasini kabul eder ve yuz",
        "Tilaaja maksaa laskun kolmenkymmenen paivan kuluessa sen paivayksesta lukien kokonaan",
        "Hop dong nay co hieu luc ke tu ngay ky va duoc lap thanh hai ban co gia tri phap ly nhu",
        "SKU XK-9931-QZ WVX-220 JKQ-118 ZZX-004 QWX-771 KJX-909 XQZ-112 VVK-300 JXX-818 KKQ-442",
        "0001 2,345.00 17,000.25 (667.00) 12% 0002 99,100.00 31.12.2024 0003 5.00 EUR USD GBP JPY",
    ],
)
def test_languages_and_lists_of_numbers_are_believed(make_pdf, type_lines, text):
    assert kind_of(make_pdf([type_lines(text)]))[0] == "text"


def test_empty_pages_and_blank_scans(make_pdf):
    assert kind_of(make_pdf([[]])) == ("empty", "nothing is printed on it")
    assert kind_of(make_pdf([[]], extra=WHITE)) == ("empty", "it is blank")
    white_box = "1 g 0 0 595 842 re f\n"
    assert kind_of(make_pdf([[]], extra=white_box)) == ("empty", "nothing is printed on it")


def test_limits_are_said(make_pdf, type_lines):
    pdf = make_pdf([type_lines("page of text")] * 5)
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(max_pages=2))
    assert len(document.pages) == 2
    assert document.notes == ("pages 3 to 5 not read: 2 pages are the most that is read",)
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(max_chars=16))
    assert document.text == "[page 1]\npage of text\n\n[page 2]\npage"
    assert document.notes == (
        "pages 3 to 5 not read: 16 characters are the most that is read",
        "page 2 is cut: 16 characters are the most that is read",
    )
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(page_chars=4))
    assert document.text.startswith("[page 1]\npage\n\n[page 2]\npage")
    assert document.notes[1] == "page 2 is cut: 4 characters are the most that is read"
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(seconds=0))
    assert document.notes == ("pages 2 to 5 not read: 0 s are the most that reading may take",)


def test_a_child_that_dies_or_takes_too_long_is_one_line(make_pdf, type_lines):
    pdf = make_pdf([type_lines("text")])
    for limits, said in (
        (PdfLimits(page_seconds=0), "took longer than 0 s"),
        (PdfLimits(memory_bytes=1 << 24), "the PDF reader stopped|is damaged"),
    ):
        if limits.memory_bytes < 1 << 30:
            pytest.importorskip("resource", reason="the platform has no memory limit")
        with pytest.raises(InputError, match=said):
            read_pdf(pdf, "bill.pdf", limits=limits)


def test_a_page_that_takes_too_long_costs_no_other(make_pdf, type_lines):
    endless = [(5, 10 + 1.5 * at, 0.2, "x" * 4000) for at in range(500)]
    pdf = make_pdf([type_lines("first"), endless, type_lines("third")])
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(page_seconds=1))
    assert [page.kind for page in document.pages] == ["text", "damaged", "text"]
    assert document.pages[2].text == "third"
    why = "it cannot be read (the PDF reader stopped: it took longer than 1 s)"
    assert document.notes == (f"page 2 not read, damaged: {why}",)


def test_pages_together_have_a_limit_and_what_was_read_is_kept(make_pdf, type_lines):
    endless = [(5, 10 + 1.5 * at, 0.2, "x" * 4000) for at in range(500)]
    pdf = make_pdf([type_lines("first"), endless, type_lines("third")])
    document = read_pdf(pdf, "bill.pdf", limits=PdfLimits(seconds=1))
    assert [page.text for page in document.pages] == ["first"]
    assert document.notes == ("pages 2 to 3 not read: 1 s are the most that reading may take",)


def test_a_document_of_damaged_pages_is_one_line(make_pdf, type_lines):
    endless = [(5, 10 + 1.5 * at, 0.2, "x" * 4000) for at in range(500)]
    with pytest.raises(InputError, match=r"^bill.pdf is damaged \(it cannot be read"):
        read_pdf(make_pdf([endless]), "bill.pdf", limits=PdfLimits(page_seconds=1))


def found(glyphs):
    """Words of characters, each with its left edge and its baseline, upright and 10 pt wide."""
    words = FoundWords((1, 0, 0, -1, 0, 100, 0), (100, 100))
    for char, left, base in glyphs:
        words.add(ord(char), (left, base - 2, left + 10, base + 8), base, 0)
    words.end()
    return words


def test_letters_that_are_stored_as_they_are_seen_are_turned():
    assert found([("ג", 10, 50), ("ב", 20, 50), ("א", 30, 50)]).texts == ["אבג"]
    assert found([("א", 30, 50), ("ב", 20, 50), ("ג", 10, 50)]).texts == ["אבג"]
    assert found([("1", 10, 50), ("2", 20, 50)]).texts == ["12"]


def test_a_raised_letter_is_a_word_of_its_own_that_touches_the_one_before():
    words = found([("1", 10, 50), ("0", 20, 50), ("a", 30, 55)])
    assert words.texts == ["10", "a"]
    assert [words.places[at + 6] for at in (0, 8)] == [0, 1]


def test_not_a_pdf_and_a_damaged_one(make_pdf, type_lines):
    assert 'it begins with "<html>"' in refused(b"<html>", "check the download")
    assert "is damaged" in refused(b"%PDF-1.4\nnothing", "copy it again")
    pdf = make_pdf([type_lines("text")])
    assert read_document(b"mail header\n" + pdf, "bill.pdf").text == "text"  # readers look further


@pytest.mark.parametrize("bits", [40, 128])
@pytest.mark.parametrize("named", [True, False])
def test_a_password_is_asked_for_and_used(tmp_path, bits, named):
    path = tmp_path / "locked.pdf"
    path.write_bytes(locked_pdf("Total 12", user="openpassword", bits=bits, named=named))
    with pytest.raises(InputError, match="is encrypted$") as caught:
        open_document(path)
    assert caught.value.hint == "--password, or GEMMA_EDGE_PDF_PASSWORD"
    with pytest.raises(InputError, match="the password that was given does not open it"):
        open_document(path, password="wrong")
    document = open_document(path, password="openpassword")
    assert document.text == open_document(path, password="owner").text == "Total 12"
    assert "openpassword" not in repr(document)


def test_a_file_that_everybody_may_read_needs_no_password():
    assert read_document(locked_pdf("Total 12", user=""), "bill.pdf").text == "Total 12"


def test_what_was_filled_into_a_form_is_read():
    text = read_document(form_pdf("Alice Example", "12 May 1990"), "form.pdf").text
    assert [line.split() for line in text.splitlines()] == [
        ["Name", "Alice", "Example"], ["Born", "12", "May", "1990"], ["Signature"],
    ]  # fmt: skip


def test_a_remark_on_the_page_is_read(make_pdf):
    text = "BT /F 10 Tf 5 5 Td (PAID 2024) Tj ET"
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Courier >> >> >>"
    remark = (
        "/Annots [<< /Type /Annot /Subtype /FreeText /F 4 /Rect [50 700 150 720] /AP << /N "
        "1000 0 R >> >>]"
    )
    appearance = (
        f"1000 0 obj << /Type /XObject /Subtype /Form /BBox [0 0 100 20] /Resources {font} "
        f"/Length {len(text)} >>\nstream\n{text}\nendstream\nendobj\n"
    )
    pdf = make_pdf([[(50, 50, 10, "Invoice")]]).replace(b"/Rotate 0", remark.encode())
    # Without its table of objects, which the insertion has made wrong, the file is searched.
    pdf = pdf.replace(b"xref\n", appearance.encode() + b"xxxx\n")
    assert read_document(pdf, "bill.pdf").text.split() == ["Invoice", "PAID", "2024"]


def test_a_document_keeps_what_its_pages_are_drawn_from(make_pdf):
    pdf = make_pdf([[(50, 50, 10, "a page")]])
    document = read_document(pdf, "bill.pdf")
    assert isinstance(document, Document)
    assert (document.source, document.password, document.media) == (pdf, None, "pdf")
    assert "%PDF" not in repr(document)
    assert document.page(1) is document.pages[0]
    with pytest.raises(KeyError):
        document.page(2)
