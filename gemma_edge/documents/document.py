"""A document as the jobs see it: pages of text, each with its kind and the reason for it, and its
words with the places where they stand. Pure.
"""

import codecs
import contextlib
import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from gemma_edge.errors import InputError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.trust import printable
from gemma_edge.units import render_bytes, render_tokens

MAX_IMAGE_BYTES = 256 << 20
# Of a child that decodes, besides the file: 480 MB of pixels, or a sheet of 24 million cells. With
# what else runs, one hostile file stays below 2 GiB.
CHILD_MEMORY_BYTES = 1280 << 20
ANSWER_BYTES = 256 << 20  # a page of text with its words, or a picture
# Images that are taken from a folder; a file that is named is read whatever its name ends with.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
    + (".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm")
)
CLIPBOARD = "clipboard"  # the name of an image from there

# What a page can be: ``text``; ``scan``, a picture of text (or letters that are drawn);
# ``scan+ocr-layer``, a scan under text that a program guessed; ``mixed``, text beside pictures
# that may hold more of it; ``empty``; ``damaged``, it could not be read.
PAGE_KINDS = ("text", "scan", "scan+ocr-layer", "mixed", "empty", "damaged")


class Box(NamedTuple):
    """A rectangle in points from the top left corner of the page as it is seen, y downwards."""

    left: float
    top: float
    right: float
    bottom: float


