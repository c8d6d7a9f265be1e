"""Pages of a PDF as pixels, drawn by ``pdf.py`` in a child process with limits."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.pdf_process import (
    LIMITS,
    ChildStopped,
    Limits,
    PdfChild,
    damaged,
    unreadable,
)
from gemma_edge.documents.picture import PATCH_PX

_FINER = 2.0  # pixels for each that is kept: small letters stay smooth when resized


@dataclass(frozen=True, slots=True)
class PagePixels:
    """One page: RGB rows, ``len(rgb) == width * height * 3``."""

    number: int
    count: int
    width: int
    height: int
    rgb: bytes = field(repr=False)


def iter_pdf_pages(  # noqa: PLR0913, PLR0917  (a document, which part of it, and how)
    data: bytes,
    name: str,
    pages: PageNumbers | None,
    max_tokens: int,
    password: str | None = None,
    limits: Limits = LIMITS,
) -> Iterator[PagePixels]:
    """The pages, in the order of the document, each with about twice the pixels of
    ``max_tokens`` patches. While one is made use of the next is being drawn.

    Raises:
        InputError: encrypted, damaged, or too slow to draw.
        UsageError: a page that there is not.
    """
    pixels = int(_FINER * max_tokens * PATCH_PX * PATCH_PX)
    with PdfChild(data, name, password, limits) as child:
        count = child.page_count
        if not count:
            raise damaged(name, "it has no pages")
        numbers = range(1, count + 1) if pages is None else pages.choose(count, name)
        child.send({"draw": numbers[0], "pixels": pixels})
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            try:
                head, rgb = child.receive()
            except ChildStopped as stopped:
                raise unreadable(f"{name} page {number}", str(stopped)) from None
            if "error" in head:
                raise damaged(f"{name} page {number}", head["error"])
            if following is not None:
                child.send({"draw": following, "pixels": pixels})
            yield PagePixels(number, count, head["width"], head["height"], rgb)
