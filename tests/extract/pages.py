"""Documents of text with boxes, as a PDF in a typewriter's font gives them."""

import re

from gemma_edge.documents.document import Document, Page, Word

CELL, LINE = 6.0, 12.0  # points


def page(text: str, number: int = 1, kind: str = "text", *, boxes: bool = True) -> Page:
    """A page whose character in row r and column c stands at (6 c, 12 r), 6 wide and 12 high."""
    words = []
    for found in re.finditer(r"\S+", text):
        row = text.count("\n", 0, found.start())
        column = found.start() - (text.rfind("\n", 0, found.start()) + 1)
        left, top = CELL * column, LINE * row
        right = left + CELL * len(found[0])
        words.append(Word(found[0], found.start(), left, top, right, top + LINE))
    return Page(number, text, kind, "", tuple(words) if boxes else (), 600.0, 800.0)


def document(*texts: str, kind: str = "text", media: str = "pdf") -> Document:
    """A document of such pages."""
    pages = tuple(page(text, number, kind) for number, text in enumerate(texts, 1))
    return Document("bill.pdf", pages, media=media)
