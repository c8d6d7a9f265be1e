"""Open a document of any kind that can be read; say what it is where it cannot."""

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.files import StrPath, read_file, shown
from gemma_edge.documents.pdf_process import is_pdf, read_pdf
from gemma_edge.documents.text import decode_text
from gemma_edge.errors import InputError

MAX_DOCUMENT_BYTES = 256 << 20

_IMAGE_HINT = "gemma-edge describe FILE --as json --schema SCHEMA, or --as ocr, reads images"
_OFFICE_HINT = "save it as PDF, or as text"
_KINDS = (  # how a file begins, what it is, what to do
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _IMAGE_HINT),
    (b"\xff\xd8\xff", "a JPEG image", _IMAGE_HINT),
    (b"GIF8", "a GIF image", _IMAGE_HINT),
    (b"II*\0", "a TIFF image", _IMAGE_HINT),
    (b"MM\0*", "a TIFF image", _IMAGE_HINT),
    (b"PK\x03\x04", "a ZIP archive (Word, Excel and OpenDocument files are ZIP)", _OFFICE_HINT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word, Excel or Outlook file", _OFFICE_HINT),
    (b"{\\rtf", "an RTF file", _OFFICE_HINT),
    (b"GGUF", "a GGUF model", "--model takes it; name a document here"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
)


def open_document(path: StrPath, *, password: str | None = None) -> Document:
    """Read the document at ``path``; a PDF goes through a child process with limits.

    Raises:
        InputError: missing, a folder, empty, too large, encrypted, damaged, without text, or of
            a kind that is not read.
    """
    data = read_file(path, max_bytes=MAX_DOCUMENT_BYTES)
    return read_document(data, shown(path), password=password)


def read_document(data: bytes, name: str, *, password: str | None = None) -> Document:
    """The same for bytes that are there already, such as those of stdin."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    if is_pdf(data):
        return read_pdf(data, name, password=password)
    for mark, kind, hint in _KINDS:
        if data.startswith(mark):
            raise InputError(f"{name} is {kind}", hint=hint)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        raise InputError(f"{name} is a WebP image", hint=_IMAGE_HINT)
    if name.lower().endswith(".pdf"):
        begins = shown(data[:12].decode("latin-1"))
        raise InputError(
            f'{name} is not a PDF (it begins with "{begins}")',
            hint="check the download; a PDF begins with %PDF-",
        )
    text, notes = decode_text(data, name)
    reason = f"{len(text):,} characters of text"
    return Document(name, (Page(1, text.strip("\n"), "text", reason),), notes)
