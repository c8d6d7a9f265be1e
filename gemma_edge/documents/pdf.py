"""A PDF to a document: its pages as the child reads them, their text laid out, their kinds."""

from __future__ import annotations

import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any, NamedTuple

from gemma_edge.documents.document import (
    ANSWER_BYTES,
    CHILD_MEMORY_BYTES,
    PLAIN,
    AttachedFile,
    Document,
    Page,
    PageNumbers,
    ReadOptions,
    attached_name,
    clean,
    listed,
    render_numbers,
    shown,
)
from gemma_edge.documents.layout import Piece, render_layout
from gemma_edge.errors import GemmaEdgeError, InputError
from gemma_edge.isolation import Child, ChildError, Limits
from gemma_edge.records import dataclass
from gemma_edge.units import render_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfLimits:
    """What one PDF may cost. Reading ends after ``seconds``, and as much again for 900 pages;
    after ``page_seconds`` with one page, or with opening the file, the child is killed, and after
    a third of them where it needs the processor all the time. ``memory_bytes`` of memory come
    on top of the file itself. No context holds the text of ``max_chars``; the words of
    ``page_chars`` of one page take a quarter of a gigabyte here."""

    max_pages: int = 2000
    max_chars: int = 4_000_000
    page_chars: int = 1_000_000
    seconds: int = 30
    page_seconds: int = 30
    memory_bytes: int = CHILD_MEMORY_BYTES

    def total_seconds(self, pages: int) -> float:
        """For so many pages."""
        return self.seconds * (1 + pages / 900)


_PLACES = 8  # floats of a word, as pdf_child.py describes them
_MOST_FILES = 200  # in one PDF, that are looked at
_MOST_CHILDREN = 4  # pages on which the child may end before the rest is left unread


LIMITS = PdfLimits()


def read_pdf(  # noqa: PLR0913  (each is named)
    data: bytes,
    name: str,
    *,
    password: str | None = None,
    pages: PageNumbers | None = None,
    limits: PdfLimits = LIMITS,
    options: ReadOptions = PLAIN,
    choose: Callable[[int, Sequence[AttachedFile]], Sequence[int]] | None = None,
) -> Document:
    """The pages of a PDF that ``pages`` names, or that ``choose`` does when it is told how many
    there are and which files are in it; all without both. A page that cannot be read is
    ``damaged``; the others are read all the same.
    Raises InputError: encrypted, or damaged as a whole; UsageError: a page that there is not."""
    with _PdfReading(data, name, password, limits, hidden=options.hidden) as reading:
        count = reading.page_count
        numbers: Sequence[int] = pages.choose(count, name) if pages else range(1, count + 1)
        if choose:
            files = reading.files()
            numbers = choose(0 if reading.is_cover else count, files)
            reading.begin()  # other files are not on its own time
        read = tuple(_page(*answer) for answer in reading.iter_answers(numbers))
    if reading.about.is_placeholder(read):
        read = (reading.about.filled_in(read[0]), *read[1:])
    if read and all(page.kind == "damaged" for page in read):
        raise damaged(name, read[0].reason)
    notes = _notes(read, numbers, reading)
    return Document(name, read, notes, source=data, password=password, media="pdf")