class Word(NamedTuple):
    """Characters without white space, and where they stand.

    ``start`` is the offset in ``Page.text``: ``text[start : start + len(word.text)]`` is the word.
    The rest is its box, as in ``Box``."""

    text: str
    start: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def box(self) -> Box:
        return Box(self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; ``number`` counts from 1 in its file.

    ``kind`` is one of ``PAGE_KINDS``; ``reason`` says in words how that was decided. ``text`` is
    whatever text the page has, that of an OCR layer too; it keeps columns apart by runs of spaces.
    ``words`` stand in the order of ``text``. ``width`` and ``height`` are in points as seen (of an
    image: in pixels), 0 where there is nothing to see. ``image_share`` of it, from 0 to 1, lies
    under images. In a document with attachments ``number`` goes on through them; ``file`` is then
    the name of the one that it is of, and ``file_page`` its number in that."""

    number: int
    text: str = field(repr=False)
    kind: str = "text"
    reason: str = ""
    words: tuple[Word, ...] = field(default=(), repr=False)
    width: float = 0.0
    height: float = 0.0
    image_share: float = 0.0
    file: str = ""
    file_page: int = 0

    @property
    def title(self) -> str:
        """``page 3``; in an attached file ``page 3: bill.pdf, page 1``."""
        inside = f": {self.file}, page {self.file_page}" if self.file else ""
        return f"page {self.number}{inside}"


class DrawingTime:
    """Seconds that went into drawing the pages of a document so far."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


@dataclass(frozen=True, slots=True)
class Document:
    """Pages in reading order, those that were asked for.

    ``notes`` are lines a person must see: whatever was left out, or read in a way that they may
    not expect. ``source`` and ``password`` are what its pages are drawn from; ``media`` is
    ``pdf``, ``image`` or ``text`` (nothing to draw). ``files`` are the documents that came with
    it, under the names that ``Page.file`` has; their pages are among ``pages``, too."""

    name: str
    pages: tuple[Page, ...]
    notes: tuple[str, ...] = ()
    source: bytes | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    media: str = "text"
    drawing: DrawingTime = field(default_factory=DrawingTime, repr=False, compare=False)
    files: "tuple[Document, ...]" = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The text of the pages that have any; of several pages each is headed ``[page N]``."""
        if len(self.pages) == 1:
            return self.pages[0].text
        return "\n\n".join(f"[{page.title}]\n{page.text}" for page in self.pages if page.text)

    def origin(self, page: Page) -> "Document":
        """What a page is drawn from: the document itself, or the one that came with it."""
        return next((each for each in self.files if each.name == page.file), self)

    def can_draw(self, page: Page) -> bool:
        """Whether there is something to look at."""
        return self.origin(page).media != "text"

    def place(self, page: Page) -> str:
        """``bill.pdf, page 2``, and ``mail.eml > bill.pdf, page 2`` of one that came with it."""
        if page.file:
            return f"{self.name} > {page.file}, page {page.file_page}"
        return f"{self.name}, page {page.number}"

    def page(self, number: int) -> Page:
        """The page of that number.
        Raises KeyError: it is not among ``pages``."""
        return {page.number: page for page in self.pages}[number]


PATCH_PX = 48  # one token sees 48 x 48 px: patch 16, pooled 3 x 3 (clip.cpp, gemma4v)
MIN_TOKENS = 70  # below it llama.cpp scales up by itself (clip.cpp, set_limit_image_tokens)
MAX_TOKENS = 1120  # the largest budget Gemma 4 was trained with
OVERLAP = 0.1  # of a tile: some two lines of a printed page
TILES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Picture:
    """RGB rows, ``len(rgb) == width * height * 3``, both sides multiples of 48 px.

    ``lost`` says in words what resizing cost ("4032x3024 -> 1296x960"), or is empty; then
    ``whole_tokens`` is what the largest budget would take of it, else 0. ``digest`` is the hash of
    the content: the same pixels in the same size are the same picture."""

    rgb: bytes = field(repr=False)
    width: int
    height: int
    name: str = ""
    lost: str = ""
    whole_tokens: int = 0
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hashed once, because it is asked for with every question, and travels along."""
        size = f"{self.width}x{self.height}:".encode()
        object.__setattr__(self, "digest", sha256(size + self.rgb).hexdigest())

    @property
    def tokens(self) -> int:
        """Soft tokens it takes in the prompt, markers not counted."""
        return (self.width // PATCH_PX) * (self.height // PATCH_PX)


def render_cost(picture: Picture) -> str:
    """One line: the size, what was lost, the tokens, and how less would be lost.

    ``photo.jpg 4032x3024 -> 1296x960, 540 tokens; --detail max would use 1,073``"""
    size = picture.lost or f"{picture.width}x{picture.height}"
    line = f"{picture.name} {size}, {render_tokens(picture.tokens)}"
    if picture.whole_tokens > picture.tokens:
        return f"{line}; --detail max would use {picture.whole_tokens:,}"
    return f"{line}; --tiles 4 would show more" if picture.whole_tokens else line


def tile_boxes(width: int, height: int, count: int) -> tuple[tuple[int, int, int, int], ...]:
    """Halves along the long side (``count`` 2) or quarters (4) of an image, in reading order, as
    ``(left, top, right, bottom)`` in px. Each reaches ``OVERLAP`` of its length into the next, so
    that a line of text that is cut in one is whole in the other.

    A picture of one piece (``count`` 1) is its whole."""
    halves, quarters = TILES[1:]
    across = 2 if count == quarters or (count == halves and width > height) else 1

    def spans(length: int, pieces: int) -> list[tuple[int, int]]:
        part = min(length, math.ceil(length / (2 - OVERLAP)))
        return [(0, length)] if pieces == 1 else [(0, part), (length - part, length)]

    return tuple(
        (left, top, right, bottom)
        for top, bottom in spans(height, count // across)
        for left, right in spans(width, across)
    )


def fit_size(
    width: int, height: int, max_tokens: int, min_tokens: int = MIN_TOKENS
) -> tuple[int, int]:
    """The size, in px, to which an image is resized: multiples of 48, aspect kept as far as
    that allows, between ``min_tokens`` and ``max_tokens`` patches.

    It is llama.cpp's own rule (mtmd-image.cpp, ``calc_size_preserved_ratio`` with align 48), so
    llama.cpp finds nothing left to resize or to pad."""
    patch_area = PATCH_PX * PATCH_PX
    fit_width, fit_height = (
        max(PATCH_PX, math.floor(side / PATCH_PX + 0.5) * PATCH_PX) for side in (width, height)
    )
    if fit_width * fit_height > max_tokens * patch_area:
        shrink = math.sqrt(width * height / (max_tokens * patch_area))
        fit_width = max(PATCH_PX, math.floor(width / shrink / PATCH_PX) * PATCH_PX)
        fit_height = max(PATCH_PX, math.floor(height / shrink / PATCH_PX) * PATCH_PX)
    elif fit_width * fit_height < min_tokens * patch_area:
        grow = math.sqrt(min_tokens * patch_area / (width * height))
        fit_width = math.ceil(width * grow / PATCH_PX) * PATCH_PX
        fit_height = math.ceil(height * grow / PATCH_PX) * PATCH_PX
    # Clamp the long side: a strip of 5000 x 50 px must not exceed the budget either.
    limit = max_tokens * patch_area // min(fit_width, fit_height) // PATCH_PX * PATCH_PX
    if fit_width >= fit_height:
        return min(fit_width, limit), fit_height
    return fit_width, min(fit_height, limit)


MAX_CHARS = 4_000_000  # of one document; no context holds more (as PdfLimits)
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0)))


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is read: text in this ``encoding`` (a name that Python knows; without it the file
    says it, or it is found out), and with what is ``hidden`` in it: white, covered, in hidden rows.
    """

    encoding: str | None = None
    hidden: bool = False


class AttachedFile(NamedTuple):
    """A file in a file: what a mail, a portfolio or a PDF brings along."""

    name: str
    data: bytes


_NAME_CHARS, _ENDING_CHARS = 80, 8
_UNSAFE = str.maketrans("[]<>", "()()")


def attached_name(said: str) -> str:
    """The name of an attached file that is safe in a line and in a prompt, without a folder."""
    name = " ".join(shown(re.split(r"[\\/]", said)[-1]).translate(_UNSAFE).split()) or "file"
    if len(name) > _NAME_CHARS:
        stem, dot, ending = name.rpartition(".")
        ending = f"{dot}{ending}" if dot and len(ending) <= _ENDING_CHARS else ""
        name = (stem if ending else name)[: _NAME_CHARS - len(ending) - 1] + "…" + ending
    return name


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """``pages`` are texts in order, each with a word on what it is (``sheet "May"``); ``notes``
    are lines that a person must see; ``files`` are documents of their own, read after it."""

    pages: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    files: tuple[AttachedFile, ...] = ()


PLAIN = ReadOptions()


class Writer:
    """Collects lines, paragraphs apart by one empty line, up to ``limit`` characters. In a child it
    is full, too, where its document took too much of the processor (``limited``): what was read
    until then is kept."""

    _most: ClassVar[float] = math.inf  # seconds of the processor for this document
    _first: ClassVar[float] = 0.0  # what the process had when it began with it
    _last: ClassVar[float] = math.inf

    @classmethod
    @contextlib.contextmanager
    def limited(cls, seconds: float) -> Iterator[None]:
        """A document, for which there are so many seconds of the processor."""
        cls._most, cls._first, cls._last = seconds, time.process_time(), math.inf
        try:
            yield
        finally:
            cls._most = cls._last = math.inf

    @classmethod
    def is_late(cls) -> bool:
        """Whether it took too long already. Where the file was taken apart late, there is a little
        time for what is in it."""
        now = time.process_time()
        if cls._last == math.inf:
            usual = max(0.6 * cls._most, now - cls._first + 0.2 * cls._most)
            cls._last = cls._first + min(usual, 0.9 * cls._most)
        return now > cls._last

    def __init__(self, limit: int = MAX_CHARS) -> None:
        self.is_full = False
        self._left = limit
        self._lines: list[str] = []

    def line(self, text: str) -> None:
        """One line; what would be too much is left out, and ``is_full`` says so."""
        text = clean(text)
        if len(text) >= self._left:
            self.is_full, text = True, text[: max(0, self._left)]
        self._left -= len(text) + 1
        if text or not self.is_full:
            self._lines.append(text.rstrip())
        self.is_full = self.is_full or self.is_late()

    def gap(self) -> None:
        """An empty line, never two."""
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def take(self) -> str:
        """The text so far; the next begins empty, with what is left of the limit."""
        text = "\n".join(self._lines).strip("\n")
        self._lines = []
        return text


def clean(text: str) -> str:
    """Text without control characters and halves of characters, which no file of text has."""
    if text.isprintable():
        return text
    whole = text.translate(_CONTROLS).encode("utf-16-le", "surrogatepass")
    return whole.decode("utf-16-le", "replace")


def cut_note(what: str) -> str:
    """The note where a ``Writer`` was full."""
    if Writer.is_late():
        return f"{what} is cut: reading it took too long"
    return f"{what} is cut: {MAX_CHARS:,} characters are the most that is read"


def hidden_note(
    name: str, characters: int, options: ReadOptions, where: str = ""
) -> tuple[str, ...]:
    """The one note of a document with hidden text, ``where`` says in what ("2 rows"); none of one
    without."""
    if not characters:
        return ()
    parts = [*([where] if where else []), f"{characters:,} character{'s' * (characters > 1)}"]
    much = ", ".join(parts)
    if options.hidden:
        return (f"{name}: hidden text is in what was read ({much})",)
    return (f"{name}: hidden text is left out ({much}); --hidden reads it",)


def render_row(cells: Sequence[str]) -> str:
    """A row of a table on one line, ``a | b | c``; empty cells at its end are left out."""
    flat = [" ".join(cell.split()) for cell in cells]
    while flat and not flat[-1]:
        flat.pop()
    return " | ".join(flat).rstrip()


def listed(names: Sequence[str], most: int = 6) -> str:
    """``a, b and 3 more``."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"


