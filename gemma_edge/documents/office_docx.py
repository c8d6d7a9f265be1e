"""A Word file to text: paragraphs with their numbers, tables row by row, text boxes, heads, notes.
The one door to python-docx.

python-docx opens the package; its parts are walked here, since its own list of paragraphs leaves
out content controls, text boxes and what was inserted. Hostile bytes: it runs in the child process
of ``apart.py``. Pages end where Word ended them when it last saved the file.
"""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gemma_edge.documents.content import Content, Writer, cut_note, render_row
from gemma_edge.documents.office_numbering import Numbering
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from docx.document import Document as Word

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TEXTS = (f"{_W}t", "{http://schemas.openxmlformats.org/officeDocument/2006/math}t")
_P, _TABLE, _ROW, _CELL = f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc"
_BOX = f"{_W}txbxContent"
_DELETED = frozenset((f"{_W}del", f"{_W}moveFrom"))
_SKIPPED = _DELETED | {_FALLBACK, f"{_W}pPr", f"{_W}rPr", f"{_W}instrText", f"{_W}sdtPr"}
_SIGNS = {f"{_W}tab": "\t", f"{_W}noBreakHyphen": "-", f"{_W}cr": "\n"}
_DRAWN = (f"{_W}drawing", f"{_W}pict")
_PAGE = "\f"  # stands in a line where a page ends


def read_docx(data: bytes, name: str) -> Content:
    """The body in order, the first head before it, notes and the foot after it.

    Raises:
        InputError: of another kind, or without text.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        word = docx.Document(io.BytesIO(data))
    except (ValueError, KeyError, PackageNotFoundError):
        raise InputError(
            f"{name} is not a Word file that is read (one with macros, a template, or damaged)",
            hint="save it as .docx, or as PDF",
        ) from None
    reader = _Reader(Numbering(word))
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
    return Content(
        tuple(
            (page, "a page as Word saved it" if len(pages) > 1 else "a Word file") for page in pages
        ),
        reader.notes(name),
    )


class _Reader:
    """Collects the text of a body."""

    def __init__(self, numbering: Numbering) -> None:
        self._numbering = numbering
        self._writer = Writer()
        self._pages: list[str] = []
        self.pictures = 0
        self._deleted = self._comments = 0
        self._boxes: list[Any] = []

    def pages(self) -> list[str]:
        """All pages."""
        self._end_page()
        return self._pages

    def notes(self, name: str) -> tuple[str, ...]:
        """What was left out."""
        counts = (
            (self.pictures, "pictures in it are not looked at; as PDF they are"),
            (self._deleted, "deleted passages (tracked changes) are left out"),
            (self._comments, "comments are left out"),
        )
        found = [f"{name}: {said} ({count:,})" for count, said in counts if count]
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
        """The heads or the feet of the pages, each text once."""
        seen = set()
        for section in word.sections:
            for each in (getattr(section, f"first_page_{kind}"), getattr(section, kind)):
                if each.is_linked_to_previous:
                    continue
                apart = _Reader(self._numbering)
                apart.blocks(each._element)
                self.pictures += apart.pictures
                text = "\n".join(apart.pages())
                if text and text not in seen:
                    seen.add(text)
                    self.paragraph_text(text)

    def notes_at_the_end(self, word: "Word") -> None:
        """Footnotes and endnotes, in order; comments are counted."""
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
        """Everything in a cell or a note on one line; the rows of a table in it too."""
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
    """The nearest elements with this tag, through content controls and inserted rows."""
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