class _PdfReading:
    """Asks child after child for pages: one that ends on a page is followed by another."""

    def __init__(
        self, data: bytes, name: str, password: str | None, limits: PdfLimits, *, hidden: bool
    ) -> None:
        self._source, self.limits = (data, name, password, limits), limits
        self.hidden = hidden  # whether text is read that nobody sees
        self.unseen: dict[int, dict[str, int]] = {}  # pages with such text: characters, by reason
        self.remarks: list[str] = []  # what people wrote about its pages
        self.stopped = ""  # why pages were left unread
        self.cut: dict[int, int] = {}  # pages of which so many characters were read, not all
        self._left = limits.max_chars
        self.is_cover = False  # its one page says only that files are in it
        self.unread_files: list[str] = []  # why
        self._child, self._head = open_child(*self._source)
        self.page_count: int = self._head["page_count"]
        self.about = _About(*self._ask_about())
        self._most = limits.total_seconds(self.page_count)
        self.begin()
        self._children = 1

    def begin(self) -> None:
        """The time for reading it counts from now."""
        self._deadline = time.monotonic() + self._most

    def __enter__(self) -> _PdfReading:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def files(self) -> tuple[AttachedFile, ...]:
        """The files in it."""
        found: list[AttachedFile] = []
        size = 0
        for number in range(min(self._head["files"], _MOST_FILES)):
            try:
                head, parts = self._child.call({"file": number})
            except ChildError as stopped:
                self.unread_files.append(str(stopped))
                self._replace_child()
                break
            if "error" in head:
                self.unread_files.append(head["error"])
                continue
            data = b"".join(parts)
            size += len(data)
            if size > ANSWER_BYTES:
                self.unread_files.append(f"{render_bytes(ANSWER_BYTES)} are the most that is read")
                break
            found.append(AttachedFile(attached_name(head["name"]), data))
        if (more := self._head["files"] - _MOST_FILES) > 0:
            self.unread_files.append(f"{more:,} more than {_MOST_FILES}")
        self.is_cover = self._head["cover"] and bool(found)
        return tuple(found)

    def iter_answers(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Any], bytes]]:
        """What the child says of each page. While one is made use of the next is being read."""
        asked, limits = False, self.limits
        for at, number in enumerate(numbers):
            if not asked:
                self._ask(number)
            left = self._deadline - time.monotonic()
            try:
                # The first page is never cut short: there would be nothing.
                head, parts = self._child.receive_answer(
                    min(left, limits.page_seconds) if at else None
                )
            except ChildError as stopped:
                if at and time.monotonic() > self._deadline:
                    self.stopped = self._why_stop(at)
                    return
                head, parts, asked = {"error": f"the PDF reader stopped: {stopped}"}, (), False
                self._replace_child()
            else:
                read = min(head.get("chars", 0), self._page_chars)
                self._left -= read
                asked = True
            if head.get("hidden"):
                self.unseen[number] = head["hidden"]
            self.remarks += head.get("remarks", ())
            if head.get("cut"):
                self.cut[number] = limits.page_chars if self._left else limits.max_chars
            self.stopped = self.stopped or self._why_stop(at + 1)
            if asked and not self.stopped and at + 1 < len(numbers):
                self._ask(numbers[at + 1])
            yield number, head, b"".join(parts)
            if self.stopped:
                return

    def _ask_about(self) -> tuple[Any, ...]:
        try:
            said = self._child.call({"about": True}).header
        except ChildError:
            self._child, _ = open_child(*self._source)
            return ()
        return () if "error" in said else (said["signed"], said["xfa"], said["is_dynamic"])

    def _ask(self, number: int) -> None:
        self._child.send({"read": number, "max_chars": self._page_chars, "hidden": self.hidden})

    @property
    def _page_chars(self) -> int:
        return min(self._left, self.limits.page_chars)

    def _why_stop(self, done: int) -> str:
        limits = self.limits
        if done >= limits.max_pages:
            return f"{limits.max_pages:,} pages are the most that is read"
        if self._left <= 0:
            return f"{limits.max_chars:,} characters are the most that is read"
        late = time.monotonic() > self._deadline
        return f"{self._most:.0f} s are the most that reading may take" if late else ""

    def _replace_child(self) -> None:
        self._child.close()
        if self._children == _MOST_CHILDREN:
            self.stopped = f"the PDF reader stopped on {_MOST_CHILDREN} of its pages"
            return
        self._children += 1
        try:
            self._child, _ = open_child(*self._source)
        except GemmaEdgeError as error:
            self.stopped = error.message


def _page(number: int, head: dict[str, Any], content: bytes) -> Page:
    if "error" in head:
        return Page(number, "", "damaged", f"it cannot be read ({head['error']})")
    width, height, signals = head["width"], head["height"], PageSignals(**head["signals"])
    kind, reason = page_kind(signals)
    text, words = render_layout(_pieces(content, head["count"]), width, height)
    doubt = doubt_on(text, signals) if kind in ("text", "mixed") else ""
    kind, reason = ("scan", f"{_NOT_TRUSTED}: {doubt}") if doubt else (kind, reason)
    reason += "; cut here" if head["cut"] else ""
    return Page(number, text, kind, reason, words, width, height, signals.image_share)


