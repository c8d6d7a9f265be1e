"""The child program that holds PDFium: the words of pages with their boxes, or pages as pixels.

PDFium is C++ over hostile input, so a crash, a loop or a flood of memory ends here. The first
request is ``{"password"}`` with the bytes of a PDF, and its answer ``{"page_count", "files",
"cover"}``, or ``{"error": "password" | "locked" | "damaged", "detail"}``. Then each request is
``{"read": number, "max_chars", "hidden": whether text is read that nobody sees}``, ``{"draw":
number, "pixels"}``, ``{"about": true}`` (as ``pdf_objects.about``) or ``{"file": number}``;
``{"error": why}`` is an answer too. ``files`` counts those in it, each of which is ``{"name"}`` and
its bytes; ``cover`` is whether its one page only says that there are some.

Of a page that is read: ``{"width", "height", "chars", "cut", "signals", "count": words, "remarks":
[what people wrote about it, …], "hidden": {why nobody sees text: characters}}``, and as bytes
eight floats for each word (left, top, right, bottom, baseline, turn, glued, skew), then their
texts in UTF-8 with a newline between. Of a page that is drawn: ``{"width", "height"}`` and RGB
rows. Points from the top left corner of the page as it is seen; ``turn`` as in ``layout.Piece``.
"""

import contextlib
import ctypes
import math
import re
import struct
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any
from unicodedata import bidirectional, normalize

from gemma_edge.documents.pdf_objects import (
    OUTSIDE,
    PLACES,
    Annotations,
    Label,
    Seen,
    about,
    as_seen,
    has_layers,
    marks_of,
    needs_drawing,
    put_labels,
    reasons_of,
    rows_of,
)
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler

_LONGEST_PX = 30_000  # side of a page that is drawn: a strip of 1 x 10,000 points


def main() -> Handler:
    pdf: Any = None

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        nonlocal pdf
        if request.parts:
            pdf = open_pdf(request.parts[0], request.header["password"])
            yield ChildMessage(pdf if isinstance(pdf, dict) else look_into(pdf, request.parts[0]))
        else:
            head, content = carry_out(pdf, request.header)
            yield ChildMessage(head, (content,))

    return answer


def open_pdf(data: bytes, password: str | None) -> Any:
    """The document, or the answer that says why there is none."""
    try:
        import pypdfium2
    except ModuleNotFoundError:
        raise GemmaEdgeError("pypdfium2 is not installed", hint="pip install gemma-edge") from None
    except (ImportError, OSError, MemoryError) as error:
        return {"error": "damaged", "detail": _words_of(error)}
    try:
        pdf = pypdfium2.PdfDocument(data, password=password)
        pdf.init_forms()  # so that what was filled into a form is read and drawn too
        pdf.source = (data, password)
        pdf.has_layers, pdf.needs_drawing = has_layers(data), needs_drawing(data)
    except (pypdfium2.PdfiumError, MemoryError) as error:
        kind = {4: "password", 5: "locked"}.get(getattr(error, "err_code", 0), "damaged")
        return {"error": kind, "detail": _words_of(error)}  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY
    return pdf


