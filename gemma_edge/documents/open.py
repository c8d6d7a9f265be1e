"""Open a document of any kind that can be read; say what it is where it cannot.

PDFs, images, office files, HTML, e-mails and large texts are read in child processes with limits,
so that a bomb, a loop or a crash of a library is one line here; plain text and CSV of up to a
megabyte in UTF-8 in this one: that is Python's own work in a time that their length bounds, and a
process takes about 0.1 s to start.
"""

import math
import time
from collections.abc import Iterator
from importlib import import_module

from gemma_edge.documents.document import (
    ANSWER_BYTES,
    CHILD_MEMORY_BYTES,
    MAX_CHARS,
    MIN_TOKENS,
    PLAIN,
    AttachedFile,
    Document,
    ExtractedText,
    Kind,
    Page,
    PageNumbers,
    ReadOptions,
    StrPath,
    Writer,
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
from gemma_edge.units import MIB

MAX_DOCUMENT_BYTES = 256 << 20
_SMALL_BYTES = 1 << 20  # of text: half a second at worst
# Of the processor, for a document that is no PDF: some, more for each megabyte, and no more. What
# people have takes a fifth of it.
_SECONDS, _SECONDS_A_MIB, _MOST_SECONDS = 8.0, 1.5, 30.0
_PATIENCE = 3.0  # times as long it is waited for: a machine may have other work

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
    path: StrPath, *, password: str | None = None, pages: PageNumbers | None = None,
    options: ReadOptions = PLAIN,
) -> Document:  # fmt: skip
    """Read the document at ``path``, or only those ``pages`` of it.
    Raises InputError: missing, a folder, empty, too large, encrypted, damaged, without text or
    pages, or of a kind that is not read; UsageError: a page that there is not."""
    data = read_file(path, max_bytes=MAX_DOCUMENT_BYTES)
    return read_document(data, shown(path), password=password, pages=pages, options=options)


