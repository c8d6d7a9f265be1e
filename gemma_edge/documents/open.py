"""Open a document of any kind that can be read; say what it is where it cannot.

PDFs, images, office files, HTML, e-mails and large texts are read in child processes with limits,
so that a bomb, a loop or a crash of a library is one line here; plain text and CSV of up to a
megabyte in UTF-8 in this one: that is Python's own work in a time that their length bounds, and a
process takes about 0.1 s to start.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from itertools import count as counting

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
    listed,
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
    if kind_of(data, name) == "image":
        return _read_image(data, name, pages)
    attached = _AttachedFiles(name, password, pages, options)
    document = attached.join(_read_alone(data, name, password, options, attached.choose))
    if not document.pages:
        why = listed(document.notes) or "it is empty"
        raise InputError(f"{name}: nothing of what is in it can be read ({why})")
    return document


# Told how many pages a document has of its own and which files came with it, it says which of the
# pages are wanted.
_Choose = Callable[[int, Sequence[AttachedFile]], Sequence[int]]


def _read_alone(
    data: bytes, name: str, password: str | None, options: ReadOptions, choose: _Choose
) -> Document:
    """A document of any kind but an image, without what came with it."""
    kind = kind_of(data, name)
    if kind == "pdf":
        return read_pdf(data, name, password=password, options=options, choose=choose)
    if kind in ("text", "html"):
        _check_ending(data, name)
    small = kind in _READERS_HERE and _is_small(data, options)
    found = _read(kind, data, name, options) if small else read_apart(kind, data, name, options)
    read = [
        Page(number, text, "text" if text.strip() else "empty", _reason(text, what))
        for number, (text, what) in enumerate(found.pages, 1)
    ]
    chosen = choose(len(read), found.files)
    return Document(name, tuple(read[number - 1] for number in chosen), found.notes)


# Documents in a document: what is attached to an e-mail, and what a PDF carries. Their pages follow
# those of the document.

_MOST_FILES, _DEEPEST = 50, 3
_FILES_BYTES = 256 << 20  # of all of them
_FILES_SECONDS = 60.0  # by the clock, after which no further one is begun
_LOGO_AREA = 1 << 16  # pixels: a line of writing has more


class _AttachedFiles:
    """The files that came with a document, and with those, read one after another, each once."""

    def __init__(
        self, name: str, password: str | None, pages: PageNumbers | None, options: ReadOptions
    ) -> None:
        self._name, self._password, self._asked, self._options = name, password, pages, options
        self._pages: list[Page] = []
        self._documents: list[Document] = []
        self._notes: list[str] = []
        self._unread: dict[str, list[str]] = {}  # by why
        self._seen: dict[bytes, str] = {}
        self._bytes = self._chars = 0
        self._begun = time.monotonic()
        self._first, self._chosen = 1, frozenset[int]()

    def choose(self, count: int, files: Sequence[AttachedFile]) -> Sequence[int]:
        """The numbers of the pages that are wanted of a document with so many of its own, after
        its files were read."""
        self._add(files, "", 1)
        every = count + len(self._pages)
        numbers = self._asked.choose(every, self._name) if self._asked else range(1, every + 1)
        self._first, self._chosen = count + 1, frozenset(numbers)
        return [number for number in numbers if number <= count]

    def join(self, document: Document) -> Document:
        """The document, and those pages of its files that are wanted."""
        for why, names in self._unread.items():
            self._notes.append(f"{self._name}: not read: {listed(names)}: {why}")
        numbered = (
            replace(page, number=number) for number, page in enumerate(self._pages, self._first)
        )
        pages = tuple(page for page in numbered if page.number in self._chosen)
        return replace(
            document, pages=(*document.pages, *pages), files=tuple(self._documents),
            notes=(*document.notes, *self._notes),
        )  # fmt: skip

    def _add(self, files: Sequence[AttachedFile], inside: str, depth: int) -> None:
        for file in files:
            title = self._title(f"{inside}{file.name}")
            if why := self._why_not(file, title, depth):
                self._unread.setdefault(why, []).append(title)
                continue
            try:
                self._read(file, title, depth)
            except InputError as error:
                hint = f" ({error.hint})" if error.hint else ""
                self._notes.append(f"not read: {error.message}{hint}")

    def _title(self, name: str) -> str:
        """A name that no other of them has."""
        known = {each.name for each in self._documents}
        stem, dot, ending = name.rpartition(".")
        others = (f"{stem} ({at}){dot}{ending}" if dot else f"{name} ({at})" for at in counting(2))
        return name if name not in known else next(each for each in others if each not in known)

    def _why_not(self, file: AttachedFile, title: str, depth: int) -> str:
        """Why a file is not read, or nothing."""
        digest = sha256(file.data).digest()
        if digest in self._seen:
            return f"the same as {self._seen[digest]}"
        self._seen[digest] = title
        self._bytes += len(file.data)
        late = time.monotonic() - self._begun > _FILES_SECONDS
        limits = (
            (depth > _DEEPEST, f"files are read {_DEEPEST} deep at most"),
            (len(self._documents) >= _MOST_FILES, f"{_MOST_FILES} files are the most"),
            (self._bytes > _FILES_BYTES, f"{_FILES_BYTES / MIB:.0f} MiB of files are the most"),
            (self._chars > MAX_CHARS, f"{MAX_CHARS:,} characters are the most"),
            (len(self._pages) >= LIMITS.max_pages, f"{LIMITS.max_pages:,} pages are the most"),
            (late, f"{_FILES_SECONDS:g} s are the most that reading them may take"),
        )
        return next((why for is_so, why in limits if is_so), "")

    def _read(self, file: AttachedFile, title: str, depth: int) -> None:
        """Raises InputError: it cannot be read."""
        name = f"{self._name} > {title}"
        inner: list[AttachedFile] = []

        def choose(count: int, files: Sequence[AttachedFile]) -> Sequence[int]:
            inner.extend(files)
            return range(1, count + 1)

        if kind_of(file.data, file.name) == "image":
            document = _read_image(file.data, name, None)
            if len(document.pages) == 1 and _is_logo(document.pages[0]):
                self._unread.setdefault("small pictures", []).append(title)
                return
        else:
            document = _read_alone(file.data, name, self._password, self._options, choose)
        self._documents.append(replace(document, name=title))
        self._notes += [note if name in note else f"{name}: {note}" for note in document.notes]
        for page in document.pages:
            self._pages.append(replace(page, file=title, file_page=page.number))
            self._chars += len(page.text)
        self._add(inner, f"{title} > ", depth + 1)


def _is_logo(page: Page) -> bool:
    return page.width * page.height < _LOGO_AREA


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
    "html": ("html", "read_html"), "invoice": ("einvoice", "read_einvoice"),
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