def _pieces(content: bytes, count: int) -> list[Piece]:
    places = array("f")
    end = count * _PLACES * places.itemsize
    places.frombytes(content[:end])
    texts = content[end:].decode("utf-8").split("\n")
    values = iter(places)
    columns = zip(texts, *[values] * _PLACES, strict=False)  # no words: one empty text, no places
    return [
        Piece(text, left, top, right, bottom, base, int(turn), glued > 0, skew)
        for text, left, top, right, bottom, base, turn, glued, skew in columns
    ]


def _notes(pages: Sequence[Page], numbers: Sequence[int], reading: _PdfReading) -> tuple[str, ...]:
    notes = []
    damaged_pages = [page for page in pages if page.kind == "damaged"]
    if damaged_pages:
        which = render_numbers([page.number for page in damaged_pages])
        notes.append(f"{which} not read, damaged: {damaged_pages[0].reason}")
    not_trusted = [page.number for page in pages if page.reason.startswith(_NOT_TRUSTED)]
    if not_trusted:
        reason = next(page.reason for page in pages if page.number == not_trusted[0])
        what = "print it to a PDF again, or run OCR on it, where the model sees no pictures"
        notes.append(f"{render_numbers(not_trusted)}: {reason}; {what}")
    left_out = numbers[len(pages) :]
    if left_out:
        notes.append(f"{render_numbers(left_out)} not read: {reading.stopped}")
    notes += [
        f"page {number} is cut: {most:,} characters are the most that is read"
        for number, most in reading.cut.items()
    ]
    if reading.unread_files:
        notes.append(f"files in it are not read: {listed(reading.unread_files)}")
    if reading.is_cover:
        notes.append("its page, which only says to open it in another program, is left out")
    notes += _hidden_note(reading.unseen, is_read=reading.hidden)
    notes += _remarks_note(reading.remarks)
    return (*notes, *reading.about.notes(pages))


def _hidden_note(unseen: dict[int, dict[str, int]], *, is_read: bool) -> list[str]:
    if not unseen:
        return []
    reasons = Counter[str]()
    for each in unseen.values():
        reasons.update(each)
    total = sum(reasons.values())
    why = f"{', '.join(reasons)}, {total:,} character{'' if total == 1 else 's'}"
    where = render_numbers(sorted(unseen))
    if is_read:
        return [f"{where}: hidden text is in what was read ({why})"]
    return [f"{where}: hidden text is left out ({why}); --hidden reads it"]


_REMARK_CHARS = 60  # of one that a note repeats


def _remarks_note(remarks: Sequence[str]) -> list[str]:
    """What people wrote about the pages is no part of them."""
    if not remarks:
        return []
    first = shown(" ".join(remarks[0].split()))
    first = f"{first[:_REMARK_CHARS]}…" if len(first) > _REMARK_CHARS else first
    if len(remarks) == 1:
        return [f'a comment on a page is not read ("{first}")']
    return [f'{len(remarks):,} comments on pages are not read (the first: "{first}")']


_PLACEHOLDER = re.compile(
    r"If this message is not eventually replaced|requires? (?:a newer version of )?Adobe Reader"
    r"|your PDF viewer may not be able to display this type of document"
)
_PLACEHOLDER_CHARS = 1500


class _About(NamedTuple):
    """What the child says of the file, as in ``pdf_objects.about``."""

    signed: Sequence[str] = ()
    xfa: Sequence[str] | None = None
    is_dynamic: bool = False

    def is_placeholder(self, pages: Sequence[Page]) -> bool:
        """Whether the first page only says that the form cannot be shown."""
        if self.xfa is None or not pages or pages[0].number != 1:
            return False
        text = " ".join(pages[0].text.split())
        short = self.is_dynamic and len(text) <= _PLACEHOLDER_CHARS
        return short or _PLACEHOLDER.search(text) is not None

    def filled_in(self, page: Page) -> Page:
        """What was filled into the form in place of its placeholder."""
        text = "\n".join(clean(line) for line in self.xfa or ())
        reason = f"{len(text):,} characters that were filled into the form (XFA)"
        kind, reason = ("text", reason) if text else ("empty", "a placeholder, and no data")
        return replace(page, text=text, kind=kind, reason=reason, words=(), image_share=0.0)

    def notes(self, pages: Sequence[Page]) -> Iterator[str]:
        if self.xfa is not None and pages and pages[0].reason.endswith(("(XFA)", "and no data")):
            what = "only what was filled in is read" if self.xfa else "nothing of it is read"
            yield (
                f"only Acrobat makes the pages of this form (XFA): {what}; "
                "open it in Acrobat Reader and print it to PDF"
            )
        if self.signed:
            days = listed(sorted(set(filter(None, self.signed))))
            count = len(self.signed)
            many = f"{count} digital signatures" if count > 1 else "a digital signature"
            yield f"{many}{f' ({days})' if days else ''}: not checked here"


