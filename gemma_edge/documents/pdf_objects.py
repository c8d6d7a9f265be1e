"""What is on a page of a PDF besides its characters: images, drawings, the fields of a form,
remarks, and which of its text nobody sees. Part of the child program ``pdf_child``.

Boxes are ``(left, bottom, right, top)`` in the page's own coordinates, points with y upwards.
"""

import ctypes
import math
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import repeat
from types import SimpleNamespace
from typing import Any, NamedTuple

Box = tuple[float, float, float, float]
Matrix = tuple[float, float, float, float, float, float]
_SAME: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

_MAX_OBJECTS = 20_000  # objects looked at; a drawing can hold a million
_MAX_DEPTH = 4  # forms within forms
_CELLS = 32  # a side of the raster on which images are laid
_LARGE = 0.5  # share of the page from which images may be a scan, and text its OCR layer
_FEW_CHARS = 20  # below it the page is drawn to see whether it is blank
_BLANK_PX, _BLANK_STEP = 600, 12  # its longer side, and how far its pixels may differ
_INVISIBLE_MODE = 3  # text render mode: neither filled nor stroked (ISO 32000-1, table 106)
_FILLED_MODES = (0, 4)  # filled, and no more
_GLYPH_PT = (1.0, 40.0)  # the height of letters that are drawn as shapes
_DRAWN_LETTERS = 200  # of them on a page: text under them may be what they say


@cache
def _pdfium() -> Any:
    """PDFium's functions on objects, with plain numbers for their handles: they take a third of
    the time, and the same object is the same number."""
    import pypdfium2.raw as pdfium

    handle, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
    shapes: dict[str, tuple[Any, ...]] = {
        "FPDFPage_CountObjects": (number, handle),
        "FPDFPage_GetObject": (handle, handle, number),
        "FPDFFormObj_CountObjects": (number, handle),
        "FPDFFormObj_GetObject": (handle, handle, size),
        "FPDFPageObj_GetType": (number, handle),
        "FPDFPageObj_GetMatrix": (number, handle, handle),
        "FPDFPageObj_GetBounds": (number, *[handle] * 5),
        "FPDFPageObj_GetFillColor": (number, *[handle] * 5),
        "FPDFPageObj_HasTransparency": (number, handle),
        "FPDFPageObj_SetIsActive": (number, handle, number),
        "FPDFPageObj_CountMarks": (number, handle),
        "FPDFPageObj_GetMark": (handle, handle, size),
        "FPDFPageObjMark_GetName": (number, handle, handle, size, handle),
        "FPDFPageObj_GetClipPath": (handle, handle),
        "FPDFClipPath_CountPaths": (number, handle),
        "FPDFClipPath_CountPathSegments": (number, handle, number),
        "FPDFClipPath_GetPathSegment": (handle, handle, number, number),
        "FPDFPathSegment_GetPoint": (number, handle, handle, handle),
        "FPDFTextObj_GetTextRenderMode": (number, handle),
        "FPDFTextObj_GetText": (size, handle, handle, handle, size),
        "FPDFPath_GetDrawMode": (number, handle, handle, handle),
        "FPDFText_GetTextObject": (handle, handle, number),
    }
    calls = {
        name: ctypes.CFUNCTYPE(*shape)(address_of(getattr(pdfium, name)))
        for name, shape in shapes.items()
    }
    return SimpleNamespace(**calls)


