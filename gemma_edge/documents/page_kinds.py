"""What kind of page it is, and why: a text layer that can be trusted, or a picture of text. Pure.

The signals and their order are those of reference extract.md 4.3.
"""

from dataclasses import dataclass

_FEW_CHARS = 20  # below it a page that shows anything is a picture
_SCAN = 0.8  # share of the page from which images are the page
_PART = 0.3  # share from which an image beside text may hold more of it
_SEEN = 0.02  # share from which images are worth a word: a banner, a stamp
_HIDDEN = 0.5  # share of the text from which it is what a program guessed of the image
_UNREADABLE = 0.1  # share of characters without a meaning from which the text is no use
_LITTLE_TEXT = 200  # characters on a page-filling image: a stamp or a page number
_DRAWN_LETTERS = 200  # drawings of the size of letters; fewer are rules, ticks and logos


@dataclass(frozen=True, slots=True)
class Looks:
    """How a page looks, as ``pdf_looks.py`` finds it. Shares are from 0 to 1."""

    chars: int = 0
    unreadable: int = 0
    image_share: float = 0.0
    images: int = 0
    drawings: int = 0
    glyphs: int = 0
    hidden: float = 0.0
    blank: bool = False


def page_kind(looks: Looks) -> tuple[str, str]:
    """The kind, as in ``document.PAGE_KINDS``, and the reason in words."""
    images = "an image covers" if looks.images == 1 else f"{looks.images:,} images cover"
    covered = f"{images} {looks.image_share:.0%} of it"
    if looks.chars < _FEW_CHARS:
        return _with_few_chars(looks, covered)
    if looks.image_share >= _SCAN and looks.hidden >= _HIDDEN:
        it = "it" if looks.images == 1 else "them"
        hidden = f"{looks.hidden:.0%} of its text lies hidden under {it}"
        return "scan+ocr-layer", f"{covered}, and {hidden}"
    if looks.unreadable >= _UNREADABLE * looks.chars:
        return "scan", f"{looks.unreadable / looks.chars:.0%} of its characters have no meaning"
    if looks.image_share >= _SCAN and looks.chars < _LITTLE_TEXT:
        return "scan", f"{covered}, with {looks.chars} characters beside it"
    return _with_text(looks, covered)


def _with_text(looks: Looks, covered: str) -> tuple[str, str]:
    reason = f"{looks.chars:,} characters in the text layer"
    if looks.image_share >= _PART:
        return "mixed", f"{reason}, and {covered}"
    if looks.glyphs >= max(_DRAWN_LETTERS, looks.chars):
        return "mixed", f"{reason}, and {looks.glyphs:,} drawings of the size of letters"
    if looks.image_share >= _SEEN:
        reason += f", and {covered}"
    return "text", reason


def _with_few_chars(looks: Looks, covered: str) -> tuple[str, str]:
    found = f"{looks.chars} characters" if looks.chars else "no text layer"
    if looks.chars and looks.image_share < _PART and looks.glyphs < _DRAWN_LETTERS:
        return "text", f"{looks.chars} characters in the text layer"
    if looks.blank:
        return "empty", "it is blank" if looks.images else "nothing is printed on it"
    if looks.images:
        return "scan", f"{covered}, and it has {found}"
    if looks.drawings:
        drawn = f"{looks.drawings:,} drawing{'' if looks.drawings == 1 else 's'}"
        return "scan", f"it has {found}, only {drawn}"
    return "empty", "nothing is printed on it"