def carry_out(pdf: Any, order: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The line and the bytes that answer an order."""
    import pypdfium2

    try:
        if "file" in order:
            return read_file(pdf, order["file"])
        if "about" in order:
            return about(pdf), b""
        if "draw" in order:
            return draw_page(pdf, order["draw"] - 1, order["pixels"])
        return read_page(
            pdf, order["read"] - 1, order["max_chars"], hidden=order.get("hidden", False)
        )
    except (pypdfium2.PdfiumError, ValueError, OverflowError, MemoryError) as error:
        return {"error": _words_of(error)}, b""


def _words_of(error: BaseException) -> str:
    return "it needs too much memory" if isinstance(error, MemoryError) else str(error)


def read_page(
    pdf: Any, index: int, max_chars: int, *, hidden: bool = False
) -> tuple[dict[str, Any], bytes]:
    """One page as in the module's docstring.
    Raises PdfiumError: the page cannot be loaded."""
    use_box_font()
    page, lying = _flat_page(pdf, index)
    size, display = page.get_size(), _display(page)
    textpage = page.get_textpage()
    chars = textpage.count_chars()
    count = min(chars, max_chars)
    words = FoundWords(display, size, keeps_outside=hidden)
    found = read_words(textpage.raw, count, words)
    seen = Seen(page, layers=pdf.has_layers)
    marks = marks_of(textpage.raw, count, seen, found, display)
    if marks:
        words = FoundWords(display, size, keeps_outside=hidden)
        found = read_words(textpage.raw, count, words, marks)
    reasons = reasons_of(page, seen, found)
    unseen = Counter({OUTSIDE: found.outside_chars})
    for reason, text in zip(reasons, found.texts, strict=False):
        if any(map(str.isalnum, text)):  # a dash more says nothing
            unseen[reason] += len(text)
    if not hidden:
        found.leave_out(reasons)
    found.put_labels(lying.labels)
    signals = seen.signals(page, found.visible_chars)
    textpage.close()
    page.close()
    line = {
        "width": size[0], "height": size[1], "chars": chars, "cut": chars > max_chars,
        "signals": {
            **signals, "chars": found.visible_chars, "unreadable": found.unreadable,
            "unmapped": found.unmapped,
        },
        "count": len(found.texts), "remarks": lying.remarks,
        "hidden": {reason: number for reason, number in unseen.items() if reason and number},
    }  # fmt: skip
    return line, found.places.tobytes() + "\n".join(found.texts).encode("utf-8")


def _flat_page(pdf: Any, index: int) -> tuple[Any, Annotations]:
    """A page with the fields of its form, and with text that was put on it as a remark, as a part
    of it: PDFium draws both by itself, but reads neither. And what it draws as no text."""
    import pypdfium2.raw as pdfium

    page = pdf[index]
    lying = Annotations(pdf, index, page)
    if lying.is_printed:
        pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY)
        page.close()  # what was flattened is seen by a page that is loaded afterwards
        page = pdf[index]
    return page, lying


def _display(page: Any) -> tuple[float, ...]:
    """The page's own coordinates to what is seen: ``(a, b, c, d, e, f, degrees)``, with
    ``x' = a x + c y + e`` and ``y' = b x + d y + f``."""
    left, bottom, right, top = page.get_bbox()
    degrees = page.get_rotation()
    turned = {
        0: (1, 0, 0, -1, -left, top),
        90: (0, 1, 1, 0, -bottom, -left),
        180: (-1, 0, 0, 1, right, -bottom),
        270: (0, -1, -1, 0, top, right),
    }
    return (*turned[degrees], degrees)


def draw_page(pdf: Any, index: int, pixels: int) -> tuple[dict[str, Any], bytes]:
    """A page drawn with about so many pixels on white: its size and its RGB rows.
    Raises PdfiumError: the page cannot be loaded; ValueError: the page has no area."""
    import pypdfium2.raw as pdfium

    page = pdf[index]
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise ValueError(f"it is {width} x {height} points")
    scale = min(math.sqrt(pixels / (width * height)), _LONGEST_PX / max(width, height))
    bitmap = page.render(
        scale=scale, rev_byteorder=True, force_bitmap_format=pdfium.FPDFBitmap_BGR,
        limit_image_cache=True,
    )  # fmt: skip
    page.close()
    rows = b"".join(rows_of(bitmap, 3 * bitmap.width))
    return {"width": bitmap.width, "height": bitmap.height}, rows


_JUMP = 0.3  # of the character's height: a baseline that moved, so another word
_MARK, _SAME_SIZE = 0.1, 0.08  # and of one that is of another size: a mark above or below the line
_GAP = 0.5  # of the character's height: a gap that is a column even without a space
_LEFT_GAP = 0.15  # and one in text that is read from the right, whose spaces may be elsewhere
_HYPHENS = (0x02, 0xFFFE)  # PDFium's characters for a hyphen at the end of a line
_INVISIBLE = (0xAD, 0x200B, 0xFEFF)
_SAMPLED = 8  # one character of so many is asked whether the file says what it is
_SLANTED = 4
_UPRIGHT = 0.12  # of a quarter: the angle up to which text counts as not slanted
_PRIVATE = range(0xE000, 0xF900)  # characters of one font only, such as those of its bullets
_SYMBOLS = range(0xF020, 0xF100)  # those of fonts of signs, by their places in the font
_RIGHT = ("R", "AL", "NSM")  # letters and signs that are read from right to left
_LEFT = ("L", "EN", "AN")  # letters that are read from the left, and digits
# Characters for one way of printing another: ligatures, Arabic by its place in the word, signs for
# lines that run down.
_FORMS = re.compile("[\ufb00-\ufb4f\ufb50-\ufdf9\ufdfc\ufe10-\ufe19\ufe30-\ufe4f\ufe70-\ufefc]")


class FoundWords:
    """The words of a page in the order of the file: ``texts``, and eight floats for each in
    ``places``. ``visible_chars`` counts their characters, ``unreadable`` those without a meaning,
    and ``unmapped`` those for which the file has none, so that PDFium guesses.

    ``display`` takes the page's coordinates to what is seen of it, ``(a, b, c, d, e, f,
    degrees)``; ``size`` is that of the page as seen."""

    def __init__(
        self, display: tuple[float, ...], size: tuple[float, float], *, keeps_outside: bool = False
    ) -> None:
        self.texts: list[str] = []
        self.places = array("f")
        self.marks: list[str] = []  # of each word, where characters have them
        self.firsts: list[int] = []  # of each word, the number of its first character
        self.mark, self.index = "", 0  # of the next character: its mark and number
        self.unmapped = self.outside_chars = 0
        self._keeps_outside = keeps_outside
        self.units: list[int] = []  # of the open word
        self._display, self._size = display, size
        # Of the open word, in the page's own coordinates.
        self._left = self._bottom = self._right = self._top = self._base = 0.0
        self._first = self._last = 0.0  # the left edges of its first and last character
        self._at = self._height = 0.0  # where the first one begins, in its direction; its height
        self._turn, self._skew, self._glued = 0, 0.0, False
        self._mark, self._start = "", 0

    def add(
        self, unit: int, box: tuple[float, float, float, float], base: float, turn: int,
        skew: float = 0.0,
    ) -> None:  # fmt: skip
        """A character: its box (left, bottom, right, top), its baseline and its turn, all in the
        page's own coordinates; ``skew`` is what its turn lacks, in radians. One that stands
        elsewhere begins a word of its own."""
        left, bottom, right, top = box
        glued = bool(self.units) and (
            self.mark != self._mark or self._is_apart(unit, box, base, turn)
        )
        if glued:
            self.end()
        if self.units:
            self._left, self._right = min(self._left, left), max(self._right, right)
            self._bottom, self._top = min(self._bottom, bottom), max(self._top, top)
        else:
            self._left, self._bottom, self._right, self._top = box
            self._base, self._turn, self._glued, self._first = base, turn, glued, left
            self._skew, self._mark, self._start = skew, self.mark, self.index
            upright = turn not in (1, 3)
            self._at, self._height = (left, top - bottom) if upright else (bottom, right - left)
        self._last = left
        self.units.append(unit)

    def end(self) -> None:
        """White space, or the end of the page: the open word is done."""
        if not self.units:
            return
        # Halves of UTF-16 are joined; what has no character becomes U+FFFD.
        text = "".join(map(_character, self.units))
        self.units = []
        if not text.isascii():
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            if self._last > self._first and all(bidirectional(char) in _RIGHT for char in text):
                text = text[::-1]  # stored as it is seen, not as it is read
            text = _FORMS.sub(_usual_form, text)
        left, top, right, bottom, base, turn = self._seen()
        width, height = self._size
        # What was cropped away is not on the page as it is seen.
        if 0 <= left + right <= 2 * width and 0 <= top + bottom <= 2 * height:
            self.texts.append(text)
            skew = math.degrees(self._skew)
            self.places.extend((left, top, right, bottom, base, turn, self._glued, skew))
            self.marks.append(self._mark)
            self.firsts.append(self._start)
            return
        if not self._keeps_outside:
            self.outside_chars += len(text)
        else:  # beside the page there is no layout
            self._mark = OUTSIDE
            left, right = (min(max(0.0, edge), width) for edge in (left, right))
            top, bottom = (min(max(0.0, edge), height) for edge in (top, bottom))
            self._put(text, (left, top, right, bottom, bottom, _SLANTED, False, 0.0))

    def _put(self, text: str, place: Sequence[float]) -> None:
        self.texts.append(text)
        self.places.extend(place)
        self.marks.append(self._mark)
        self.firsts.append(self._start)

    @property
    def visible_chars(self) -> int:
        """Of its words."""
        return sum(map(len, self.texts))

    @property
    def unreadable(self) -> int:
        """Characters without a meaning."""
        strange = "".join(text for text in self.texts if not text.isascii())
        return sum(char == "\ufffd" or ord(char) in _PRIVATE for char in strange)

    def heights(self) -> list[float]:
        """Of the line of each word; 0 of a slanted one."""
        lefts, tops, rights, bottoms, _, turns, *_ = (
            self.places[at::PLACES] for at in range(PLACES)
        )
        edges = zip(lefts, tops, rights, bottoms, turns, strict=True)
        return [
            0.0 if turn == _SLANTED else right - left if turn in (1, 3) else bottom - top
            for left, top, right, bottom, turn in edges
        ]

    def _words(self) -> list[tuple[float, ...]]:
        return list(zip(*[iter(self.places)] * PLACES, strict=True))

    def leave_out(self, reasons: Sequence[str]) -> None:
        """Only the words that have none stay. Of no reasons at all every word stays."""
        if not any(reasons):
            return
        words = list(zip(self.texts, self._words(), strict=True))
        self.texts, self.places, gap = [], array("f"), False
        for (text, place), reason in zip(words, reasons, strict=True):
            if not reason:
                self.texts.append(text)
                self.places.extend((*place[:6], place[6] and not gap, *place[7:]))
            gap = bool(reason)

    def put_labels(self, labels: Sequence[Label]) -> None:
        """The words of labels, after those of the page."""
        if labels:
            seen = [label._replace(box=as_seen(label.box, self._display)) for label in labels]
            put_labels(seen, self._words(), self._put)

    def _is_apart(
        self, unit: int, box: tuple[float, float, float, float], base: float, turn: int
    ) -> bool:
        if turn != self._turn or turn == _SLANTED:
            return turn != self._turn
        left, bottom, right, top = box
        if turn in (1, 3):
            height, at, ahead, behind = right - left, bottom, bottom - self._top, self._bottom - top
        else:
            height, at, ahead, behind = top - bottom, left, left - self._right, self._left - right
        moved = abs(base - self._base)
        if self._skew:
            moved = abs(base - self._base - self._slope() * (at - self._at))
        if moved > _MARK * height and (
            moved > _JUMP * height or abs(height - self._height) > _SAME_SIZE * height
        ):
            return True
        if turn == 0 and left < self._left and self._goes_left(unit, behind, height):
            return True
        return max(ahead, behind) > _GAP * height

    def _goes_left(self, unit: int, behind: float, height: float) -> bool:
        """Whether a character to the left of the word is apart from it: no digit or Latin letter is
        read from the right."""
        if behind > _LEFT_GAP * height:
            return True
        return any(bidirectional(_character(each)) in _LEFT for each in (unit, self.units[-1]))

    def _slope(self) -> float:
        """How the baseline goes on, in the page's own coordinates."""
        return math.tan(self._skew if self._turn in (1, 3) else -self._skew)

    def _seen(self) -> tuple[float, float, float, float, float, int]:
        a, b, c, d, e, f, degrees = self._display
        x1, y1 = a * self._left + c * self._bottom + e, b * self._left + d * self._bottom + f
        x2, y2 = a * self._right + c * self._top + e, b * self._right + d * self._top + f
        turn, base = self._turn, self._base
        if self._skew:  # that of its middle
            low, high = (self._bottom, self._top) if turn in (1, 3) else (self._left, self._right)
            base += self._slope() * ((low + high) / 2 - self._at)
        x, y = (base, self._bottom) if turn in (1, 3) else (self._left, base)
        turn = turn if turn == _SLANTED else (turn + round(degrees / 90)) % 4
        base = a * x + c * y + e if turn in (1, 3) else b * x + d * y + f
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), base, turn


