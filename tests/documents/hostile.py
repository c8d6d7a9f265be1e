"""Two hundred images that nobody would make: truncated, exploding, lying, looping, endless."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

COUNT = 200
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")  # libtiff's own decoders
# An error is one line; an image is described; of what is damaged inside, either is right.
ERROR, IMAGE, EITHER = "error", "image", "either"
Case = tuple[str, bytes, str]


def write_all(folder: Path, seed: int = 7) -> dict[str, str]:
    """``COUNT`` files in ``folder``: the name of each, and what is to be expected."""
    expected = {}
    for name, data, outcome in cases(seed):
        (folder / name).write_bytes(data)
        expected[name] = outcome
    return expected


def cases(seed: int) -> Iterator[Case]:
    """All cases; the same for the same seed."""
    named = [*_bombs(), *_endless(), *_liars()]
    for number, (name, data, outcome) in enumerate(named):
        yield f"{number:03}-{name}", data, outcome
    rng = random.Random(seed)
    for number in range(len(named), COUNT):
        kind = rng.choice(FORMATS)
        damage, change = rng.choice(list(_DAMAGES.items()))
        data = change(rng, _good(rng, kind))
        outcome = ERROR if not data else EITHER
        yield (
            f"{number:03}-{damage}-{kind.lower()}.{rng.choice(('jpg', 'png', 'tif'))}",
            data,
            outcome,
        )


def png(width: int, height: int, *, colour: int = 2, rows: bytes | None = None, more: bytes = b""):
    """A PNG of 8 bits with zeros for pixels, compressed in pieces; ``rows`` is the data as it is,
    ``more`` other chunks."""
    if rows is None:
        packer = zlib.compressobj(1)
        row = bytes(1 + width * (3 if colour == 2 else 1))
        rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + _chunk(b"IDAT", rows)
        + _chunk(b"IEND", b"")
    )  # fmt: skip


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _good(rng: random.Random, kind: str) -> bytes:
    size = rng.randrange(16, 90), rng.randrange(16, 90)
    more = {"compression": rng.choice(COMPRESSIONS)} if kind == "TIFF" else {}
    return encoded(Image.effect_noise(size, 90).convert("RGB"), kind, **more)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _scrambled(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 30))):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def _beheaded(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(1, 20) :]


def _doubled(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[: rng.randrange(1, 200)] + data[at:]


def _enlarged(rng: random.Random, data: bytes) -> bytes:
    """Large numbers near the beginning, where the sizes stand."""
    out = bytearray(data)
    at = rng.randrange(4, min(60, len(out) - 4))
    out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff"))
    return bytes(out)


_DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "truncated": _truncated, "scrambled": _scrambled, "beheaded": _beheaded, "doubled": _doubled,
    "enlarged": _enlarged, "nothing": lambda _rng, _data: b"",
    "noise": lambda rng, data: rng.randbytes(len(data)),
}  # fmt: skip


def _bombs() -> Iterator[Case]:
    """Small files, large images."""
    yield "bomb-60000.png", png(60_000, 60_000, rows=zlib.compress(b"")), ERROR
    yield "bomb-rgb-119-megapixels.png", png(10_900, 10_900), IMAGE
    yield "bomb-grey-121-megapixels.png", png(11_000, 11_000, colour=0), ERROR
    yield "bomb-short.png", png(9000, 9000, rows=zlib.compress(bytes(1000))), ERROR
    text = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    yield "bomb-text.png", png(64, 64, more=_chunk(b"zTXt", text)), EITHER
    icc = b"icc\0\0" + zlib.compress(bytes(200 << 20), 9)
    yield "bomb-profile.png", png(64, 64, more=_chunk(b"iCCP", icc)), EITHER
    panorama = encoded(Image.new("L", (30_000, 4_500), 90), "JPEG", quality=20)
    yield "panorama-30000.jpg", panorama, IMAGE
    yield "panorama-lying.jpg", _jpeg_size(panorama, 65_000, 65_000), ERROR
    small = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    yield "progressive-lying.jpg", _jpeg_size(small, 20_000, 20_000, sof=0xC2), ERROR
    for width, outcome in ((4_000, IMAGE), (5_000, ERROR)):
        wide = encoded(Image.new("RGB", (width, 7_000), "red"), "WEBP", lossless=True, method=0)
        yield f"bomb-{width}x7000.webp", wide, outcome
    yield "bomb.ppm", b"P6\n50000 50000\n255\n" + bytes(100), ERROR
    yield "bomb.bmp", _bmp(60_000, 60_000), ERROR
    yield (
        "bomb-mono.tif",
        encoded(Image.new("1", (10_000, 11_000)), "TIFF", compression="group4"),
        IMAGE,
    )
    yield "gif-frame-outside.gif", _gif_outside(), ERROR


def _endless() -> Iterator[Case]:
    """Strips, loops, and more frames than anybody looks at."""
    strip = Image.new("RGB", (1, 20_000), "red")
    for kind in ("JPEG", "PNG", "BMP", "TIFF"):
        yield f"strip-1x20000.{kind.lower()}", encoded(strip, kind), IMAGE
    yield "strip-20000x1.png", encoded(strip.transpose(Image.Transpose.ROTATE_90), "PNG"), IMAGE
    yield "dot.png", png(1, 1), IMAGE
    frames = [Image.new("L", (20, 20), shade) for shade in range(250)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"animated-250.{kind.lower()}", data, IMAGE
    page = bytearray(encoded(Image.new("L", (20, 20)), "TIFF"))
    first = struct.unpack_from("<I", page, 4)[0]
    entries = struct.unpack_from("<H", page, first)[0]
    struct.pack_into("<I", page, first + 2 + 12 * entries, first)  # the next page is this one
    yield "loop.tif", bytes(page), EITHER


def _liars() -> Iterator[Case]:
    """Files that are not what their name says."""
    jpeg = encoded(Image.new("RGB", (40, 40), "red"), "JPEG")
    yield "really-a-jpeg.png", jpeg, IMAGE
    yield "really-a-png.tif", png(40, 40), IMAGE
    yield "nothing.jpg", b"", ERROR
    yield "text.jpg", b"this is not an image\n", ERROR
    yield "page.png", b"<!doctype html><img src=x>", ERROR
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", ERROR
    yield "model.png", b"GGUF" + bytes(40), ERROR
    yield "archive.webp", b"PK\x03\x04" + bytes(40), ERROR
    yield "program.bmp", b"\x7fELF" + bytes(60), ERROR
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ERROR
    yield "broken.pdf.jpg", b"%PDF-1.7\n" + bytes(200), ERROR
    yield "photo.heic", b"\0\0\0\x18ftypheic" + bytes(60), ERROR
    yield "new\nline\x1b[31m.png", b"not an image", ERROR


def _jpeg_size(data: bytes, width: int, height: int, sof: int = 0xC0) -> bytes:
    out = bytearray(data)
    at = data.index(bytes((0xFF, sof)))
    struct.pack_into(">HH", out, at + 5, height, width)
    return bytes(out)


def _bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + info + bytes(900)


def _gif_outside() -> bytes:
    """A screen of 10 x 10 with a picture of 60,000 x 60,000 on it."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\x00"
    return screen + frame + b";"
