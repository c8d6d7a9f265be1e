"""Open a document of any kind that can be read; say what it is where it cannot.

PDFs, office files, HTML, e-mails and untrusted image formats are read in child processes with
limits, so that a bomb, a loop or a crash of a library is one line here; plain text, CSV and the
usual images in this one, because a process takes about 0.2 s to start.
"""

import math
from collections.abc import Iterator
from importlib import import_module

from gemma_edge.documents.document import (
    MAX_CHARS,
    MIN_TOKENS,
    Document,
    ExtractedText,
    Kind,
    Page,
    PageNumbers,
    StrPath,
    cut_note,
    decode_text,
    kind_of,
    read_file,
    shown,
)
from gemma_edge.documents.pdf import LIMITS, read_pdf
from gemma_edge.errors import InputError
from gemma_edge.isolation import (
    Child,
    ChildError,
    ChildMessage,
    ChildRequest,
    ChildStopped,
    Handler,
    Limits,
)

MAX_DOCUMENT_BYTES = 256 << 20

_REFUSED = (  # how a file begins, what it is, what to do
    (b"{\\rtf", "an RTF file", "save it as .docx, PDF or text"),
    (b"GGUF", "a GGUF model", "--model takes it; name a document here"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"%!PS", "a PostScript file", "ps2pdf FILE makes a PDF of it"),
)
_ENDINGS = {  # of files that are never plain text
    "pdf": "a PDF", "docx": "a Word file", "xlsx": "an Excel file", "ods": "a spreadsheet",
    "png": "an image", "jpg": "an image", "jpeg": "an image", "tif": "an image",
    "tiff": "an image", "webp": "an image", "heic": "an image", "gif": "an image",
}  # fmt: skip


def open_document(
    path: StrPath, *, password: str | None = None, pages: PageNumbers | None = None
) -> Document:
    """Read the document at ``path``, or only those ``pages`` of it.
    Raises InputError: missing, a folder, empty, too large, encrypted, damaged, without text or
    pages, or of a kind that is not read; UsageError: a page that there is not."""
    data = read_file(path, max_bytes=MAX_DOCUMENT_BYTES)
    return read_document(data, shown(path), password=password, pages=pages)


def read_document(
    data: bytes, name: str, *, password: str | None = None, pages: PageNumbers | None = None
) -> Document:
    """The same for bytes that are there already, such as those of stdin."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    kind = kind_of(data, name)
    if kind == "pdf":
        return read_pdf(data, name, password=password, pages=pages)
    if kind == "image":
        return _read_image(data, name, pages)
    if kind in ("text", "html"):
        _check_ending(data, name)
    if kind == "separated":
        from gemma_edge.documents.sheets import read_separated

        found = read_separated(data, name)
    else:
        found = _read_text(data, name) if kind == "text" else read_apart(kind, data, name)
    read = [
        Page(number, text, "text" if text.strip() else "empty", _reason(text, what))
        for number, (text, what) in enumerate(found.pages, 1)
    ]
    if pages is not None:
        read = [read[number - 1] for number in pages.choose(len(read), name)]
    return Document(name, tuple(read), found.notes)


def _read_image(data: bytes, name: str, pages: PageNumbers | None) -> Document:
    """Pages to look at: all of a TIFF, the first frame of what moves. Each is decoded once, small,
    so that a damaged one is refused now."""
    from gemma_edge.documents.images import iter_images, origin_of

    found: list[Page] = []
    notes: list[str] = []
    for image in iter_images(data, name, pages=pages, max_tokens=MIN_TOKENS):
        if len(found) == LIMITS.max_pages:
            notes.append(f"{name}: {LIMITS.max_pages:,} pages are the most that is read")
            break
        origin = origin_of(image)
        width, height = float(origin.width), float(origin.height)
        reason = f"an image of {origin.width}x{origin.height} pixels"
        found.append(Page(origin.page or 1, "", "scan", reason, (), width, height))
        notes += [f"{name}: {origin.note} is read"] if origin.note else []
    return Document(name, tuple(found), tuple(notes), source=data, media="image")


def _read_text(data: bytes, name: str) -> ExtractedText:
    for start, what, hint in _REFUSED:
        if data.startswith(start):
            raise InputError(f"{name} is {what}", hint=hint)
    text, notes = decode_text(data, name)
    if len(text) > MAX_CHARS:
        text, notes = text[:MAX_CHARS], (*notes, cut_note(name))
    parts = [part.strip("\n") for part in text.split("\f")]
    while len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    return ExtractedText(tuple((part, "text") for part in parts), notes)


def _reason(text: str, what: str) -> str:
    if not text.strip():
        return f"{what}: nothing is written on it"
    count = f"{len(text):,} character{'' if len(text) == 1 else 's'}"
    return f"{count} of text" if what == "text" else f"{what}: {count}"


def _check_ending(data: bytes, name: str) -> None:
    """Text under the name of something else is mostly a download that failed."""
    ending = name.lower().rpartition(".")[2]
    if ending in _ENDINGS:
        begins = shown(data[:12].decode("latin-1"))
        more = "; a PDF begins with %PDF-" if ending == "pdf" else ""
        raise InputError(
            f'{name} is not {_ENDINGS[ending]} (it begins with "{begins}")',
            hint=f"check the download{more}",
        )


def read_apart(
    kind: Kind, data: bytes, name: str, seconds: float = 30.0, memory_bytes: int = 2 << 30
) -> ExtractedText:
    """What the reader of office files, HTML or e-mails finds in the bytes, in a process of its
    own; ``memory_bytes`` of address space come on top of the file.
    Raises InputError: what the reader says; or it crashed, or took too long or too much memory;
    GemmaEdgeError: no process can be started."""
    limits = Limits(
        seconds, math.ceil(seconds), memory_bytes + 2 * len(data), may_write_files=False
    )
    with Child("gemma_edge.documents.open:reader", kind, limits=limits) as child:
        try:
            found = child.call({"name": name}, data).header
        except ChildError as error:
            message = f"{name} is damaged, or too much to read (its reader stopped: {error})"
            if isinstance(error, ChildStopped) and error.death.cause == "timeout":
                late = error.death.reason.removeprefix("it ")  # "it took longer than 30 s"
                message = f"{name} {late} to read"
            hint = "open it and save it anew, or as PDF"
            raise InputError(message, hint=hint) from None
    return ExtractedText(
        tuple((text, what) for text, what in found["pages"]), tuple(found["notes"])
    )


def reader(kind: Kind) -> Handler:
    """The child program. Asked ``{"name"}`` with the bytes of a file, it answers ``{"pages":
    [[text, what it is], …], "notes": [line, …]}``."""
    module, function = {
        "office": ("office", "read_office"), "mail": ("mail", "read_mail"),
        "html": ("html", "read_html"),
    }[kind]  # fmt: skip

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        read = getattr(import_module(f"gemma_edge.documents.{module}"), function)
        found = read(request.parts[0], request.header["name"])
        yield ChildMessage({"pages": found.pages, "notes": found.notes})

    return answer
