"""Office files by what is in them, and Word files to text.

New files are ZIP archives, old ones are OLE files; both can be bombs, so all of this runs in the
child process of ``open.py``.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gemma_edge.documents.document import ExtractedText, Writer, cut_note, render_row
from gemma_edge.documents.sheets import read_sheets
from gemma_edge.errors import InputError
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from docx.document import Document as Word


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


def read_office(data: bytes, name: str) -> ExtractedText:
    """The file by the reader of its kind.
    Raises InputError: of a kind that is not read, encrypted, damaged, or a bomb."""
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


def _read_ole(data: bytes, name: str) -> ExtractedText:
    if any(_holds(data, stream) for stream in ("Workbook", "Book")):
        return read_sheets(data, name)
    for stream, what, hint in _STREAMS:
        if _holds(data, stream):
            raise InputError(f"{name} is {what}", hint=hint)
    raise InputError(f"{name} is an old Office file", hint="save it as .docx, .xlsx or PDF")


def _holds(data: bytes, stream: str) -> bool:
    """Whether an entry of the directory has this name: UTF-16 with its end, in 64 bytes."""
    return (stream + "\0").encode("utf-16-le") in data


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_DIGITS = 9
_MAX_PARENTS = 20  # of styles; a loop of them must end
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_MAX_ROMAN = 4000


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
        root = _numbering_of(word)
        if root is not None:
            self._learn(root)

    def label(self, paragraph: Any) -> str:
        """``"2.1 "`` of a numbered paragraph, ``"- "`` of one with a bullet, ``"# "`` of a
        heading, else nothing."""
        properties = paragraph.find(f"{_W}pPr")
        style = _value(properties, "pStyle")
        number, level = self._place(properties, style)
        shape = self._levels.get(number, {}).get(level)
        return self._heading(style) + (self._count(number, level, shape) if shape else "")

    def _learn(self, root: Any) -> None:
        shapes = {
            abstract.get(f"{_W}abstractNumId"): {
                _number(level.get(f"{_W}ilvl")): (
                    _value(level, "numFmt") or "decimal",
                    _value(level, "lvlText"),
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

    def _place(self, properties: Any, style: str) -> tuple[str, int]:
        for _ in range(_MAX_PARENTS):
            own = properties.find(f"{_W}numPr") if properties is not None else None
            if own is not None:
                return _value(own, "numId"), _number(_value(own, "ilvl") or "0")
            found = self._styles.get(style)
            if found is None:
                break
            properties, style = found.find(f"{_W}pPr"), _value(found, "basedOn")
        return "", 0

    def _heading(self, style: str) -> str:
        for _ in range(_MAX_PARENTS):
            found = self._styles.get(style)
            if found is None:
                return ""
            level = _value(found.find(f"{_W}pPr"), "outlineLvl")
            if level:
                depth = _number(level) + 1
                return "#" * depth + " " if depth < _LEVELS else ""
            style = _value(found, "basedOn")
        return ""

    def _count(self, number: str, level: int, shape: tuple[str, str, int]) -> str:
        kind, pattern, _ = shape
        if kind == "bullet":
            return "- "
        if kind == "none" or not 0 <= level < _LEVELS:
            return ""
        shapes = self._levels[number]
        counts = self._counts.setdefault(self._lists[number], [0] * _LEVELS)
        for above in range(level + 1):
            start = shapes.get(above, ("", "", 1))[2]
            if above == level:
                counts[above] = counts[above] + 1 if counts[above] else start
            elif not counts[above]:
                counts[above] = start
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)
        for above in range(level + 1):
            kind = shapes.get(above, ("decimal", "", 1))[0]
            pattern = pattern.replace(f"%{above + 1}", render_number(counts[above], kind))
        return f"{pattern} " if pattern.strip() else ""


def render_number(value: int, kind: str) -> str:
    """A number in one of Word's kinds; one that is not known is decimal."""
    if kind in ("lowerLetter", "upperLetter") and value > 0:
        repeated, index = divmod(value - 1, 26)
        text = chr(ord("a") + index) * min(repeated + 1, 9)
    elif kind in ("lowerRoman", "upperRoman") and 0 < value < _MAX_ROMAN:
        text = ""
        for size, sign in _ROMAN:
            text += sign * (value // size)
            value %= size
    elif kind == "decimalZero":
        return f"{value:02}"
    else:
        return str(value)
    return text.upper() if kind.startswith("upper") else text


def _numbering_of(word: Any) -> Any:
    """The root of numbering.xml, None where there is none (python-docx would make one)."""
    for part in word.part.rels.values():
        if not part.is_external and part.reltype.endswith("/numbering"):
            return getattr(part.target_part, "element", None)
    return None


def _value(parent: Any, tag: str) -> str:
    found = parent.find(f"{_W}{tag}") if parent is not None else None
    return (found.get(f"{_W}val") or "") if found is not None else ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= _DIGITS else 0


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
_SIGNS = {f"{_W}tab": "\t", f"{_W}noBreakHyphen": "-", f"{_W}cr": "\n"}
_DRAWN = (f"{_W}drawing", f"{_W}pict")
_PAGE = "\f"  # stands in a line where a page ends


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
        raise InputError(
            f"{name} holds no text" + (", only pictures" if reader.pictures else ""),
            hint="save it as PDF: pages without text are looked at" if reader.pictures
            else "check how it was saved",
        )  # fmt: skip
    return ExtractedText(
        tuple(
            (page, "a page as Word saved it" if len(pages) > 1 else "a Word file") for page in pages
        ),
        reader.notes(name),
    )


class _WordReader:
    """Collects the text of a body."""

    def __init__(self, numbering: Numbering) -> None:
        self._numbering = numbering
        self._writer = Writer()
        self._pages: list[str] = []
        self.pictures = 0
        self._deleted = self._comments = 0
        self._boxes: list[Any] = []

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
        if self._writer.is_full:
            found.append(cut_note(name))
        return tuple(found)

    def blocks(self, parent: Any) -> None:
        """Paragraphs and tables below ``parent``, through whatever wraps them."""
        for child in parent:
            if child.tag == _P:
                self._paragraph(child)
            elif child.tag == _TABLE:
                self._table(child)
            elif isinstance(child.tag, str) and child.tag not in _SKIPPED:
                self.blocks(child)
            elif child.tag in _DELETED:
                self._deleted += 1

    def paragraph_text(self, text: str, *, apart: bool = True) -> None:
        """A paragraph whose text is known; items of a list are not set ``apart``."""
        first, *rest = text.split(_PAGE)
        self._lines(first)
        for part in rest:
            self._end_page()
            self._lines(part)
        if apart:
            self._writer.gap()

    def outside(self, word: "Word", kind: str) -> None:
        seen = set()
        for section in word.sections:
            for each in (getattr(section, f"first_page_{kind}"), getattr(section, kind)):
                if each.is_linked_to_previous:
                    continue
                apart = _WordReader(self._numbering)
                apart.blocks(each._element)
                self.pictures += apart.pictures
                text = "\n".join(apart.pages())
                if text and text not in seen:
                    seen.add(text)
                    self.paragraph_text(text)

    def notes_at_the_end(self, word: "Word") -> None:
        for kind in ("footnotes", "endnotes"):
            for note in _part(word, kind):
                if note.get(f"{_W}type") is None:  # else a line that parts them
                    self.paragraph_text(f"[note {note.get(f'{_W}id')}] {self._flat(note)}")
        self._comments = len(_part(word, "comments"))

    def _lines(self, text: str) -> None:
        for line in text.split("\n"):
            if line.strip():
                self._writer.line(line.strip(" "))

    def _end_page(self) -> None:
        text = self._writer.take()
        if text:  # Word marks one end of a page twice
            self._pages.append(text)

    def _paragraph(self, paragraph: Any) -> None:
        text = "".join(self._inline(paragraph))
        label = ""
        if text.strip(" \t\n" + _PAGE):
            breaks, text = _leading_breaks(text)
            label = self._numbering.label(paragraph)
            text = breaks + label + text
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
            elif tag == f"{_W}lastRenderedPageBreak":
                yield _PAGE
            elif tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
                yield f" [note {child.get(f'{_W}id')}]"
            elif tag in _DELETED:
                self._deleted += 1
            elif tag in _SKIPPED:
                continue
            elif tag in _DRAWN:
                boxes = [box for box in child.iter(_BOX) if not _within(box, child, _FALLBACK)]
                self._boxes += boxes
                self.pictures += not boxes and _holds_picture(child)
            else:
                yield from self._inline(child)


def _leading_breaks(text: str) -> tuple[str, str]:
    rest = text.lstrip(_PAGE)
    return text[: len(text) - len(rest)], rest


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


def _part(word: "Word", kind: str) -> list[Any]:
    """What stands in another part of the file."""
    from docx.oxml.parser import parse_xml

    for part in word.part.rels.values():
        if not part.is_external and part.reltype.endswith(f"/{kind}"):
            return list(parse_xml(part.target_part.blob))
    return []