# Text above or below its line, as Word, HTML and PDF have it. Glued to what stands before, the mark
# of a note would be a digit of the number that it stands behind.


_RAISED = str.maketrans(
    "0123456789+-\u2212=()abcdefghijklmnoprstuvwxyz",
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ",
)
_LOWERED = str.maketrans(
    "0123456789+-\u2212=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"
)
_ORDINALS = frozenset(  # behind a number: 1st, 2nd, 3e, 1er, 2ème, 1os
    ("st", "nd", "rd", "th", "e", "er", "ers", "re", "res", "ère", "ères", "eme", "ème", "ième")
    + ("nde", "os", "as", "ste", "de", "ος", "η")
)
_ABBREVIATED = frozenset(("no", "mr", "dr", "sr"))  # what a single letter ends: N°, Mr, Dr
_TRADE_MARKS = {"TM": "™", "SM": "℠"}


def raised(text: str, before: str = "") -> str:
    """Text that stands above its line, behind ``before``: ``²``, ``⁽¹⁾``, ``ⁿ``, and ``^(1,2)``
    where not every character has a raised one. The letters of ordinals and abbreviations (1st,
    No, Mlle), signs (``*``, ``†``), ``[1]`` and what hangs on nothing stay as they are."""
    mark = text.strip()
    if mark in _TRADE_MARKS:
        return text.replace(mark, _TRADE_MARKS[mark])
    behind = before[-1:]
    letters = mark.rstrip(".")
    if letters.isalpha():
        is_ordinal = behind.isdecimal() and letters.lower() in _ORDINALS
        is_ending = behind.isalpha() and (
            len(letters) > 1 or (behind + letters).lower() in _ABBREVIATED
        )
        if is_ordinal or is_ending or (len(letters) > 1 and not behind.strip()):
            return text
    elif " " in mark and not behind.strip():
        return text
    return power(text)


