"""PDFs made from nothing: lines of text at given places."""

from collections.abc import Callable, Sequence

import pytest

# What a page holds: (x, y from the top, size in pt, text), optionally with a text matrix's turn.
Line = tuple[float, float, float, str] | tuple[float, float, float, str, str]
TURNS = {"across": "1 0 0 1", "up": "0 1 -1 0", "down": "0 -1 1 0", "over": "-1 0 0 -1"}
TURNS["tilted"] = "0.99863 0.05234 -0.05234 0.99863"  # by 3 degrees


def render_pdf(
    pages: Sequence[Sequence[Line]],
    *,
    font: str = "Courier",
    size: tuple[int, int] = (595, 842),
    rotate: int = 0,
    extra: str = "",
    crop: tuple[int, int, int, int] | None = None,
    means: dict[str, str] | None = None,
) -> bytes:
    """A small valid PDF, uncompressed; ``extra`` is drawn on every page. ``crop`` is left, bottom,
    right and top of what is seen of it; ``means`` says what a printed character stands for."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    more = ""
    if means:
        table = _to_unicode(means)
        objects.append(f"<< /Length {len(table)} >>\nstream\n{table}\nendstream")
        more = f"/ToUnicode {len(objects)} 0 R"
    box = f"/CropBox [{' '.join(map(str, crop))}]" if crop else ""
    kids = []
    for lines in pages:
        stream = extra + "\n".join(_show(size[1], line) for line in lines)
        objects.append(f"<< /Length {len(stream.encode('cp1252'))} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] {box} "
            f"/Rotate {rotate} /Contents {len(objects)} 0 R "
            f"/Resources << /Font << /F << /Type /Font /Subtype /Type1 "
            f"/BaseFont /{font} /Encoding /WinAnsiEncoding {more} >> >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    )
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    return data + (head + table + trailer).encode()


def _to_unicode(means: dict[str, str]) -> str:
    """A CMap from codes of one byte to UTF-16."""
    pairs = {char: char for char in map(chr, range(32, 127))} | means
    lines = [f"<{ord(one):02x}> <{two.encode('utf-16-be').hex()}>" for one, two in pairs.items()]
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(lines)} beginbfchar\n" + "\n".join(lines) + "\nendbfchar endcmap end end"
    )


def _show(height: int, line: Line) -> str:
    x, y, size, text, turn = (*line, "across")[:5]
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /F {size} Tf {TURNS[turn]} {x} {height - y} Tm ({escaped}) Tj ET"


def typed(text: str, *, size: float = 10, left: float = 50, top: float = 60) -> list[Line]:
    """A text as a typewriter would put it on the page, a line every 1.2 sizes."""
    rows = enumerate(text.split("\n"))
    return [(left, top + 1.2 * size * row, size, line) for row, line in rows if line.strip()]


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """``render_pdf``."""
    return render_pdf


@pytest.fixture
def type_lines() -> Callable[..., list[Line]]:
    """``typed``."""
    return typed
