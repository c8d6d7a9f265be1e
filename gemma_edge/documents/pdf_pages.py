"""Pages of a PDF as pixels, drawn by ``pdf.py`` in a child process with limits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.pdf_process import LIMITS, Limits, damaged, encrypted, run_child
from gemma_edge.documents.picture import PATCH_PX

_AT_ONCE_TOKENS = 4480  # four pages at the largest budget: 62 MB on their way
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
    ``max_tokens`` patches.

    Raises:
        InputError: encrypted, damaged, or too slow to draw.
        UsageError: a page that there is not.
    """
    pixels = int(_FINER * max_tokens * PATCH_PX * PATCH_PX)
    at_once = max(1, _AT_ONCE_TOKENS // max_tokens)
    waiting = [1] if pages is None else []  # the first answer tells how many there are
    count = 0
    while waiting or not count:
        now, waiting = waiting[:at_once], waiting[at_once:]
        render = {"pages": now, "pixels": pixels}
        head, *drawn = _drawn(run_child(data, name, password, limits, {"render": render}))
        if head.get("error") == "password":
            raise encrypted(name, password)
        if "error" in head:
            raise damaged(name, head["detail"])
        if not count:
            count = head["page_count"]
            if not count:
                raise damaged(name, "it has no pages")
            chosen = range(1, count + 1) if pages is None else pages.choose(count, name)
            waiting = [number for number in chosen if number not in now]
        for page in drawn:
            if "error" in page:
                raise damaged(f"{name} page {page['number']}", page["error"])
            yield PagePixels(page["number"], count, page["width"], page["height"], page["rgb"])


def _drawn(answer: bytes) -> Iterator[dict[str, Any]]:
    """The child's answer: a line about the document, then for each page a line and its pixels."""
    at = 0
    while at < len(answer):
        end = answer.index(b"\n", at)
        entry: dict[str, Any] = json.loads(answer[at:end])
        at = end + 1
        if "width" in entry:
            size = 3 * entry["width"] * entry["height"]
            entry["rgb"] = answer[at : at + size]
            at += size
        yield entry