def power(text: str) -> str:
    """The same in a formula, where letters are no endings: ``²``, ``ⁿ``, ``^(A)``."""
    return _marked(text, "^", _RAISED)


def lowered(text: str) -> str:
    """Text that stands below its line: ``₂``, ``ₙ``, and ``_(A)`` where not every character has a
    lowered one; signs stay as they are."""
    return _marked(text, "_", _LOWERED)


def _marked(text: str, sign: str, table: dict[int, int]) -> str:
    mark = text.strip()
    if all(ord(character) in table for character in mark):
        return text.translate(table)
    is_apart = mark[0] == "[" and mark[-1] == "]"
    if is_apart or not any(map(str.isalnum, mark)):
        return text
    start = text.index(mark)
    inner = mark[1:-1] if mark[0] == "(" and mark.find(")") == len(mark) - 1 else mark
    return f"{text[:start]}{sign}({inner}){text[start + len(mark) :]}"


# What kind of document some bytes are: by how they begin, and by the name's ending only where text
# could be several things.


Kind = Literal["pdf", "image", "office", "html", "mail", "invoice", "separated", "text"]

_IMAGES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_IMAGE_STARTS = re.compile(
    rb".{4}ftyp(?:avi|hei|hev|mif1|msf1)"  # AVIF, HEIF
    rb"|RIFF.{4}WEBP|BM.{12}[\x0c\x28\x34\x38\x6c\x7c]\0\0\0"  # a bitmap with its header's size
    rb"|P[1-6]\s+\d",  # PPM, PGM, PBM
    re.DOTALL,
)
_OFFICE = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:[^-]|-(?!->))*-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE,
)
_INVOICE = re.compile(  # an invoice as data, whatever its namespaces are called
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:[^-]|-(?!->))*-->\s*|<\?[^>]*>\s*)*<(?:[\w.-]{1,40}:)?"
    r"(?:(?:Invoice|CreditNote)\b[^>]*urn:oasis:names:specification:ubl:"
    r"|CrossIndustry(?:Invoice|Document)\b)"
)
E_INVOICE = "an invoice as data"  # what such a page is
_HEAD_LINE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:(?:[ \t]|$)")


def is_pdf(data: bytes) -> bool:
    """Whether the bytes are a PDF, whatever their name says."""
    return b"%PDF-" in data[:1024]  # readers look that far (ISO 32000-1, annex H)


def kind_of(data: bytes, name: str) -> Kind:
    """The kind; bytes that are none of the others are text, or will be refused as such."""
    if data.startswith(_IMAGES) or _IMAGE_STARTS.match(data):
        return "image"
    if data.startswith(_OFFICE) or is_pdf(data):
        return "office" if data.startswith(_OFFICE) else "pdf"
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    head = data[:16384].decode(encoding, "replace").removeprefix("\xef\xbb\xbf")
    lower = name.lower()
    # Web programs write HTML and TSV as .xls.
    is_named = lower.endswith((".html", ".htm", ".xhtml", ".xls"))
    is_page = is_named and re.search(r"<\w", head[: max(0, head.rfind(">"))])  # a tag, and its end
    if is_page or _HTML.match(head):
        return "html"
    if is_mail(head, name):
        return "mail"
    if lower.endswith((".csv", ".tsv", ".tab", ".xls")):
        return "separated"
    return "invoice" if _INVOICE.match(head.lstrip("\ufeff")) else "text"


def is_mail(head: str, name: str) -> bool:
    """Whether text begins with the head of an e-mail; one that was only typed like one has no
    fields of a mail server."""
    lines = head.replace("\r\n", "\n").partition("\n\n")[0].split("\n")
    if lines[0].startswith("From "):  # as mbox files begin
        lines = lines[1:]
    starts = [line for line in lines if line[:1] not in (" ", "\t")]
    if not all(map(_HEAD_LINE.match, starts)):
        return False
    fields = {line.partition(":")[0].lower() for line in starts}
    is_sent = name.lower().endswith(".eml") or fields & {
        "message-id",
        "mime-version",
        "return-path",
    }
    return bool(fields & {"from", "subject", "date", "to"} and is_sent)


StrPath = str | os.PathLike[str]


