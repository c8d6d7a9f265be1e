"""A document as the jobs see it: pages of text, each with its kind and the reason for it, and its
words with the places where they stand. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

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
    The rest is its box, as in ``Box``.
    """

    text: str
    start: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def end(self) -> int:
        """The offset behind its last character."""
        return self.start + len(self.text)

    @property
    def box(self) -> Box:
        """Where it stands."""
        return Box(self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; ``number`` counts from 1 in its file.

    ``kind`` is one of ``PAGE_KINDS``; ``reason`` says in words how that was decided. ``text`` is
    whatever text the page has, that of an OCR layer too; it keeps columns apart by runs of spaces.
    ``words`` stand in the order of ``text``. ``width`` and ``height`` are in points as seen (of an
    image: in pixels), 0 where there is nothing to see. ``image_share`` of it, from 0 to 1, lies
    under images.
    """

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
    ``pdf``, ``image`` or ``text`` (nothing to draw).
    """

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

        Raises:
            KeyError: it is not among ``pages``.
        """
        for page in self.pages:
            if page.number == number:
                return page
        raise KeyError(number)
