"""A document as the jobs see it: pages of text, each with its kind and the reason for it, and its
words with the places where they stand. Pure.
"""

import codecs
import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gemma_edge.errors import InputError, UsageError
from gemma_edge.units import render_bytes, render_tokens

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
    under images."""

    number: int
    text: str = field(repr=False)
    kind: str = "text"
    reason: str = ""
    words: tuple[Word, ...] = field(default=(), repr=False)
    width: float = 0.0
    height: float = 0.0
    image_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Document:
    """Pages in reading order, those that were asked for.

    ``notes`` are lines a person must see: whatever was left out, or read in a way that they may
    not expect. ``source`` and ``password`` are what its pages are drawn from; ``media`` is
    ``pdf``, ``image`` or ``text`` (nothing to draw)."""

    name: str
    pages: tuple[Page, ...]
    notes: tuple[str, ...] = ()
    source: bytes | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    media: str = "text"

    @property
    def text(self) -> str:
        """The text of the pages that have any; of several pages each is headed ``[page N]``."""
        if len(self.pages) == 1:
            return self.pages[0].text
        return "\n\n".join(f"[page {page.number}]\n{page.text}" for page in self.pages if page.text)

    def page(self, number: int) -> Page:
        """The page of that number.
        Raises KeyError: it is not among ``pages``."""
        for page in self.pages:
            if page.number == number:
                return page
        raise KeyError(number)


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
    down = count // across
    return tuple(
        (left, top, right, bottom)
        for top, bottom in _spans(height, down)
        for left, right in _spans(width, across)
    )


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    if count == 1:
        return [(0, length)]
    part = min(length, math.ceil(length / (2 - OVERLAP)))
    return [(0, part), (length - part, length)]


def fit_size(
    width: int, height: int, max_tokens: int, min_tokens: int = MIN_TOKENS
) -> tuple[int, int]:
    """The size, in px, to which an image is resized: multiples of 48, aspect kept as far as
    that allows, between ``min_tokens`` and ``max_tokens`` patches.

    It is llama.cpp's own rule (mtmd-image.cpp, ``calc_size_preserved_ratio`` with align 48), so
    llama.cpp finds nothing left to resize or to pad."""
    fit_width = max(PATCH_PX, math.floor(width / PATCH_PX + 0.5) * PATCH_PX)
    fit_height = max(PATCH_PX, math.floor(height / PATCH_PX + 0.5) * PATCH_PX)
    patch_area = PATCH_PX * PATCH_PX
    if fit_width * fit_height > max_tokens * patch_area:
        shrink = math.sqrt(width * height / (max_tokens * patch_area))
        fit_width = max(PATCH_PX, math.floor(width / shrink / PATCH_PX) * PATCH_PX)
        fit_height = max(PATCH_PX, math.floor(height / shrink / PATCH_PX) * PATCH_PX)
    elif fit_width * fit_height < min_tokens * patch_area:
        grow = math.sqrt(min_tokens * patch_area / (width * height))
        fit_width = math.ceil(width * grow / PATCH_PX) * PATCH_PX
        fit_height = math.ceil(height * grow / PATCH_PX) * PATCH_PX
    return _within(fit_width, fit_height, max_tokens)


def _within(width: int, height: int, max_tokens: int) -> tuple[int, int]:
    """Clamp the long side: a strip of 5000 x 50 px must not exceed the budget either."""
    long_limit = max_tokens * PATCH_PX * PATCH_PX // min(width, height) // PATCH_PX * PATCH_PX
    if width >= height:
        return min(width, long_limit), height
    return width, min(height, long_limit)


MAX_CHARS = 4_000_000  # of one document; no context holds more (as PdfLimits)
_CELLS = " | "
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0)))


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """``pages`` are texts in order, each with a word on what it is (``sheet "May"``); ``notes``
    are lines that a person must see."""

    pages: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


class Writer:
    """Collects lines, paragraphs apart by one empty line, up to ``limit`` characters."""

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
    return f"{what} is cut: {MAX_CHARS:,} characters are the most that is read"


def render_row(cells: Sequence[str]) -> str:
    """A row of a table on one line, ``a | b | c``; empty cells at its end are left out."""
    flat = [" ".join(cell.split()) for cell in cells]
    while flat and not flat[-1]:
        flat.pop()
    return _CELLS.join(flat).rstrip()


def listed(names: Iterable[str], most: int = 6) -> str:
    """``a, b and 3 more``."""
    known = list(names)
    shown = known if len(known) <= most else [*known[: most - 1]]
    more = f" and {len(known) - len(shown):,} more" if len(shown) < len(known) else ""
    return ", ".join(shown) + more


# What kind of document some bytes are: by how they begin, and by the name's ending only where text
# could be several things.


Kind = Literal["pdf", "image", "office", "html", "mail", "separated", "text"]

_IMAGES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_BOXED = re.compile(rb".{4}ftyp(?:avi|hei|hev|mif1|msf1)", re.DOTALL)  # AVIF, HEIF
_RIFF = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)
_BITMAP = re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x6c\x7c]\0\0\0", re.DOTALL)  # size of its header
_PORTABLE = re.compile(rb"P[1-6]\s+\d")  # PPM, PGM, PBM
_IMAGE_STARTS = (_BOXED, _RIFF, _BITMAP, _PORTABLE)
_OFFICE = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_ENDINGS = (".html", ".htm", ".xhtml")
_SEPARATED_ENDINGS = (".csv", ".tsv", ".tab")
_SHEET_ENDINGS = (".xls",)  # web programs write HTML and TSV under this name
_MARKUP = re.compile(r"<\w[^>]*>")
_HEAD_LINE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:(?:[ \t]|$)")
_SERVER_FIELDS = frozenset(("message-id", "mime-version", "return-path"))  # no person types these
_LOOKED_AT = 16384  # bytes


def is_pdf(data: bytes) -> bool:
    """Whether the bytes are a PDF, whatever their name says."""
    return b"%PDF-" in data[:1024]  # readers look that far (ISO 32000-1, annex H)


def kind_of(data: bytes, name: str) -> Kind:
    """The kind; bytes that are none of the others are text, or will be refused as such."""
    if data.startswith(_IMAGES) or any(start.match(data) for start in _IMAGE_STARTS):
        return "image"
    if data.startswith(_OFFICE):
        return "office"
    if is_pdf(data):
        return "pdf"
    return _kind_of_text(_head(data), name.lower())


def _kind_of_text(head: str, name: str) -> Kind:
    is_page = name.endswith((*_HTML_ENDINGS, *_SHEET_ENDINGS)) and _MARKUP.search(head)
    if is_page or _HTML.match(head):
        return "html"
    if is_mail(head, name):
        return "mail"
    return "separated" if name.endswith((*_SEPARATED_ENDINGS, *_SHEET_ENDINGS)) else "text"


def is_mail(head: str, name: str) -> bool:
    """Whether text begins with the head of an e-mail; one that was only typed like one has no
    fields of a mail server."""
    lines = head.replace("\r\n", "\n").partition("\n\n")[0].split("\n")
    if lines[0].startswith("From "):  # as mbox files begin
        lines = lines[1:]
    fields = set()
    for line in lines:
        if line[:1] in (" ", "\t"):
            continue
        if not _HEAD_LINE.match(line):
            return False
        fields.add(line.partition(":")[0].lower())
    written = bool({"from", "subject", "date", "to"} & fields)
    return written and (name.lower().endswith(".eml") or bool(_SERVER_FIELDS & fields))


def _head(data: bytes) -> str:
    start = data[:_LOOKED_AT]
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    return start.decode(encoding, "replace").removeprefix("\xef\xbb\xbf")


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
        raise InputError(f"{name} does not exist", hint=_nearest(path)) from None
    except PermissionError:
        raise InputError(
            f"{name} may not be read (permission denied)", hint="check its owner and its mode"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{name} cannot be read ({reason})", hint="check the name and the disk"
        ) from None
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check how it was saved or copied")
    if len(data) > max_bytes:
        raise InputError(
            f"{name} is larger than {render_bytes(max_bytes)}, the most that is read",
            hint="split it, or save it smaller",
        )
    return data


def shown(name: StrPath) -> str:
    """A name that is safe in one line of a terminal: what cannot be printed becomes ``?``."""
    text = os.fspath(name)
    return "".join(char if char.isprintable() else "?" for char in text) or "''"


def _nearest(path: StrPath) -> str:
    parent = Path(path).parent
    if not parent.is_dir():
        return f"there is no folder {shown(parent)} either"
    return f"check the name; it was looked for in {shown(parent.resolve())}"


# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS_BUT_LINES = frozenset(range(0x20)) - frozenset(b"\t\n\r\f\v\x1b")
_MAX_CONTROLS = 0.02  # share of control characters above which bytes are not text


def decode_text(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """The text with ``\\n`` line ends, and notes on how it was read.

    UTF-8; UTF-16 and UTF-32 by their byte order mark; else Windows-1252 with a note.

    Raises:
        InputError: binary, empty, or not decodable.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and _is_binary(data):
        raise InputError(
            f"{name} is not text (it holds binary data)", hint="name a PDF or a text file"
        )
    text, notes = _decode(data, encoding, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(
            f"{name} is empty (only white space)", hint="check how it was saved or copied"
        )
    return text, notes


def _is_binary(data: bytes) -> bool:
    if b"\0" in data:
        return True
    controls = sum(byte in _CONTROLS_BUT_LINES for byte in data[:65536])
    return controls > _MAX_CONTROLS * min(len(data), 65536)


def _decode(data: bytes, encoding: str, name: str) -> tuple[str, tuple[str, ...]]:
    try:
        return data.decode(encoding or "utf-8"), ()
    except UnicodeDecodeError as error:
        if encoding:
            raise InputError(
                f"{name} begins like {encoding.upper()} text but is not (byte {error.start:,})",
                hint="save it as UTF-8",
            ) from None
    # Windows-1252 leaves five bytes without a character; Latin-1 has one for each.
    for fallback, label in (("cp1252", "Windows-1252"), ("latin-1", "Latin-1")):
        try:
            return data.decode(fallback), (f"{name} is not UTF-8; it was read as {label}",)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 decodes any byte")


_SPAN = re.compile(r"(-?\d{1,6})(?:(-)(-?\d{1,6})?)?")
_MAX_SPANS = 6  # ranges that a line spells out


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
        for span in self.spans:
            first, last = (_from_start(number, count) for number in span)
            for number, asked in zip((first, last), span, strict=True):
                if not 1 <= number <= count:
                    raise self._refused(f"there is no {unit} {asked:,}", count, name, unit)
            if last < first:
                raise self._refused(
                    f"{unit} {last:,} is before {unit} {first:,}", count, name, unit
                )
            chosen.update(range(first, last + 1))
        return tuple(sorted(chosen))

    def _refused(self, why: str, count: int, name: str, unit: str) -> UsageError:
        there = f"{count:,} {unit}{'' if count == 1 else 's'}"
        hint = f"--pages 1-{count}" if count > 1 else f"leave out --pages {self.text}"
        return UsageError(f"{name} has {there}, {why}", hint=hint)


def parse_page_numbers(text: str) -> PageNumbers:
    """``3``, ``1-3``, ``5-`` (to the end), ``-1`` (the last), ``-3-`` (the last three), ``2--2``
    (all but the first and the last), and several of them with commas between.
    Raises ValueError: the text is none of these."""
    spans = []
    for part in text.split(","):
        found = _SPAN.fullmatch(part.strip())
        if found is None:
            raise ValueError(text)
        first = int(found[1])
        last = first if not found[2] else int(found[3]) if found[3] else None
        same_end = last is not None and (first > 0) == (last > 0)
        if first == 0 or last == 0 or (same_end and last is not None and last < first):
            raise ValueError(text)
        spans.append((first, last))
    return PageNumbers(tuple(spans), text)


def render_numbers(numbers: Sequence[int]) -> str:
    """``page 3``, ``pages 3, 5 and 7 to 9``."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
    word = "page" if len(numbers) == 1 else "pages"
    if len(parts) == 1:
        return f"{word} {parts[0]}"
    if len(parts) > _MAX_SPANS:
        parts = [*parts[: _MAX_SPANS - 1], f"{len(parts) - _MAX_SPANS + 1} more ranges"]
    return f"{word} {', '.join(parts[:-1])} and {parts[-1]}"


def _from_start(number: int | None, count: int) -> int:
    if number is None:
        return count
    return number if number > 0 else count + 1 + number


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


def iter_rows(text: str) -> Iterator[dict[str, Any]]:
    """The rows of a CSV text by the names in its first."""
    csv.field_size_limit(MAX_CELL)
    yield from csv.DictReader(io.StringIO(text))


def render_csv(cells: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def render_cell(value: Any) -> str:
    """Text as it is, nothing for null, other data as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
