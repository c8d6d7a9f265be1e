"""How a PDF page looks, as far as it says whether its text is what a person sees: how much of it
images cover, what is drawn, and whether text lies hidden under a picture. A part of the program
``pdf.py``, which imports it by its file; beside it a door to PDFium.
"""

import ctypes
import math
from collections.abc import Iterator
from typing import Any

_MAX_OBJECTS = 20_000  # objects looked at; a drawing can hold a million
_MAX_DEPTH = 4  # forms within forms
_CELLS = 32  # a side of the raster on which images are laid
_LARGE = 0.5  # share of the page from which images may be a scan, and text its OCR layer
_FEW_CHARS = 20  # below it the page is drawn to see whether it is blank
_BLANK_PX, _BLANK_STEP = 600, 12  # its longer side, and how far its pixels may differ
_INVISIBLE = 3  # text render mode: neither filled nor stroked (ISO 32000-1, table 106)
_GLYPH_PT = (1.0, 40.0)  # the height of letters that are drawn as shapes

Matrix = tuple[float, float, float, float, float, float]
_SAME: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def look_at(page: Any, chars: int) -> dict[str, Any]:
    """``{"image_share": of the page that images cover, "images", "drawings", "glyphs": drawings of
    the size of letters, "hidden": share of the text that is invisible or lies under the images,
    "blank"}``. ``chars`` is what its text layer holds."""
    seen = _Seen(page.get_bbox())
    for item, kind, matrix in _objects(page):
        seen.add(item, kind, matrix)
    share = seen.image_share()
    blank = chars < _FEW_CHARS and _is_blank(page)
    return {
        "image_share": share,
        "images": seen.images,
        "drawings": seen.drawings,
        "glyphs": seen.glyphs,
        "hidden": seen.hidden_share() if share >= _LARGE else 0.0,
        "blank": blank,
    }


class _Seen:
    """What the objects of a page add up to, in the order in which they are drawn."""

    def __init__(self, bounds: tuple[float, float, float, float]) -> None:
        self.images = self.drawings = self.glyphs = 0
        self._left, self._bottom, self._right, self._top = bounds
        self._covered: set[int] = set()
        self._texts = self._invisible = self._under = 0

    def add(self, item: Any, kind: int, matrix: Matrix) -> None:
        """One object; ``matrix`` takes its coordinates to the page's."""
        import pypdfium2.raw as pdfium

        if kind == pdfium.FPDF_PAGEOBJ_TEXT:
            self._texts += 1
            self._invisible += pdfium.FPDFTextObj_GetTextRenderMode(item) == _INVISIBLE
        elif kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            self.images += 1
            self._cover(_bounds(item, matrix))
        elif kind in (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING):
            self.drawings += 1
            _, bottom, _, top = _bounds(item, matrix)
            self.glyphs += _GLYPH_PT[0] <= top - bottom <= _GLYPH_PT[1]

    def image_share(self) -> float:
        """Of the page, as far as the raster tells."""
        return len(self._covered) / _CELLS**2

    def hidden_share(self) -> float:
        """Of the pieces of text: invisible, or drawn before the images that cover the page."""
        return max(self._invisible, self._under) / self._texts if self._texts else 0.0

    def _cover(self, box: tuple[float, float, float, float]) -> None:
        """Lay an image on the raster: the cells whose middle it covers."""
        columns = _cells(box[0], box[2], self._left, self._right)
        rows = _cells(box[1], box[3], self._bottom, self._top)
        self._covered.update(row * _CELLS + column for row in rows for column in columns)
        if len(columns) * len(rows) >= _LARGE * _CELLS**2:
            self._under = self._texts


def _cells(low: float, high: float, first: float, last: float) -> range:
    if not last > first or not high > low:
        return range(0)
    scale = _CELLS / (last - first)
    return range(
        max(0, round(max((low - first) * scale, -1.0))),
        min(_CELLS, round(min((high - first) * scale, _CELLS + 1.0))),
    )


def _objects(page: Any) -> Iterator[tuple[Any, int, Matrix]]:
    """The raw objects with their kind, those within forms too, in the order of drawing."""
    import pypdfium2.raw as pdfium

    count, get = pdfium.FPDFPage_CountObjects, pdfium.FPDFPage_GetObject
    levels = [(get, page.raw, iter(range(count(page.raw))), _SAME)]
    seen = 0
    while levels:
        get, parent, indices, matrix = levels[-1]
        index = next(indices, None)
        if index is None:
            levels.pop()
            continue
        item = get(parent, index)
        kind = pdfium.FPDFPageObj_GetType(item)
        if kind == pdfium.FPDF_PAGEOBJ_FORM:
            if len(levels) < _MAX_DEPTH:
                inside = range(max(0, pdfium.FPDFFormObj_CountObjects(item)))
                placed = _combined(_matrix(item), matrix)
                levels.append((pdfium.FPDFFormObj_GetObject, item, iter(inside), placed))
        else:
            yield item, kind, matrix
        seen += 1
        if seen >= _MAX_OBJECTS:
            return


def _matrix(item: Any) -> Matrix:
    import pypdfium2.raw as pdfium

    raw = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(item, ctypes.byref(raw)):
        return _SAME
    return raw.a, raw.b, raw.c, raw.d, raw.e, raw.f


def _combined(inner: Matrix, outer: Matrix) -> Matrix:
    """First ``inner``, then ``outer``."""
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (
        a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s,
        e * p + f * r + t, e * q + f * s + u,
    )  # fmt: skip


def _bounds(item: Any, matrix: Matrix) -> tuple[float, float, float, float]:
    """Left, bottom, right and top on the page; nothing where PDFium does not know."""
    import pypdfium2.raw as pdfium

    edges = [ctypes.c_float() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetBounds(item, *map(ctypes.byref, edges)):
        return 0.0, 0.0, 0.0, 0.0
    left, bottom, right, top = (edge.value for edge in edges)
    if not all(map(math.isfinite, (left, bottom, right, top, *matrix))):
        return 0.0, 0.0, 0.0, 0.0
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (left, right) for y in (bottom, top)]
    across = [a * x + c * y + e for x, y in corners]
    up = [b * x + d * y + f for x, y in corners]
    return min(across), min(up), max(across), max(up)


def _is_blank(page: Any) -> bool:
    """Whether nothing is seen on the page when it is drawn."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        return True
    bitmap = page.render(scale=_BLANK_PX / max(width, height), grayscale=True)
    pixels = bytes(bitmap.buffer)
    rows = [
        pixels[top : top + bitmap.width]
        for top in range(0, bitmap.height * bitmap.stride, bitmap.stride)
    ]
    low, high = min(map(min, rows)), max(map(max, rows))
    return high - low < _BLANK_STEP
