"""The one door to pypdfium2: the words of a PDF with their boxes, or its pages as pixels, in a
process of its own.

``pdf_process.py`` runs this file by its path, so the child imports nothing of the package:
PDFium is C++ over hostile input, and a crash, a loop or a flood of memory ends here.

stdin   one line of JSON, ``{"library": folder, "password": …, "memory_bytes": …, "cpu_seconds": …,
        "seconds": …, "max_pages": …, "max_chars": …}``, then the bytes of the PDF
stdout  ``{"page_count": n, "stopped": why, "pages": [{"number", "width", "height", "chars",
        "image_share", "objects", "words": [[text, left, top, right, bottom, baseline, turn,
        glued], …]} | {"number", "error"}, …]}`` or ``{"error": "password" | "damaged", "detail"}``

With ``"render": {"pages": [number, …], "pixels": …}`` in the order, the pages are drawn instead:
stdout is a line ``{"page_count": n}``, then for each page a line ``{"number", "width", "height"}``
or ``{"number", "error"}``, and after a line with a size that many RGB bytes.

Points from the top left corner of the page as it is seen; ``turn`` as in ``layout.Word``.
"""

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

_FEW_CHARS = 20  # below it the page's images are looked at (reference: extract.md 4.3)
_MAX_OBJECTS = 5000  # objects looked at for images; a drawing can hold a million
_JUMP = 0.3  # of the character's height: a baseline that moved, so another word
_GAP = 0.5  # of the character's height: a gap that is a column even without a space
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl"}
_HYPHENS = (0x02, 0xFFFE)  # PDFium's marks for a hyphen at the end of a line
_INVISIBLE = (0xAD, 0x200B, 0xFEFF)
_SLANTED = 4
_LONGEST_PX = 30_000  # side of a page that is drawn: a strip of 1 x 10,000 points
_UPRIGHT = 0.1  # of a quarter: the angle up to which text counts as not slanted
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
_UNPRINTABLE = frozenset(range(0x20))


def main() -> None:
    """Read stdin, write stdout; see the module's docstring."""
    order = json.loads(sys.stdin.buffer.readline())
    limit_resources(order["memory_bytes"], order["cpu_seconds"])
    # The answer has stdout to itself: whatever a C library prints goes to stderr.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path.append(order["library"])
    data = sys.stdin.buffer.read()
    if "render" in order:
        for line, pixels in draw_pages(data, order):
            answer.write(json.dumps(line).encode("ascii") + b"\n")
            answer.write(pixels)
    else:
        answer.write(json.dumps(read_pdf(data, order)).encode("ascii"))
    answer.close()
    # No tidying up: PDFium may trip over what a damaged file left behind.
    os._exit(0)


def limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Limits on this process where the platform has them; no core file, no file written."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    limits = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
    }
    for name, value in limits.items():
        try:
            _, hard = resource.getrlimit(getattr(resource, name))
            wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (wanted, hard))
        except (AttributeError, ValueError, OSError):  # macOS refuses some of them
            continue


def read_pdf(data: bytes, order: dict[str, Any]) -> dict[str, Any]:
    """All pages within the limits of ``order``."""
    import pypdfium2

    pdf = open_pdf(data, order)
    if isinstance(pdf, dict):
        return pdf
    count, left, stopped = len(pdf), order["max_chars"], ""
    deadline = time.monotonic() + order["seconds"]
    pages: list[dict[str, Any]] = []
    for index in range(count):
        if index >= order["max_pages"]:
            stopped = f"{order['max_pages']:,} pages are the most that is read"
        elif left <= 0:
            stopped = f"{order['max_chars']:,} characters are the most that is read"
        elif index and time.monotonic() > deadline:
            stopped = f"{order['seconds']} s are the most that reading may take"
        if stopped:
            break
        try:
            page = read_page(pdf, index, left)
        except pypdfium2.PdfiumError as error:
            page = {"error": str(error)}
        left -= page.get("chars", 0)
        pages.append({"number": index + 1, **page})
    return {"page_count": count, "pages": pages, "stopped": stopped}