def read_words(
    textpage: Any, count: int, words: FoundWords, marks: Sequence[str] | None = None
) -> FoundWords:
    """Adds the first ``count`` characters of a raw text page; with ``marks`` each has one of its
    own, and a word ends where it changes."""
    import pypdfium2.raw as pdfium

    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    box_ref, x_ref, y_ref = ctypes.byref(box), ctypes.byref(x), ctypes.byref(y)
    heights: tuple[float, float] | None = None  # of the last character
    base, turn, skew = 0.0, 0, 0.0
    for index in range(count):
        unit = pdfium.FPDFText_GetUnicode(textpage, index)
        if unit in _INVISIBLE:
            continue
        if unit <= sys.maxunicode and unit not in _HYPHENS and chr(unit).isspace():
            if len(words.units) == 1:  # such as the sign before an item of a list
                words.units = [_sign(textpage, index - 1, words.units[0])]
            words.end()
            continue
        pdfium.FPDFText_GetLooseCharBox(textpage, index, box_ref)
        edges = (box.left, box.bottom, box.right, box.top)
        if heights != (edges[1], edges[3]):
            # Within a line neither the baseline nor the angle changes; asking costs time.
            heights = (edges[1], edges[3])
            pdfium.FPDFText_GetCharOrigin(textpage, index, x_ref, y_ref)
            # PDFium turns clockwise here; -1 means that it does not know.
            turn, skew = _turn(max(pdfium.FPDFText_GetCharAngle(textpage, index), 0.0))
            base = x.value if turn in (1, 3) else y.value
        if unit in _SYMBOLS:
            unit = _sign(textpage, index, unit)
        if not index % _SAMPLED and pdfium.FPDFText_HasUnicodeMapError(textpage, index) == 1:
            words.unmapped += _SAMPLED
        words.index = index
        if marks:
            words.mark = marks[index]
        if math.isfinite(sum(edges) + base):
            words.add(unit, edges, base, turn, skew)
    words.end()
    return words