def address_of(handle: Any) -> int:
    """A handle of pypdfium2 as a number."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


# What says whether a page's text is what a person sees: how much of it images cover, what is
# drawn, and whether text lies hidden under a picture.


# An object with text, and how many shapes and images were drawn before.
_Piece = tuple[int, Matrix, int]


class Cover(NamedTuple):
    """What may hide the text under it, or be the ground on which text stands: a filled shape with
    its colour, or (without one) an image."""

    box: Box
    colour: tuple[int, int, int] | None
    is_opaque: bool
    is_image: bool


class Seen:
    """What the objects of a page add up to, in the order in which they are drawn."""

    def __init__(self, page: Any, *, layers: bool) -> None:
        self._bounds: Box = page.get_bbox()
        self._layers = layers
        self.images = self.drawings = self.glyphs = self.texts = self.under = 0
        self.covered: set[int] = set()  # cells of the raster whose middle lies under images
        self.lettered: set[int] = set()  # those in which something of the size of a letter is drawn
        self.covers: list[Cover] = []
        self.fills: set[tuple[int, int, int]] = set()  # their colours
        self.invisible: list[_Piece] = []
        self.layered: list[int] = []  # on layers that may be off
        # By the bytes of their colour, of those that are only filled.
        self.coloured: defaultdict[bytes, list[_Piece]] = defaultdict(list)
        self.suspected: dict[int, str] = {}  # what ``marks_of`` found
        self._colour = (ctypes.c_uint * 4)()
        start = ctypes.addressof(self._colour)
        self._colour_places = [start + ctypes.sizeof(ctypes.c_uint) * at for at in range(4)]
        self._walk(page)

    @property
    def image_share(self) -> float:
        """Of the page."""
        return len(self.covered) / _CELLS**2

    def signals(self, page: Any, chars: int) -> dict[str, Any]:
        """``{"image_share": of the page that images cover, "images", "drawings", "glyphs": drawings
        of the size of letters, "hidden": share of the text that is invisible or lies under the
        images, "blank"}``. ``chars`` is what its text layer holds."""
        share = self.image_share
        # Of the pieces of text: invisible, or drawn before the images that cover the page.
        under = max(len(self.invisible), self.under)
        hidden = under / max(1, self.texts) if share >= _LARGE else 0.0
        return {
            "image_share": share, "images": self.images, "drawings": self.drawings,
            "glyphs": self.glyphs, "hidden": hidden,
            "blank": chars < _FEW_CHARS and _is_blank(page),
        }  # fmt: skip

    def _walk(self, page: Any) -> None:
        api, handle = _pdfium(), address_of(page.raw)
        count = api.FPDFPage_CountObjects(handle)
        self._left = _MAX_OBJECTS
        self._add_all(api.FPDFPage_GetObject, handle, count, _SAME, 1)
        self.texts = self._texts_so_far()

    def _add_all(
        self, get: Callable[..., int], parent: int, count: int, matrix: Matrix, depth: int
    ) -> None:
        """The objects of a page, or of a form in it. It is asked for one property of all of them
        at a time: a page of a table has thousands."""
        api = _pdfium()
        count = max(0, min(count, self._left))
        self._left -= count
        items = list(map(get, repeat(parent), range(count)))
        fill, colour, places = api.FPDFPageObj_GetFillColor, self._colour, self._colour_places
        coloured, covers = self.coloured, self.covers
        for item, mode in zip(items, map(api.FPDFTextObj_GetTextRenderMode, items), strict=True):
            if mode in _FILLED_MODES:
                known = fill(item, *places)
                coloured[bytes(colour) if known else b""].append((item, matrix, len(covers)))
            elif mode == _INVISIBLE_MODE:
                self.invisible.append((item, matrix, len(covers)))
            elif mode >= 0:
                coloured[b""].append((item, matrix, len(covers)))
            else:
                self._add_other(item, matrix, depth)
            if mode >= 0 and self._layers and (depth > 1 or _is_layered(item)):
                self.layered.append(item)

    def _add_other(self, item: int, matrix: Matrix, depth: int) -> None:
        import pypdfium2.raw as pdfium

        api = _pdfium()
        kind = api.FPDFPageObj_GetType(item)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            self._add_image(item, matrix)
        elif kind in (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING):
            self._add_drawing(item, matrix, is_path=kind == pdfium.FPDF_PAGEOBJ_PATH)
        elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _MAX_DEPTH:
            count = api.FPDFFormObj_CountObjects(item)
            inner = _combined(_matrix_of(item), matrix)
            self._add_all(api.FPDFFormObj_GetObject, item, count, inner, depth + 1)

    def _texts_so_far(self) -> int:
        return len(self.invisible) + sum(map(len, self.coloured.values()))

    def _add_image(self, item: int, matrix: Matrix) -> None:
        self.images += 1
        box = bounds_of(item, matrix)
        cells = self._cells(box)
        self.covered.update(cells)
        if len(cells) >= _LARGE * _CELLS**2:
            self.under = self._texts_so_far()
        if len(self.covers) < _MAX_COVERS:
            is_opaque = not _pdfium().FPDFPageObj_HasTransparency(item)
            self.covers.append(Cover(box, None, is_opaque, is_image=True))

    def _add_drawing(self, item: int, matrix: Matrix, *, is_path: bool) -> None:
        self.drawings += 1
        box = bounds_of(item, matrix)
        left, bottom, right, top = box
        if _GLYPH_PT[0] <= top - bottom <= _GLYPH_PT[1]:
            self.glyphs += 1
            self.lettered.add(self._cell(box))
        is_large = min(top - bottom, right - left) >= _COVER_PT
        if is_large and len(self.covers) < _MAX_COVERS and (not is_path or _is_filled(item)):
            known = is_path and _pdfium().FPDFPageObj_GetFillColor(item, *self._colour_places)
            red, green, blue, alpha = self._colour
            colour = (red, green, blue) if known else None
            if known and alpha == 0:
                return
            is_opaque = not _pdfium().FPDFPageObj_HasTransparency(item)
            self.covers.append(Cover(box, colour, is_opaque, is_image=False))
            if colour:
                self.fills.add(colour)

    def _cells(self, box: Box) -> list[int]:
        left, bottom, right, top = self._bounds
        columns = _range_of_cells(box[0], box[2], left, right)
        rows = _range_of_cells(box[1], box[3], bottom, top)
        return [row * _CELLS + column for row in rows for column in columns]

    def _cell(self, box: Box) -> int:
        """The one of its middle; -1 outside of the page."""
        left, bottom, right, top = self._bounds
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not (left <= x < right and bottom <= y < top):
            return -1
        column, row = (x - left) / (right - left), (y - bottom) / (top - bottom)
        return int(row * _CELLS) * _CELLS + int(column * _CELLS)

    # Text that a person does not see, if it is what it looks like.

    def suspects(self) -> dict[int, str]:
        """The objects whose text is perhaps not seen, each with the reason. Those that are not
        drawn at all are ``INVISIBLE``; whether the others are seen, the picture must say."""
        found = {piece[0]: INVISIBLE for piece in self.invisible if not self._may_be_ocr(piece)}
        for colour, pieces in self.coloured.items():
            if colour:
                found.update(self._without_contrast(colour, pieces))
            if self.texts <= _MAX_CLIPPED:
                found.update((item, CLIPPED) for item, _, _ in pieces if _is_clipped(item))
        found.update((item, LAYER) for item in self.layered)
        return found

    def _may_be_ocr(self, piece: _Piece) -> bool:
        """Whether it says what is to be read in a picture, or in letters drawn as shapes."""
        if not self.covered and self.glyphs < _DRAWN_LETTERS:
            return False
        cell = self._cell(bounds_of(piece[0], piece[1]))
        return cell in self.covered or (self.glyphs >= _DRAWN_LETTERS and cell in self.lettered)

    def _without_contrast(self, key: bytes, pieces: list[_Piece]) -> Iterator[tuple[int, str]]:
        red, green, blue, alpha = memoryview(key).cast("I")
        colour = (red, green, blue)
        if alpha == 0:
            yield from ((item, INVISIBLE) for item, _, _ in pieces)
            return
        is_white = _are_alike(colour, _WHITE)
        if not is_white and not any(_are_alike(colour, fill) for fill in self.fills):
            return
        for piece in pieces[:_MAX_PIECES]:
            ground = self._ground(piece)
            if ground is None:
                if is_white:
                    yield piece[0], WHITE
            elif ground.colour is not None and _are_alike(colour, ground.colour):
                yield piece[0], WHITE if is_white else GROUND
            elif not ground.is_opaque and not ground.is_image:
                yield piece[0], GROUND

    def _ground(self, piece: _Piece) -> Cover | None:
        """What was drawn last of what lies under it."""
        left, bottom, right, top = bounds_of(piece[0], piece[1])
        x, y = (left + right) / 2, (bottom + top) / 2
        for at in range(piece[2] - 1, max(-1, piece[2] - 1 - _MAX_LOOKS), -1):
            box = self.covers[at].box
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                return self.covers[at]
        return None

    def covered_words(self, found: Any, display: Sequence[float]) -> Iterator[tuple[int, int]]:
        """Words on most of whose height something opaque was drawn, unless before they were: the
        number of each, and that of what was drawn last on it. A scan is not meant: it shows the
        same as the text under it."""
        is_scan = self.image_share >= _LARGE
        first = min((pieces[0][2] for pieces in self.coloured.values()), default=0)
        covers = [
            (at, as_seen(cover.box, display))
            for at, cover in enumerate(self.covers[first:], first)
            if cover.is_opaque and not (cover.is_image and is_scan)
        ]
        if not covers:
            return
        boxes = boxes_of(found)
        scale = _BANDS / max(
            1.0, self._bounds[2] - self._bounds[0], self._bounds[3] - self._bounds[1]
        )
        bands: list[list[int]] = [[] for _ in range(_BANDS + 1)]
        for number, (_, top, _, bottom) in enumerate(boxes):
            bands[_in_range((top + bottom) / 2 * scale)].append(number)
        latest: dict[int, int] = {}
        steps = _MAX_STEPS
        for at, box in covers:
            left, top, right, bottom = box
            for band in bands[_in_range(top * scale) : _in_range(bottom * scale) + 1]:
                steps -= len(band)
                for number in band:
                    word = boxes[number]
                    if word[0] < right and word[2] > left and _hides(box, word):
                        latest[number] = at
            if steps < 0:
                break
        yield from latest.items()


_BANDS = 200  # of a page from the bottom to the top


def _in_range(band: float) -> int:
    return min(_BANDS, max(0, int(band)))


INVISIBLE, WHITE, GROUND = "invisible", "white on white", "in the colour of what is behind it"
COVERED, LAYER, TINY = "covered", "in a layer that is off", "too small to see"
CLIPPED, OUTSIDE = "clipped away", "outside the page"
_CERTAIN = ("", INVISIBLE, OUTSIDE, CLIPPED)  # without a look at the page
_WHITE = (255, 255, 255)
_ALIKE = 10  # steps of a colour, of 255, that nobody sees beside each other
_COVERED = 0.7  # of the height of a text: the box of a word reaches into the next line
_COVERED_WIDTH = 0.3
_COVER_PT = 3.0  # the least side of what hides text; lines are thinner
_MAX_COVERS, _MAX_LOOKS, _MAX_PIECES = 4000, 500, 5000  # of a page; hostile ones have no end


def _are_alike(one: Sequence[int], two: Sequence[int]) -> bool:
    return all(abs(a - b) <= _ALIKE for a, b in zip(one, two, strict=True))


def _hides(cover: Box, box: Box) -> bool:
    """Whether most of the height of a text, and some of its width, lies under it."""
    height = min(cover[3], box[3]) - max(cover[1], box[1])
    width = min(cover[2], box[2]) - max(cover[0], box[0])
    least = max(min(_COVER_PT, box[2] - box[0]), _COVERED_WIDTH * (box[2] - box[0]))
    return width >= least and height >= _COVERED * (box[3] - box[1])


_MODES = (ctypes.c_int * 2)()
_MODE_PLACES = [ctypes.addressof(_MODES), ctypes.addressof(_MODES) + ctypes.sizeof(ctypes.c_int)]


def _is_filled(path: int) -> bool:
    return bool(_pdfium().FPDFPath_GetDrawMode(path, *_MODE_PLACES)) and _MODES[0] != 0


_POINTS = 8  # of a path that clips, at most
_MAX_CLIPPED = 1000  # texts of a page of which it is asked what clips them
_APART_PT = 2.0


def _is_clipped(item: int) -> bool:
    """Whether one of the simple paths that clip it lies apart from it."""
    api = _pdfium()
    clip = api.FPDFPageObj_GetClipPath(item)
    paths = api.FPDFClipPath_CountPaths(clip)
    if paths < 1:
        return False
    box = bounds_of(item, _SAME)
    x, y = ctypes.c_float(), ctypes.c_float()
    places = ctypes.addressof(x), ctypes.addressof(y)
    for path in range(min(4, paths)):
        count = api.FPDFClipPath_CountPathSegments(clip, path)
        if not 2 < count <= _POINTS:  # noqa: PLR2004  (a triangle)
            continue
        across, up = [], []
        for at in range(count):
            if api.FPDFPathSegment_GetPoint(
                api.FPDFClipPath_GetPathSegment(clip, path, at), *places
            ):
                across.append(x.value)
                up.append(y.value)
        apart = [min(across) - box[2], box[0] - max(across), min(up) - box[3], box[1] - max(up)]
        if max(apart) > _APART_PT:
            return True
    return False


def _is_layered(item: int) -> bool:
    """Whether it is marked as optional content."""
    api = _pdfium()
    name, size = ctypes.create_string_buffer(8), ctypes.c_ulong()
    places = ctypes.addressof(name), len(name), ctypes.addressof(size)
    for at in range(min(9, api.FPDFPageObj_CountMarks(item))):
        mark = api.FPDFPageObj_GetMark(item, at)
        known = api.FPDFPageObjMark_GetName(mark, *places)
        if known and name.raw[: size.value] == b"O\0C\0\0\0":
            return True
    return False


def _range_of_cells(low: float, high: float, first: float, last: float) -> range:
    """Of the raster, those whose middle is between ``low`` and ``high``."""
    if not last > first or not high > low:
        return range(0)
    scale = _CELLS / (last - first)
    begin, end = max((low - first) * scale, -1.0), min((high - first) * scale, _CELLS + 1.0)
    return range(max(0, round(begin)), min(_CELLS, round(end)))


def _matrix_of(item: int) -> Matrix:
    import pypdfium2.raw as pdfium

    raw = pdfium.FS_MATRIX()
    if not _pdfium().FPDFPageObj_GetMatrix(item, ctypes.addressof(raw)):
        return _SAME
    return raw.a, raw.b, raw.c, raw.d, raw.e, raw.f


def _combined(inner: Matrix, outer: Matrix) -> Matrix:
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (
        a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s,
        e * p + f * r + t, e * q + f * s + u,
    )  # fmt: skip


_EDGES = (ctypes.c_float * 4)()
_EDGE_PLACES = [
    ctypes.addressof(_EDGES) + ctypes.sizeof(ctypes.c_float) * number for number in range(4)
]


def bounds_of(item: int, matrix: Matrix) -> Box:
    """Where an object is; nothing at 0 where nobody knows."""
    if not _pdfium().FPDFPageObj_GetBounds(item, *_EDGE_PLACES):
        return 0.0, 0.0, 0.0, 0.0
    left, bottom, right, top = _EDGES
    if not math.isfinite(left + bottom + right + top + sum(matrix)):
        return 0.0, 0.0, 0.0, 0.0
    if matrix is _SAME:
        return left, bottom, right, top
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (left, right) for y in (bottom, top)]
    across = [a * x + c * y + e for x, y in corners]
    up = [b * x + d * y + f for x, y in corners]
    return min(across), min(up), max(across), max(up)


def _is_blank(page: Any) -> bool:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        return True
    bitmap = page.render(scale=_BLANK_PX / max(width, height), grayscale=True)
    rows = rows_of(bitmap, bitmap.width)
    return max(map(max, rows)) - min(map(min, rows)) < _BLANK_STEP


def rows_of(bitmap: Any, row_bytes: int) -> list[bytes]:
    """Without what pads them."""
    pixels = bytes(bitmap.buffer)
    tops = range(0, bitmap.height * bitmap.stride, bitmap.stride)
    return [pixels[top : top + row_bytes] for top in tops]


# Which words nobody sees: those of suspects, without which the page looks the same.


_FINE = 1.5  # pixels a point of the pictures that are compared
_COMPARED_PX = 2 << 20  # of one of them at the most
_LONGEST_PX = 60_000  # side of a page of which they are a part
_DRAWING_SECONDS = 2.0  # for both; what takes longer counts as seen
_NO_STEP = 6  # of 255: pixels that differ by no more look the same
_SMALL_PT, _READABLE_PT = 1.7, 5.0  # heights of boxes of words: what nobody reads, what people do
PLACES = 8  # floats of a word, as in ``pdf_child``


def marks_of(
    textpage: Any, count: int, seen: Seen, found: Any, display: Sequence[float]
) -> list[str] | None:
    """For each of the first ``count`` characters of a raw text page why it is perhaps not seen, or
    nothing; ``None`` where all of them are."""
    suspects = seen.suspects()
    handle, owner = address_of(textpage), _pdfium().FPDFText_GetTextObject
    covered = list(seen.covered_words(found, display))
    orders = {
        item: order for pieces in seen.coloured.values() for item, _, order in pieces if covered
    }
    for number, at in covered:
        item = owner(handle, found.firsts[number])
        if at >= orders.get(item, _MAX_OBJECTS):
            suspects.setdefault(item, COVERED)
    if not suspects:
        return None
    owners = [owner(handle, index) for index in range(count)]
    for item in _doubles(seen, suspects, set(owners)):
        del suspects[item]
    seen.suspected = suspects
    return [suspects.get(item, "") for item in owners] if suspects else None


def _doubles(seen: Seen, suspects: dict[int, str], owners: set[int]) -> set[int]:
    """Suspects whose text is printed once more at their place: a shadow or a halo. PDFium keeps the
    characters of one of both only."""
    places: dict[tuple[int, int], list[tuple[int, Box]]] = {}
    others: list[tuple[int, Box]] = []
    pieces = (seen.invisible, *seen.coloured.values())
    for item, matrix, _ in (piece for group in pieces for piece in group):
        box = bounds_of(item, matrix)
        if item in suspects:
            places.setdefault(_near(box), []).append((item, box))
        elif item not in owners:
            others.append((item, box))
    found: set[int] = set()
    for _, box in others:
        column, row = _near(box)
        for near in ((column + x, row + y) for x in (-1, 0, 1) for y in (-1, 0, 1)):
            found.update(item for item, other in places.get(near, ()) if _are_same(box, other))
    return found


def _near(box: Box) -> tuple[int, int]:
    return round((box[0] + box[2]) / 8), round((box[1] + box[3]) / 8)  # cells of 4 points


def _are_same(one: Box, two: Box) -> bool:
    step = 1 + 0.15 * (one[3] - one[1])
    return all(abs(a - b) <= step for a, b in zip(one, two, strict=True))


def reasons_of(page: Any, seen: Seen, found: Any) -> list[str]:
    """For each of the words that were found why a person does not see it, or nothing. ``found`` is
    as ``pdf_child.FoundWords``; its ``marks`` say of which words it has to be found out."""
    heights = found.heights()
    marks: list[str] = found.marks
    if not any(marks) and min(heights, default=_SMALL_PT) >= _SMALL_PT:
        return []
    if any(mark not in _CERTAIN for mark in marks):
        boxes = boxes_of(found)
        doubtful = [box for mark, box in zip(marks, boxes, strict=True) if mark not in _CERTAIN]
        pictures = _Pictures(page, seen.suspected, doubtful)
        marks = [
            "" if mark not in _CERTAIN and pictures.differ(box) else mark
            for mark, box in zip(marks, boxes, strict=True)
        ]
    reasons = marks
    if any(height >= _READABLE_PT for height in heights):
        reasons = [
            reason or (TINY if 0 < height < _SMALL_PT and _has_letters(text) else "")
            for reason, height, text in zip(reasons, heights, found.texts, strict=True)
        ]
    return reasons


def _has_letters(text: str) -> bool:
    """Or digits: a box of a sign may be as low as the sign itself."""
    return any(map(str.isalnum, text))


def boxes_of(found: Any) -> list[Box]:
    """Left, top, right and bottom of each word as it is seen."""
    places = iter(found.places)
    words = zip(*[places] * PLACES, strict=True)
    return [(left, top, right, bottom) for left, top, right, bottom, *_ in words]


class _Pictures:
    """The part of a page with these boxes as it is, and without some of its objects."""

    def __init__(self, page: Any, items: Iterable[int], boxes: Sequence[Box]) -> None:
        width, height = page.get_size()
        self._left, self._top = (max(0.0, min(box[at] for box in boxes)) for at in (0, 1))
        right = min(width, max(box[2] for box in boxes))
        bottom = min(height, max(box[3] for box in boxes))
        across, down = max(1.0, right - self._left), max(1.0, bottom - self._top)
        self._scale = min(_FINE, math.sqrt(_COMPARED_PX / (across * down)))
        self._page_px = max(1, round(width * self._scale)), max(1, round(height * self._scale))
        self._width, self._height = math.ceil(across * self._scale), math.ceil(down * self._scale)
        self._end = time.process_time() + _DRAWING_SECONDS
        self._pair: tuple[bytes, bytes] | None = None
        if self._width * self._height <= 2 * _COMPARED_PX and max(self._page_px) < _LONGEST_PX:
            self._pair = self._drawn(page, list(items))

    def _drawn(self, page: Any, items: list[int]) -> tuple[bytes, bytes] | None:
        switch = _pdfium().FPDFPageObj_SetIsActive
        whole = self._draw(page)
        if whole is None:
            return None
        for item in items:
            switch(item, 0)
        rest = self._draw(page)
        for item in items:
            switch(item, 1)
        return None if rest is None else (whole, rest)

    def _draw(self, page: Any) -> bytes | None:
        import pypdfium2
        import pypdfium2.raw as pdfium

        width, height = self._width, self._height
        bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGR)
        pdfium.FPDFBitmap_FillRect(bitmap.raw, 0, 0, width, height, 0xFFFFFFFF)
        is_late = dict(pdfium.IFSDK_PAUSE._fields_)["NeedToPauseNow"]
        pause = pdfium.IFSDK_PAUSE(
            version=1, NeedToPauseNow=is_late(lambda _: time.process_time() > self._end)
        )
        state = pdfium.FPDF_RenderPageBitmap_Start(
            bitmap.raw,
            page.raw,
            -round(self._left * self._scale),
            -round(self._top * self._scale),
            *self._page_px,
            0,
            pdfium.FPDF_ANNOT,
            ctypes.byref(pause),
        )
        pdfium.FPDF_RenderPage_Close(page.raw)
        is_done = state == pdfium.FPDF_RENDER_DONE
        return b"".join(rows_of(bitmap, 3 * width)) if is_done else None

    def differ(self, box: Box) -> bool:
        """Whether they do within it, so that a person sees it."""
        if self._pair is None:
            return True
        left, right = ((edge - self._left) * self._scale for edge in box[::2])
        top, bottom = ((edge - self._top) * self._scale for edge in box[1::2])
        begin, end = max(0, math.floor(left)), min(self._width, math.ceil(right))
        for row in range(max(0, math.floor(top)), min(self._height, math.ceil(bottom))):
            span = slice(3 * (row * self._width + begin), 3 * (row * self._width + end))
            one, two = self._pair[0][span], self._pair[1][span]
            if one != two and any(abs(a - b) > _NO_STEP for a, b in zip(one, two, strict=True)):
                return True
        return False


# What lies on a page: the fields of a form, and remarks.


_MAX_ANNOTS = 3000  # of a page
_MAX_OPTIONS = 2000  # of a field
_MAX_TEXT_BYTES = 1 << 20  # of a field or a remark
_SILENT = (2, 16, 17)  # kinds of remarks: links, windows of others, files
_HIDDEN, _NO_VIEW = 2, 32  # flags of what is not shown
_PASSWORD, _MULTILINE, _COMB = 1 << 13, 1 << 12, 1 << 24  # flags of a text field
_LINE_PT, _LETTER = 12.0, 0.5  # the height of a line that nobody knows; a letter's width of it


class Label(NamedTuple):
    """Text at a place that has no characters of its own there: ``is_spare`` where there may be."""

    text: str
    box: Box
    is_spare: bool = False


class Annotations:
    """What lies on a page. ``labels`` is what it says where PDFium draws it as no text, or apart;
    ``remarks`` is what people wrote about the page."""

    def __init__(self, pdf: Any, index: int, page: Any) -> None:
        import pypdfium2.raw as pdfium

        self.labels: list[Label] = []
        self.remarks: list[str] = []
        self.is_printed = False  # whether text of it becomes text of the page
        self._form = pdf.formenv and pdf.formenv.raw
        self._needs_drawing = pdf.needs_drawing
        self._source, self._index, self._number = pdf.source, index, 0
        self._plain: Any = None  # the page without what PDFium makes for its form
        for at in range(min(_MAX_ANNOTS, pdfium.FPDFPage_GetAnnotCount(page.raw))):
            annot = pdfium.FPDFPage_GetAnnot(page.raw, at)
            self._number = at
            if annot and not pdfium.FPDFAnnot_GetFlags(annot) & (_HIDDEN | _NO_VIEW):
                self._add(annot, pdfium.FPDFAnnot_GetSubtype(annot))
            pdfium.FPDFPage_CloseAnnot(annot)

    def _add(self, annot: Any, kind: int) -> None:
        import pypdfium2.raw as pdfium

        if kind == pdfium.FPDF_ANNOT_WIDGET:
            if self._form:
                self.is_printed = True
                self._add_field(annot)
        elif kind in (pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP):
            is_drawn = _text(pdfium.FPDFAnnot_GetAP, annot, pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL)
            self.is_printed = self.is_printed or bool(is_drawn)
            said = _contents(annot)
            if not is_drawn and kind == pdfium.FPDF_ANNOT_FREETEXT:
                self.labels += [Label(said, _rect(annot))] if said else []
            elif not is_drawn:
                self.remarks.append(said or _text(pdfium.FPDFAnnot_GetStringValue, annot, b"Name"))
        elif kind not in _SILENT:
            said = _contents(annot)
            self.remarks += [said] if said else []

    def _add_field(self, annot: Any) -> None:
        import pypdfium2.raw as pdfium

        kind = pdfium.FPDFAnnot_GetFormFieldType(self._form, annot)
        own = ""
        is_spare = False
        if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
            own = "[x]" if self._is_checked(annot) else "[ ]"
        elif kind == pdfium.FPDF_FORMFIELD_LISTBOX:
            own = self._chosen(annot)
        elif kind == pdfium.FPDF_FORMFIELD_COMBOBOX:
            own, is_spare = self._chosen(annot), not self._needs_drawing
        elif kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
            flags = pdfium.FPDFAnnot_GetFormFieldFlags(self._form, annot)
            own = self._value(annot) if not flags & _PASSWORD else ""
            is_own = flags & _PASSWORD or (own and (flags & _COMB or self._needs_drawing))
            is_spare = not is_own
        elif kind != pdfium.FPDF_FORMFIELD_PUSHBUTTON:
            return
        self.labels += [Label(own, _rect(annot), is_spare)] if own else []
        if not is_spare:  # its own drawing is not to be read, too
            pdfium.FPDFAnnot_SetFlags(annot, _HIDDEN)

    def _value(self, annot: Any) -> str:
        import pypdfium2.raw as pdfium

        return _text(pdfium.FPDFAnnot_GetFormFieldValue, self._form, annot)

    def _is_checked(self, annot: Any) -> bool:
        import pypdfium2.raw as pdfium

        if _text(pdfium.FPDFAnnot_GetStringValue, annot, b"AS") not in ("", "Off"):
            return True
        value = _text(pdfium.FPDFAnnot_GetStringValue, annot, b"V") or self._value(annot)
        export = _text(pdfium.FPDFAnnot_GetFormFieldExportValue, self._form, annot)
        is_only = pdfium.FPDFAnnot_GetFormControlCount(self._form, annot) <= 1
        if value in ("", "Off") or not (value == export or is_only):
            return False
        # A form makes a state and an appearance for what has none: "Off", whatever the value is.
        return self._needs_drawing or not self._has_state()

    def _has_state(self) -> bool:
        """Whether the file itself says how the annotation is drawn, and which state of it."""
        import pypdfium2
        import pypdfium2.raw as pdfium

        if self._plain is None:
            data, password = self._source
            try:
                self._plain = pypdfium2.PdfDocument(data, password=password)[self._index]
            except pypdfium2.PdfiumError:
                return True
        annot = pdfium.FPDFPage_GetAnnot(self._plain.raw, self._number)
        has_all = all(pdfium.FPDFAnnot_HasKey(annot, key) for key in (b"AS", b"AP"))
        pdfium.FPDFPage_CloseAnnot(annot)
        return has_all

    def _chosen(self, annot: Any) -> str:
        """The options that are chosen, by the names that people see."""
        import pypdfium2.raw as pdfium

        count = min(_MAX_OPTIONS, pdfium.FPDFAnnot_GetOptionCount(self._form, annot))
        chosen = [
            _text(pdfium.FPDFAnnot_GetOptionLabel, self._form, annot, at)
            for at in range(count)
            if pdfium.FPDFAnnot_IsOptionSelected(self._form, annot, at)
        ]
        return "\n".join(filter(None, chosen)) or self._value(annot)


def _text(get: Callable[..., int], *of: Any) -> str:
    """What one of PDFium's functions writes into a buffer, as UTF-16."""
    size = get(*of, None, 0)
    if not 2 < size <= _MAX_TEXT_BYTES:  # noqa: PLR2004  (an empty text is its zero)
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    get(*of, buffer, size)
    return bytes(buffer)[: size - 2].decode("utf-16-le", "replace").strip("\0")


