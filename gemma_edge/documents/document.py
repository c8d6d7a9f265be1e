"""A document as the jobs see it: pages of text, each with its kind and the reason for it. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Page:
    """One page; ``number`` counts from 1.

    ``kind`` is ``text``, ``scan`` (a picture of text), ``empty`` or ``damaged``; ``reason`` says
    in words how that was decided. ``text`` keeps columns apart by runs of spaces.
    """

    number: int
    text: str = field(repr=False)
    kind: str = "text"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Pages in reading order. ``notes`` are lines a person must see: whatever was left out,
    or read in a way that they may not expect."""

    name: str
    pages: tuple[Page, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of the pages that have any; of several pages each is headed ``[page N]``."""
        if len(self.pages) == 1:
            return self.pages[0].text
        return "\n\n".join(f"[page {page.number}]\n{page.text}" for page in self.pages if page.text)
