"""The characters of a PDF page to words with their places. A part of the program ``pdf.py``, which
imports it by its file, so it imports nothing of the package; beside it a door to PDFium.
"""

import ctypes
import math
import sys
from array import array
from typing import Any
from unicodedata import bidirectional

_JUMP = 0.3  # of the character's height: a baseline that moved, so another word
_GAP = 0.5  # of the character's height: a gap that is a column even without a space
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl"}
_HYPHENS = (0x02, 0xFFFE)  # PDFium's marks for a hyphen at the end of a line
_INVISIBLE = (0xAD, 0x200B, 0xFEFF)
_SLANTED = 4
_UPRIGHT = 0.1  # of a quarter: the angle up to which text counts as not slanted
_PRIVATE = range(0xE000, 0xF900)  # characters of one font only, such as those of its bullets
_RIGHT = ("R", "AL", "NSM")  # letters and marks that are read from right to left
_UNKNOWN = "\ufffd"


class FoundWords:
    """The words of a page in the order of the file: ``texts``, and seven floats for each in
    ``places``. ``visible_chars`` counts their characters, ``unreadable`` those without a meaning.

    ``display`` takes the page's coordinates to what is seen of it, ``(a, b, c, d, e, f,
    degrees)``; ``size`` is that of the page as seen.
    """

    def __init__(self, display: tuple[float, ...], size: tuple[float, float]) -> None:
        self.texts: list[str] = []
        self.places = array("f")
        self.visible_chars = self.unreadable = 0
        self._display, self._size = display, size
        self._units: list[int] = []
        # Of the open word, in the page's own coordinates.
        self._left = self._bottom = self._right = self._top = self._base = 0.0
        self._first = self._last = 0.0  # the left edges of its first and last character
        self._turn, self._glued = 0, False

    def add(
        self, unit: int, box: tuple[float, float, float, float], base: float, turn: int
    ) -> None:
        """A character: its box (left, bottom, right, top), its baseline and its turn, all in the
        page's own coordinates. One that stands elsewhere begins a word of its own."""
        left, bottom, right, top = box
        glued = bool(self._units) and self._is_apart(box, base, turn)
        if glued:
            self.end()
        if self._units:
            self._left, self._right = min(self._left, left), max(self._right, right)
            self._bottom, self._top = min(self._bottom, bottom), max(self._top, top)
        else:
            self._left, self._bottom, self._right, self._top = box
            self._base, self._turn, self._glued, self._first = base, turn, glued, left
        self._last = left
        self._units.append(unit)

    def end(self) -> None:
        """White space, or the end of the page: the open word is done."""
        if not self._units:
            return
        text = _decode(self._units)
        self._units = []
        if self._last > self._first and all(bidirectional(char) in _RIGHT for char in text):
            text = text[::-1]  # stored as it is seen, not as it is read
        left, top, right, bottom, base, turn = self._seen()
        width, height = self._size
        # What was cropped away is not on the page as it is seen.
        if 0 <= left + right <= 2 * width and 0 <= top + bottom <= 2 * height:
            self.texts.append(text)
            self.places.extend((left, top, right, bottom, base, turn, self._glued))
            self.visible_chars += len(text)
            self.unreadable += sum(map(_is_unreadable, text))

    def _is_apart(self, box: tuple[float, float, float, float], base: float, turn: int) -> bool:
        """Whether a character cannot belong to the open word."""
        if turn != self._turn or turn == _SLANTED:
            return turn != self._turn
        left, bottom, right, top = box
        if turn in (1, 3):
            height, ahead, behind = right - left, bottom - self._top, self._bottom - top
        else:
            height, ahead, behind = top - bottom, left - self._right, self._left - right
        return abs(base - self._base) > _JUMP * height or max(ahead, behind) > _GAP * height

    def _seen(self) -> tuple[float, float, float, float, float, int]:
        """The open word's box as seen, its baseline and its turn."""
        a, b, c, d, e, f, degrees = self._display
        x1, y1 = a * self._left + c * self._bottom + e, b * self._left + d * self._bottom + f
        x2, y2 = a * self._right + c * self._top + e, b * self._right + d * self._top + f
        turn = self._turn
        x, y = (self._base, self._bottom) if turn in (1, 3) else (self._left, self._base)
        turn = turn if turn == _SLANTED else (turn + round(degrees / 90)) % 4
        base = a * x + c * y + e if turn in (1, 3) else b * x + d * y + f
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), base, turn


def read_words(
    textpage: Any, count: int, display: tuple[float, ...], size: tuple[float, float]
) -> FoundWords:
    """The first ``count`` characters of a raw text page; the rest as in ``FoundWords``."""
    import pypdfium2.raw as pdfium

    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    box_ref, x_ref, y_ref = ctypes.byref(box), ctypes.byref(x), ctypes.byref(y)
    words = FoundWords(display, size)
    heights: tuple[float, float] | None = None  # of the last character
    base, turn = 0.0, 0
    for index in range(count):
        unit = pdfium.FPDFText_GetUnicode(textpage, index)
        if unit in _INVISIBLE:
            continue
        if unit <= sys.maxunicode and unit not in _HYPHENS and chr(unit).isspace():
            words.end()
            continue
        pdfium.FPDFText_GetLooseCharBox(textpage, index, box_ref)
        edges = (box.left, box.bottom, box.right, box.top)
        if heights != (edges[1], edges[3]):
            # Within a line neither the baseline nor the angle changes; asking costs time.
            heights = (edges[1], edges[3])
            pdfium.FPDFText_GetCharOrigin(textpage, index, x_ref, y_ref)
            # PDFium turns clockwise here; -1 means that it does not know.
            turn = _turn(max(pdfium.FPDFText_GetCharAngle(textpage, index), 0.0))
            base = x.value if turn in (1, 3) else y.value
        if math.isfinite(sum(edges) + base):
            words.add(unit, edges, base, turn)
    words.end()
    return words


def _turn(radians: float) -> int:
    """Quarters, 0 to 3, or ``_SLANTED``."""
    quarters = math.degrees(radians) / 90
    turn = round(quarters)
    return turn % 4 if abs(quarters - turn) < _UPRIGHT else _SLANTED


def _decode(units: list[int]) -> str:
    """UTF-16 halves joined, ligatures opened; what has no character becomes U+FFFD."""
    text = "".join(map(_character, units))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(unit: int) -> str:
    if unit in _HYPHENS:
        return "-"
    if unit < ord(" ") or unit > sys.maxunicode:
        return _UNKNOWN
    return _LIGATURES.get(unit) or chr(unit)


def _is_unreadable(char: str) -> bool:
    return char == _UNKNOWN or ord(char) in _PRIVATE