def read_document(
    data: bytes, name: str, *, password: str | None = None, pages: PageNumbers | None = None,
    options: ReadOptions = PLAIN,
) -> Document:  # fmt: skip
    """The same for bytes that are there already, such as those of stdin."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    kind = kind_of(data, name)
    if kind == "pdf":
        return read_pdf(data, name, password=password, pages=pages, options=options)
    if kind == "image":
        return _read_image(data, name, pages)
    if kind in ("text", "html"):
        _check_ending(data, name)
    small = kind in _READERS_HERE and _is_small(data, options)
    found = _read(kind, data, name, options) if small else read_apart(kind, data, name, options)
    read = [
        Page(number, text, "text" if text.strip() else "empty", _reason(text, what))
        for number, (text, what) in enumerate(found.pages, 1)
    ]
    if pages is not None:
        read = [read[number - 1] for number in pages.choose(len(read), name)]
    return Document(name, tuple(read), found.notes)


def _is_small(data: bytes, options: ReadOptions) -> bool:
    """Whether it is little text in an encoding that is known."""
    if len(data) > _SMALL_BYTES:
        return False
    try:
        is_marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        return is_marked or bool(options.encoding or data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _read_image(data: bytes, name: str, pages: PageNumbers | None) -> Document:
    """Pages to look at: all of a TIFF, the first frame of what moves. Each is decoded once, small,
    so that a damaged one is refused now."""
    from gemma_edge.documents.images import iter_images, origin_of

    found: list[Page] = []
    notes: list[str] = []
    begun = time.monotonic()
    for image in iter_images(data, name, pages=pages, max_tokens=MIN_TOKENS):
        origin = origin_of(image)
        why = _why_stop(len(found), time.monotonic() - begun, origin.pages)
        if why:
            notes.append(f"{name}: page {origin.page:,} and what follows is not read: {why}")
            break
        width, height = float(origin.width), float(origin.height)
        reason = f"an image of {origin.width}x{origin.height} pixels"
        found.append(Page(origin.page or 1, "", "scan", reason, (), width, height))
        notes += [f"{name}: {origin.note} is read"] if origin.note else []
    return Document(name, tuple(found), tuple(notes), source=data, media="image")


def _why_stop(done: int, seconds: float, pages: int) -> str:
    """Why no further image is read, or nothing."""
    if done >= LIMITS.max_pages:
        return f"{LIMITS.max_pages:,} pages are the most that is read"
    most = LIMITS.seconds + 0.25 * pages
    late = done and seconds > most
    return f"{most:.0f} s are the most that reading may take" if late else ""


def read_text(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """A text as it is, a page for each form feed.
    Raises InputError: of a kind that is not read, or not text."""
    for start, what, hint in _REFUSED:
        if data.startswith(start):
            raise InputError(f"{name} is {what}", hint=hint)
    text, notes = decode_text(data, name, options.encoding)
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


def read_apart(  # noqa: PLR0913
    kind: Kind, data: bytes, name: str, options: ReadOptions = PLAIN, *,
    seconds: float | None = None, memory_bytes: int = CHILD_MEMORY_BYTES,
) -> ExtractedText:  # fmt: skip
    """What the reader of this kind finds in the bytes, in a process of its own that gets so many
    ``seconds`` of the processor, without them as many as its size deserves; ``memory_bytes`` of
    address space come on top of the file. Where it stops early, what was read until then is kept.
    Raises InputError: what the reader says; or it crashed, or took too long or too much memory,
    before it had read a page; GemmaEdgeError: no process can be started."""
    if seconds is None:
        seconds = min(_MOST_SECONDS, round(_SECONDS + _SECONDS_A_MIB * len(data) / MIB))
    patience = _PATIENCE * seconds
    limits = Limits(
        patience, math.ceil(seconds), memory_bytes + 2 * len(data), ANSWER_BYTES,
        may_write_files=False,
    )  # fmt: skip
    pages: list[tuple[str, str]] = []
    notes: list[str] = []
    files: list[AttachedFile] = []
    deadline = time.monotonic() + patience
    with Child("gemma_edge.documents.open:reader", kind, limits=limits, decodes=True) as child:
        asked = {"name": name, "seconds": seconds}
        child.send({**asked, "encoding": options.encoding, "hidden": options.hidden}, data)
        try:
            while (said := child.receive(max(0.0, deadline - time.monotonic()))) is not None:
                pages += [(text, what) for text, what in said.header["pages"]]
                notes += said.header["notes"]
                files += map(AttachedFile, said.header["files"], said.parts)
        except ChildError as error:
            late = isinstance(error, ChildStopped) and error.death.cause == "timeout"
            why = f"it took longer than {seconds:g} s" if late else _in_a_line(error)
            if not any(text for text, _ in pages):
                raise _unread(name, why, late) from None
            notes.append(f"{name}: what follows page {len(pages):,} is not read: {why}")
    return ExtractedText(tuple(pages), tuple(notes), tuple(files))


_SAID_CHARS = 200  # of what a library says about a file


def _in_a_line(error: ChildError) -> str:
    said = shown(" ".join(str(error).split()))
    return said if len(said) <= _SAID_CHARS else f"{said[:_SAID_CHARS]}…"


def _unread(name: str, why: str, late: bool) -> InputError:
    message = f"{name} is damaged, or too much to read (its reader stopped: {why})"
    if late:
        message = f"{name} {why.removeprefix('it ')} to read"  # "took longer than 20 s"
    return InputError(message, hint="open it and save it anew, or as PDF")


_READERS_HERE = {"text": ("open", "read_text"), "separated": ("sheets", "read_separated")}
_READERS = {
    **_READERS_HERE, "office": ("office", "read_office"), "mail": ("mail", "read_mail"),
    "html": ("html", "read_html"),
}  # fmt: skip


def _read(kind: Kind, data: bytes, name: str, options: ReadOptions) -> ExtractedText:
    module, function = _READERS[kind]
    read = getattr(import_module(f"gemma_edge.documents.{module}"), function)
    found: ExtractedText = read(data, name, options)
    return found


def reader(kind: Kind) -> Handler:
    """The child program. Asked ``{"name", "seconds", "encoding", "hidden"}`` with the bytes of a
    file, it answers, once or several times, ``{"pages": [[text, what it is], …], "notes": [line,
    …], "files": [name, …]}`` with the bytes of those."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        asked = request.header
        options = ReadOptions(asked["encoding"], asked["hidden"])
        with Writer.limited(asked["seconds"]):
            found: ExtractedText | Iterator[ExtractedText] = _read(
                kind, request.parts[0], asked["name"], options
            )
            for each in [found] if isinstance(found, ExtractedText) else found:
                said = {"pages": each.pages, "notes": each.notes}
                names = [file.name for file in each.files]
                yield ChildMessage({**said, "files": names}, tuple(f.data for f in each.files))

    return answer