def _turn(radians: float) -> tuple[int, float]:
    """Quarters, 0 to 3, with the radians that are left over, or ``_SLANTED``."""
    if not radians:
        return 0, 0.0
    quarters = math.degrees(radians) / 90
    turn = round(quarters)
    if abs(quarters - turn) >= _UPRIGHT:
        return _SLANTED, 0.0
    return turn % 4, radians - turn * math.pi / 2


def _character(unit: int) -> str:
    if unit in _HYPHENS:
        return "-"
    if unit < ord(" ") or unit > sys.maxunicode:
        return "\ufffd"
    return chr(unit)


def _usual_form(found: re.Match[str]) -> str:
    return normalize("NFKC", found[0]).replace(" ", "")


# Signs of fonts that have no letters, by their places in the font: what lists, forms and prices
# are made of. Such a font has its places from U+F000 on, or pretends that they are letters.
_WINGDINGS = dict(
    zip(
        "(*lnopqrstuvwxz\x9f\xa1\xa3\xa7\xa8\xaf\xd8\xdf\xe0\xe8\xf0\xfb\xfc\xfd\xfe",
        "\u260e\u2709\u25cf\u25a0\u2610\u2610\u2610\u2610\u25c6\u25c6\u25c6\u2756\u25c6\u2612\u2318"
        "\u2022\u25cb\u25cb\u25aa\u2610\u2736\u27a2\u2190\u2192\u2794\u21e8\u2717\u2713\u2612\u2611",
        strict=True,
    )
)
_SYMBOL = dict(
    zip(
        "-abmpDSW\xa0\xa3\xac\xae\xb0\xb1\xb2\xb3\xb4\xb7\xb8\xb9\xbb\xd2\xd3\xd4\xd7\xe2\xe3\xe4",
        "\u2212\u03b1\u03b2\u03bc\u03c0\u0394\u03a3\u03a9\u20ac\u2264\u2190\u2192\u00b0\u00b1\u2033"
        "\u2265\u00d7\u2022\u00f7\u2260\u2248\u00ae\u00a9\u2122\u00b7\u00ae\u00a9\u2122",
        strict=True,
    )
)
_WINGDINGS_2 = dict(zip("OPRST\xa3", "\u2717\u2713\u2611\u2612\u2612\u2610", strict=True))
_TABLES = {"wingdings": _WINGDINGS, "symbol": _SYMBOL, "wingdings2": _WINGDINGS_2}
_PLACES = frozenset(chain(*_TABLES.values()))
_BULLETS = {0xF0B7: 0x2022, 0xF0A7: 0x25AA, 0xF0D8: 0x27A2, 0xF0FC: 0x2713, 0xF0FE: 0x2611}


