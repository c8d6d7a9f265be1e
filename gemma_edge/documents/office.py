"""Office files by what is in them, and Word files to text.

New files are ZIP archives, old ones are OLE files; both can be bombs, so all of this runs in the
child process of ``open.py``.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gemma_edge.documents.document import (
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    render_row,
)
from gemma_edge.documents.workbooks import read_sheets
from gemma_edge.errors import InputError
from gemma_edge.trust import printable
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from docx.document import Document as Word


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_UNPACKED_BYTES = 400 << 20
MAX_ENTRIES = 20_000
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


def _damaged(name: str, error: Exception) -> InputError:
    message = f"{name} is damaged ({printable(' '.join(str(error).split()))[:120]})"
    return InputError(message, hint="copy it again, or open it and save it anew")


def read_office(data: bytes, name: str, options: ReadOptions = PLAIN) -> Iterator[ExtractedText]:
    """The file by the reader of its kind, in one piece or several.
    Raises InputError: of a kind that is not read, encrypted, damaged, or a bomb."""
    if data.startswith(OLE):
        return _read_ole(data, name, options)
    _check_entries(data, name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > MAX_UNPACKED_BYTES or len(entries) > MAX_ENTRIES:
                raise InputError(
                    f"{name} unpacks to {render_bytes(unpacked)} in {len(entries):,} files; at "
                    f"most {render_bytes(MAX_UNPACKED_BYTES)} in {MAX_ENTRIES:,} are read",
                    hint="save it smaller, or as PDF",
                )
            names = {entry.filename for entry in entries}
            mimetype = archive.read("mimetype")[:200] if "mimetype" in names else b""
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError,
            zlib.error) as error:  # fmt: skip
        raise _damaged(name, error) from None
    if "word/document.xml" in names:
        try:
            return iter([read_docx(data, name)])
        except SyntaxError as error:  # of lxml: a part is no XML
            raise _damaged(name, error) from None
    kind = mimetype.decode("latin-1").partition("application/vnd.oasis.opendocument.")[2]
    if names & {"xl/workbook.xml", "xl/workbook.bin"} or kind.startswith("spreadsheet"):
        return read_sheets(data, name, options)
    other = ("a ZIP archive", "unpack it, and name what is in it")
    what, hint = _OPEN_DOCUMENT.get(kind.partition("-")[0].strip(), other)
    for entry, title, way in _OTHERS:
        if entry in names:
            what, hint = title, way
    raise InputError(f"{name} is {what}", hint=hint)


def _check_entries(data: bytes, name: str) -> None:
    """Before any of them is listed, which takes a kilobyte each. The end of the archive tells their
    number (APPNOTE.TXT, 4.3.16), 65,535 where there are more."""
    at = data.rfind(b"PK\x05\x06")
    told = int.from_bytes(data[at + 10 : at + 12], "little") if at >= 0 else 0
    many = data.count(b"PK\x01\x02") if told > MAX_ENTRIES else told
    if many > MAX_ENTRIES:
        raise InputError(
            f"{name} holds {many:,} files; at most {MAX_ENTRIES:,} are read",
            hint="save it smaller, or as PDF",
        )


def _read_ole(data: bytes, name: str, options: ReadOptions) -> Iterator[ExtractedText]:
    def holds(stream: str) -> bool:
        """Whether an entry of the directory has this name: UTF-16 with its end, in 64 bytes."""
        return (stream + "\0").encode("utf-16-le") in data

    if holds("Workbook") or holds("Book"):
        return read_sheets(data, name, options)
    for stream, what, hint in _STREAMS:
        if holds(stream):
            raise InputError(f"{name} is {what}", hint=hint)
    raise InputError(f"{name} is an old Office file", hint="save it as .docx, .xlsx or PDF")


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_MAX_PARENTS = 20  # of styles; a loop of them must end
_LONGEST_LABEL = 200  # characters of the pattern of a number; Word takes 31
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


class Numbering:
    """The numbers that Word draws before paragraphs ("2.1", "(b)", "IV.", a bullet): they are in no
    text of the file, but counted by rules of its numbering and styles. Paragraphs are counted in
    the order in which they are asked for."""

    def __init__(self, word: Any) -> None:
        self._styles = {
            style.get(f"{_W}styleId"): style for style in word.styles.element.iter(f"{_W}style")
        }
        self._lists: dict[str, Any] = {}
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, list[int]] = {}
        # python-docx would make one where there is none.
        roots = [getattr(part, "element", None) for part in _parts(word, "numbering")]
        if roots and roots[0] is not None:
            self._learn(roots[0])

    def label(self, paragraph: Any) -> str:
        """``"2.1 "`` of a numbered paragraph, ``"- "`` of one with a bullet, ``"# "`` of a
        heading, else nothing."""
        own = paragraph.find(f"{_W}pPr")
        style = _value(own, "pStyle")
        of_styles = list(self._properties(style))
        numbers = [each.find(f"{_W}numPr") for each in (own, *of_styles) if each is not None]
        found = next((each for each in numbers if each is not None), None)
        number, level = _value(found, "numId"), _number(_value(found, "ilvl") or "0")
        shape = self._levels.get(number, {}).get(level)
        outline = next(filter(None, (_value(each, "outlineLvl") for each in of_styles)), "")
        depth = _number(outline) + 1 if outline else _LEVELS
        heading = "#" * depth + " " if depth < _LEVELS else ""
        return heading + (self._count(number, level, shape) if shape else "")

    def _learn(self, root: Any) -> None:
        shapes = {
            abstract.get(f"{_W}abstractNumId"): {
                _number(level.get(f"{_W}ilvl")): (
                    _value(level, "numFmt") or "decimal",
                    _value(level, "lvlText")[:_LONGEST_LABEL],
                    _number(_value(level, "start") or "1"),
                )
                for level in abstract.iter(f"{_W}lvl")
            }
            for abstract in root.iter(f"{_W}abstractNum")
        }
        for each in root.iter(f"{_W}num"):
            name, abstract = each.get(f"{_W}numId"), _value(each, "abstractNumId")
            self._levels[name] = shapes.get(abstract, {})
            # Lists of one shape count on; one that starts anew says so.
            own = each.find(f"{_W}lvlOverride") is not None
            self._lists[name] = name if own else f"shape {abstract}"

    def _properties(self, style: str) -> Iterator[Any]:
        """Of a style and those that it is based on."""
        for _ in range(_MAX_PARENTS):
            found = self._styles.get(style)
            if found is None:
                return
            yield found.find(f"{_W}pPr")
            style = _value(found, "basedOn")

    def _count(self, number: str, level: int, shape: tuple[str, str, int]) -> str:
        kind, pattern, _ = shape
        if kind == "bullet":
            return "- "
        if kind == "none" or not 0 <= level < _LEVELS:
            return ""
        shapes = self._levels[number]
        counts = self._counts.setdefault(self._lists[number], [0] * _LEVELS)
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)
        for above in range(level + 1):
            kind, _, start = shapes.get(above, ("decimal", "", 1))
            if not counts[above]:
                counts[above] = start
            elif above == level:
                counts[above] += 1
            pattern = pattern.replace(f"%{above + 1}", render_number(counts[above], kind))
        return f"{pattern} " if pattern.strip() else ""


def render_number(value: int, kind: str) -> str:
    """A number in one of Word's kinds; one that is not known is decimal."""
    if kind in ("lowerLetter", "upperLetter") and value > 0:
        repeated, index = divmod(value - 1, 26)
        text = chr(ord("a") + index) * min(repeated + 1, 9)
    elif kind in ("lowerRoman", "upperRoman") and 0 < value < 4000:  # noqa: PLR2004
        text = ""
        for size, sign in _ROMAN:
            text += sign * (value // size)
            value %= size
    else:
        return f"{value:02}" if kind == "decimalZero" else str(value)
    return text.upper() if kind.startswith("upper") else text


def _value(parent: Any, tag: str) -> str:
    found = parent.find(f"{_W}{tag}") if parent is not None else None
    return (found.get(f"{_W}val") or "") if found is not None else ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= 9 else 0  # noqa: PLR2004


# A Word file to text: paragraphs with their numbers, tables row by row, text boxes, heads, notes.
# python-docx opens the package; its parts are walked here, since its own list of paragraphs leaves
# out content controls, text boxes and what was inserted. Hostile bytes: it runs in the child
# process of `open.py`. Pages end where Word ended them when it last saved the file.


_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TEXTS = (f"{_W}t", "{http://schemas.openxmlformats.org/officeDocument/2006/math}t")
_P, _TABLE, _ROW, _CELL = f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc"
_BOX = f"{_W}txbxContent"
_DELETED = frozenset((f"{_W}del", f"{_W}moveFrom"))
_SKIPPED = _DELETED | {_FALLBACK, f"{_W}pPr", f"{_W}rPr", f"{_W}instrText", f"{_W}sdtPr"}
_PAGE = "\f"  # stands in a line where a page ends
_SIGNS = {f"{_W}tab": "\t", f"{_W}noBreakHyphen": "-", f"{_W}cr": "\n"}
_SIGNS[f"{_W}lastRenderedPageBreak"] = _PAGE
_DRAWN = (f"{_W}drawing", f"{_W}pict")


def read_docx(data: bytes, name: str) -> ExtractedText:
    """The body in order, the first head before it, notes and the foot after it.
    Raises InputError: of another kind, or without text."""
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        word = docx.Document(io.BytesIO(data))
    except (ValueError, KeyError, PackageNotFoundError):
        raise InputError(
            f"{name} is not a Word file that is read (one with macros, a template, or damaged)",
            hint="save it as .docx, or as PDF",
        ) from None
    reader = _WordReader(Numbering(word))
    reader.outside(word, "header")
    reader.blocks(word.element.body)
    reader.notes_at_the_end(word)
    reader.outside(word, "footer")
    pages = reader.pages()
    if not any(pages):
        if reader.pictures:
            hint = "save it as PDF: pages without text are looked at"
            raise InputError(f"{name} holds no text, only pictures", hint=hint)
        raise InputError(f"{name} holds no text", hint="check how it was saved")
    what = "a page as Word saved it" if len(pages) > 1 else "a Word file"
    return ExtractedText(tuple((page, what) for page in pages), reader.notes(name))


class _WordReader:
    """Collects the text of a body."""

    def __init__(self, numbering: Numbering) -> None:
        self._numbering, self._writer = numbering, Writer()
        self._pages: list[str] = []
        self._boxes: list[Any] = []
        self.pictures = self._deleted = self._comments = 0

    def pages(self) -> list[str]:
        self._end_page()
        return self._pages

    def notes(self, name: str) -> tuple[str, ...]:
        counts = (
            (self.pictures, "pictures in it are not looked at; as PDF they are"),
            (self._deleted, "deleted passages (tracked changes) are left out"),
            (self._comments, "comments are left out"),
        )
        found = [f"{name}: {what} ({count:,})" for count, what in counts if count]
        return (*found, *([cut_note(name)] if self._writer.is_full else []))

    def blocks(self, parent: Any) -> None:
        """Paragraphs and tables below ``parent``, through whatever wraps them, until it is full."""
        for child in parent:
            if self._writer.is_full:
                return
            if child.tag == _P:
                self._paragraph(child)
            elif child.tag == _TABLE:
                self._table(child)
            elif child.tag in _SKIPPED:
                self._deleted += child.tag in _DELETED
            elif isinstance(child.tag, str):
                self.blocks(child)

    def paragraph_text(self, text: str, *, apart: bool = True) -> None:
        """A paragraph whose text is known; items of a list are not set ``apart``."""
        for number, part in enumerate(text.split(_PAGE)):
            if number:
                self._end_page()
            for line in part.split("\n"):
                if line.strip():
                    self._writer.line(line.strip(" "))
        if apart:
            self._writer.gap()

    def outside(self, word: "Word", kind: str) -> None:
        seen: set[str | int] = set()
        for section in word.sections:
            for each in (getattr(section, f"first_page_{kind}"), getattr(section, kind)):
                if each.is_linked_to_previous or id(each._element) in seen:
                    continue
                if self._writer.is_full:
                    return
                seen.add(id(each._element))
                apart = _WordReader(self._numbering)
                apart.blocks(each._element)
                self.pictures += apart.pictures
                text = "\n".join(apart.pages())
                if text and text not in seen:
                    seen.add(text)
                    self.paragraph_text(text)

    def notes_at_the_end(self, word: "Word") -> None:
        from docx.oxml.parser import parse_xml

        def notes(kind: str) -> list[Any]:
            return [note for part in _parts(word, kind)[:1] for note in parse_xml(part.blob)]

        for note in (*notes("footnotes"), *notes("endnotes")):
            if note.get(f"{_W}type") is None:  # else a line that parts them
                self.paragraph_text(f"[note {note.get(f'{_W}id')}] {self._flat(note)}")
        self._comments = len(notes("comments"))

    def _end_page(self) -> None:
        text = self._writer.take()
        if text:  # Word marks one end of a page twice
            self._pages.append(text)

    def _paragraph(self, paragraph: Any) -> None:
        text = "".join(self._inline(paragraph))
        label = ""
        if text.strip(" \t\n" + _PAGE):
            label = self._numbering.label(paragraph)
            rest = text.lstrip(_PAGE)
            text = text[: len(text) - len(rest)] + label + rest
        self.paragraph_text(text, apart=not label or label.startswith("#"))
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.blocks(box)

    def _table(self, table: Any) -> None:
        self._writer.gap()
        for row in _below(table, _ROW):
            cells: list[str] = []
            for cell in _below(row, _CELL):
                cells += [self._flat(cell), *[""] * (_spanned(cell) - 1)]
            if any(_PAGE in cell for cell in cells[:1]):  # the row begins a page
                self._end_page()
            line = render_row([cell.replace(_PAGE, " ") for cell in cells])
            if line.strip(" |"):
                self._writer.line(line)
            if self._writer.is_full:
                break
        self._writer.gap()

    def _flat(self, parent: Any) -> str:
        found = []
        for paragraph in parent.iter(_P):
            if not _within(paragraph, parent, _BOX):
                text = "".join(self._inline(paragraph))
                found.append(self._numbering.label(paragraph) + text if text.strip() else text)
        for box in self._boxes:
            found += [self._flat(box)] if box is not parent else []
        self._boxes = []
        return " ".join(found)

    def _inline(self, parent: Any) -> Iterator[str]:
        """The characters of a paragraph; the text boxes that hang on it are kept for later."""
        for child in parent:
            tag = child.tag
            if tag in _TEXTS:
                yield child.text or ""
            elif tag in _SIGNS:
                yield _SIGNS[tag]
            elif tag == f"{_W}br":
                yield _PAGE if child.get(f"{_W}type") == "page" else "\n"
            elif tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
                yield f" [note {child.get(f'{_W}id')}]"
            elif tag in _SKIPPED:
                self._deleted += tag in _DELETED
            elif tag in _DRAWN:
                # One within another is found again in that one.
                boxes = [
                    box
                    for box in child.iter(_BOX)
                    if not _within(box.getparent(), child, _BOX)
                    and not _within(box, child, _FALLBACK)
                ]
                self._boxes += boxes
                self.pictures += not boxes and _holds_picture(child)
            else:
                yield from self._inline(child)


def _below(parent: Any, tag: str) -> Iterator[Any]:
    for child in parent:
        if child.tag == tag:
            yield child
        elif isinstance(child.tag, str) and child.tag not in (*_SKIPPED, _TABLE, _P):
            yield from _below(child, tag)


def _within(element: Any, root: Any, tag: str) -> bool:
    """Whether ``element`` stands in something with this tag below ``root``."""
    while element is not None and element is not root:
        if element.tag == tag:
            return True
        element = element.getparent()
    return False


def _spanned(cell: Any) -> int:
    found = cell.find(f"{_W}tcPr/{_W}gridSpan")
    value = found.get(f"{_W}val", "1") if found is not None else "1"
    return min(63, int(value)) if value.isdecimal() and value != "0" else 1  # Word's own limit


def _holds_picture(drawn: Any) -> bool:
    return any(
        isinstance(each.tag, str) and each.tag.rpartition("}")[2] in ("blip", "imagedata")
        for each in drawn.iter()
    )


def _parts(word: Any, kind: str) -> list[Any]:
    """Other parts of the file of this kind."""
    return [
        part.target_part
        for part in word.part.rels.values()
        if not part.is_external and part.reltype.endswith(f"/{kind}")
    ]
