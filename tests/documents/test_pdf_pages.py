"""Pages as pictures, and the boxes of words on them."""

import io
from functools import partial

import pytest
from PIL import Image

from gemma_edge.documents.document import Document, parse_page_numbers, render_numbers
from gemma_edge.documents.images import render_image, render_page
from gemma_edge.documents.open import open_document, read_document
from gemma_edge.errors import InputError, UsageError
from tests.documents.pdf_files import form_pdf, locked_pdf

WIDTH_PX = 700
DARK = 128


def shown(document, number=1, width_px=WIDTH_PX):
    """The page in grey."""
    image = Image.open(io.BytesIO(render_image(document, number, width_px=width_px)))
    assert image.format == "PNG"
    return image.convert("L")


def dark_share(image):
    return sum(image.histogram()[:DARK]) / (image.width * image.height)


def check_boxes(document, number=1):
    """Every box has ink in it, and there is none outside of them."""
    page, image = document.page(number), shown(document, number)
    scale = image.width / page.width
    assert image.height == pytest.approx(page.height * scale, abs=1)
    for word in page.words:
        box = [round(edge * scale) for edge in word.box]
        assert dark_share(image.crop(box)) > 0.01, word
    for word in page.words:
        left, top, right, bottom = (edge * scale for edge in word.box)
        image.paste(255, (int(left) - 1, int(top) - 1, int(right) + 2, int(bottom) + 2))
    assert dark_share(image) == 0.0


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (30, 20, 520, 800)])
def test_boxes_are_where_the_words_are_seen(make_pdf, rotate, crop):
    lines = [(50, 60, 14, "Total amount"), (400, 60, 14, "1,234.50"), (300, 500, 9, "small print")]
    lines += [(300, 400, 12, "upwards", "up"), (200, 300, 12, "down", "down")]
    lines += [(480, 700, 12, "over", "over")]
    document = read_document(make_pdf([lines], rotate=rotate, crop=crop), "bill.pdf")
    assert len(document.pages[0].words) == 8
    check_boxes(document)


def test_boxes_of_a_form_that_was_filled_in():
    document = read_document(form_pdf(), "form.pdf")
    page = document.pages[0]
    image = shown(document)
    scale = image.width / page.width
    assert page.words
    for word in page.words:
        assert dark_share(image.crop([round(edge * scale) for edge in word.box])) > 0.01, word


def test_a_page_is_drawn_within_the_budget(make_pdf):
    document = read_document(make_pdf([[(50, 60, 14, "Total 12")]] * 2), "bill.pdf")
    (picture,) = render_page(document, 2)
    assert 1000 < picture.tokens <= 1120
    assert picture.name.startswith("bill.pdf")
    (small,) = render_page(document, 2, max_tokens=280)
    assert 200 < small.tokens <= 280
    grey = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb).convert("L")
    assert 0 < dark_share(grey) < 0.01


def test_tiles_show_more_of_a_page(make_pdf):
    document = read_document(make_pdf([[(50, 60, 14, "Total 12")]]), "bill.pdf")
    halves = render_page(document, 1, max_tokens=280, tiles=2)
    assert len(halves) == 2
    assert all(240 < half.tokens <= 280 for half in halves)
    assert all(half.width > half.height for half in halves)  # a page that stands is cut across
    assert len(render_page(document, 1, max_tokens=280, tiles=4)) == 4


def test_a_page_of_an_encrypted_file_is_drawn_with_its_password(tmp_path):
    path = tmp_path / "locked.pdf"
    path.write_bytes(locked_pdf("Total 12", user="openpassword"))
    document = open_document(path, password="openpassword")
    assert dark_share(shown(document)) > 0


def test_pages_of_an_image(tmp_path):
    first, second = Image.new("RGB", (400, 300), "white"), Image.new("RGB", (300, 600), "black")
    tiff, png = tmp_path / "scan.tiff", tmp_path / "photo.png"
    first.save(tiff, save_all=True, append_images=[second])
    first.save(png)
    document = open_document(tiff)
    assert [page.kind for page in document.pages] == ["scan", "scan"]
    assert dark_share(shown(document, 2, width_px=150)) == 1.0
    assert shown(document, 2, width_px=150).size == (150, 300)
    (picture,) = render_page(document, 2)
    assert (picture.width, picture.height) == (288, 624)
    assert shown(open_document(png), width_px=200).size == (200, 150)


def test_text_has_no_pages_to_look_at():
    document = read_document(b"plain text", "notes.txt")
    with pytest.raises(UsageError, match=r"^notes.txt is text") as caught:
        render_page(document, 1)
    assert caught.value.hint


def test_a_page_that_cannot_be_drawn_is_one_line(make_pdf):
    pages = read_document(make_pdf([[(50, 50, 10, "text")]]), "bill.pdf").pages
    document = Document("bill.pdf", pages, source=b"%PDF-nothing", media="pdf")
    for draw in (render_page, partial(render_image, width_px=100)):
        with pytest.raises(InputError, match=r"^bill.pdf is damaged") as caught:
            draw(document, 1)
        assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "0", "-0", "3-1", "-1--3", "--1", "1--", "a", "1,,2", "1-2-3"]
)
def test_page_numbers_that_name_nothing(text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        parse_page_numbers(text)


def test_numbers_in_words():
    assert render_numbers([4]) == "page 4"
    assert render_numbers([1, 2, 3, 7, 9, 10]) == "pages 1 to 3, 7 and 9 to 10"
    assert render_numbers(range(1, 40, 2)).endswith(" and 15 more ranges")
