"""What a reader of one kind of file found: texts, page by page, and what was left out. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_CHARS = 4_000_000  # of one document; no context holds more (as pdf_process.Limits)
_CELLS = " | "
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0)))


@dataclass(frozen=True, slots=True)
class Content:
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
    """Said where a ``Writer`` was full."""
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