def read_file(path: StrPath, *, max_bytes: int) -> bytes:
    """The bytes of ``path``; a pipe such as ``<(command)`` is read too.
    Raises InputError: missing, a folder, not readable, empty, or larger than ``max_bytes``."""
    name = shown(path)
    try:
        # A folder is asked for first: opening one is "permission denied" on Windows.
        if Path(path).is_dir():
            raise InputError(f"{name} is a folder", hint="name a file in it")
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        parent = Path(path).parent
        hint = f"check the name; it was looked for in {shown(parent.resolve())}"
        if not parent.is_dir():
            hint = f"there is no folder {shown(parent)} either"
        raise InputError(f"{name} does not exist", hint=hint) from None
    except PermissionError:
        message = f"{name} may not be read (permission denied)"
        raise InputError(message, hint="check its owner and its mode") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        message = f"{name} cannot be read ({reason})"
        raise InputError(message, hint="check the name and the disk") from None
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check how it was saved or copied")
    if len(data) > max_bytes:
        message = f"{name} is larger than {render_bytes(max_bytes)}, the most that is read"
        raise InputError(message, hint="split it, or save it smaller")
    return data


def shown(name: StrPath) -> str:
    """A name that is safe in one line of a terminal: what cannot be printed becomes ``?``."""
    return printable(name) or "''"


# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_CONTROLS_BUT_LINES = bytes(set(range(0x20)) - set(b"\t\n\r\f\v\x1a\x1b"))
_MAX_CONTROLS = 0.02  # share of control characters above which bytes are not text
_HEAD_BYTES = 1 << 16
_ANOTHER = "--encoding NAME takes another"


def codec_of(label: str) -> str | None:
    """Python's name for an encoding of text by what the web, a mail or Python calls it: its label
    read as browsers do (``iso-8859-1`` is Windows-1252, ``gb2312`` GB18030), quotes and signs that
    do not belong there left out. None: no encoding is called so."""
    import webencodings

    plain = re.sub(r"""^[\s"']*(?:charset\s*=)?[\s"']*|["';,][\S\s]*""", "", label[:100]).strip()
    squeezed = re.sub(r"[^a-z0-9]", "", plain.lower())
    numbered = re.sub("^(?:x|ms)?(?:cp|win|windows|ibm|dos|codepage)(?=[0-9])", "cp", squeezed)
    numbered = re.sub("^8859", "iso8859", numbered)
    for name in (plain, plain.replace("_", "-"), squeezed, numbered):
        found = webencodings.lookup(name) if name.isascii() else None
        if found is not None and found.name not in ("replacement", "x-user-defined"):
            return _CODECS.get(found.name, str(found.codec_info.name))
        try:
            codec = codecs.lookup(name).name
            is_of_text = isinstance(bytes(4).decode(codec), str)
        except (LookupError, UnicodeError, ValueError):  # unknown; of other things than text
            continue
        if is_of_text and codec not in _NO_CHARACTERS:
            return _CODECS.get(codec, codec)
    return "utf-8" if squeezed.startswith("utf8") else None


# Wider than what the label says, as in browsers; and what Python calls an encoding, but is a way to
# write text in other text.
_CODECS = {
    "gbk": "gb18030", "gb2312": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252",
    "utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8",
}  # fmt: skip
_NO_CHARACTERS = frozenset(
    ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "raw-unicode-escape")
    + ("unicode-escape", "undefined", "mbcs", "oem")
)
_IN_ASCII = ("iso2022", "hz", "utf-7")  # what writes text in signs of ASCII
_BY_TWO = frozenset(
    ("cp932", "shift_jis", "cp949", "euc_kr", "gb18030", "big5", "big5hkscs", "cp950", "euc_jp")
)


