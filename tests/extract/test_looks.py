"""Which pages go in as text, and which as pictures."""

import io

import pytest
from PIL import Image

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.open import read_document
from gemma_edge.errors import InputError
from gemma_edge.extraction.pages import (
    make_input,
    needs_pictures,
    notes_on,
    page_modes,
    without_pixels,
)

KINDS = ("text", "scan", "scan+ocr-layer", "mixed", "empty", "damaged")


def paper(*kinds, media="pdf"):
    pages = (
        Page(number, "" if kind in ("scan", "empty", "damaged") else "words", kind, f"it is {kind}")
        for number, kind in enumerate(kinds, 1)
    )
    return Document("paper.pdf", tuple(pages), media=media)


def how(document, vision):
    return [look.how for look in page_modes(document, vision)]


@pytest.mark.parametrize(
    ("vision", "expected"),
    [
        ("auto", ["text", "picture", "both", "both", "nothing", "nothing"]),
        ("always", ["both", "picture", "both", "both", "nothing", "nothing"]),
        ("never", ["text", "nothing", "text", "text", "nothing", "nothing"]),
    ],
)
def test_each_kind_of_page(vision, expected):
    assert how(paper(*KINDS), vision) == expected


def test_a_text_file_has_nothing_to_look_at():
    assert how(paper("text", media="text"), "always") == ["text"]


def test_the_kinds_are_told_by_pages():
    looks = page_modes(paper("text", "scan", "scan", "text", "scan"), "auto")
    assert notes_on(looks) == ("pages 2-3, 5: scan (it is scan), read as a picture",)
    looks = page_modes(paper("scan+ocr-layer"), "never")
    assert notes_on(looks) == (
        "page 1: scan+ocr-layer (it is scan+ocr-layer), read by its OCR layer, which may be wrong",
    )
    assert not needs_pictures(looks)


def test_images_that_nobody_looks_at_are_told():
    pages = [Page(n, "words", "text", image_share=share) for n, share in enumerate((0.13, 0.01), 1)]
    document = Document("paper.pdf", tuple(pages), media="pdf")
    unseen = "page 1: images (13% of the page) are not looked at; --vision always does"
    assert notes_on(page_modes(document, "auto")) == (unseen,)
    assert not any("not looked at" in note for note in notes_on(page_modes(document, "always")))


@pytest.mark.parametrize(
    ("document", "vision", "said"),
    [
        (paper("scan"), "never", "is a scan without text, and --vision never"),
        (paper("empty"), "auto", "its page is empty"),
        (paper("empty", "empty"), "auto", "all of its pages are empty"),
        (paper("damaged", "damaged"), "auto", "all of its pages are damaged"),
    ],
)
def test_nothing_to_read_is_refused(document, vision, said):
    with pytest.raises(InputError, match=said) as caught:
        page_modes(document, vision)
    assert caught.value.hint


def test_a_scan_is_drawn_to_its_budget_and_cut_into_tiles():
    file = io.BytesIO()
    Image.new("RGB", (2400, 3200), "white").save(file, "PNG")
    document = read_document(file.getvalue(), "scan.png")
    (look,) = page_modes(document, "auto")
    sheet = make_input(document, look, max_tokens=1120)
    (picture,) = sheet.pictures
    assert 1000 < picture.tokens <= 1120
    assert picture.name == "scan.png page 1"
    halves = make_input(document, look, max_tokens=1120, tiles=2).pictures
    assert len(halves) == 2 and all(1000 < half.tokens <= 1120 for half in halves)
    (blank,) = without_pixels(sheet).pictures
    assert (blank.rgb, blank.tokens) == (b"", picture.tokens)
