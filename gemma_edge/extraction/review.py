"""The review page: a document's pages beside what was read from them, in one HTML file that needs
no network.

The template, its style and its script are data files. All text is escaped, and the page's own
policy lets nothing run or load but what was put in here: style and script are allowed by their
hashes, images only as data.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gemma_edge.documents.document import Box, Document, Page
from gemma_edge.documents.images import render_image, shrink_image
from gemma_edge.errors import InputError
from gemma_edge.extraction import read_data
from gemma_edge.extraction.evidence.evidence import Evidence
from gemma_edge.extraction.json_schema import ValuePath, iter_leaves
from gemma_edge.records import dataclass

# The pages of the review page: which are shown, as images or as text, and what is lit on them.

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
    title: str
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
    shown = set(shown_pages(document, evidence)[:MAX_PAGES])
    pages = [page for page in document.pages if page.number in shown]
    numbers = [page.number for page in pages if document.can_draw(page)]
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
    wanted = set(shown_pages(document, evidence))
    views = []
    for page in (page for page in document.pages if page.number in wanted):
        image, url = images.get(page.number), None
        if image:
            kind = next((name for mark, name in _TYPES if image.startswith(mark)), "png")
            url = f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
        boxes = tuple(_boxes(page, evidence, names)) if image else ()
        parts = () if image else tuple(_parts(page, evidence, names))
        title = f"page {page.number}: {document.place(page)}" if page.file else page.title
        views.append(PageView(page.number, title, page.width, page.height, url, boxes, parts))
    return views


def _boxes(
    page: Page, evidence: Sequence[Evidence], names: Mapping[ValuePath, int]
) -> list[BoxView]:
    holders: dict[Box, list[Evidence]] = {}
    for each in evidence:
        places = list(each.boxes) if each.page == page.number else []
        for place in each.further:
            places += place.boxes if place.page == page.number else ()
        for box in places:
            holders.setdefault(box, []).append(each)
    # Small boxes lie on top, so that each can be reached.
    ordered = sorted(
        holders.items(),
        key=lambda item: (item[0].left - item[0].right) * (item[0].bottom - item[0].top),
    )
    return [
        BoxView(
            leaves=" ".join(str(names[each.path]) for each in held),
            left=round(box.left - _MARGIN, 2),
            top=round(box.top - _MARGIN, 2),
            width=round(box.right - box.left + 2 * _MARGIN, 2),
            height=round(box.bottom - box.top + 2 * _MARGIN, 2),
            state="located" if held[0].source == "located" else held[0].status,
            label="\n".join(
                f"{' › '.join(_keys(each.path))}: {each.text or each.value}"
                for each in held[:_NAMED]
            ),
        )
        for box, held in ordered
    ]


def _keys(path: ValuePath) -> list[str]:
    """Keys as they are; places in a list count from 1, as people do."""
    return [str(step + 1) if isinstance(step, int) else step for step in path]


def _parts(
    page: Page, evidence: Sequence[Evidence], names: Mapping[ValuePath, int]
) -> list[tuple[str, str]]:
    begun: dict[int, list[tuple[int, str]]] = {}
    cuts = {0, len(page.text)}
    for each in evidence:
        for number, start, end in (
            (each.page, each.start, each.end),
            *(p[:3] for p in each.further),
        ):
            if number == page.number and start is not None and end is not None:
                begun.setdefault(start, []).append((end, str(names[each.path])))
                cuts |= {start, end}
    parts: list[tuple[str, str]] = []
    running: list[tuple[int, str]] = []
    for start, end in pairwise(sorted(cuts)):
        running = [(until, number) for until, number in running if until > start]
        running += begun.get(start, [])
        parts.append((page.text[start:end], " ".join(number for _, number in running)))
    return parts


DOUBTFUL = 0.5  # a confidence below it is worth a look
SURE = 0.9  # one below it is shown
_MAX_VALUE = 4000  # characters of one value that are shown
_LONG = 80  # characters from which a value has lines of its own
_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)
_SIGNS = {
    "exact": "✓", "normalized": "✓", "scaled": "×", "fuzzy": "≈", "located": "◎",
    "not_found": "?", "empty": "–",
}  # fmt: skip
_WORDS = {
    "exact": "exact", "normalized": "other form", "scaled": "scaled", "fuzzy": "similar",
    "located": "located", "not_found": "not found", "empty": "empty",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldView:
    number: int
    group: str
    name: str
    value: str
    kind: str
    state: str
    sign: str
    word: str
    detail: str
    page: int | None
    doubtful: bool
    path: ValuePath = ()

    @property
    def label(self) -> str:
        return f"{self.group} › {self.name}" if self.group else self.name


@dataclass(frozen=True, slots=True)
class Review:
    """What a review shows: every value, and the pages with the numbers of those that stand there.
    ``missing`` says which pages are left out, or shown as text, and why."""

    fields: tuple[FieldView, ...]
    pages: tuple[PageView, ...]
    missing: str

    @property
    def claimed(self) -> int:
        """How many values there are."""
        return sum(each.state != "empty" for each in self.fields)

    @property
    def found(self) -> int:
        """How many of them are printed in the document."""
        return sum(each.state not in ("empty", "not_found", "located") for each in self.fields)

    def as_document(self) -> dict[str, Any]:
        """All of it as plain data, cleaned of what could look like something else."""
        counts = {"found": self.found, "claimed": self.claimed}
        return {name: _cleaned(each) for name, each in {**asdict(self), **counts}.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cleaned(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(each) for each in value]
    return clean(value)


def view_review(
    document: Document,
    data: Any,
    evidence: Sequence[Evidence],
    images: Mapping[int, bytes],
    computed: Container[str] = (),
) -> Review:
    """``images`` are PNG, JPEG or WebP by page number; a page with evidence but without an image is
    shown as text. What was ``computed`` stands nowhere: it is no value to look for."""
    known = {each.path: each for each in evidence}
    leaves = [
        known.get(path, Evidence(path=path, value=value))
        for path, value in iter_leaves(data, empty=True)
        if path in known or not path or path[0] not in computed
    ]
    names = {each.path: number for number, each in enumerate(leaves, 1)}
    pages = view_pages(document, evidence, images, names)
    fields = tuple(_field(number, each) for number, each in enumerate(leaves, 1))
    return Review(fields, tuple(pages), _missing(document, pages))


def render_review(  # noqa: PLR0913 (three of them are optional and named)
    document: Document,
    data: Any,
    evidence: Sequence[Evidence],
    images: Mapping[int, bytes],
    *,
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
    computed: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML. ``images`` are PNG, JPEG or WebP by page number; a page with evidence but
    without an image is shown as text. ``problems`` are what makes the result invalid or fails a
    check, ``notes`` is what else a person should know."""
    review = view_review(document, data, evidence, images, computed or {})
    fields = review.fields
    groups: dict[str, list[FieldView]] = {"": []}  # those of the document itself first
    for each in fields:
        if not each.doubtful:
            groups.setdefault(each.group, []).append(each)
    style, script = read_data("review.css"), read_data("review.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=clean,
    )  # fmt: skip
    return environment.from_string(read_data("review.html")).render(
        name=re.split(r"[\\/]", document.name)[-1],
        doubtful=[each for each in fields if each.doubtful],
        groups=[(group, members) for group, members in groups.items() if members],
        pages=review.pages,
        found=review.found,
        claimed=review.claimed,
        problems=problems,
        notes=notes,
        computed=[(name, _text(value)) for name, value in (computed or {}).items()],
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        missing=review.missing,
    )