def open_child(
    data: bytes, name: str, password: str | None, limits: PdfLimits
) -> tuple[Child, dict[str, Any]]:
    """A child process with one PDF open, and what is in it: ``page_count``, ``files``, ``cover``
    as ``pdf_child.py`` has them. ``send`` it an order as in
    ``pdf_child.py``, ``receive_answer``; two orders may be on their way, so that the child reads a
    page while the last one is made use of. It takes about 0.1 s to start, most of it PDFium.

    The PDF travels as bytes, so a document from a pipe goes the same way, and the password is on
    no command line. When the child ends on a page, that one is damaged; another child can be asked
    for the rest.
    Raises InputError: encrypted, damaged or without pages, or the child ended on it;
    GemmaEdgeError: no child can be started."""
    # A machine that has other work makes pages wait; one that computes so long does not end.
    seconds, memory_bytes = limits.page_seconds, limits.memory_bytes + 2 * len(data)
    cpu_seconds = max(1, seconds // 3)
    child_limits = Limits(seconds, cpu_seconds, memory_bytes, ANSWER_BYTES, may_write_files=False)
    child = Child("gemma_edge.documents.pdf_child:main", limits=child_limits, decodes=True)
    try:
        head = child.call({"password": password}, data).header
        if head.get("error") == "password":
            raise encrypted(name, password)
        if "error" in head or not head["page_count"]:
            raise why_unreadable(data, name, head)
    except ChildError as error:
        child.close()
        raise unreadable(name, str(error)) from None
    except BaseException:
        child.close()
        raise
    return child, head


_DAMAGED_HINT = "open it in a PDF viewer and save it anew, or copy it again"


_PARTIAL = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".tmp")
_COPY_HINT = "download or copy it again"
_MOSTLY = 0.9  # share of zeros
_END_BYTES = 2048  # in which its end is looked for
_HANDLER = re.compile(rb"/Filter\s{0,9}/([A-Za-z][\w.+-]{0,60})")
_HANDLERS = {  # names of what encrypts: for whom
    "Adobe.PubSec": "for the holders of certain certificates",
    "Entrust.PPKEF": "for the holders of certain certificates",
    "MicrosoftIRMServices": "by the rights management of Microsoft (IRM, Purview)",
    "MicrosoftIRM": "by the rights management of Microsoft (IRM, Purview)",
    "Adobe.APS": "by Adobe's rights management",
    "EBX_HANDLER": "as an e-book of Adobe (DRM)",
    "FOPN_fLock": "by FileOpen (DRM)",
    "FOPN_foweb": "by FileOpen (DRM)",
}


def why_unreadable(data: bytes, name: str, head: Mapping[str, Any]) -> InputError:
    """The reason for which PDFium opens no PDF, found in its bytes; ``head`` is what the child
    says."""
    if head.get("error") == "locked":
        return _locked(data, name)
    if name.lower().endswith(_PARTIAL):
        size = render_bytes(len(data))
        return InputError(f"{name} is an unfinished download ({size})", hint=_COPY_HINT)
    short = next(_what_is_missing(data), "")
    return damaged(name, short, _COPY_HINT) if short else damaged(name, _what_is_broken(data, head))