def _sign(textpage: Any, index: int, unit: int) -> int:
    """What a character of a font of signs shows; of another font it is itself."""
    code = unit - 0xF000 if unit in _SYMBOLS else unit
    if code > 0xFF or chr(code) not in _PLACES:  # noqa: PLR2004  (a font of signs has 256 places)
        return unit
    table = _TABLES.get(_font_of(textpage, index), {})
    return ord(table[chr(code)]) if chr(code) in table else _BULLETS.get(unit, unit)


def _font_of(textpage: Any, index: int) -> str:
    import pypdfium2.raw as pdfium

    name = ctypes.create_string_buffer(128)
    pdfium.FPDFText_GetFontInfo(textpage, index, name, len(name), ctypes.byref(ctypes.c_int()))
    font = name.value.decode("latin-1").lower()
    font = font[font.find("+") + 1 :]  # a part of a font is called ABCDEF+Name
    return re.sub("[^a-z0-9]|regular|mt$", "", font)


# Text in a font that is neither in the file nor on the computer. PDFium takes a Latin font then,
# and what that has not is no text to it, because it has no size: whole pages of Chinese or
# Japanese would be empty. A font in which every character is a box gives them one. It is used for
# reading only; what is drawn is better with the Latin letters at least.


_EAST_ASIAN = (128, 129, 130, 134, 136)  # character sets of fonts, as Windows numbers them
_BOX_FONT = 1  # its handle, which no font of the system has


