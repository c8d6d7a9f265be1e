"""PDFs that are made whole, object by object: locked with a password, forms, and hostile ones."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence

# What fills a password up to 32 bytes (ISO 32000-1, 7.6.3.3).
_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>"
_BOX = b"[0 0 595 842]"
Case = tuple[str, bytes, str]


def assemble(bodies: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A file of these objects, numbered from 1; the first is the catalog."""
    data, places = b"%PDF-1.6\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        data
        + b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(bodies) + 1, rows)
        + b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(bodies) + 1, trailer)
        + b"startxref\n%d\n%%%%EOF\n" % len(data)
    )


def stream(content: bytes, more: bytes = b"") -> bytes:
    """A stream and its dictionary."""
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), more, content)


def show(*lines: str) -> bytes:
    """The content of a page that prints these lines."""
    moves = b"".join(b"(%b) Tj 0 -14 Td " % line.encode("cp1252") for line in lines)
    return b"BT /F 10 Tf 50 780 Td " + moves + b"ET"


def page(content: bytes, *, page: bytes = b"", catalog: bytes = b"") -> list[bytes]:
    """The objects of a file of one page; 4 is the content, 5 the font."""
    return [
        b"<< /Type /Catalog /Pages 2 0 R %b >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox %b /Contents 4 0 R "
        b"/Resources << /Font << /F 5 0 R >> >> %b >>" % (_BOX, page),
        stream(content),
        _FONT,
    ]


def locked_pdf(
    *lines: str, user: str = "", owner: str = "owner", bits: int = 128, named: bool = True
) -> bytes:
    """A page that RC4 keeps from whoever knows neither password: revision 2 of the standard
    security handler with 40 bits, revision 3 with 128. ``named`` files have an ``/ID``."""
    revision, identity = (2 if bits == 40 else 3), b"gemma-edge tests" if named else b""
    rounds, size = (50 if revision == 3 else 0), bits // 8
    turns = range(1, 20) if revision == 3 else ()
    kept = _rc4_all(_hash(_padded(owner), rounds, size), _padded(user), turns)
    rights = b"\xfc\xff\xff\xff"
    key = _hash(_padded(user) + kept + rights + identity, rounds, size)
    if revision == 2:
        check = _rc4(key, _PADDING)
    else:
        check = _rc4_all(key, hashlib.md5(_PADDING + identity).digest(), turns).ljust(32, b"\0")
    bodies = page(b"")
    bodies[3] = stream(_rc4(_object_key(key, 4), show(*lines)))
    bodies.append(
        b"<< /Filter /Standard /V %d /R %d /Length %d /P -4 /O <%b> /U <%b> >>"
        % (revision - 1, revision, bits, kept.hex().encode(), check.hex().encode())
    )
    names = b"/ID [<%b> <%b>]" % ((identity.hex().encode(),) * 2) if named else b""
    return assemble(bodies, b"/Encrypt 6 0 R " + names)


def _padded(password: str) -> bytes:
    return (password.encode("latin-1") + _PADDING)[:32]


def _hash(data: bytes, rounds: int, size: int) -> bytes:
    digest = hashlib.md5(data).digest()
    for _ in range(rounds):
        digest = hashlib.md5(digest[:size]).digest()
    return digest[:size]


def _object_key(key: bytes, number: int) -> bytes:
    whole = hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()
    return whole[: min(len(key) + 5, 16)]


def _rc4_all(key: bytes, data: bytes, turns: Sequence[int]) -> bytes:
    for turn in (0, *turns):
        data = _rc4(bytes(byte ^ turn for byte in key), data)
    return data


def _rc4(key: bytes, data: bytes) -> bytes:
    state, other = list(range(256)), 0
    for at in range(256):
        other = (other + state[at] + key[at % len(key)]) % 256
        state[at], state[other] = state[other], state[at]
    out, at, other = bytearray(), 0, 0
    for byte in data:
        at = (at + 1) % 256
        other = (other + state[at]) % 256
        state[at], state[other] = state[other], state[at]
        out.append(byte ^ state[(state[at] + state[other]) % 256])
    return bytes(out)