def _what_is_missing(data: bytes) -> Iterator[str]:
    size = render_bytes(len(data))
    body = data.rstrip(b"\0\r\n\t ")
    if data.count(0) > _MOSTLY * len(data) or len(body) < _MOSTLY * len(data) - 1024:
        yield f"most of its {size} are zeros: it was not written to the end"
    if not re.search(rb"\d\s{1,9}obj\b", data):
        yield f"after its first line no part of a PDF is in its {size}"
    start = re.search(rb"startxref\s{1,9}(\d{1,12})", data[-_END_BYTES:])
    if b"%%EOF" not in data[-_END_BYTES:] or (start and int(start[1]) > len(data)):
        yield f"it is cut off after {size}: its end is missing"


def _what_is_broken(data: bytes, head: Mapping[str, Any]) -> str:
    detail = head.get("detail", "")
    if "memory" in detail:
        return str(detail)
    if b"/Page" not in data and b"/ObjStm" not in data:
        return "there are no pages in it"
    if head.get("page_count") == 0 or "Success" in detail:
        return "it has no pages, or the list of them is broken"
    return "the tables that say where its parts are cannot be read"


def _locked(data: bytes, name: str) -> InputError:
    handlers = [match[1].decode("ascii") for match in _HANDLER.finditer(data)]
    handler = next((each for each in handlers if each in _HANDLERS), "")
    others = [each for each in handlers if not each.endswith(("Decode", "Standard", "Crypt"))]
    how = _HANDLERS.get(handler, "")
    if not handler:
        how = f"by {others[0]}" if others else "in a way that is too new or unknown"
    return InputError(
        f"{name} is encrypted {how}, which cannot be read here",
        hint="open it in the program that it is made for, and print or save it without protection",
    )


def damaged(name: str, detail: str, hint: str = _DAMAGED_HINT) -> InputError:
    return InputError(f"{name} is damaged ({detail})", hint=hint)


def unreadable(name: str, why: str) -> InputError:
    """For a PDF on which the child ends."""
    return InputError(f"{name} cannot be read (the PDF reader stopped: {why})", hint=_DAMAGED_HINT)


def encrypted(name: str, password: str | None) -> InputError:
    """For a PDF that wants a password, or another one."""
    other = "" if password is None else ", and the password that was given does not open it"
    return InputError(f"{name} is encrypted{other}", hint="--password, or GEMMA_EDGE_PDF_PASSWORD")


# What kind of page it is, and why: a text layer that can be trusted, or a picture of text. The
# signals and their order were tried on 34 real documents (docs/architecture.md, "Long documents").


_FEW_CHARS = 20  # below it a page that shows anything is a picture
_SCAN = 0.8  # share of the page from which images are the page
_PART = 0.3  # share from which an image beside text may hold more of it
_SEEN = 0.02  # share from which images are worth a word: a banner, a stamp
_HIDDEN = 0.5  # share of the text from which it is what a program guessed of the image
_UNREADABLE = 0.1  # share of characters without a meaning from which the text is no use
_LITTLE_TEXT = 200  # characters on a page-filling image: a stamp or a page number
_NOT_TRUSTED = "its text cannot be trusted"
_UNMAPPED = 0.3  # share of characters from which their meanings are guessed
_DRAWN_LETTERS = 200  # drawings of the size of letters; fewer are rules, ticks and logos


class PageSignals(NamedTuple):
    """What says how far a page's text can be trusted. Shares are from 0 to 1."""

    chars: int
    unreadable: int
    image_share: float
    images: int
    drawings: int
    glyphs: int
    hidden: float
    blank: bool
    unmapped: int = 0


def page_kind(signals: PageSignals) -> tuple[str, str]:
    """The kind, as in ``document.PAGE_KINDS``, and the reason in words."""
    images = "an image covers" if signals.images == 1 else f"{signals.images:,} images cover"
    covered = f"{images} {signals.image_share:.0%} of it"
    if signals.chars < _FEW_CHARS:
        return _with_few_chars(signals, covered)
    if signals.image_share >= _SCAN and signals.hidden >= _HIDDEN:
        it = "it" if signals.images == 1 else "them"
        hidden = f"{signals.hidden:.0%} of its text lies hidden under {it}"
        return "scan+ocr-layer", f"{covered}, and {hidden}"
    if signals.unreadable >= _UNREADABLE * signals.chars:
        share = f"{signals.unreadable / signals.chars:.0%}"
        return "scan", f"{_NOT_TRUSTED}: {share} of its characters have no meaning"
    if signals.image_share >= _SCAN and signals.chars < _LITTLE_TEXT:
        return "scan", f"{covered}, with {signals.chars} characters beside it"
    return _with_text(signals, covered)


