"""Which pages go in as text and which as pictures. A picture costs 1,120 tokens and is what is left
where the text of a page is missing or only guessed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gemma_edge.documents import Document, Page, render_page
from gemma_edge.documents.picture import MAX_TOKENS, Picture
from gemma_edge.errors import InputError
from gemma_edge.extract.job.options import Vision
from gemma_edge.extract.job.prompting import Sheet

How = Literal["text", "picture", "both", "nothing"]

_AUTO: dict[str, How] = {
    "text": "text", "scan": "picture", "scan+ocr-layer": "picture", "mixed": "both",
    "empty": "nothing", "damaged": "nothing",
}  # fmt: skip
_READ_AS: dict[How, str] = {
    "text": "read as text", "picture": "read as a picture",
    "both": "read as text and as a picture", "nothing": "not read",
}  # fmt: skip
_UNSEEN = 0.05  # share of a page from which images that are not looked at are worth a line
_BY_LAYER = "read by its OCR layer, which may be wrong"


@dataclass(frozen=True, slots=True)
class Look:
    """How one page goes in; its kind and the reason for it are the page's own."""

    page: Page
    how: How


def look_at(document: Document, vision: Vision) -> tuple[Look, ...]:
    """The decision for each page.

    Raises:
        InputError: no page has anything to read in this way.
    """
    looks = tuple(_look(page, document.media, vision) for page in document.pages)
    if all(look.how == "nothing" for look in looks):
        raise _nothing(document, vision)
    return looks


def needs_pictures(looks: Sequence[Look]) -> bool:
    """Whether a projector is needed."""
    return any(look.how in ("picture", "both") for look in looks)


def notes_on(looks: Sequence[Look]) -> tuple[str, ...]:
    """A line for each kind of page that goes in in a way which a person may not expect."""
    groups: dict[tuple[str, How], list[Look]] = {}
    for look in looks:
        groups.setdefault((look.page.kind, look.how), []).append(look)
    notes = []
    for (kind, how), some in groups.items():
        if kind == "damaged":  # the document's notes tell it
            continue
        if (kind, how) == ("text", "text"):
            notes += _unseen(some)
            continue
        named = _numbers([look.page.number for look in some])
        said = _BY_LAYER if (kind, how) == ("scan+ocr-layer", "text") else _READ_AS[how]
        notes.append(f"{named}: {kind} ({some[0].page.reason}), {said}")
    return tuple(notes)


def _unseen(looks: Sequence[Look]) -> list[str]:
    shares = {each.page.number: each.page.image_share for each in looks}
    numbers = [number for number, share in shares.items() if share >= _UNSEEN]
    if not numbers:
        return []
    most = max(shares[number] for number in numbers)
    share = f"{most:.0%}" if len(numbers) == 1 else f"up to {most:.0%}"
    images = f"images ({share} of the page) are not looked at"
    return [f"{_numbers(numbers)}: {images}; --vision always does"]


def make_sheet(
    document: Document, look: Look, *, max_tokens: int = MAX_TOKENS, tiles: int = 1
) -> Sheet:
    """The page as the model gets it, drawn where it goes in as a picture.

    Raises:
        InputError: it cannot be drawn.
    """
    page = look.page
    text = page.text if look.how in ("text", "both") else ""
    pictures: tuple[Picture, ...] = ()
    if look.how in ("picture", "both"):
        drawn = render_page(document, page.number, max_tokens=max_tokens, tiles=tiles)
        name = f"{document.name} page {page.number}"
        pictures = tuple(replace(each, name=name) for each in drawn)
    return Sheet(page.number, text, pictures)


def without_pixels(sheet: Sheet) -> Sheet:
    """The sheet with empty pictures of the same size: enough to count it."""
    return replace(sheet, pictures=tuple(replace(each, rgb=b"") for each in sheet.pictures))


def _look(page: Page, media: str, vision: Vision) -> Look:
    how = _AUTO[page.kind]
    if media == "text" or (vision == "never" and how != "nothing"):
        how = "text" if page.text.strip() else "nothing"
    elif vision == "always" and how == "text":
        how = "both"
    return Look(page, how)


def _nothing(document: Document, vision: Vision) -> InputError:
    kinds = {page.kind for page in document.pages}
    if vision == "never" and kinds & {"scan", "scan+ocr-layer", "mixed"}:
        return InputError(
            f"{document.name} is a scan without text, and --vision never", hint="--vision auto"
        )
    what = "damaged" if kinds == {"damaged"} else "empty"
    pages = "its page is" if len(document.pages) == 1 else "all of its pages are"
    return InputError(
        f"{document.name} has nothing to read: {pages} {what}",
        hint="check how it was saved or copied",
    )


def _numbers(numbers: Sequence[int]) -> str:
    """``page 3``, ``pages 1-4, 9``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    said = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return f"page{'' if len(numbers) == 1 else 's'} {said}"
