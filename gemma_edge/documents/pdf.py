"""The program that holds PDFium, in a process of its own: the words of pages with their boxes, or
pages as pixels. ``pdf_words.py`` and ``pdf_looks.py`` beside it are its parts.

``pdf_process.py`` runs this file by its path, so the child imports nothing of the package:
PDFium is C++ over hostile input, and a crash, a loop or a flood of memory ends here.

stdin   one line of JSON, ``{"library": folder, "password", "memory_bytes", "cpu_seconds",
        "bytes"}``, so many bytes of PDF, then a line for each order until the end of the input:
        ``{"read": number, "max_chars"}`` or ``{"draw": number, "pixels"}``
stdout  ``{"page_count": n}`` or ``{"error": "password" | "damaged", "detail"}``, then for each
        order a line ``{…, "bytes": n}`` and n bytes, or ``{"error": why, "bytes": 0}``

Of a page that is read: ``{"width", "height", "chars", "cut", "looks": …, "count": words}``, and as
bytes the places of the words (seven floats each: left, top, right, bottom, baseline, turn, glued)
and their texts in UTF-8 with a newline between. Of a page that is drawn: ``{"width", "height"}``
and RGB rows. Points from the top left corner of the page as it is seen; ``turn`` as in
``layout.Piece``.
"""

import importlib
import json
import math
import os
import sys
from typing import Any

_LONGEST_PX = 30_000  # side of a page that is drawn: a strip of 1 x 10,000 points
_MAX_REMARKS = 200  # annotations of a page that are looked at
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD


def main() -> None:
    """Read stdin, write stdout; see the module's docstring."""
    order = json.loads(sys.stdin.buffer.readline())
    limit_resources(order["memory_bytes"], order["cpu_seconds"])
    # The answer has stdout to itself: whatever a C library prints goes to stderr.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path += [order["library"], os.path.dirname(os.path.abspath(__file__))]

    def send(line: dict[str, Any], content: bytes = b"") -> None:
        answer.write(json.dumps({**line, "bytes": len(content)}).encode("ascii") + b"\n")
        answer.write(content)
        answer.flush()

    try:
        pdf = open_pdf(sys.stdin.buffer.read(order["bytes"]), order["password"])
    except (MemoryError, ImportError) as error:
        pdf = {"error": "damaged", "detail": _words_of(error)}
    send(pdf if isinstance(pdf, dict) else {"page_count": len(pdf)})
    for line in sys.stdin.buffer if not isinstance(pdf, dict) else ():
        # The time is for each page: a document of 2,000 may take hours, one page may not.
        limit_resources(order["memory_bytes"], order["cpu_seconds"])
        send(*carry_out(pdf, json.loads(line)))
    answer.close()
    # No tidying up: PDFium may trip over what a damaged file left behind.
    os._exit(0)


def limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Limits on this process where the platform has them; no core file, no file written.
    ``cpu_seconds`` are counted from now on; another call begins them anew."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_CPU": math.ceil(used.ru_utime + used.ru_stime) + cpu_seconds,
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


def open_pdf(data: bytes, password: str | None) -> Any:
    """The document, or the answer that says why there is none."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data, password=password)
        pdf.init_forms()  # so that what was filled into a form is read and drawn too
    except pypdfium2.PdfiumError as error:
        kind = "password" if error.err_code == _WRONG_PASSWORD else "damaged"
        return {"error": kind, "detail": str(error)}
    return pdf


def carry_out(pdf: Any, order: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The line and the bytes that answer an order."""
    import pypdfium2

    try:
        if "draw" in order:
            return draw_page(pdf, order["draw"] - 1, order["pixels"])
        return read_page(pdf, order["read"] - 1, order["max_chars"])
    except (pypdfium2.PdfiumError, ValueError, OverflowError, MemoryError) as error:
        return {"error": _words_of(error)}, b""


def _words_of(error: BaseException) -> str:
    return "it needs too much memory" if isinstance(error, MemoryError) else str(error)


def read_page(pdf: Any, index: int, max_chars: int) -> tuple[dict[str, Any], bytes]:
    """One page as in the module's docstring.

    Raises:
        PdfiumError: the page cannot be loaded.
    """
    words, looks = importlib.import_module("pdf_words"), importlib.import_module("pdf_looks")
    page = _flat_page(pdf, index)
    width, height = page.get_size()
    textpage = page.get_textpage()
    chars = textpage.count_chars()
    found = words.read_words(textpage.raw, min(chars, max_chars), _display(page), (width, height))
    seen = looks.look_at(page, found.visible_chars)
    textpage.close()
    page.close()
    line = {
        "width": width, "height": height, "chars": chars, "cut": chars > max_chars,
        "looks": {**seen, "chars": found.visible_chars, "unreadable": found.unreadable},
        "count": len(found.texts),
    }  # fmt: skip
    return line, found.places.tobytes() + "\n".join(found.texts).encode("utf-8")


def _flat_page(pdf: Any, index: int) -> Any:
    """A page with the fields of its form, and with text that was put on it as a remark, as a part
    of it. PDFium draws both by itself, but reads neither."""
    import pypdfium2.raw as pdfium

    page = pdf[index]
    if pdf.formenv or _has_remarks(page):
        pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY)
        page.close()  # what was flattened is seen by a page that is loaded afterwards
        page = pdf[index]
    return page


def _has_remarks(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    for at in range(min(_MAX_REMARKS, pdfium.FPDFPage_GetAnnotCount(page.raw))):
        remark = pdfium.FPDFPage_GetAnnot(page.raw, at)
        kind = pdfium.FPDFAnnot_GetSubtype(remark)
        pdfium.FPDFPage_CloseAnnot(remark)
        if kind == pdfium.FPDF_ANNOT_FREETEXT:
            return True
    return False


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

    Raises:
        PdfiumError: the page cannot be loaded.
        ValueError: the page has no area.
    """
    import pypdfium2.raw as pdfium

    page = pdf[index]
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
    page.close()
    row, rows = 3 * bitmap.width, bytes(bitmap.buffer)
    packed = b"".join(
        rows[top : top + row] for top in range(0, bitmap.height * bitmap.stride, bitmap.stride)
    )
    return {"width": bitmap.width, "height": bitmap.height}, packed


if __name__ == "__main__":
    main()
