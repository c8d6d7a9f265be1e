"""HTML to text: paragraphs, lists, tables row by row.

Nothing is fetched, no script runs. It reads hostile bytes, so it runs in the child process of
``open.py``; the tree is walked without recursion, however deep it is.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from gemma_edge.documents.document import (
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    decode_labelled,
    decode_text,
    render_row,
)

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DROPPED = frozenset(
    ("script", "style", "template", "noscript", "title", "svg", "iframe", "object")
)
_APART = frozenset(
    ("p", "table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "pre", "blockquote")
)
_BLOCKS = _APART | frozenset(
    ("address", "article", "aside", "body", "caption", "center", "dd", "details", "div", "dt")
    + ("fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "li")
    + ("main", "nav", "section", "summary", "tbody", "td", "tfoot", "th", "thead", "tr")
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
# What ends a cell in a table without tables in it, where ends of tags were left out.
_MAX_TAGS = 1_000_000  # a kilobyte each; the largest reports have half as many
_MAX_SPAN = 100  # columns or rows of one cell: the file may claim a billion
_CHARSET = re.compile(
    rb"""(?i:<(?:meta\s[^>]{0,200}?charset|\?xml\s[^>]{0,100}?encoding)\s*=\s*["']?)([\w.:+-]{2,40})"""
)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def read_html(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """A page of HTML as one page of text, its title first.
    Raises InputError: no text."""
    label = "" if options.encoding else label_of(data)
    if label:
        text, notes = decode_labelled(data, label, name)
    else:
        text, notes = decode_text(data, name, options.encoding)
    markup, many = _bounded(text)
    found, hidden, is_cut = html_to_text(markup)
    notes += (f"{name}: hidden parts are left out ({hidden:,})",) if hidden else ()
    notes += (f"{name} is cut: {_MAX_TAGS:,} tags are the most that is read",) if many else ()
    notes += (cut_note(name),) if is_cut and not many else ()
    return ExtractedText(((found, "HTML"),), notes)


def html_to_text(markup: str) -> tuple[str, int, bool]:
    """The text, the number of hidden parts that are not in it, and whether it is cut."""
    from bs4 import BeautifulSoup

    markup, many = _bounded(markup)
    soup = BeautifulSoup(markup, "html.parser")
    flow = _Flow(_layouts(soup))
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    if title:
        flow.text(title)
        flow.block(apart=True)
    flow.walk(soup)
    text = flow.finish()
    return text, flow.hidden, many or flow.writer.is_full


def _bounded(markup: str) -> tuple[str, bool]:
    """As many tags as are read, and whether there were more."""
    if markup.count("<") <= _MAX_TAGS:
        return markup, False
    end = next(islice(re.finditer("<", markup), _MAX_TAGS, None)).start()
    return markup[:end], True


def _layouts(soup: "BeautifulSoup") -> frozenset[int]:
    """The ids of tables in which there are others; each tag above them is passed once."""
    nearest: dict[int, Tag | None] = {}
    found: set[int] = set()
    for table in soup.find_all("table"):
        passed: list[Tag] = []
        above = table.parent
        while above is not None and above.name != "table" and id(above) not in nearest:
            passed.append(above)
            above = above.parent
        if above is not None and above.name != "table":
            above = nearest[id(above)]
        nearest |= {id(tag): above for tag in passed}
        if above is not None:
            found.add(id(above))
    return frozenset(found)


def label_of(data: bytes) -> str:
    """What a page says that it is written in, its ``<meta>`` or as XML does, or nothing."""
    found = _CHARSET.search(data[:4096])
    # Where its name could be read byte by byte, it is in none of these (HTML standard, 13.2.3.2).
    label = found[1].decode("ascii") if found else ""
    return "utf-8" if label.lower().startswith(("utf-16", "utf-32")) else label


class _Flow:
    """Text as it flows: white space collapses, blocks end lines, cells of a row share one."""

    def __init__(self, layouts: frozenset[int] = frozenset(), *, in_cell: bool = False) -> None:
        self.writer = Writer()
        self.hidden = 0
        self._layouts, self._in_cell = layouts, in_cell
        self._line: list[str] = []
        self._prefix = ""  # of the next line: a bullet, the signs of a heading
        self._numbers: dict[int, int] = {}  # the last item of each ordered list

    def text(self, text: str) -> None:
        self._line.append(text)

    def block(self, *, apart: bool) -> None:
        line = " ".join("".join(self._line).split())
        self._line.clear()
        if line:
            self.writer.line(self._prefix + line)
            self._prefix = ""
        if apart:
            self.writer.gap()

    def finish(self) -> str:
        self.block(apart=False)
        return self.writer.take()

    def walk(self, root: "Tag") -> None:
        from bs4.element import NavigableString, PreformattedString, Tag

        stack: list[tuple[Tag, Iterator[object]]] = [(root, iter(root.children))]
        while stack and not self.writer.is_full:
            tag, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                self._leave(tag)
            elif isinstance(child, Tag):
                if self._enter(child):
                    stack.append((child, iter(child.children)))
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                if any(above.name == "pre" for above, _ in stack[-3:]):
                    self._preformatted(str(child))
                else:
                    self.text(str(child))

    def _enter(self, tag: "Tag") -> bool:
        """Whether what is in it is still to be walked."""
        name = tag.name
        # What ends a cell in a table without tables in it, where ends of tags were left out.
        ends_cell = name in ("td", "th", "tr", "tbody", "thead", "tfoot")
        if name in _DROPPED or (self._in_cell and ends_cell):
            return False
        if tag.has_attr("hidden") or _HIDDEN.search(str(tag.get("style") or "")):
            self.hidden += bool(tag.get_text(strip=True))
            return False
        if name == "br":
            self.block(apart=False)
        elif name == "img":
            alt = str(tag.get("alt") or "").strip()
            self.text(f" [image: {alt}] " if alt else "")
        elif name == "input":
            self._input(tag)
        elif name in _BLOCKS:
            self.block(apart=name in _APART)
            return self._enter_block(tag)
        return True

    def _enter_block(self, tag: "Tag") -> bool:
        if tag.name == "li":
            self._prefix = self._bullet(tag)
        elif tag.name == "table":
            return not self._table(tag)
        else:
            self._prefix = _HEADINGS.get(tag.name, self._prefix)
        return True

    def _table(self, table: "Tag") -> bool:
        """Whether it is one, and not only places things on the page."""
        rows = [] if id(table) in self._layouts else list(table.find_all("tr"))
        if not any(len(_cells(row)) > 1 for row in rows):
            return False
        if table.caption is not None:
            self.writer.line(" ".join(table.caption.get_text(" ").split()))
        hanging: dict[int, tuple[int, str]] = {}  # by column: further rows of a cell, its text
        for row in rows:
            if self.writer.is_full:
                break
            self._row(row, hanging)
        return True

    def _leave(self, tag: "Tag") -> None:
        if tag.name in _BLOCKS:
            self.block(apart=tag.name in _APART)
            self._prefix = ""

    def _bullet(self, item: "Tag") -> str:
        if item.parent is None or item.parent.name != "ol":
            return "- "
        number = self._numbers.get(id(item.parent), 0) + 1
        self._numbers[id(item.parent)] = number
        return f"{number}. "

    def _preformatted(self, text: str) -> None:
        first, *rest = text.split("\n")
        self.text(first)
        for line in rest:
            self.block(apart=False)
            if line.strip():
                self.writer.line(line)

    def _input(self, tag: "Tag") -> None:
        kind, value = str(tag.get("type") or "text").lower(), str(tag.get("value") or "")
        if kind in ("checkbox", "radio"):
            self.text(" [x] " if tag.has_attr("checked") else " [ ] ")
        elif kind not in ("hidden", "password", "submit", "button", "image", "reset"):
            self.text(f" {value} ")

    def _row(self, row: "Tag", hanging: dict[int, tuple[int, str]]) -> None:
        """A row; a cell that spans rows stands in each of them, so that columns stay columns."""
        cells: list[str] = []
        for cell in _cells(row):
            _hang(cells, hanging)
            inner = _Flow(in_cell=True)
            inner.walk(cell)
            text = inner.finish()
            self.hidden += inner.hidden
            width, height = _span(cell, "colspan"), _span(cell, "rowspan")
            if height > 1:
                hanging |= {
                    len(cells) + at: (height - 1, "" if at else text) for at in range(width)
                }
            cells += [text, *[""] * (width - 1)]
        _hang(cells, hanging)
        line = render_row(cells)
        if line:
            self.writer.line(line)


def _hang(cells: list[str], hanging: dict[int, tuple[int, str]]) -> None:
    while len(cells) in hanging:
        column = len(cells)
        left, text = hanging.pop(column)
        cells.append(text)
        if left > 1:
            hanging[column] = (left - 1, text)


def _cells(row: "Tag") -> "list[Tag]":
    """The cells of a row; where ends of tags were left out, they stand in one another."""
    found: list[Tag] = []
    waiting = list(reversed(row.contents))
    while waiting:
        part = waiting.pop()
        if isinstance(part, type(row)) and part.name != "tr":
            found += [part] if part.name in ("td", "th") else []
            waiting += reversed(part.contents)
    return found


def _span(cell: "Tag", direction: str) -> int:
    value = str(cell.get(direction) or "1")
    return min(_MAX_SPAN, max(1, int(value))) if re.fullmatch("[0-9]{1,9}", value) else 1