def _with_text(signals: PageSignals, covered: str) -> tuple[str, str]:
    reason = f"{signals.chars:,} characters in the text layer"
    if signals.image_share >= _PART:
        return "mixed", f"{reason}, and {covered}"
    if signals.glyphs >= max(_DRAWN_LETTERS, signals.chars):
        return "mixed", f"{reason}, and {signals.glyphs:,} drawings of the size of letters"
    if signals.image_share >= _SEEN:
        reason += f", and {covered}"
    return "text", reason


def _with_few_chars(signals: PageSignals, covered: str) -> tuple[str, str]:
    found = f"{signals.chars} characters" if signals.chars else "no text layer"
    if signals.chars and signals.image_share < _PART and signals.glyphs < _DRAWN_LETTERS:
        return "text", f"{signals.chars} characters in the text layer"
    if signals.blank:
        return "empty", "it is blank" if signals.images else "nothing is printed on it"
    if signals.images:
        return "scan", f"{covered}, and it has {found}"
    if signals.drawings:
        drawn = f"{signals.drawings:,} drawing{'' if signals.drawings == 1 else 's'}"
        return "scan", f"it has {found}, only {drawn}"
    return "empty", "nothing is printed on it"


# Text that is letters and no language: a file that does not say what its characters are, so that
# their numbers in the font are taken for letters, or says it wrong, each moved by as much.


# How often letters are in languages that are written with Latin ones, in thousandths.
_USUAL = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (82, 14, 32, 40, 125, 14, 19, 28, 75, 5, 15, 45, 30)
        + (72, 68, 25, 3, 65, 63, 66, 42, 13, 12, 3, 12, 12),
        strict=True,
    )
)  # fmt: skip
_LOOKED_AT = 4000  # characters of a page
_FEW_LETTERS, _ENOUGH_LETTERS = 12, 60  # where the file says no meanings, and where it says some
_LETTERS, _DIGITS = 0.7, 0.3  # shares of running text that are letters at least, digits at most
_NO_LANGUAGE = -3.45  # the mean logarithm of their shares: a language has about -2.9, noise -3.9
_LANGUAGE = -3.1
_MOST_MOVED = 31  # places by which all letters may have been moved


def doubt_on(text: str, signals: PageSignals) -> str:
    """Why the text of a page is not what is printed on it, in words; "" where nothing says so."""
    numbered = text.count("(cid:") * len("(cid:00)")
    if numbered >= _UNREADABLE * max(1, signals.chars):
        return "it is numbers of characters, such as (cid:12)"
    counts = Counter(text[:_LOOKED_AT])
    unmapped = signals.unmapped >= _UNMAPPED * max(1, signals.chars)
    letters, fit = _fit(counts, 0)
    if unmapped and letters >= _FEW_LETTERS and fit < _NO_LANGUAGE:
        return "the file does not say what its characters are"
    signs = sum(count for char, count in counts.items() if not char.isspace())
    digits = sum(count for char, count in counts.items() if char.isdecimal())
    is_text = signs >= _ENOUGH_LETTERS and digits <= _DIGITS * signs
    if is_text and (fit < _NO_LANGUAGE or letters < _LETTERS * signs):
        moved = (_fit(counts, by) for by in range(-_MOST_MOVED, _MOST_MOVED + 1) if by)
        if any(found >= _LETTERS * signs and fit > _LANGUAGE for found, fit in moved):
            return "its letters are others than those that are printed"
    return ""


def _fit(counts: Counter[str], by: int) -> tuple[int, float]:
    """How many characters are Latin letters where each is moved ``by`` places, and how well they go
    with a language: the mean logarithm of their usual shares."""
    letters, total = 0, 0.0
    for char, count in counts.items():
        usual = _USUAL.get(chr((ord(char) + by) % 0x110000).lower())
        if usual:
            letters += count
            total += count * log(usual / 1000)
    return letters, total / max(1, letters)
