"""What is in a PDF besides plain text: fields of forms, remarks, and text that nobody sees."""

import pytest

from gemma_edge.documents.document import ReadOptions
from gemma_edge.documents.open import read_document
from gemma_edge.documents.pdf_objects import xfa_lines
from gemma_edge.errors import InputError
from tests.documents.pdf_files import assemble, page, show, stream

FORM = b"/AcroForm << /Fields [%b] /DA (/F 10 Tf 0 g) /DR << /Font << /F 5 0 R >> >> %b >>"
TICK = stream(b"1 w 1 1 m 11 11 l S", b"/Type /XObject /Subtype /Form /BBox [0 0 12 12]")
BLANK = stream(b"", b"/Type /XObject /Subtype /Form /BBox [0 0 12 12]")
SHOWN = b"BT /F 10 Tf 50 780 Td (Invoice total 12.00) Tj ET "


def form(*fields, text=(), more=b"", extra=()):
    """A page of a form: each field is ``(left, bottom, right, top)`` and what its dictionary has.
    ``extra`` are objects after them; the first is number 6 + the number of the fields."""
    numbers = b" ".join(b"%d 0 R" % (6 + at) for at in range(len(fields)))
    bodies = page(show(*text), page=b"/Annots [%b]" % numbers, catalog=FORM % (numbers, more))
    for at, (box, what) in enumerate(fields):
        rect = b" ".join(b"%d" % edge for edge in box)
        bodies.append(
            b"<< /Type /Annot /Subtype /Widget /F 4 /P 3 0 R /T (f%d) /Rect [%b] %b >>"
            % (at, rect, what)
        )
    return assemble([*bodies, *extra])


def lines(data, **more):
    document = read_document(data, "form.pdf", **more)
    return [line.split() for line in document.text.splitlines() if line]


BOX, BELOW = (100, 777, 112, 789), (100, 763, 112, 775)


def test_check_boxes_are_read_by_how_they_are_drawn():
    drawn = b"/FT /Btn /AP << /N << /Yes 8 0 R /Off 9 0 R >> >> "
    data = form(
        (BOX, drawn + b"/V /Yes /AS /Yes"), (BELOW, drawn + b"/V /Off /AS /Off"),
        text=("Agree", "Disagree"), extra=(TICK, BLANK),
    )  # fmt: skip
    assert lines(data) == [["Agree", "[x]"], ["Disagree", "[", "]"]]


def test_a_box_stands_where_it_is_on_the_page():
    data = form((BOX, b"/FT /Btn /V /Yes /AS /Yes"), text=("Agree",))
    words = {word.text: word for word in read_document(data, "form.pdf").pages[0].words}
    assert words["[x]"].left == pytest.approx(100)
    assert words["[x]"].right == pytest.approx(112)
    assert words["[x]"].top == pytest.approx(words["Agree"].top)


@pytest.mark.parametrize(
    ("what", "mark"),
    [
        (b"/V /Yes", "[x]"),
        (b"/V /Off", "[ ]"),
        (b"", "[ ]"),
        (b"/V /Yes /AS /Yes", "[x]"),
        (b"/V /1 /AS /1", "[x]"),
    ],
)
def test_check_boxes_without_an_appearance(what, mark):
    text = read_document(form((BOX, b"/FT /Btn " + what), text=("Agree",)), "form.pdf").text
    assert text.split(maxsplit=1) == ["Agree", mark]


def test_a_value_counts_where_the_form_is_still_to_be_drawn():
    drawn = b"/FT /Btn /AP << /N << /Yes 7 0 R /Off 8 0 R >> >> /V /Yes /AS /Off"
    data = form((BOX, drawn), text=("Agree",), extra=(TICK, BLANK))
    assert "[ ]" in read_document(data, "form.pdf").text
    data = form((BOX, drawn), text=("Agree",), extra=(TICK, BLANK), more=b"/NeedAppearances true")
    assert "[x]" in read_document(data, "form.pdf").text