def clean(value: Any) -> Any:
    """Without control characters, halves of characters, and signs that turn the direction of what
    follows: a document may hold them to look like something else."""
    if type(value) is not str:  # what is marked as safe is a class of its own
        return value
    return _UNPRINTABLE.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _field(number: int, each: Evidence) -> FieldView:
    state = _state(each)
    unsure = each.confidence is not None and each.confidence < DOUBTFUL
    keys = _keys(each.path) or ["value"]
    row = max((at + 1 for at, part in enumerate(each.path) if isinstance(part, int)), default=0)
    cut = min(row or len(keys) - 1, len(keys) - 1)
    return FieldView(
        number=number,
        group=" › ".join(keys[:cut]),
        name=" › ".join(keys[cut:]),
        value=_text(each.value),
        kind=type(each.value).__name__ + (" long" if len(_text(each.value)) > _LONG else ""),
        state=state,
        sign=_SIGNS[state],
        word=_WORDS[state],
        detail=_detail(each, state),
        page=each.page,
        doubtful=state in ("fuzzy", "located", "not_found") or unsure,
        path=each.path,
    )


def _state(each: Evidence) -> str:
    if each.value is None or each.value in ([], {}):
        return "empty"
    return "located" if each.source == "located" and not each.found else each.status


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + " …"


def _detail(each: Evidence, state: str) -> str:
    parts = []
    if state in ("normalized", "scaled", "fuzzy") and " ".join(each.text.split()) != " ".join(
        _text(each.value).split()
    ):
        text = " ".join(each.text.split())
        parts.append(f"printed “{text if len(text) <= _LONG else text[:_LONG] + ' …'}”")
    if state == "scaled":
        parts.append("in a table that counts in more than ones")
    if state == "fuzzy":
        parts.append(f"similarity {each.score:.2f}")
    if state == "located":
        parts.append("the model says that it stands here")
    if state == "not_found":
        many = each.places > 0  # places of "1" or "false", none of them beside its field
        where = "beside its field" if many else "in the text of the document"
        parts.append(f"it is not printed {where}")
    if each.file:
        parts.append(f"{each.file}, page {each.file_page}")
    if each.source == "ocr layer":
        parts.append("from the scan’s text layer")
    if each.confidence is not None and each.confidence < SURE:
        parts.append(f"score {each.confidence:.2f}")
    return " · ".join(parts)


def _missing(document: Document, pages: Sequence[PageView]) -> str:
    shown, there = len(pages), len(document.pages)
    drawn = {page.number for page in document.pages if document.can_draw(page)}
    as_text = [each.number for each in pages if each.image is None and each.number in drawn]
    parts = []
    if shown < there:
        parts.append(f"{shown} of {there} pages are shown, those with values on them")
    if as_text:
        why = "they cannot be drawn, or would make this file too large"
        parts.append(f"{len(as_text)} of them as text: {why}")
    return "; ".join(parts)