def form_pdf(drawn: str = "Alice Example", valued: str = "12 May 1990") -> bytes:
    """A form that was filled in: the first field brings its own appearance, of the second only the
    value is in the file."""
    field = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /F 4 /T (%b) /V (%b) /DA (/F 10 Tf 0 g) "
        b"/P 3 0 R /Rect [150 %d 350 %d] %b >>"
    )
    bodies = page(
        show("Name", "", "Born", "", "Signature"),
        page=b"/Annots [6 0 R 7 0 R]",
        catalog=b"/AcroForm << /Fields [6 0 R 7 0 R] /DA (/F 10 Tf 0 g) "
        b"/DR << /Font << /F 5 0 R >> >> >>",
    )
    bodies.append(field % (b"name", drawn.encode(), 775, 790, b"/AP << /N 8 0 R >>"))
    bodies.append(field % (b"born", valued.encode(), 747, 762, b""))
    text = b"BT /F 10 Tf 2 4 Td (%b) Tj ET" % drawn.encode()
    bodies.append(
        stream(
            text,
            b"/Type /XObject /Subtype /Form /BBox [0 0 200 15] "
            b"/Resources << /Font << /F 5 0 R >> >>",
        )
    )
    return assemble(bodies)


def japanese_pdf(*lines: tuple[int, int, str], encoding: str = "UniJIS-UCS2-H") -> bytes:
    """A page of Japanese in a font that is not in the file: places from the left and from below,
    and what is printed there. Some encodings (``-V``) have lines that run down."""
    moves = (
        b"BT /F 12 Tf %d %d Td <%b> Tj ET\n" % (x, y, text.encode("utf-16-be").hex().encode())
        for x, y, text in lines
    )
    bodies = page(b"".join(moves))
    bodies[4] = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /HeiseiMin-W3 /Encoding /%b /DescendantFonts "
        b"[<< /Type /Font /Subtype /CIDFontType0 /BaseFont /HeiseiMin-W3 /DW 1000 /CIDSystemInfo "
        b"<< /Registry (Adobe) /Ordering (Japan1) /Supplement 2 >> /FontDescriptor << /Type "
        b"/FontDescriptor /FontName /HeiseiMin-W3 /Flags 6 /FontBBox [-123 -257 1001 910] /Ascent "
        b"723 /Descent -241 /CapHeight 709 /StemV 69 /ItalicAngle 0 >> >>] >>" % encoding.encode()
    )
    return assemble(bodies)


def picture_pdf(side: int = 64) -> bytes:
    """A page that is covered by a picture, as a scanner makes it, with a line of text above."""
    rows = zlib.compress(bytes(at % 251 for at in range(side * side)))
    bodies = page(b"q 595 0 0 842 0 0 cm /I Do Q " + show("Scanned"))
    bodies[2] = bodies[2].replace(b"/Resources <<", b"/Resources << /XObject << /I 6 0 R >>")
    bodies.append(
        stream(
            rows,
            b"/Type /XObject /Subtype /Image /ColorSpace /DeviceGray /BitsPerComponent 8 "
            b"/Filter /FlateDecode /Width %d /Height %d" % (side, side),
        )
    )
    return assemble(bodies)


def hostile_pdfs(kind: str) -> Iterator[Case]:
    """A name, a file, and what is to come of it: ``document``, ``line`` or ``either``; of one of
    the ``KINDS``."""
    return KINDS[kind](page(show("Total 12.00")))


def _changed(bodies: list[bytes], number: int, old: bytes, new: bytes) -> bytes:
    assert old in bodies[number - 1]
    return assemble([
        body.replace(old, new) if at == number else body for at, body in enumerate(bodies, 1)
    ])  # fmt: skip


def _lying(good: list[bytes]) -> Iterator[Case]:
    """Tables and lengths that say something else than the file."""
    whole = assemble(good)
    yield "whole", whole, "document"
    yield "no-table", whole[: whole.index(b"xref\n0")], "either"
    yield "table-elsewhere", whole.replace(b"startxref\n", b"startxref\n9"), "document"
    yield "table-of-zeros", whole.replace(b" 00000 n", b" 00000 f"), "either"
    yield "cut-in-the-trailer", whole[:-30], "either"
    yield "junk-before-and-after", b"\r\n" * 9 + whole + b"\0" * 999, "document"
    yield "stream-too-long", _changed(good, 4, b"/Length ", b"/Length 9"), "either"
    yield "stream-too-short", _changed(good, 4, b"/Length ", b"/Length 1 /Was "), "document"
    yield "stream-without-end", _changed(good, 4, b"\nendstream", b""), "either"
    yield "unknown-filter", _changed(good, 4, b"<< ", b"<< /Filter /Nonsense "), "document"
    yield "not-deflated", _changed(good, 4, b"<< ", b"<< /Filter /FlateDecode "), "document"
    yield "two-billion-pages", _changed(good, 2, b"/Count 1", b"/Count 2147483647"), "either"
    yield "minus-one-page", _changed(good, 2, b"/Count 1", b"/Count -1"), "either"
    yield "no-page", _changed(good, 2, b"[3 0 R] /Count 1", b"[] /Count 0"), "line"
    yield "page-is-missing", _changed(good, 2, b"3 0 R", b"99 0 R"), "either"
    yield "page-is-a-number", _changed(good, 2, b"3 0 R", b"7"), "either"
    yield "no-catalog", whole.replace(b"/Root 1 0 R", b"/Root 9 0 R"), "either"