def test_of_radio_buttons_one_is_on():
    bodies = page(
        show("Gender     M        F"), page=b"/Annots [7 0 R 8 0 R]", catalog=FORM % (b"6 0 R", b"")
    )
    bodies.append(b"<< /FT /Btn /Ff 49152 /T (sex) /V /F /Kids [7 0 R 8 0 R] >>")
    for state, left, on in ((b"M", 130, b"/Off"), (b"F", 184, b"/F")):
        bodies.append(
            b"<< /Type /Annot /Subtype /Widget /F 4 /Parent 6 0 R /Rect [%d 777 %d 789] "
            b"/AP << /N << /%b 9 0 R >> >> /AS %b >>" % (left, left + 12, state, on)
        )
    assert lines(assemble([*bodies, TICK])) == [["Gender", "M", "[", "]", "F", "[x]"]]


TEXT = (100, 777, 300, 791)


def test_text_of_a_field_is_read_once_with_or_without_an_appearance():
    drawing = stream(
        b"/Tx BMC q BT /F 10 Tf 2 4 Td (12,00 EUR) Tj ET Q EMC",
        b"/Type /XObject /Subtype /Form /BBox [0 0 200 14] /Resources << /Font << /F 5 0 R >> >>",
    )
    empty = stream(b"/Tx BMC EMC", b"/Type /XObject /Subtype /Form /BBox [0 0 200 14]")
    field = b"/FT /Tx /V (12) /DA (/F 10 Tf 0 g) "
    shown = form((TEXT, field + b"/AP << /N 7 0 R >>"), text=("Sum",), extra=(drawing,))
    assert lines(shown) == [["Sum", "12,00", "EUR"]]  # as it is seen
    blank = form((TEXT, field + b"/AP << /N 7 0 R >>"), text=("Sum",), extra=(empty,))
    assert lines(blank) == [["Sum", "12"]]
    assert lines(form((TEXT, field), text=("Sum",))) == [["Sum", "12"]]
    old = form(
        (TEXT, field + b"/AP << /N 7 0 R >>"), text=("Sum",), extra=(drawing,),
        more=b"/NeedAppearances true",
    )  # fmt: skip
    assert lines(old) == [["Sum", "12"]]


def test_a_comb_is_one_word():
    field = b"/FT /Tx /Ff 16777216 /MaxLen 20 /V (DE89370400440532) /DA (/F 10 Tf 0 g)"
    assert lines(form((TEXT, field), text=("IBAN",))) == [["IBAN", "DE89370400440532"]]


def test_the_chosen_option_is_read_and_no_other():
    options = b"/FT /Ch /Opt [[(de) (Germany)] [(fr) (France)]] /V (fr) /DA (/F 10 Tf 0 g) "
    for flags in (b"/Ff 131072", b""):  # a combo box, a list
        assert lines(form((TEXT, options + flags), text=("Land",))) == [["Land", "France"]]


def test_passwords_push_buttons_and_hidden_fields_are_not_read():
    caption = stream(
        b"BT /F 10 Tf 2 4 Td (Submit) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 200 14] /Resources << /Font << /F 5 0 R >> >>",
    )
    data = form(
        (TEXT, b"/FT /Btn /Ff 65536 /AP << /N 9 0 R >>"),
        ((100, 700, 300, 714), b"/FT /Tx /Ff 8192 /V (secret) /DA (/F 10 Tf 0 g)"),
        ((100, 600, 300, 614), b"/FT /Tx /F 2 /V (unseen) /DA (/F 10 Tf 0 g)"),
        text=("Form",), extra=(caption,),
    )  # fmt: skip
    data = data.replace(b"/F 4 /P 3 0 R /T (f2)", b"/F 2 /P 3 0 R /T (f2)")
    assert lines(data) == [["Form"]]


def test_several_lines_of_a_field_stay_lines():
    field = b"/FT /Tx /Ff 4096 /V (line one\rline two) /DA (/F 10 Tf 0 g)"
    empty = stream(b"/Tx BMC EMC", b"/Type /XObject /Subtype /Form /BBox [0 0 200 14]")
    data = form(
        ((100, 700, 300, 740), field + b"/AP << /N 7 0 R >>"), text=("Notes",), extra=(empty,)
    )
    assert lines(data) == [["Notes"], ["line", "one"], ["line", "two"]]


