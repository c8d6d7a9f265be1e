"""Which file is what: text in its encodings, images, and everything that is not a document."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge.documents.document import (
    Writer,
    cut_note,
    lowered,
    parse_page_numbers,
    raised,
    read_file,
    shown,
)
from gemma_edge.documents.html import html_to_text
from gemma_edge.documents.images import render_page
from gemma_edge.documents.office import read_office
from gemma_edge.documents.open import open_document, read_apart, read_document
from gemma_edge.errors import InputError
from tests.documents.office_files import (
    new_docx,
    render_docx,
    render_ods,
    render_xlsx,
    render_zip,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(encoding, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_bytes("Größe: 5 €\r\nGruß\rEnde\n".encode(encoding))
    document = open_document(path)
    assert document.text == "Größe: 5 €\nGruß\nEnde"
    assert document.notes == ()
    assert document.pages[0].reason == "20 characters of text"


def test_an_encoding_that_has_to_be_guessed_is_said():
    document = read_document("Größe: 5 €".encode("cp1252"), "letter.txt")
    assert document.text == "Größe: 5 €"
    assert document.notes == (
        "letter.txt is not UTF-8; it was read as Windows-1252; --encoding NAME takes another",
    )


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"", "empty (0 bytes)", "piped"),
        (b" \n\t\r\n", "only white space", "saved"),
        (b"abc\0def", "not text", "PDF or a text file"),
        (bytes(range(1, 32)) * 4, "not text", "PDF or a text file"),
        (b"\xff\xfeabc", "begins like UTF-16", "UTF-8"),
        (b"{\\rtf1 hello}", "an RTF file", "save it as .docx"),
        (b"%!PS-Adobe-3.0", "a PostScript file", "ps2pdf"),
        (b"GGUF\x03\0\0\0", "a GGUF model", "--model"),
        (b"\x1f\x8b\x08", "a gzip archive", "unpack"),
    ],
)
def test_what_is_no_document_is_named(data, message, hint):
    with pytest.raises(InputError) as caught:
        read_document(data, "thing")
    assert caught.value.message.startswith("thing ")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "what"), [("x.pdf", "a PDF"), ("x.docx", "a Word file"), ("x.PNG", "an image")]
)
def test_text_under_another_name_is_a_download_that_failed(name, what):
    with pytest.raises(InputError) as caught:
        read_document(b"<html>404 Not Found</html>", name)
    assert caught.value.message == f'{name} is not {what} (it begins with "<html>404 No")'
    assert "check the download" in caught.value.hint


def test_form_feeds_part_pages():
    document = read_document(b"one\n\ftwo\n\f\n", "letter.txt")
    assert [(page.number, page.text) for page in document.pages] == [(1, "one"), (2, "two")]
    second = read_document(b"one\ftwo", "letter.txt", pages=parse_page_numbers("-1"))
    assert [page.number for page in second.pages] == [2]


def image(kind: str, pages: int = 1) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 48 + number), (number * 80, 9, 9)) for number in range(pages)]
    more = {"save_all": True, "append_images": frames[1:]} if pages > 1 else {}
    frames[0].save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_an_image_is_a_page_to_look_at(kind):
    data = image(kind)
    document = read_document(data, "receipt.txt")  # the ending decides nothing
    (page,) = document.pages
    assert (document.media, document.source, document.text) == ("image", data, "")
    assert (page.number, page.kind, page.width, page.height) == (1, "scan", 64, 48)
    assert page.reason == "an image of 64x48 pixels"


def test_pages_of_a_tiff_and_frames_of_what_moves():
    document = read_document(image("TIFF", 3), "scan.tiff")
    assert [(page.number, page.height) for page in document.pages] == [(1, 48), (2, 49), (3, 50)]
    last = read_document(image("TIFF", 3), "scan.tiff", pages=parse_page_numbers("3"))
    assert [page.number for page in last.pages] == [3]
    assert render_page(last, 3)[0].tokens > 0
    moving = read_document(image("GIF", 3), "x.gif")
    assert len(moving.pages) == 1
    assert moving.notes == ("x.gif: the first of 3 frames is read",)


def test_an_image_is_upright():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone that was held upright
    Image.new("RGB", (64, 48)).save(out, "JPEG", exif=exif)
    (page,) = read_document(out.getvalue(), "photo.jpg").pages
    assert (page.width, page.height) == (48, 64)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\nrest", image("JPEG")[:40], image("TIFF")[:60]])
def test_a_broken_image_is_told_when_it_is_opened(data):
    with pytest.raises(InputError) as caught:
        read_document(data, "thing")
    assert caught.value.message.startswith("thing ")
    assert "\n" not in caught.value.message


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * 100)
    for name, message in (
        ("nowhere", "does not exist"),
        ("no/where", "does not exist"),
        ("", "is a folder"),
        ("empty", "is empty (0 bytes)"),
        ("large", "is larger than 99 B"),
        ("large/below", "large/below"),
        ("nul\0", "nul?"),
        ("x" * 5000, "cannot be read"),
    ):
        with pytest.raises(InputError) as caught:
            read_file(tmp_path / name, max_bytes=99)
        assert message in caught.value.message, name
        assert caught.value.hint
    assert read_file(tmp_path / "large", max_bytes=100) == b"x" * 100


def test_names_are_safe_to_print():
    assert shown("bill\n\x1b[31m.pdf") == "bill??[31m.pdf"
    assert shown("Größe.pdf") == "Größe.pdf"
    assert shown("") == "''"


# What a stranger made is taken apart in a child. The libraries that do it never get into this
# process, nor its secrets into that one.
DECODERS = (
    "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "PIL.GifImagePlugin",
    "PIL.BmpImagePlugin", "PIL.PpmImagePlugin", "PIL.TiffImagePlugin", "PIL.AvifImagePlugin",
    "PIL.Jpeg2KImagePlugin", "pypdfium2", "docx", "lxml", "html.parser", "email.parser",
    "email.feedparser", "python_calamine", "zipfile", "chardet",
)  # fmt: skip
READ_ALL = """
import os, sys
from pathlib import Path
from gemma_edge import isolation
from gemma_edge.documents.open import open_document, read_document