def _endless(good: list[bytes]) -> Iterator[Case]:
    """What leads back to itself."""
    yield "tree-in-itself", _changed(good, 2, b"[3 0 R]", b"[2 0 R 3 0 R]"), "either"
    yield "page-is-its-parent", _changed(good, 3, b"/Parent 2 0 R", b"/Parent 3 0 R"), "either"
    yield "length-of-itself", _changed(good, 4, b"/Length ", b"/Length 4 0 R /Was "), "either"
    resources = b"/Resources << /XObject << /X 6 0 R >> >>"
    calls = stream(b"/X Do /X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] " + resources)
    drawing = page(b"/X Do " + show("Total"))
    drawing[2] = drawing[2].replace(b"/Resources <<", resources[:-3])
    yield "form-in-itself", assemble([*drawing, calls]), "either"
    outlines = page(show("Total"), catalog=b"/Outlines 6 0 R")
    chapter = b"<< /Title (x) /Parent 6 0 R /First 6 0 R /Next 6 0 R /Dest [3 0 R /Fit] >>"
    yield "outline-in-itself", assemble([*outlines, chapter]), "document"
    linked = page(show("Total"), page=b"/Annots [6 0 R]")
    note = b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /Parent 6 0 R /AP << /N 6 0 R >> >>"
    yield "note-in-itself", assemble([*linked, note]), "document"
    table = assemble(good, b"/Prev 0000")
    loop = table.replace(b"/Prev 0000", b"/Prev %d" % table.index(b"xref\n0"))
    yield "table-before-itself", loop, "either"


def _odd(good: list[bytes]) -> Iterator[Case]:
    """Sizes, numbers and nesting that nobody makes."""
    for name, box in (
        ("nothing", b"[0 0 0 0]"), ("upside-down", b"[595 842 0 0]"), ("minus", b"[-9 -9 -1 -1]"),
        ("huge", b"[0 0 1e9 1e9]"), ("no-number", b"[nan (a) null /b]"), ("three", b"[0 0 9]"),
    ):  # fmt: skip
        yield f"box-{name}", _changed(good, 3, _BOX, box), "either"
    yield "turned-by-45", _changed(good, 3, b"/Parent", b"/Rotate 45 /Parent"), "document"
    turned = [*good, b"90"]
    yield "turned-elsewhere", _changed(turned, 3, b"/Parent", b"/Rotate 6 0 R /Parent"), "document"
    yield (
        "crop-outside",
        _changed(good, 3, b"/Parent", b"/CropBox [900 900 999 999] /Parent"),
        ("either"),
    )
    yield "font-is-missing", _changed(good, 3, b"/F 5 0 R", b"/G 5 0 R"), "document"
    yield "font-is-a-page", _changed(good, 3, b"/F 5 0 R", b"/F 3 0 R"), "document"
    deep = b"[" * 50_000 + b"]" * 50_000
    yield "deep-arrays", _changed(good, 3, b"/Parent", b"/Deep " + deep + b" /Parent"), "either"
    yield "deep-states", assemble(page(b"q " * 100_000 + show("Total"))), "either"
    yield "text-never-ends", assemble(page(b"BT /F 10 Tf (Total")), "document"
    yield "numbers-too-large", assemble(page(b"1e99 0 0 1e99 9e99 9e99 cm " + show("x"))), "either"
    yield "unknown-orders", assemble(page(b"frob 1 2 3 nix << >> " + show("Total"))), "document"
    script = page(show("x"), catalog=b"/OpenAction << /S /JavaScript /JS (app.alert\\(1\\);) >>")
    yield "a-script", assemble(script), "document"
    launch = page(show("x"), catalog=b"/OpenAction << /S /Launch /F (/bin/sh) >>")
    yield "a-program", assemble(launch), "document"


def _bombs(_good: list[bytes]) -> Iterator[Case]:
    """Small files that grow."""
    packer = zlib.compressobj(9)
    zeros = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(200)) + packer.flush()
    bodies = page(b"")
    bodies[3] = stream(zeros, b"/Filter /FlateDecode")
    yield "200-mebibytes-of-blanks", assemble(bodies), "either"
    bodies[3] = stream(zlib.compress(zeros, 9), b"/Filter [/FlateDecode /FlateDecode]")
    yield "packed-twice", assemble(bodies), "either"
    huge = picture_pdf().replace(b"/Width 64 /Height 64", b"/Width 60000 /Height 60000")
    yield "picture-of-3-gigapixels", huge, "document"


KINDS = {"lying": _lying, "endless": _endless, "odd": _odd, "bombs": _bombs}