# Text that nobody sees.


def hidden(content, *, pages=b"", extra=(), resources=b"", catalog=b""):
    """A page that shows a total, and draws ``content`` after it: with its text, and without."""
    bodies = page(SHOWN + content, page=pages, catalog=catalog)
    bodies[2] = bodies[2].replace(b"/Resources <<", b"/Resources << " + resources)
    data = assemble([*bodies, *extra])
    plain = read_document(data, "bill.pdf")
    whole = read_document(data, "bill.pdf", options=ReadOptions(hidden=True))
    return plain, whole


SECRET = b"BT /F 10 Tf 50 700 Td (Secret 5555.55) Tj ET "
UNSEEN = {
    "white on white": b"1 g " + SECRET,
    "almost white": b"0.98 1 0.99 rg " + SECRET,
    "invisible": SECRET.replace(b"BT", b"BT 3 Tr"),
    "transparent": b"/Clear gs " + SECRET,
    "covered by a shape": SECRET + b"0 g 40 690 200 30 re f ",
    "covered by a white shape": SECRET + b"1 g 40 690 200 30 re f ",
    "covered by an image": SECRET
    + b"q 200 0 0 30 40 690 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x99 EI Q ",
    "black on black": b"0 g 40 690 200 30 re f " + SECRET,
    "grey on the same grey": b"0.5 g 40 690 200 30 re f " + SECRET,
    "tiny": SECRET.replace(b"10 Tf", b"1 Tf"),
    "tiny by its matrix": b"q .1 0 0 .1 45 630 cm " + SECRET + b"Q ",
    "outside": SECRET.replace(b"50 700", b"-500 700"),
    "in a layer that is off": b"/OC /Layer BDC " + SECRET + b"EMC ",
    "in a form on a layer that is off": b"/OC /Layer BDC /Form Do EMC ",
    "clipped away": b"q 300 100 50 50 re W n " + SECRET + b"Q ",
}
LAYERS = (
    b"<< /Type /OCG /Name (extra) >>",
    stream(
        SECRET,
        b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] /Resources << /Font << /F 5 0 R >> >>",
    ),
)
RESOURCES = (
    b"/ExtGState << /Clear << /ca 0 /CA 0 >> >> /Properties << /Layer 6 0 R >> "
    b"/XObject << /Form 7 0 R >> "
)
OFF = b"/OCProperties << /OCGs [6 0 R] /D << /OFF [6 0 R] >> >>"


@pytest.mark.parametrize("what", UNSEEN)
def test_text_that_nobody_sees_is_left_out_and_told(what):
    plain, whole = hidden(UNSEEN[what], extra=LAYERS, resources=RESOURCES, catalog=OFF)
    assert plain.text == "Invoice total 12.00"
    (note,) = plain.notes
    assert note.startswith("page 1: hidden text is left out (")
    assert note.endswith(", 13 characters); --hidden reads it")
    assert "Secret 5555.55" in whole.text
    assert whole.text.startswith("Invoice total 12.00")
    (note,) = whole.notes
    assert note.startswith("page 1: hidden text is in what was read (")
    assert note.endswith(", 13 characters)")


SEEN = {
    "plain": SECRET,
    "light grey": b"0.85 g " + SECRET,
    "yellow": b"1 1 0 rg " + SECRET,
    "white on a dark header": b"0 0.2 0.5 rg 40 690 200 30 re f 1 g " + SECRET,
    "white on a picture": b"q 200 0 0 30 40 690 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x33 EI Q 1 g "
    + SECRET,
    "white on a dark page": b"q 0 0 0 rg 0 600 595 120 re f Q 1 g " + SECRET,
    "under a transparent highlight": SECRET + b"/Half gs 1 1 0 rg 40 690 200 30 re f ",
    "under a frame": SECRET + b"0 G 40 690 200 30 re S ",
    "beside a shape": SECRET + b"0 g 40 640 200 30 re f ",
    "white with a black outline": b"1 g 0 G 0.3 w " + SECRET.replace(b"BT", b"BT 2 Tr"),
    "in a layer that is on": b"/OC /Other BDC " + SECRET + b"EMC ",
    "with a shadow": b"1 g " + SECRET + b"0 g " + SECRET.replace(b"50 700", b"50.5 699.5"),
    "small": SECRET.replace(b"10 Tf", b"4 Tf"),
    "clipped in part": b"q 40 690 200 30 re W n " + SECRET + b"Q ",
}