def _contents(annot: Any) -> str:
    import pypdfium2.raw as pdfium

    return _text(pdfium.FPDFAnnot_GetStringValue, annot, b"Contents").strip()


def _rect(annot: Any) -> Box:
    import pypdfium2.raw as pdfium

    raw = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annot, ctypes.byref(raw))
    if not math.isfinite(raw.left + raw.bottom + raw.right + raw.top):
        return 0.0, 0.0, 0.0, 0.0
    across, up = sorted((raw.left, raw.right)), sorted((raw.bottom, raw.top))
    return across[0], up[0], across[1], up[1]


def as_seen(box: Box, display: Sequence[float]) -> Box:
    """Left, top, right and bottom on the page as it is seen; ``display`` as in ``pdf_child``."""
    left, bottom, right, top = box
    a, b, c, d, e, f, *_ = display
    x1, x2 = a * left + c * bottom + e, a * right + c * top + e
    y1, y2 = b * left + d * bottom + f, b * right + d * top + f
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


Put = Callable[[str, Sequence[float]], None]


def put_labels(labels: Sequence[Label], words: Sequence[Sequence[float]], put: Put) -> None:
    """Hand over the words of labels with their places, as in ``pdf_child``. Boxes of both are left,
    top, right and bottom of what is seen; those of ``words`` go on as in ``pdf_child``."""
    for text, box, is_spare in labels[: max(1, _MAX_STEPS // (1 + len(words)))]:
        left, top, right, bottom = box
        beside = [word for word in words if word[1] <= (top + bottom) / 2 <= word[3]]
        if is_spare and any(left <= (word[0] + word[2]) / 2 <= right for word in beside):
            continue  # it has an appearance
        lines = text.splitlines()
        height = min(_LINE_PT, (bottom - top) / max(1, len(lines)))
        first = (top + bottom - height * len(lines)) / 2
        base = first + 0.8 * height
        near = min(beside, key=lambda word: max(word[0] - right, left - word[2]), default=None)
        if near and len(lines) == 1:  # it stands in one line with that
            first, base, height = near[1], near[4], near[3] - near[1]
        for at, line in enumerate(lines):
            down = at * height
            place = (left, first + down, right, first + down + height, base + down)
            _put_line(line, place, put)


_MAX_STEPS = 3_000_000  # words that are looked at for the labels of a page


def _put_line(line: str, place: tuple[float, float, float, float, float], put: Put) -> None:
    left, top, right, bottom, base = place
    if line in ("[x]", "[ ]"):
        put(line, (left, top, right, bottom, base, 0, 0, 0))
        return
    letter = min(_LETTER * (bottom - top), (right - left) / max(1, len(line)))
    for match in re.finditer(r"\S+", line):
        ends = (left + letter * match.start(), left + letter * match.end())
        put(match.group(), (ends[0], top, ends[1], bottom, base, 0, 0, 0))


# What the file says of all its pages. PDFium does not tell.


_OFF = re.compile(rb"/OFF\s{0,9}(?:\[\s{0,9})?\d|/(?:BaseState|ViewState|PrintState)\s{0,9}/OFF")
_NEEDS_DRAWING = re.compile(rb"/NeedAppearances\s{1,9}true")
_UNPACKED_BYTES = 64 << 20  # of objects that are packed


def needs_drawing(data: bytes) -> bool:
    """Whether the fields of its form are to be drawn from their values."""
    return _NEEDS_DRAWING.search(data) is not None


def has_layers(data: bytes) -> bool:
    """Whether it may have layers that are off: by what is in the file as it is, and in its packed
    objects."""
    if b"/Encrypt" in data and b"/ObjStm" in data:
        return True  # nobody knows
    parts = [data, *_unpacked(data)]
    return any(b"/OCProperties" in part for part in parts) and any(map(_OFF.search, parts))


def _unpacked(data: bytes) -> Iterator[bytes]:
    at, left = data.find(b"/ObjStm"), _UNPACKED_BYTES
    while at >= 0 and left > 0:
        begin = data.find(b"stream", at, at + 1000)
        end = data.find(b"endstream", at)
        if 0 <= begin < end:
            content = data[begin + len(b"stream") : end].removeprefix(b"\r").removeprefix(b"\n")
            try:
                part = zlib.decompressobj().decompress(content, left)
            except zlib.error:
                part = b""
            left -= len(part)
            yield part
        at = data.find(b"/ObjStm", max(at + 1, end))


# A form whose pages only Acrobat makes (XFA), and who signed.


_MAX_XFA_BYTES = 4 << 20
_MAX_SIGNATURES = 20
_XFA_DATA = "http://www.xfa.org/schema/xfa-data/1.0/"


def about(pdf: Any) -> dict[str, Any]:
    """``{"signed": [when, …], "xfa": None, or the lines that were filled into a form whose pages
    only some programs make, "is_dynamic": whether none of its pages is in the file}``."""
    import pypdfium2.raw as pdfium

    count = min(_MAX_SIGNATURES, pdfium.FPDF_GetSignatureCount(pdf.raw))
    signed = [_signed(pdfium.FPDF_GetSignatureObject(pdf.raw, at)) for at in range(count)]
    kind = pdfium.FPDF_GetFormType(pdf.raw)
    is_xfa = kind in (pdfium.FORMTYPE_XFA_FULL, pdfium.FORMTYPE_XFA_FOREGROUND)
    return {
        "signed": signed, "xfa": xfa_lines(_xfa_packet(pdf)) if is_xfa else None,
        "is_dynamic": kind == pdfium.FORMTYPE_XFA_FULL,
    }  # fmt: skip


def _signed(signature: Any) -> str:
    """The day, or nothing: ``D:20240506120000+02'00'`` in the file."""
    import pypdfium2.raw as pdfium

    buffer = ctypes.create_string_buffer(40)
    size = pdfium.FPDFSignatureObj_GetTime(signature, buffer, len(buffer))
    said = buffer.raw[: min(size, len(buffer))].decode("latin-1")
    match = re.match(r"D:(\d{4})(\d\d)(\d\d)", said)
    return "-".join(match.groups()) if match else ""


def _xfa_packet(pdf: Any) -> bytes:
    """The data of the form; nothing where there are none."""
    import pypdfium2.raw as pdfium

    for at in range(min(30, pdfium.FPDF_GetXFAPacketCount(pdf.raw))):
        name = ctypes.create_string_buffer(20)
        pdfium.FPDF_GetXFAPacketName(pdf.raw, at, name, len(name))
        size = ctypes.c_ulong()
        if name.value != b"datasets":
            continue
        pdfium.FPDF_GetXFAPacketContent(pdf.raw, at, None, 0, ctypes.byref(size))
        if 0 < size.value <= _MAX_XFA_BYTES:
            content = ctypes.create_string_buffer(size.value)
            pdfium.FPDF_GetXFAPacketContent(pdf.raw, at, content, size.value, ctypes.byref(size))
            return content.raw
    return b""


def xfa_lines(data: bytes) -> list[str]:
    """``name: value`` of what was filled into an XFA form: its XML, read without any entity."""
    from xml.parsers import expat

    lines: list[str] = []
    path: list[tuple[str, list[str]]] = []  # names, each with the text in it
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, _: dict[str, str]) -> None:
        if path:
            path[-1][1].clear()  # what holds others has no value of its own
        path.append((name, []))

    def text(said: str) -> None:
        if path:
            path[-1][1].append(said)

    def end(name: str) -> None:
        value = " ".join("".join(path.pop()[1]).split())
        if value and not name.startswith(f"{_XFA_DATA} "):
            lines.append(f"{_plain(name)}: {value}")

    def refuse(*_: Any) -> None:
        raise ValueError

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, refuse
    parser.buffer_text = True
    with suppress(expat.ExpatError, ValueError):  # what came before the error is read
        parser.Parse(data.strip(b"\0 \r\n\t"), True)
    return lines


def _plain(name: str) -> str:
    """The name of an element without its namespace; ``_x0020_`` in it is a character."""
    plain = name.rpartition(" ")[2]
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), plain)