def open_pdf(data: bytes, order: dict[str, Any]) -> Any:
    """The document, or the answer that says why there is none."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data, password=order["password"])
        pdf.init_forms()  # so that what was filled into a form is read too
    except pypdfium2.PdfiumError as error:
        kind = "password" if error.err_code == _WRONG_PASSWORD else "damaged"
        return {"error": kind, "detail": str(error)}
    return pdf


def draw_pages(data: bytes, order: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The lines of the answer, each with the RGB bytes that follow it."""
    import pypdfium2

    pdf = open_pdf(data, order)
    if isinstance(pdf, dict):
        yield pdf, b""
        return
    yield {"page_count": len(pdf)}, b""
    for number in order["render"]["pages"]:
        if number > len(pdf):
            continue
        try:
            page = pdf[number - 1]
            drawn = draw_page(page, order["render"]["pixels"])
            page.close()
        except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
            yield {"number": number, "error": str(error) or "it is too large"}, b""
            continue
        yield {"number": number, "width": drawn[0], "height": drawn[1]}, drawn[2]


def draw_page(page: Any, pixels: int) -> tuple[int, int, bytes]:
    """Width, height and RGB bytes of a page, drawn with about so many pixels on white.

    Raises:
        ValueError: the page has no area.
    """
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise ValueError(f"it is {width} x {height} points")
    scale = math.sqrt(pixels / (width * height))
    if max(width, height) * scale > _LONGEST_PX:
        scale = _LONGEST_PX / max(width, height)
    bitmap = page.render(
        scale=scale, rev_byteorder=True, force_bitmap_format=pdfium.FPDFBitmap_BGR,
        limit_image_cache=True,
    )  # fmt: skip
    row = 3 * bitmap.width
    rows = bytes(bitmap.buffer)
    packed = b"".join(
        rows[top : top + row] for top in range(0, bitmap.height * bitmap.stride, bitmap.stride)
    )
    return bitmap.width, bitmap.height, packed


def read_page(pdf: Any, index: int, max_chars: int) -> dict[str, Any]:
    """One page as in the module's docstring.

    Raises:
        PdfiumError: the page cannot be loaded.
    """
    page = pdf[index]
    if pdf.formenv:
        page.flatten()
        page.close()  # what was flattened is seen by a page that is loaded afterwards
        page = pdf[index]
    width, height = page.get_size()
    textpage = page.get_textpage()
    chars = textpage.count_chars()
    words = read_words(textpage.raw, min(chars, max_chars), _display(page, width, height))
    visible = sum(len(word[0]) for word in words)
    share, objects = _images(page, width * height) if visible < _FEW_CHARS else (0.0, 0)
    textpage.close()
    page.close()
    return {
        "width": width,
        "height": height,
        "chars": chars,
        "cut": chars > max_chars,
        "image_share": share,
        "objects": objects,
        "words": words,
    }


def _display(page: Any, width: float, height: float) -> tuple[float, ...]:
    """The page's own coordinates to what is seen: ``(a, b, c, d, e, f, degrees)``, with
    ``x' = a x + c y + e`` and ``y' = b x + d y + f``; ``width`` and ``height`` as seen."""
    left, bottom, right, top = page.get_bbox()
    degrees = page.get_rotation()
    turned = {
        0: (1, 0, 0, -1, -left, top),
        90: (0, 1, 1, 0, -bottom, -left),
        180: (-1, 0, 0, 1, right, -bottom),
        270: (0, -1, -1, 0, top, right),
    }
    return (*turned[degrees], degrees)


def _images(page: Any, area: float) -> tuple[float, int]:
    """The share of the page that its largest image covers, and the number of objects seen."""
    import pypdfium2.raw as pdfium

    largest, seen = 0.0, 0
    for item in page.get_objects(max_depth=4):
        seen += 1
        if item.type == pdfium.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = item.get_bounds()
            largest = max(largest, abs(right - left) * abs(top - bottom))
        if seen >= _MAX_OBJECTS:
            break
    return (min(1.0, largest / area) if area > 0 else 0.0), seen