secrets = ("HF_TOKEN", "HTTPS_PROXY", "GEMMA_EDGE_PDF_PASSWORD", "CUDA_TEST")
os.environ |= dict.fromkeys(secrets, "x")
start, started = isolation._start, []
def watched(program, arguments, variables, trusted):
    started.append(program)
    assert not set(secrets) & set(variables) and not trusted, program
    return start(program, arguments, variables, trusted)
isolation._start = watched
for path in sorted(Path(sys.argv[1]).iterdir()):
    before, count = set(sys.modules), len(started)
    assert open_document(path).pages, path
    found = sorted(set(sys.argv[2:]) & (set(sys.modules) - before))
    assert not found, (path.name, found)
    print(path.name, len(started) - count)
"""


def test_every_kind_is_decoded_in_a_child_that_knows_no_secret(tmp_path, make_pdf, type_lines):
    picture = Image.new("RGB", (64, 64), "red")
    for kind in ("jpeg", "png", "webp", "gif", "bmp", "ppm", "avif", "tiff", "jp2"):
        picture.save(tmp_path / f"1.{kind}")
    word = new_docx()
    word.add_paragraph("hello")
    others = {
        "2.docx": render_docx(word), "2.xlsx": render_xlsx({"S": [["x"]]}),
        "2.ods": render_ods([["a"]]), "2.html": b"<p>hello</p>",
        "2.eml": b"Subject: hello\nMessage-ID: <1@a>\n\nhello\n",
        "2.pdf": make_pdf([type_lines("hello")]), "2.csv": b"a,b\n" * (1 << 19),
        "2.txt": b"word " * (1 << 19), "3.csv": b"a,b\n1,2\n", "3.txt": b"hello",
    }  # fmt: skip
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ_ALL, str(tmp_path), *DECODERS],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    starts = dict(line.split() for line in ran.stdout.splitlines())
    own = {name for name, count in starts.items() if count == "1"}
    assert own == {"1.avif", "1.tiff", "1.jp2", *others} - {"3.csv", "3.txt"}
    assert len(starts) == 19  # the other pictures share one child, and short texts need none


def test_a_text_that_takes_long_is_cut_and_what_was_read_is_kept():
    with Writer.limited(0.0):
        writer = Writer()
        writer.line("one")
        assert (writer.is_full, writer.take()) == (True, "one")
        assert cut_note("a") == "a is cut: reading it took too long"
        rows = "".join(f"{at},x\n" for at in range(1000)).encode()
        document = read_document(rows, "a.csv")
        assert document.text == "0 | x"
        assert document.notes == ("a.csv is cut: reading it took too long",)
        many = "".join(f"<p>{at}</p>" for at in range(1000))
        assert html_to_text(f"<h1>0</h1>{many}")[0] == "# 0"
        word = new_docx()
        for at in range(100):
            word.add_paragraph(str(at))
        (found,) = read_office(render_docx(word), "a.docx")
        assert found.pages[0][0] == "0"
        assert found.notes == ("a.docx is cut: reading it took too long",)
    assert read_document(rows, "a.csv").notes == ()


def test_pages_that_were_read_before_the_reader_stopped_are_kept():
    book = render_xlsx({"Sheet": [["first", "sheet"]], "Deep": [["x"]]})
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    deep = b"<a>" * 3_000_000  # each takes 100 bytes and more until it ends
    data = render_zip({**parts, "xl/worksheets/sheet2.xml": deep})
    found = read_apart("office", data, "a.xlsx", seconds=60, memory_bytes=250 << 20)
    assert [text for text, _ in found.pages] == ["Sheet: Sheet\n\nfirst | sheet"]
    (note,) = found.notes
    assert note.startswith("a.xlsx: what follows page 1 is not read: ")
    assert "memory" in note


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("commas.csv", b"a" + b"," * (3 << 20) + b"b\n", "a |  | "),
        ("quote.csv", b'a,"b\n' + b"c,d\n" * (1 << 17), 'a,"b\nc,d'),
        ("blank.csv", b"\n" * 40 + b"a;b\n1;2\n", "a | b\n1 | 2"),
    ],
)
def test_tables_that_nobody_made_by_hand(name, data, text):
    document = read_document(data, name)
    assert document.text.startswith(text)
    assert len(document.text) <= 4_000_000


@pytest.mark.parametrize(
    "data", [b'a,"b\n' + b"c,d\n" * (1 << 19), b'"' + b"x" * (20 << 20) + b'"\n']
)
def test_a_quote_that_swallows_the_file_is_one_line(data):
    with pytest.raises(
        InputError, match=r"^a.csv is damaged \(a quote is not closed within"
    ) as told:
        read_document(data, "a.csv")
    assert told.value.hint


@pytest.mark.parametrize(
    ("before", "mark", "expected"),
    [
        ("1,234", "2", "²"), ("1,234", "10", "¹⁰"), ("x", "n+1", "ⁿ⁺¹"), ("10", "\u22123", "⁻³"),
        ("1,234", "(1)", "⁽¹⁾"), ("1,234", "a", "ᵃ"), ("1,234", "1,2", "^(1,2)"),
        ("1,234", "A", "^(A)"), ("5", "(A)", "^(A)"), ("5", "(A)(B)", "^((A)(B))"),
        ("5", " 2 ", " ² "), ("5", "[1]", "[1]"), ("5", "*", "*"), ("5", "†‡", "†‡"),
        ("20 ", "°", "°"), ("Acme", "TM", "™"), ("1", "st", "st"), ("22", "ND", "ND"),
        ("3", "e", "e"), ("N", "o", "o"), ("M", "lle", "lle"), ("5", "th.", "th."),
        ("", "NEW", "NEW"), ("", "1", "¹"), ("end. ", "see page 4", "see page 4"),
        ("5", "q", "^(q)"), ("5", "see 4", "^(see 4)"), ("5", "", ""), ("5", "  ", "  "),
        ("5", "\u0663", "^(\u0663)"),
    ],
)  # fmt: skip
def test_marks_above_a_line_are_not_part_of_a_number(before, mark, expected):
    assert raised(mark, before) == expected


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("2", "₂"),
        ("10", "₁₀"),
        ("max", "ₘₐₓ"),
        ("DD", "_(DD)"),
        ("*", "*"),
        ("", ""),
        ("b", "_(b)"),
    ],
)
def test_marks_below_a_line(mark, expected):
    assert lowered(mark) == expected