def decode_text(data: bytes, name: str, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The text with ``\\n`` line ends, and notes on how it was read: in the ``encoding`` that is
    given, else as ``decode_labelled`` reads what has no label.
    Raises InputError: binary, empty, or not in the encoding that is given."""
    notes: tuple[str, ...] = ()
    if encoding:
        text = _decode_as(data, name, encoding)
    else:
        head = data[:_HEAD_BYTES]
        controls = len(head) - len(head.translate(None, _CONTROLS_BUT_LINES))
        is_odd = b"\0" in data or controls > _MAX_CONTROLS * len(head)
        if is_odd and not data.startswith(tuple(mark for mark, _ in _MARKS)) and not _wide(data):
            message = f"{name} is not text (it holds binary data)"
            raise InputError(message, hint="name a PDF or a text file")
        _check_mark(data, name)
        text, notes = decode_labelled(data, "", name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x1a", "")  # DOS: the end
    if not text.strip():
        message = f"{name} is empty (only white space)"
        raise InputError(message, hint="check how it was saved or copied")
    return text, notes


def _check_mark(data: bytes, name: str) -> None:
    """Raises InputError: it begins with the mark of an encoding that it is not in."""
    mark = next((codec for mark, codec in _MARKS if data.startswith(mark)), "utf-8-sig")
    if mark == "utf-8-sig":
        return
    try:
        data.decode(mark)
    except UnicodeDecodeError as error:
        where = f"text but is not (byte {error.start:,})"
        message = f"{name} begins like {mark.upper()} {where}"
        raise InputError(message, hint="save it as UTF-8") from None


def _decode_as(data: bytes, name: str, encoding: str) -> str:
    codec = codec_of(encoding)
    if codec is None:
        message = f"{shown(encoding)} is no encoding of text"
        raise InputError(message, hint="name one like cp1250, shift_jis or utf-8")
    mark = next((mark for mark, _ in _MARKS if data.startswith(mark)), b"")
    try:
        if mark and codec[:5] in ("utf-1", "utf-3"):  # the mark knows the order of bytes
            return data.decode(codec[:6])
        return _decode(data, codec).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start:,}, 0x{data[error.start : error.start + 1].hex() or '00'}"
        message = f"{name} is not in {shown(encoding)} ({byte})"
        raise InputError(message, hint="name another with --encoding, or none") from None
    except ValueError:  # of UTF-7, on some versions of Python
        raise InputError(f"{name} is not in {shown(encoding)}", hint="name another") from None


def decode_labelled(data: bytes, label: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The text of bytes of which a mail or a page says what they are in (``label``, empty where it
    does not), and notes on what is not as it said: by a byte order mark; as UTF-8 where it holds,
    whatever the label; as the label says; else as is likely. It takes what comes: what is in none
    of these is U+FFFD, with a note."""
    mark = next((codec for mark, codec in _MARKS if data.startswith(mark)), None)
    label = shown(label.strip(" \t\r\n\"'"))[:40] if label.strip() else ""
    codec = codec_of(label) if label else None
    why = f"names an unknown encoding ({label})" if label else "is not UTF-8"
    if mark is not None:
        text, title, why = data.decode(mark, "replace"), mark, ""
    elif wide := _wide(data):
        text, title = data.decode(wide, "replace"), wide.upper()
        why = "" if codec and codec[:6] == wide[:6] else why
    elif codec is not None and (said := _as_said(data, codec)) is not None:
        text, title, why = said, label, ""
    else:
        text, title = _likely(data)
        if title == "UTF-8" and (codec is not None or not label or text.isascii()):
            why = ""
        elif codec is not None:
            why = f"is not in {label}, as it says"
    lost = text.count("\ufffd")
    notes: tuple[str, ...] = (f"{name} {why}; it was read as {title}; {_ANOTHER}",) if why else ()
    if lost:
        what = "1 character is" if lost == 1 else f"{lost:,} characters are"
        notes += (f"{name}: {what} lost (\ufffd)" + ("" if why else f"; {_ANOTHER} encoding"),)
    return text, notes


def _as_said(data: bytes, codec: str) -> str | None:
    """The text in the encoding that was named, where it is likely that it is in that."""
    is_other = codec.startswith(_IN_ASCII) or _ASCII.decode(codec, "replace") != _ASCII.decode()
    if not is_other and codec != "utf-8":
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-8")
            # Two bytes of Chinese may be one character of UTF-8.
            if codec not in _BY_TWO or text.isascii() or max(text) > "\u07ff":
                return text
    try:
        return _decode(data, codec)
    except ValueError:
        text = _decode(data, codec, "replace")
    other = sum(1 for character in text if character > "\x7f")
    return text if text.count("\ufffd") <= max(1, _MAX_LOST * other) else None


_ASCII = b"<Az 09>"
_MAX_LOST = 0.1  # of what is not ASCII; else something is in another encoding


def _decode(data: bytes, codec: str, errors: str = "strict") -> str:
    """As Python does; Japanese with the signs of NEC and IBM (``①``, ``㈱``), as mail programs and
    browsers have it, where its own tables do not hold them."""
    try:
        return data.decode(codec)
    except ValueError:
        if codec.startswith("iso2022_jp"):
            with contextlib.suppress(ValueError):
                return _SHIFTS.sub(_unshifted, data).decode("cp932")
        elif codec == "euc_jp":
            with contextlib.suppress(ValueError):
                return _EUC_PAIRS.sub(_as_932, data).decode("cp932")
        return data.decode(codec, errors)


_SHIFTS = re.compile(rb"\x1b(?:\$[@B]([!-~]*)|\(I([!-_]*)|\([BJ])")
_EUC_PAIRS = re.compile(rb"\x8e([\xa1-\xdf])|([\xa1-\xfe][\xa1-\xfe])")


def _unshifted(found: re.Match[bytes]) -> bytes:
    if found[2]:
        return bytes(byte | 0x80 for byte in found[2])
    return _in_932(found[1] or b"")


def _as_932(found: re.Match[bytes]) -> bytes:
    return found[1] or _in_932(bytes(byte & 0x7F for byte in found[2]))


def _in_932(pairs: bytes) -> bytes:
    """Rows and columns of JIS X 0208 as Shift_JIS folds them, two rows into one."""
    out = bytearray()
    for row, column in zip(pairs[::2], pairs[1::2], strict=False):
        lead = ((row - 0x21) >> 1) + 0x81
        out.append(lead if lead < 0xA0 else lead + 0x40)  # noqa: PLR2004
        out.append(column + (0x7E if row % 2 == 0 else 0x20 if column > 0x5F else 0x1F))  # noqa: PLR2004
    return bytes(out)


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, by the signs that stand in every text; or nothing."""
    head = data[: 1 << 12]
    if b"\0" not in head:
        return ""
    best, most = "", max(1, len(head) // 100)
    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        text = head[: len(head) // 4 * 4 or 2].decode(codec, "ignore")
        usual = sum(map(text.count, "\n\r\t ;,.0123456789"))
        odd = sum(not each.isprintable() for each in text) - sum(
            map(text.count, "\n\r\t\xa0\u3000")
        )
        if usual > most and 50 * odd <= len(text) and "\0" not in text:
            best, most = codec, usual
    return best


_GUESSED = (  # what people have, but for languages that are written in two of them
    ("windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254")
    + ("windows-1255", "windows-1256", "windows-1257", "windows-1258", "cp874", "iso-8859-2")
    + ("iso-8859-5", "iso-8859-7", "koi8-r", "koi8-u", "cp437", "cp850", "cp852", "cp866")
    + ("macroman", "gb18030", "big5", "cp932", "euc-jp", "cp949")
)
_WESTERN = "Windows-1252"
_NEARLY = 0.5  # of the best; Windows-1252 is what most files are in


def _odd(sample: bytes, title: str) -> float:
    """How much of what is not ASCII would not be written so: letters of two scripts in a word, a
    capital behind a small letter, a sign between two letters."""
    if title == "Big5" and _EUC.fullmatch(sample):
        return 1.0
    text = sample[:_ODD_BYTES].decode(codec_of(title) or "cp1252", "replace")
    odd = 0
    for before, character, after in zip(text, text[1:], text[2:], strict=False):
        if before.isalpha() and character.isalpha():
            odd += before.islower() and character.isupper()
            odd += before.isascii() != character.isascii() and any(
                _OTHER_SCRIPTS[0] <= each < _OTHER_SCRIPTS[1] for each in (before, character)
            )
        elif before.isalpha() and after.isalpha():
            odd += not character.isascii() and character not in _IN_WORDS
    return odd / max(1, sum(not character.isascii() for character in text))


_ODD_BYTES, _ODD_COSTS = 4000, 20.0
_EUC = re.compile(rb"(?:[\0-\x7f]|[\xa1-\xfe]{2})*")  # 4 in 10 characters of Big5 are not so
_OTHER_SCRIPTS = ("\u0370", "\u2000")
_IN_WORDS = "\xa0\xad\u2010\u2011\u2013\u2014\u2018\u2019\xb7"


def _likely(data: bytes) -> tuple[str, str]:
    """The text, and the encoding that it is likely in: UTF-8 where it holds, or nearly."""
    text = data.decode("utf-8", "replace")
    lost = text.count("\ufffd") and text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    if lost <= _MAX_LOST * sum(character > "\x7f" for character in text):
        return text, "UTF-8"
    from chardet import detect_all

    lines = [line[:1000] for line in data[: 1 << 22].split(b"\n") if not line.isascii()]
    sample = b"\n".join(lines)[:_HEAD_BYTES] or data[-_HEAD_BYTES:]
    found = detect_all(sample, include_encodings=_GUESSED, ignore_threshold=True)
    worth = {
        title: each["confidence"] / (1 + _ODD_COSTS * _odd(sample, title))
        for each in found
        if (title := each["encoding"])
    }
    worth = dict(sorted(worth.items(), key=lambda each: -each[1]))
    if worth.get(_WESTERN, 0.0) >= _NEARLY * max(worth.values(), default=1.0):
        worth = {_WESTERN: 1.0, **worth}
    for title in [*worth, _WESTERN]:
        with contextlib.suppress(ValueError):
            text = _decode(data, codec_of(title) or "cp1252")
            if not re.search(r"[\x80-\x84\x86-\x9f]", text):
                return text, title
    title = next(iter(worth), _WESTERN)
    return data.decode(codec_of(title) or "cp1252", "replace"), title


@dataclass(frozen=True, slots=True)
class PageNumbers:
    """Spans of numbers from 1; negative ones count from the end, -1 is the last. A span whose
    second number is ``None`` reaches to the end of the document."""

    spans: tuple[tuple[int, int | None], ...]
    text: str

    def choose(self, count: int, name: str, unit: str = "page") -> tuple[int, ...]:
        """The numbers among ``count`` pages, ascending, each once.
        Raises UsageError: a number that there is not, or a span that runs backwards."""
        chosen: set[int] = set()
        why = ""
        for asked in self.spans:
            first, last = (
                count if number is None else number if number > 0 else count + 1 + number
                for number in asked
            )
            for number, written in zip((last, first), reversed(asked), strict=True):
                if not 1 <= number <= count:
                    why = f"there is no {unit} {written:,}"
            if not why and last < first:
                why = f"{unit} {last:,} is before {unit} {first:,}"
            if why:
                there = f"{count:,} {unit}{'' if count == 1 else 's'}"
                hint = f"--pages 1-{count}" if count > 1 else f"leave out --pages {self.text}"
                raise UsageError(f"{name} has {there}, {why}", hint=hint)
            chosen.update(range(first, last + 1))
        return tuple(sorted(chosen))


def parse_page_numbers(text: str) -> PageNumbers:
    """``3``, ``1-3``, ``5-`` (to the end), ``-1`` (the last), ``-3-`` (the last three), ``2--2``
    (all but the first and the last), and several of them with commas between.
    Raises ValueError: the text is none of these."""
    spans: list[tuple[int, int | None]] = []
    for part in text.split(","):
        found = re.fullmatch(r"(-?\d{1,6})(?:(-)(-?\d{1,6})?)?", part.strip())
        if found is None:
            raise ValueError(text)
        first = int(found[1])
        last = first if not found[2] else int(found[3]) if found[3] else None
        backwards = last is not None and (first > 0) == (last > 0) and last < first
        if first == 0 or last == 0 or backwards:
            raise ValueError(text)
        spans.append((first, last))
    return PageNumbers(tuple(spans), text)


def render_numbers(numbers: Sequence[int]) -> str:
    """``page 3``, ``pages 3, 5 and 7 to 9``; of many ranges six."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
    if len(parts) > 6:  # noqa: PLR2004
        parts = [*parts[:5], f"{len(parts) - 5} more ranges"]
    *most, last = parts
    words = f"{', '.join(most)} and {last}" if most else last
    return f"{'page' if len(numbers) == 1 else 'pages'} {words}"


# Files of records, a line or a row each, that many documents or images are written to one after
# another: read again, gone on with, and mended where a crash cut the last one.


MAX_CELL = 1 << 26  # characters

Lines = Literal["json", "csv", "markdown"]


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def task_digest(settings: Mapping[str, Any]) -> str:
    """A short hash of what was asked and of whom; ``settings`` is plain data."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def whole_lines(text: str, form: Lines) -> str:
    """The text up to the end of its last whole record: what a crash cut in two would swallow the
    records after it."""
    end, at, quotes = 0, 0, 0
    for line in io.StringIO(text):  # not splitlines: JSON may hold U+2028 as it is
        at += len(line)
        quotes += line.count('"') if form == "csv" else 0
        if line.endswith("\n") and quotes % 2 == 0:
            end = at
    return text[:end]


def iter_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, one a line; a line that is none counts for nothing."""
    for line in io.StringIO(text):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


# What begins with one of these signs is a formula to a spreadsheet, which may fetch an address with
# the cells beside it in it, or start a program (OWASP, "CSV Injection"): also as they are written
# among Chinese and Japanese letters, behind blanks, and behind what ends a cell or a row where no
# comma parts them. A number is none, nor is an item of a list in the middle of a text.
_BLANKS = r"[\x20\u00a0\u00ad\u200b-\u200f\u202a-\u202f\u2060-\u2064\u3000\ufeff]*"
_NUMBER = (
    rf"{_BLANKS}[+-]?[0-9][0-9.,'\u2019\u00a0\u202f]*(?:[eE][+-]?[0-9]{{1,3}})?%?(?![^;\t\r\n])"
)
_ITEM = r"(?<=\n)[+-][ ][^(|!=\n]*(?![^\n])"
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_FORMULA = rf"(?='*(?!{_NUMBER}|{_ITEM}){_BLANKS}{_SIGN})"
_BEGINS, _BREAK = r"(?<![^;\t\r\n])", r"(?='*[\t\r\n\0])"
_FORMULAS = rf"{_BEGINS}{_FORMULA}|\A{_BREAK}"
_QUOTED_FORMULAS = rf"{_BEGINS}'{_FORMULA}|\A'{_BREAK}"


def iter_rows(text: str, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of a CSV text by the names in its first, as ``render_csv`` got them; what is no row
    ends them."""
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(io.StringIO(text, newline=""))
    with contextlib.suppress(csv.Error):
        names = next(rows, [])
        for row in rows:
            cells = row if raw else (re.sub(_QUOTED_FORMULAS, "", cell) for cell in row)
            yield dict(zip(names, cells, strict=False))


def render_csv(cells: Sequence[Any], *, raw: bool = False) -> str:
    """One row. Text that a spreadsheet would take for a formula gets a ' before it, unless it is
    to be ``raw``."""
    out = io.StringIO()
    csv.writer(out).writerow(  # quotes what holds an end of a line, because it writes one
        re.sub(_FORMULAS, "'", cell) if isinstance(cell, str) and not raw else cell
        for cell in cells
    )
    return out.getvalue().removesuffix("\r\n")


def render_cell(value: Any) -> str:
    """Text as it is, nothing for null, other data as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