@cache
def use_box_font() -> None:
    """Give PDFium a font for East Asian text that has none."""
    import pypdfium2

    class Fonts(pypdfium2.PdfSysfontBase):  # type: ignore[misc]
        def MapFont(self, _: Any, *asked: Any) -> Any:  # noqa: N802
            found = self.default.MapFont(self.default, *asked)
            return found or (_BOX_FONT if asked[2] in _EAST_ASIAN else None)

        def GetFontData(self, _: Any, font: Any, *asked: Any) -> int:  # noqa: N802
            if font != _BOX_FONT:
                return int(self.default.GetFontData(self.default, font, *asked))
            return _copy_box_font(*asked)

        def GetFaceName(self, _: Any, font: Any, *asked: Any) -> int:  # noqa: N802
            is_box = font == _BOX_FONT
            return 0 if is_box else int(self.default.GetFaceName(self.default, font, *asked))

        def GetFontCharset(self, _: Any, font: Any) -> int:  # noqa: N802
            is_box = font == _BOX_FONT
            return (
                _EAST_ASIAN[0] if is_box else int(self.default.GetFontCharset(self.default, font))
            )

        def DeleteFont(self, _: Any, font: Any) -> None:  # noqa: N802
            if font != _BOX_FONT:
                self.default.DeleteFont(self.default, font)

    with contextlib.suppress(pypdfium2.PdfiumError):  # a platform without fonts
        Fonts().setup()


def _copy_box_font(table: int, buffer: Any, size: int) -> int:
    data = b"" if table else box_font()  # a table by itself is asked for in collections of fonts
    if 0 < len(data) <= size:
        ctypes.memmove(buffer, data, len(data))
    return len(data)


@cache
def box_font() -> bytes:
    """A TrueType font of one glyph, a box, which all characters have (a "cmap" of format 13)."""
    glyph = struct.pack(">5h2H4B8h", 1, 0, -120, 1000, 880, 3, 0, *[1] * 4,
                        0, 1000, 0, -1000, -120, 0, 1000, 0) + bytes(2)  # fmt: skip
    tables = {
        b"cmap": struct.pack(">4HL2H6L", 0, 1, 3, 10, 12, 13, 0, 28, 0, 1, 0, 0x10FFFF, 1),
        b"glyf": glyph,
        b"head": struct.pack(">4L2H2Q4h2H3h", 1 << 16, 1 << 16, 0, 0x5F0F3CF5, 0, 1000, 0, 0,
                             0, -120, 1000, 880, 0, 8, 2, 1, 0),
        b"hhea": struct.pack(">L3hH11hH", 1 << 16, 880, -120, 0, 1000, 0, 0, 1000, 1, *[0] * 7, 1),
        b"hmtx": struct.pack(">Hhh", 1000, 0, 0),
        b"loca": struct.pack(">3L", 0, 0, len(glyph)),
        b"maxp": struct.pack(">L14H", 1 << 16, 2, 4, 1, 0, 0, 1, *[0] * 8),
    }  # fmt: skip
    head = struct.pack(">L4H", 1 << 16, len(tables), 64, 2, 16 * len(tables) - 64)
    body = b""
    for name, data in tables.items():
        place = 12 + 16 * len(tables) + len(body)
        head += struct.pack(">4s3L", name, 0, place, len(data))
        body += data + bytes(-len(data) % 4)
    return head + body


