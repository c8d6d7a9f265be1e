"""The pages of a document as pictures: for the model within a budget of tokens, and for a person.

PDFs are drawn in the child process with its limits, images are decoded as ``images.py`` does.
"""

import io
import math
from typing import TYPE_CHECKING

from gemma_edge.documents.document import MAX_TOKENS, PATCH_PX, Document, PageNumbers, Picture
from gemma_edge.documents.images import fit_tiles, iter_images
from gemma_edge.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

_TALLEST = 8  # times as high as wide: what a person is shown of a strip


def render_page(
    document: Document, number: int, *, max_tokens: int = MAX_TOKENS, tiles: int = 1
) -> tuple[Picture, ...]:
    """The page as the engine wants it: one picture, or ``tiles`` (2 or 4) overlapping parts in
    reading order, each within ``max_tokens``.

    Raises:
        UsageError: a document of text has no pages to look at.
        InputError: it cannot be drawn.
    """
    return fit_tiles(_drawn(document, number, max_tokens * tiles), document.name, max_tokens, tiles)


def render_image(document: Document, number: int, *, width_px: int) -> bytes:
    """The page as a PNG, ``width_px`` wide.

    Raises:
        UsageError: a document of text has no pages to look at.
        InputError: it cannot be drawn.
    """
    page = document.page(number)
    ratio = page.height / page.width if page.width and page.height else 1.0
    pixels = width_px * width_px * min(ratio, _TALLEST)
    image = _drawn(document, number, math.ceil(pixels / PATCH_PX**2))
    height = max(1, round(width_px * min(image.height / image.width, _TALLEST)))
    out = io.BytesIO()
    image.resize((width_px, height)).save(out, "PNG")
    return out.getvalue()


def _drawn(document: Document, number: int, max_tokens: int) -> "Image.Image":
    if document.source is None or document.media == "text":
        raise UsageError(
            f"{document.name} is text, there is nothing to look at", hint="--vision auto"
        )
    several = document.media == "pdf" or len(document.pages) > 1 or number > 1
    pages = PageNumbers(((number, number),), str(number)) if several else None
    images = iter_images(
        document.source, document.name, pages=pages, max_tokens=max_tokens,
        password=document.password,
    )  # fmt: skip
    return next(images)
