"""A minimal PDF writer: one page of text in Courier, selectable, no dependency."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

PAGE = (595, 842)
"""A4 in points."""
MARGIN = 56


@dataclass(frozen=True)
class Look:
    """Which lines (from 0) are bold, and which have a rule under them."""

    bold: Collection[int] = ()
    ruled: Collection[int] = ()


def escaped(text: str) -> bytes:
    """A PDF string in WinAnsi encoding."""
    raw = text.encode("cp1252", "replace")
    for mark in (b"\\", b"(", b")"):
        raw = raw.replace(mark, b"\\" + mark)
    return raw


def content(lines: list[str], look: Look) -> bytes:
    """The page's drawing: each run of non-blank text at its own place, as typesetters do."""
    longest = max(max(map(len, lines)), 1)
    size = min(10.0, (PAGE[0] - 2 * MARGIN) / (0.6 * longest))
    leading = min(1.4 * size, (PAGE[1] - 2 * MARGIN) / max(len(lines), 1))
    width = 0.6 * size  # Courier: every character is 600/1000 of the size wide
    out: list[bytes] = []
    for row, line in enumerate(lines):
        y = PAGE[1] - MARGIN - leading * row
        out.append(b"BT /F%d %g Tf" % (2 if row in look.bold else 1, size))
        column = 0
        for chunk in line.split("  "):
            text = chunk.strip(" ")
            if text:
                x = MARGIN + width * (column + len(chunk) - len(chunk.lstrip(" ")))
                out.append(b"1 0 0 1 %.2f %.2f Tm (%s) Tj" % (x, y, escaped(text)))
            column += len(chunk) + 2
        out.append(b"ET")
        if row in look.ruled:
            below, end = y - 0.3 * size, MARGIN + width * longest
            out.append(b"0.6 w %.2f %.2f m %.2f %.2f l S" % (MARGIN, below, end, below))
    return b"\n".join(out)


def write(path: Path, text: str, title: str, look: Look | None = None) -> None:
    """Write ``text`` as a one-page PDF; columns made with spaces stay columns."""
    drawing = content(text.split("\n"), look or Look())
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>" % PAGE,
        b"<< /Length %d >>\nstream\n" % len(drawing) + drawing + b"\nendstream",
        font % b"Courier",
        font % b"Courier-Bold",
        b"<< /Title (%s) /Producer (gemma-edge) >>" % escaped(title),
    ]
    path.write_bytes(assembled(objects))


def assembled(objects: list[bytes]) -> bytes:
    """Numbered objects with their cross-reference table; the last one is the information."""
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (len(objects) + 1, len(objects))
    return out + b"startxref\n%d\n%%%%EOF\n" % start
