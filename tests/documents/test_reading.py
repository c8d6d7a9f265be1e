"""Which file is what: text in its encodings, and everything that is not a document."""

import zipfile

import pytest

from gemma_edge.documents import open_document, read_document
from gemma_edge.documents.files import read_file, shown
from gemma_edge.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(encoding, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_bytes("Größe: 5 €\r\nGruß\rEnde\n".encode(encoding))
    document = open_document(path)
    assert document.text == "Größe: 5 €\nGruß\nEnde"
    assert document.notes == ()
    assert document.pages[0].reason == "21 characters of text"


def test_an_encoding_that_has_to_be_guessed_is_said():
    document = read_document("Größe: 5 €".encode("cp1252"), "letter.txt")
    assert document.text == "Größe: 5 €"
    assert document.notes == ("letter.txt is not UTF-8; it was read as Windows-1252",)
    assert read_document(b"caf\xe9 \x81", "a").notes == ("a is not UTF-8; it was read as Latin-1",)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"", "empty (0 bytes)", "piped"),
        (b" \n\t\r\n", "only white space", "saved"),
        (b"abc\0def", "not text", "PDF or a text file"),
        (bytes(range(1, 32)) * 4, "not text", "PDF or a text file"),
        (b"\xff\xfeabc", "begins like UTF-16", "UTF-8"),
        (b"\x89PNG\r\n\x1a\nrest", "a PNG image", "describe"),
        (b"\xff\xd8\xff\xe0rest", "a JPEG image", "describe"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP image", "describe"),
        (b"PK\x03\x04rest", "a ZIP archive", "save it as PDF"),
        (b"{\\rtf1 hello}", "an RTF file", "save it as PDF"),
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


def test_a_word_file_is_not_taken_for_text(tmp_path):
    path = tmp_path / "letter.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w:t>hello</w:t>")
    with pytest.raises(InputError, match="ZIP archive"):
        open_document(path)


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