def read_words(textpage: Any, count: int, display: tuple[float, ...]) -> list[list[Any]]:
    """The first ``count`` characters of a raw text page as words, in the order of the file."""
    import pypdfium2.raw as pdfium

    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    box_ref, x_ref, y_ref = ctypes.byref(box), ctypes.byref(x), ctypes.byref(y)
    words = _Words()
    for index in range(count):
        unit = pdfium.FPDFText_GetUnicode(textpage, index)
        if unit in _INVISIBLE:
            continue
        if unit <= sys.maxunicode and unit not in _HYPHENS and chr(unit).isspace():
            words.end()
            continue
        pdfium.FPDFText_GetLooseCharBox(textpage, index, box_ref)
        pdfium.FPDFText_GetCharOrigin(textpage, index, x_ref, y_ref)
        angle = pdfium.FPDFText_GetCharAngle(textpage, index)
        edges = (box.left, box.bottom, box.right, box.top, x.value, y.value)
        if all(map(math.isfinite, edges)):
            words.add(unit, _place(edges, angle, display))
    words.end()
    return words.done


class _Words:
    """Collects characters into words; ``done`` holds them as lists of plain values."""

    def __init__(self) -> None:
        self.done: list[list[Any]] = []
        self._units: list[int] = []
        self._box: list[Any] = []  # left, top, right, bottom, baseline, turn, glued

    def end(self) -> None:
        """White space, or the end of the page: the open word is done."""
        if self._units:
            places = (round(value, 2) for value in self._box[:5])
            self.done.append([_decode(self._units), *places, *self._box[5:]])
            self._units = []

    def add(self, unit: int, glyph: tuple[float, float, float, float, float, int]) -> None:
        """A character with its place; one that stands elsewhere begins a word of its own."""
        glued = bool(self._units) and _is_apart(self._box, glyph)
        if glued:
            self.end()
        if self._units:
            left, top, right, bottom, *rest = self._box
            self._box = [
                min(left, glyph[0]),
                min(top, glyph[1]),
                max(right, glyph[2]),
                max(bottom, glyph[3]),
                *rest,
            ]
        else:
            self._box = [*glyph, glued]
        self._units.append(unit)


def _place(
    edges: tuple[float, ...], angle: float, display: tuple[float, ...]
) -> tuple[float, float, float, float, float, int]:
    """A character's box as seen, its baseline and its turn."""
    left, bottom, right, top, x, y = edges
    a, b, c, d, e, f, degrees = display
    x1, y1 = a * left + c * bottom + e, b * left + d * bottom + f
    x2, y2 = a * right + c * top + e, b * right + d * top + f
    # PDFium turns clockwise here; -1 means that it does not know.
    quarters = (degrees + math.degrees(max(angle, 0.0))) / 90
    turn = round(quarters)
    turn = turn % 4 if abs(quarters - turn) < _UPRIGHT else _SLANTED
    base = (a * x + c * y + e) if turn in (1, 3) else (b * x + d * y + f)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), base, turn


def _is_apart(word: list[Any], glyph: tuple[float, ...]) -> bool:
    """Whether a character cannot belong to the open word: it stands elsewhere."""
    left, top, right, bottom, base, turn = word[:6]
    if glyph[5] != turn:
        return True
    if turn == _SLANTED:
        return False
    if turn in (1, 3):
        height, ahead, behind = glyph[2] - glyph[0], glyph[1] - bottom, top - glyph[3]
    else:
        height, ahead, behind = glyph[3] - glyph[1], glyph[0] - right, left - glyph[2]
    return bool(abs(glyph[4] - base) > _JUMP * height or max(ahead, behind) > _GAP * height)


def _decode(units: list[int]) -> str:
    """UTF-16 halves joined, ligatures opened; what has no character becomes U+FFFD."""
    text = "".join(map(_character, units))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(unit: int) -> str:
    if unit in _HYPHENS:
        return "-"
    if unit in _UNPRINTABLE or unit > sys.maxunicode:
        return "\ufffd"
    return _LIGATURES.get(unit) or chr(unit)


if __name__ == "__main__":
    main()
