"""What kind of office file some bytes are, by what is in them, and the reader for it.

Word, Excel and OpenDocument files are ZIP archives, old ones are OLE files; both can be bombs, so
all of this runs in the child process of ``apart.py``.
"""

import io
import zipfile

from gemma_edge.documents.content import Content
from gemma_edge.documents.office_docx import read_docx
from gemma_edge.documents.sheets import read_sheets
from gemma_edge.errors import InputError
from gemma_edge.units import render_bytes

ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_UNPACKED_BYTES = 400 << 20
MAX_ENTRIES = 20_000

_SPREADSHEETS = ("xl/workbook.xml", "xl/workbook.bin")
_OTHERS = (  # an entry that tells the kind, what it is, what to do
    ("ppt/presentation.xml", "a PowerPoint file", "save it as PDF"),
    ("META-INF/container.xml", "an e-book (EPUB)", "convert it to PDF or HTML"),
    ("Index/Document.iwa", "a Pages, Numbers or Keynote file", "export it as PDF"),
    ("AndroidManifest.xml", "an Android app", "name a document"),
)
_OPEN_DOCUMENT = {
    "text": ("an OpenDocument text", "save it as .docx or PDF"),
    "presentation": ("an OpenDocument presentation", "save it as PDF"),
}
_STREAMS = (  # of an OLE file: the name of a stream, what it is, what to do
    ("EncryptedPackage", "encrypted with a password", "save it without one, or as PDF"),
    ("WordDocument", "an old Word file (.doc)", "save it as .docx or PDF"),
    ("PowerPoint Document", "an old PowerPoint file (.ppt)", "save it as PDF"),
    ("__properties_version1.0", "an Outlook message (.msg)", "save it as .eml or PDF"),
)


def read_office(data: bytes, name: str) -> Content:
    """The file by the reader of its kind.

    Raises:
        InputError: of a kind that is not read, encrypted, damaged, or a bomb.
    """
    if data.startswith(OLE):
        return _read_ole(data, name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(entries, name)
            names = {entry.filename for entry in entries}
            mimetype = archive.read("mimetype")[:200] if "mimetype" in names else b""
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise InputError(
            f"{name} is damaged ({' '.join(str(error).split())[:120]})",
            hint="copy it again, or open it and save it anew",
        ) from None
    if "word/document.xml" in names:
        return read_docx(data, name)
    kind = mimetype.decode("latin-1").partition("application/vnd.oasis.opendocument.")[2]
    if names.intersection(_SPREADSHEETS) or kind.startswith("spreadsheet"):
        return read_sheets(data, name)
    raise _refused(name, names, kind)


def _check(entries: list[zipfile.ZipInfo], name: str) -> None:
    """Refuse a bomb before anything of it is unpacked."""
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES or len(entries) > MAX_ENTRIES:
        raise InputError(
            f"{name} unpacks to {render_bytes(unpacked)} in {len(entries):,} files; at most "
            f"{render_bytes(MAX_UNPACKED_BYTES)} in {MAX_ENTRIES:,} are read",
            hint="save it smaller, or as PDF",
        )


def _refused(name: str, names: set[str], kind: str) -> InputError:
    what, hint = _OPEN_DOCUMENT.get(kind.partition("-")[0].strip(), ("", ""))
    for entry, title, way in _OTHERS:
        if entry in names:
            what, hint = title, way
    return InputError(
        f"{name} is {what or 'a ZIP archive'}", hint=hint or "unpack it, and name what is in it"
    )


def _read_ole(data: bytes, name: str) -> Content:
    """Old Excel files are read; what else it may be is told by the names of its streams."""
    if any(_holds(data, stream) for stream in ("Workbook", "Book")):
        return read_sheets(data, name)
    for stream, what, hint in _STREAMS:
        if _holds(data, stream):
            raise InputError(f"{name} is {what}", hint=hint)
    raise InputError(f"{name} is an old Office file", hint="save it as .docx, .xlsx or PDF")


def _holds(data: bytes, stream: str) -> bool:
    """Whether an entry of the directory has this name: UTF-16 with its end, in 64 bytes."""
    return (stream + "\0").encode("utf-16-le") in data
