"""The pages of the review page: which are shown, as images or as text, and what is lit on them."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gemma_edge.documents import Box, Document, Page, render_image
from gemma_edge.documents.shrinking import shrink_image
from gemma_edge.errors import InputError
from gemma_edge.extract.evidence.evidence import Evidence
from gemma_edge.extract.paths import ValuePath

WIDTH_PX = 1000
MAX_PAGES = 60
MAX_BYTES = 24 << 20  # of images; a browser opens the page at once with less
_FEW = 12  # pages up to which all are shown
_NAMED = 5  # leaves of one box that its tooltip names
_MARGIN = 1.5  # points around a box, so that its line does not touch the letters
_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"RIFF", "webp"))


@dataclass(frozen=True, slots=True)
class BoxView:
    """A box in the units of its page; ``leaves`` are the numbers of all that stand there."""

    leaves: str
    left: float
    top: float
    width: float
    height: float
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class PageView:
    """A page as it is shown: ``image`` is a data URL, or ``parts`` are its text in pieces, each
    with the numbers of the leaves that it belongs to."""

    number: int
    width: float
    height: float
    image: str | None
    boxes: tuple[BoxView, ...]
    parts: tuple[tuple[str, str], ...]


def draw_pages(
    document: Document,
    evidence: Sequence[Evidence],
    *,
    width_px: int = WIDTH_PX,
    on_page: Callable[[int, int], None] | None = None,
) -> dict[int, bytes]:
    """Images of the pages that a review shows, as far as ``MAX_PAGES`` and ``MAX_BYTES`` go; none
    of a document of text. ``on_page`` hears how many of how many are drawn. A page that cannot be
    drawn is left out."""
    images: dict[int, bytes] = {}
    if document.media == "text":
        return images
    numbers = shown_pages(document, evidence)[:MAX_PAGES]
    size = 0
    for done, number in enumerate(numbers):
        if on_page is not None:
            on_page(done, len(numbers))
        try:
            image = shrink_image(render_image(document, number, width_px=width_px))
        except InputError:
            continue
        size += len(image)
        if size > MAX_BYTES:
            break
        images[number] = image
    return images


def shown_pages(document: Document, evidence: Iterable[Evidence]) -> list[int]:
    """The numbers of all pages, or of many those with evidence on them."""
    if len(document.pages) <= _FEW:
        return [page.number for page in document.pages]
    used = {each.page for each in evidence}
    used |= {place.page for each in evidence for place in each.further}
    return [page.number for page in document.pages if page.number in used]


def view_pages(
    document: Document,
    evidence: Sequence[Evidence],
    images: Mapping[int, bytes],
    names: Mapping[ValuePath, int],
) -> list[PageView]:
    """The pages to show, with their boxes; ``names`` gives each leaf its number."""
    wanted = set(shown_pages(document, evidence))
    views = []
    for page in document.pages:
        if page.number in wanted:
            image = images.get(page.number)
            boxes = tuple(_boxes(page, evidence, names)) if image else ()
            parts = () if image else tuple(_parts(page, evidence, names))
            url = _data_url(image) if image else None
            views.append(PageView(page.number, page.width, page.height, url, boxes, parts))
    return views


def _data_url(image: bytes) -> str:
    kind = next((name for mark, name in _TYPES if image.startswith(mark)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _boxes(page: Page, evidence: Sequence[Evidence], names: Mapping[ValuePath, int]) -> list[BoxView]:
    holders: dict[Box, list[Evidence]] = {}
    for each in evidence:
        places = list(each.boxes) if each.page == page.number else []
        for place in each.further:
            places += place.boxes if place.page == page.number else ()
        for box in places:
            holders.setdefault(box, []).append(each)
    # Small boxes lie on top, so that each can be reached.
    ordered = sorted(holders.items(), key=lambda item: -_area(item[0]))
    return [
        BoxView(
            leaves=" ".join(str(names[each.path]) for each in held),
            left=round(box.left - _MARGIN, 2),
            top=round(box.top - _MARGIN, 2),
            width=round(box.right - box.left + 2 * _MARGIN, 2),
            height=round(box.bottom - box.top + 2 * _MARGIN, 2),
            state="located" if held[0].source == "located" else held[0].status,
            label="\n".join(
                f"{render_path(each.path)}: {each.text or each.value}" for each in held[:_NAMED]
            ),
        )
        for box, held in ordered
    ]


def render_path(path: ValuePath) -> str:
    """``items › 2 › amount``: places in a list count from 1, as people do."""
    return " › ".join(str(part + 1) if isinstance(part, int) else part for part in path)


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _parts(
    page: Page, evidence: Sequence[Evidence], names: Mapping[ValuePath, int]
) -> list[tuple[str, str]]:
    """The page's text, cut wherever a leaf begins or ends."""
    spans = [
        (each.start, each.end, names[each.path])
        for each in evidence
        if each.page == page.number and each.start is not None and each.end is not None
    ]
    spans += [
        (place.start, place.end, names[each.path])
        for each in evidence
        for place in each.further
        if place.page == page.number
    ]
    begun: dict[int, list[tuple[int, int]]] = {}
    for start, end, number in spans:
        begun.setdefault(start, []).append((end, number))
    cuts = sorted({0, len(page.text), *begun, *(end for _, end, _ in spans)})
    parts: list[tuple[str, str]] = []
    running: list[tuple[int, int]] = []
    for start, end in pairwise(cuts):
        running = [(until, number) for until, number in running if until > start]
        running += begun.get(start, [])
        numbers = " ".join(str(number) for _, number in running)
        parts.append((page.text[start:end], numbers))
    return parts