@pytest.mark.parametrize("what", SEEN)
def test_text_that_is_seen_stays(what):
    resources = RESOURCES.replace(b"/Layer 6 0 R", b"/Layer 6 0 R /Other 8 0 R").replace(
        b"/Clear <<", b"/Half << /ca 0.4 >> /Clear <<"
    )
    other = b"<< /Type /OCG /Name (other) >>"
    plain, whole = hidden(
        SEEN[what], extra=(*LAYERS, other), resources=resources,
        catalog=OFF.replace(b"/OCGs [6 0 R]", b"/OCGs [6 0 R 8 0 R]"),
    )  # fmt: skip
    assert plain.text.split() == ["Invoice", "total", "12.00", "Secret", "5555.55"]
    assert plain.notes == ()
    assert (plain.text, plain.notes) == (whole.text, whole.notes)


def test_a_hidden_part_of_a_word_is_no_part_of_it():
    content = b"BT /F 10 Tf 50 700 Td (Sum 1) Tj 1 g (9) Tj 0 g (.50) Tj ET"
    plain, whole = hidden(content)
    assert plain.text.split()[-2:] in (["1", ".50"], ["Sum", "1.50"])
    assert whole.text.split()[-1] == "19.50"


def test_the_layer_of_a_recognition_stays():
    image = b"q 595 0 0 842 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \xee EI Q "
    words = b"BT 3 Tr /F 10 Tf 50 700 Td (Recognized text of a scan 5555.55) Tj ET "
    for content in (image + words, words + image, words.replace(b"3 Tr", b"") + image):
        document = read_document(assemble(page(content)), "scan.pdf")
        assert document.text == "Recognized text of a scan 5555.55"
        assert document.notes == ()


def test_a_small_picture_is_no_scan():
    image = b"q 60 0 0 60 500 700 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \xee EI Q "
    plain, _ = hidden(image + UNSEEN["invisible"])
    assert plain.text == "Invoice total 12.00"


# Remarks.


def annotated(*annots, extra=()):
    refs = b" ".join(b"%d 0 R" % (6 + at) for at in range(len(annots)))
    bodies = page(SHOWN, page=b"/Annots [%b]" % refs)
    bodies += [b"<< /Type /Annot /P 3 0 R /F 4 %b >>" % annot for annot in annots]
    return read_document(assemble([*bodies, *extra]), "bill.pdf")


def test_text_that_was_typed_on_the_page_is_read_without_an_appearance():
    document = annotated(
        b"/Subtype /FreeText /Rect [200 775 300 790] /Contents (PAID 2024) /DA (/F 10 Tf)"
    )
    assert document.text.split() == ["Invoice", "total", "12.00", "PAID", "2024"]
    assert document.notes == ()


def test_the_text_of_a_stamp_is_read():
    drawing = stream(
        b"BT /F 10 Tf 2 4 Td (APPROVED) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 100 15] /Resources << /Font << /F 5 0 R >> >>",
    )
    stamp = b"/Subtype /Stamp /Rect [200 775 300 790] /AP << /N 7 0 R >>"
    assert "APPROVED" in annotated(stamp, extra=(drawing,)).text


def test_comments_are_told():
    note = b"/Subtype /Text /Rect [200 775 220 790] /Contents (Please check the total)"
    link = b"/Subtype /Link /Rect [200 775 220 790] /Contents (a link)"
    document = annotated(note, link)
    assert document.text == "Invoice total 12.00"
    assert document.notes == ('a comment on a page is not read ("Please check the total")',)
    mark = b"/Subtype /Highlight /Rect [50 775 80 790] /Contents (why?)"
    assert annotated(note, mark).notes[0].startswith("2 comments on pages are not read (the first")


