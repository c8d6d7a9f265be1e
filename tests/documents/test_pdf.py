"""PDFs through the child process: text, kinds, limits and refusals."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from gemma_edge.documents import Document, open_document, read_document
from gemma_edge.documents.pdf_process import Limits, read_pdf
from gemma_edge.errors import InputError

BILL = """\
Wobblefix Gadget Ltd
14 Harbour Lane

Invoice No: 4711          Date: 2024-05-06

Description       Qty       Price
Cable               2       10.00
Lamp                1       31.50

                    Total: € 51.50"""
IMAGE = "q {} 0 0 {} 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x41 EI Q\n"


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
    assert "characters in the text layer" in document.pages[0].reason


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


def test_several_pages_are_marked_and_what_has_no_text_is_said(make_pdf, type_lines):
    pdf = make_pdf([type_lines("one"), [], type_lines("three")])
    document = read_document(pdf, "bill.pdf")
    assert document.text == "[page 1]\none\n\n[page 3]\nthree"
    assert [page.kind for page in document.pages] == ["text", "empty", "text"]
    assert document.notes == ("page 2 not read, empty: nothing is printed on it",)


def test_a_scan_is_refused_with_the_way_out(make_pdf):
    pdf = make_pdf([[], []], extra=IMAGE.format(595, 842))
    message = refused(pdf, "ocrmypdf")
    assert "no text on any of its 2 pages" in message
    assert "an image covers 100% of it" in message
    pdf = make_pdf([[(50, 50, 10, "Page 1")]], extra=IMAGE.format(595, 842))
    assert "it has 5 characters" in refused(pdf, "ocrmypdf")


def test_a_logo_makes_no_scan(make_pdf, type_lines):
    pdf = make_pdf([type_lines("Acme")], extra=IMAGE.format(100, 40))
    assert read_document(pdf, "bill.pdf").text == "Acme"


def test_limits_are_said(make_pdf, type_lines):
    pdf = make_pdf([type_lines("page of text")] * 5)
    document = read_pdf(pdf, "bill.pdf", limits=Limits(max_pages=2))
    assert len(document.pages) == 2
    assert document.notes == ("pages 3 to 5 not read: 2 pages are the most that is read",)
    document = read_pdf(pdf, "bill.pdf", limits=Limits(max_chars=16))
    assert document.text == "[page 1]\npage of text\n\n[page 2]\npage"
    assert document.notes == (
        "pages 3 to 5 not read: 16 characters are the most that is read",
        "page 2 is cut: 16 characters are the most that is read",
    )
    document = read_pdf(pdf, "bill.pdf", limits=Limits(seconds=0))
    assert document.notes == ("pages 2 to 5 not read: 0 s are the most that reading may take",)


def test_a_child_that_dies_or_takes_too_long_is_one_line(make_pdf, type_lines):
    pdf = make_pdf([type_lines("text")])
    for limits, said in (
        (Limits(wall_seconds=0), "took longer than 0 s"),
        (Limits(memory_bytes=1 << 24), "the PDF reader stopped"),
    ):
        if limits.memory_bytes < 1 << 30:
            pytest.importorskip("resource", reason="the platform has no memory limit")
        with pytest.raises(InputError, match=said):
            read_pdf(pdf, "bill.pdf", limits=limits)


def test_not_a_pdf_and_a_damaged_one(make_pdf, type_lines):
    assert 'it begins with "<html>"' in refused(b"<html>", "check the download")
    assert "is damaged" in refused(b"%PDF-1.4\nnothing", "save it anew")
    pdf = make_pdf([type_lines("text")])
    assert read_document(b"mail header\n" + pdf, "bill.pdf").text == "text"  # readers look further


def test_a_password_is_asked_for_and_used(shared):
    def open_with(name, password):
        return open_document(shared / "hostile" / f"resources_{name}.pdf", password=password)

    name = "libreoffice-writer-password"
    with pytest.raises(InputError, match="is encrypted$") as caught:
        open_with(name, None)
    assert caught.value.hint == "--password, or GEMMA_EDGE_PDF_PASSWORD"
    with pytest.raises(InputError, match="the password that was given does not open it"):
        open_with(name, "wrong")
    assert open_with(name, "openpassword").text.strip()


def test_what_was_filled_into_a_form_is_read(shared):
    text = open_document(shared / "hostile" / "resources_form_evince.pdf").text
    assert "bar" in text


def _read(path):
    try:
        return open_document(path)
    except InputError as error:
        assert error.message.count("\n") == 0
        assert error.hint
        return error


@pytest.mark.slow
def test_hostile_files_are_documents_or_one_line(shared):
    paths = sorted((shared / "hostile").glob("*.pdf"))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(_read, paths))
    assert len(results) == len(paths) > 60
    assert sum(isinstance(result, Document) for result in results) > len(paths) // 2


@pytest.mark.slow
def test_real_documents_keep_their_tables(shared):
    (path,) = (shared / "documents" / "swimming").glob("*.pdf")
    rows = open_document(path).text.split("\n")
    header = next(row for row in rows if row.startswith("Rank"))
    winner = next(row for row in rows if "Fusao TAKAHASHI" in row)
    for title, value in (("Name", "Fusao"), ("Fed.", "JPN"), ("YB", "1933"), ("Team", "JUMP")):
        assert abs(header.index(title) - winner.index(value)) <= 1
    for path in (shared / "documents").glob("*/*.pdf"):
        document = open_document(path)
        assert all(page.reason for page in document.pages)
        assert document.text


@pytest.mark.slow
def test_a_hundred_mutations_of_a_good_pdf(make_pdf, type_lines):
    good = make_pdf([type_lines(BILL), type_lines("second page")])
    rng = random.Random(7)

    def mutant() -> bytes:
        data = bytearray(good)
        for _ in range(rng.choice((1, 3, 10, 40))):
            at = rng.randrange(len(data))
            kind = rng.random()
            if kind < 0.6:
                data[at] = rng.randrange(256)
            elif kind < 0.75:
                del data[at : at + rng.randrange(1, 60)]
            elif kind < 0.9:
                data[at:at] = data[: rng.randrange(1, 60)]
            else:
                data[at:at] = str(rng.randrange(10 ** rng.randrange(1, 12))).encode()
        return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)

    def read(data: bytes) -> bool:
        try:
            return isinstance(read_document(data, "bill.pdf"), Document)
        except InputError as error:
            assert error.message.count("\n") == 0
            assert error.hint
            return False

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(read, [mutant() for _ in range(100)]))
    assert 10 < sum(results) < 100  # some of each, or the mutations are too mild or too wild