# The files in a PDF: those of the document, then those that are pinned to a page. A portfolio has a
# page that says only that a newer program shows them.


_MOST_PINNED_PAGES, _MOST_PINNED = 2000, 200
_MOST_STREAMS, _STREAM_BYTES = 100, 1 << 18  # of objects, in which the catalog may be
_COVER_CHARS = 1500
_COVER = re.compile(r"acrobat|adobe\s+reader|portfolio|package", re.IGNORECASE)
_OBJECTS = re.compile(rb"/ObjStm\b[^>]{0,300}>>[\s]{0,4}stream\r?\n")


def look_into(pdf: Any, data: bytes) -> dict[str, Any]:
    """What the document holds, as the module's docstring says. It keeps the places of its files."""
    pdf.pinned = _pinned(pdf) if _mentions(data, b"/FileAttachment") else []
    files = max(0, pdf.count_attachments()) + len(pdf.pinned)
    cover = files > 0 and len(pdf) == 1 and _mentions(data, b"/Collection") and _is_cover(pdf)
    return {"page_count": len(pdf), "files": files, "cover": cover}


def _mentions(data: bytes, key: bytes) -> bool:
    """Whether a key stands in the file, or in those of its objects that are packed."""
    if key in data:
        return True
    for found in islice(_OBJECTS.finditer(data), _MOST_STREAMS):
        with contextlib.suppress(zlib.error):
            packed = memoryview(data)[found.end() : found.end() + _STREAM_BYTES]
            if key in zlib.decompressobj().decompress(packed, _STREAM_BYTES):
                return True
    return False


def _is_cover(pdf: Any) -> bool:
    import pypdfium2

    with contextlib.suppress(pypdfium2.PdfiumError):
        text = pdf[0].get_textpage()
        short = text.count_chars() <= _COVER_CHARS
        return bool(short and _COVER.search(text.get_text_range()))
    return False


def _pinned(pdf: Any) -> list[tuple[int, int]]:
    """The files that are pinned to pages: a page and a remark on it, both from 0."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    found: list[tuple[int, int]] = []
    for index in range(min(len(pdf), _MOST_PINNED_PAGES)):
        with contextlib.suppress(pypdfium2.PdfiumError):
            page = pdf[index]
            for at in range(min(_MOST_PINNED, pdfium.FPDFPage_GetAnnotCount(page.raw))):
                remark = pdfium.FPDFPage_GetAnnot(page.raw, at)
                if pdfium.FPDFAnnot_GetSubtype(remark) == pdfium.FPDF_ANNOT_FILEATTACHMENT:
                    found.append((index, at))
                pdfium.FPDFPage_CloseAnnot(remark)
            page.close()
    return found[:_MOST_PINNED]


def read_file(pdf: Any, number: int) -> tuple[dict[str, Any], bytes]:
    """The file of this number from 0, and its name.
    Raises PdfiumError: it cannot be read."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    own = max(0, pdf.count_attachments())
    if number < own:
        return _content(pdf.get_attachment(number))
    index, at = pdf.pinned[number - own]
    page = pdf[index]
    remark = pdfium.FPDFPage_GetAnnot(page.raw, at)
    raw = pdfium.FPDFAnnot_GetFileAttachment(remark)
    if not raw:
        raise pypdfium2.PdfiumError("the file is not there")
    found = _content(pypdfium2.PdfAttachment(raw, pdf))
    pdfium.FPDFPage_CloseAnnot(remark)
    return found


def _content(file: Any) -> tuple[dict[str, Any], bytes]:
    import pypdfium2

    name = ""
    with contextlib.suppress(pypdfium2.PdfiumError, UnicodeDecodeError):
        name = file.get_name()
    return {"name": name}, bytes(file.get_data())