# Forms that only Acrobat draws.


DATA = (
    b'<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form1>'
    b"<Name>Jane</Name><Sum_x0020_total>12.50</Sum_x0020_total><Empty/></form1></xfa:data>"
    b"</xfa:datasets>"
)
WAIT = (
    "Please wait...",
    "If this message is not eventually replaced by the proper contents of the document,",
    "your PDF viewer may not be able to display this type of document.",
)


@pytest.mark.parametrize("needs", [b"/NeedsRendering true", b""])
def test_a_form_that_only_acrobat_draws_is_its_data_and_told(needs):
    catalog = b"/AcroForm << /Fields [] /XFA [(datasets) 6 0 R] >> " + needs
    document = read_document(
        assemble([*page(show(*WAIT), catalog=catalog), stream(DATA)]), "form.pdf"
    )
    assert document.text == "Name: Jane\nSum total: 12.50"
    assert document.notes == (
        "only Acrobat makes the pages of this form (XFA): only what was filled in is read; "
        "open it in Acrobat Reader and print it to PDF",
    )
    nothing = read_document(
        assemble([*page(show(*WAIT), catalog=catalog), stream(b"<x/>")]), "form.pdf"
    )
    assert nothing.text == ""
    assert "nothing of it is read" in nothing.notes[0]


def test_the_data_of_a_form_with_pages_is_not_read_twice():
    catalog = b"/AcroForm << /Fields [] /XFA [(datasets) 6 0 R] >>"
    document = read_document(
        assemble([*page(show("Name Jane"), catalog=catalog), stream(DATA)]), "form.pdf"
    )
    assert (document.text, document.notes) == ("Name Jane", ())


def test_data_of_a_form_are_read_without_entities():
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x><y>&a;</y></x>'
    assert xfa_lines(bomb) == []
    assert xfa_lines(b"<x><y>1</y><z>2") == ["y: 1"]
    assert xfa_lines(b"<a>" * 100_000) == []


# Why a file cannot be read.


GOOD = assemble(page(show("Total 12.00")))
HANDLER = b"<< /Filter /%b /V 4 /SubFilter /x >>"
REASONS = {
    "zeros": (b"%PDF-1.4\n" + bytes(4000), "are zeros", "copy it again"),
    "header": (b"%PDF-1.7\n", "no part of a PDF", "copy it again"),
    "cut": (GOOD[: GOOD.index(b"4 0 obj")], "cut off after", "copy it again"),
    "no pages": (
        assemble([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"]),
        "it has no pages", "save it anew",
    ),
    "certificates": (
        assemble([*page(b""), HANDLER % b"Adobe.PubSec"], b"/Encrypt 6 0 R"),
        "encrypted for the holders of certain certificates", "without protection",
    ),
    "rights": (
        assemble([*page(b""), HANDLER % b"MicrosoftIRMServices"], b"/Encrypt 6 0 R"),
        "rights management of Microsoft", "without protection",
    ),
    "another": (
        assemble([*page(b""), HANDLER % b"Frobnicator"], b"/Encrypt 6 0 R"),
        "encrypted by Frobnicator", "without protection",
    ),
    "no table": (GOOD.replace(b"/Root 1 0 R", b"/Root 9 0 R"), "cannot be read", "save it anew"),
}  # fmt: skip


@pytest.mark.parametrize("what", REASONS)
def test_the_reason_is_told_in_plain_words(what):
    data, reason, hint = REASONS[what]
    with pytest.raises(InputError) as caught:
        read_document(data, "bill.pdf")
    assert reason in caught.value.message
    assert hint in caught.value.hint
    assert "PDFium" not in caught.value.message
    assert caught.value.message.startswith("bill.pdf is ")


def test_a_part_of_a_download_is_told():
    with pytest.raises(InputError, match=r"bill\.pdf\.part is an unfinished download"):
        read_document(GOOD[:200], "bill.pdf.part")
