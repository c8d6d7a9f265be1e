"""Images that people name, and the pages of documents as images: opened, and fitted to a budget
of tokens.
"""

import io
import logging
import math
import re
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, cast

from gemma_edge.documents.document import (
    ANSWER_BYTES,
    CHILD_MEMORY_BYTES,
    CLIPBOARD,
    MAX_IMAGE_BYTES,
    MAX_TOKENS,
    PATCH_PX,
    Document,
    Page,
    PageNumbers,
    Picture,
    StrPath,
    fit_size,
    is_pdf,
    parse_page_numbers,
    read_file,
    shown,
    tile_boxes,
)
from gemma_edge.documents.pdf import LIMITS, damaged, open_child, unreadable
from gemma_edge.errors import InputError, UsageError
from gemma_edge.isolation import (
    Child,
    ChildError,
    ChildMessage,
    ChildRequest,
    ChildStopped,
    Handler,
    Limits,
    Spares,
)
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from PIL import Image

_KEY = "gemma_edge"  # of an Origin in Image.info
_KEPT = 0.9  # of the pixels: a loss up to here is not worth a word
_BENT = 1.5  # the ratio of sides may change by this before it is worth a note


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image comes from. ``width`` and ``height`` are its size in the file, as seen, 0
    for a page that is drawn at any size; ``page`` counts from 1 among ``pages``, 0 where the file
    is one image. ``note`` says what was left out."""

    name: str = ""
    width: int = 0
    height: int = 0
    page: int = 0
    pages: int = 1
    document: bool = False
    note: str = ""

    @property
    def title(self) -> str:
        """``scan.tiff page 2``."""
        return f"{self.name} page {self.page}" if self.page else self.name


def open_image(path: StrPath) -> "Image.Image":
    """The first image at ``path``: mode RGB, turned as its EXIF says, transparency on white, and
    not much larger than the model can use; ``origin_of`` knows its size in the file.
    Raises InputError: missing, empty, not an image, damaged, or too large."""
    return read_image(read_file(path, max_bytes=MAX_IMAGE_BYTES), shown(path))


def read_image(data: bytes, name: str) -> "Image.Image":
    """The same for bytes that are there already, such as those of stdin."""
    image = next(iter_images(data, name))
    origin = origin_of(image)
    if origin.document and origin.pages > 1:
        image.info[_KEY] = replace(origin, note=f"the first of {origin.pages:,} pages")
    return image


def iter_images(
    data: bytes,
    name: str,
    *,
    pages: PageNumbers | None = None,
    max_tokens: int = MAX_TOKENS,
    password: str | None = None,
) -> "Iterator[Image.Image]":
    """All images of a file that ``pages`` names, as ``read_image`` gives them, each read when it
    is asked for, and reduced to what ``max_tokens`` can use. Without ``pages``: all pages of a
    PDF or TIFF, the first frame of what moves.
    Raises InputError: empty, of a kind that is not read, damaged, encrypted, or too large;
    UsageError: a page that there is not."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    if data.startswith(b"<svg"):
        raise InputError(f"{name} is an SVG drawing, not pixels", hint="save it as PNG")
    if data.startswith(b"GGUF"):
        hint = "--model or --mmproj takes it"
        raise InputError(f"{name} is a GGUF model, not an image", hint=hint)
    if is_pdf(data):
        yield from iter_pdf_pages(data, name, pages, max_tokens, password)
        return
    frames = iter_frames_apart(data, name, pages, max_tokens)
    for image, width, height, number, total, note, _ in frames:
        several = total > 1 and not note
        is_document = data[:2] in (b"II", b"MM") and total > 1
        at = number if several else 0
        image.info = {_KEY: Origin(name, width, height, at, total, is_document, note)}
        yield image


def origin_of(image: "Image.Image") -> Origin:
    """What is known of an image; of one that was not opened here, its size."""
    known = image.info.get(_KEY)
    return known if isinstance(known, Origin) else Origin("", image.width, image.height)


def wants_detail(image: "Image.Image") -> bool:
    """Whether it is a page of a document, or a screen with text: small letters need pixels."""
    return origin_of(image).document or is_screen(image)


def fit_picture(image: "Image.Image", name: str, max_tokens: int) -> Picture:
    """The image resized, once, to whole patches within ``max_tokens``.

    It is stretched, by half a patch at most in all but extreme shapes, as the model was trained
    with it. ``lost`` is filled when at least a tenth of the pixels went."""
    return _fitted(image, replace(origin_of(image), name=name), max_tokens)


def fit_tiles(image: "Image.Image", name: str, max_tokens: int, tiles: int) -> tuple[Picture, ...]:
    """The image cut into overlapping halves (``tiles`` 2) or quarters (4), each within
    ``max_tokens``; an image that is seen whole within them is not cut."""
    origin = replace(origin_of(image), name=name)
    whole = _fitted(image, origin, max_tokens)
    if tiles == 1 or not whole.whole_tokens:
        return (whole,)
    scale = origin.width / image.width  # an image may have been reduced
    parts = []
    for number, box in enumerate(tile_boxes(image.width, image.height, tiles), 1):
        width, height = round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale)
        title = f"{origin.title} {number}/{tiles}"
        part = replace(origin, name=title, page=0, width=width, height=height)
        parts.append(_fitted(image.crop(box), part, max_tokens))
    return tuple(parts)


def _fitted(image: "Image.Image", origin: Origin, max_tokens: int) -> Picture:
    from PIL import Image

    width, height = fit_size(image.width, image.height, max_tokens)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    lost = [origin.note] if origin.note else []
    smaller = width * height < _KEPT * origin.width * origin.height
    if smaller:
        lost.append(f"{origin.width}x{origin.height} -> {width}x{height}")
    bent = (width * image.height) / (height * image.width)
    if max(bent, 1 / bent) > _BENT:
        lost.append(f"{image.width}x{image.height} is stretched to {width}x{height}")
    whole_tokens = 0
    if smaller or not origin.width:  # a page has no pixels of its own: any budget can be filled
        scale = 1 if origin.width else MAX_TOKENS
        most = fit_size(scale * image.width, scale * image.height, MAX_TOKENS)
        whole_tokens = Picture(b"", *most).tokens
    return Picture(resized.tobytes(), width, height, origin.title, ", ".join(lost), whole_tokens)


def shrink_image(png: bytes) -> bytes:
    """The same picture as WebP, or as JPEG where this Pillow has no WebP, if that is smaller.

    ``png`` is one that ``render_image`` drew, no file of a stranger."""
    from PIL import Image, features  # noqa: PLC0415  (40 ms, and only a review needs it)

    form = "WEBP" if features.check("webp") else "JPEG"
    # 0 (fast) to 6 (small); 4 takes twice the time for a tenth of the size.
    more = {"method": 2} if form == "WEBP" else {}
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        # At 75 letters stay sharp, and a page takes a quarter of its PNG.
        image.convert("RGB").save(out, form, quality=75, **more)
    return min(png, out.getvalue(), key=len)


_TALLEST = 8  # times as high as wide: what a person is shown of a strip


def render_page(
    document: Document, number: int, *, max_tokens: int = MAX_TOKENS, tiles: int = 1
) -> tuple[Picture, ...]:
    """The page as the engine wants it: one picture, or ``tiles`` (2 or 4) overlapping parts in
    reading order, each within ``max_tokens``.
    Raises UsageError: a document of text has no pages to look at; InputError: it cannot be
    drawn."""
    drawn = _drawn(document, document.page(number), max_tokens * tiles)
    return fit_tiles(drawn, document.name, max_tokens, tiles)


def render_image(document: Document, number: int, *, width_px: int) -> bytes:
    """The page as a PNG, ``width_px`` wide.
    Raises UsageError: a document of text has no pages to look at; InputError: it cannot be
    drawn."""
    page = document.page(number)
    ratio = page.height / page.width if page.width and page.height else 1.0
    pixels = width_px * width_px * min(ratio, _TALLEST)
    image = _drawn(document, page, math.ceil(pixels / PATCH_PX**2))
    height = max(1, round(width_px * min(image.height / image.width, _TALLEST)))
    out = io.BytesIO()
    image.resize((width_px, height)).save(out, "PNG")
    return out.getvalue()


def _drawn(document: Document, page: Page, max_tokens: int) -> "Image.Image":
    source, number = document.origin(page), page.file_page or page.number
    if source.source is None or source.media == "text":
        raise UsageError(
            f"{source.name} is text, there is nothing to look at", hint="--vision auto"
        )
    several = source.media == "pdf" or len(source.pages) > 1 or number > 1
    pages = PageNumbers(((number, number),), str(number)) if several else None
    spent, most = document.drawing, drawing_seconds(len(document.pages))
    if spent.seconds > most:
        raise _late(f"{source.name} page {number}", most)
    begun = time.monotonic()
    images = iter_images(
        source.source, source.name, pages=pages, max_tokens=max_tokens, password=source.password
    )
    try:
        return next(images)
    finally:
        spent.seconds += time.monotonic() - begun


def drawing_seconds(pages: int) -> float:
    """How long drawing, or decoding, so many pages of one document may take in all."""
    return LIMITS.seconds + 2.0 * pages


def _late(what: str, seconds: float) -> InputError:
    return InputError(
        f"{what} is not drawn: {seconds:g} s are the most that its document may take",
        hint="--pages reads fewer",
    )


# The images in a file, one after another, in the child: which decoders may run, and how much they
# may cost. The size is checked before any pixel is read. A JPEG is decoded at an eighth of its size
# or more, as much as is needed, so a panorama of a gigapixel costs no more than a photograph.


MAX_DECODED_BYTES = 480_000_000  # 120 megapixels of most kinds; phone cameras have 108
MAX_JPEG_PIXELS = 1_000_000_000  # decoded at an eighth: 16 megapixels
# What a decoder takes for a pixel, measured; 4 for the others.
_BYTES_PER_PIXEL = {"WEBP": 16, "JPEG2000": 16, "AVIF": 8, "HEIF": 8, "GIF": 8}
MAX_FRAMES = 10_000

# The decoders that hostile bytes may reach. Pillow has forty more; some start other programs.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
_PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Jpeg2K", "Avif")
HEIF_BRANDS = (b"ftyphe", b"ftypmif1", b"ftypmsf1")  # begin at the file's fifth byte
_LARGE_PIXELS = 20_000_000
_COUNTED_BYTES = 16 << 20  # of a GIF: its frames are counted one by one
_SOF0, _SOF1, _SOS = 0xC0, 0xC1, 0xDA  # of a JPEG (ITU T.81, table B.1)
_BARE = frozenset((0x01, *range(0xD0, 0xDA)))  # markers that nothing belongs to
# What Pillow steps over byte by byte: anything between segments, fill bytes, escaped ones.
_JUNK = re.compile(rb"(?:[^\xff]+|\xff\x00|\xff(?=\xff)){0,4096}")
_MAX_JUNK, _MAX_PARTS = 1 << 20, 50_000  # a camera writes little or none, and some hundred parts
# Decoders that are written in Python: a pixel takes them up to a microsecond. A screen of 4K.
_IN_PYTHON, _MAX_PYTHON_PIXELS = ("bmp_rle", "ppm_plain", "ppm"), 9_000_000


class Frame(NamedTuple):
    """One image of a file: RGB, upright, perhaps already smaller than ``width`` x ``height``,
    its size in the file as seen. ``number`` counts from 1 among ``total``."""

    image: "Image.Image"
    width: int
    height: int
    number: int
    total: int
    note: str = ""
    is_last: bool = True


def iter_frames(
    data: bytes, name: str, pages: PageNumbers | None, max_tokens: int
) -> Iterator[Frame | None]:
    """The frames that ``pages`` names; without it all pages of a TIFF, and the first frame of
    anything that moves. Each is decoded when it is asked for, and before one that takes much
    memory comes None.
    Raises InputError: not an image, damaged, or too large; UsageError: a page that there is not."""
    with _explained(name):
        image = _opened(data, name)
        count = _count(image, len(data))
    chosen, note = _chosen(image, name, pages, count)
    at = 0
    for number in chosen:
        with _explained(name):
            while at < number - 1:  # step by step: a GIF grows with its frames
                at += 1
                image.seek(at)
                _check_size(image, name)
            kind = getattr(image, "tag_v2", {}).get(254, 0)  # NewSubfileType of a TIFF
            if pages is None and at > 0 and isinstance(kind, int) and kind & 1:
                continue  # a smaller version of another page
            _check_size(image, name, data if at == 0 else b"")
            size = _drafted(image, max_tokens)
        if image.width * image.height > _LARGE_PIXELS:
            yield None
        with _explained(name):
            frame = _decoded(image, max_tokens, size)
        yield Frame(*frame, number, count, note, number == chosen[-1])


@contextmanager
def _explained(name: str) -> Iterator[None]:
    # Not catch_warnings, which threads would undo for each other. Broken EXIF and the like do not
    # count: the pixels do.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        yield
    except MemoryError:
        message = f"{name} needs more memory than there is"
        raise InputError(message, hint="save it smaller") from None
    except DAMAGED as error:
        text = str(error).splitlines()
        why = text[0][:120] if text and text[0].isprintable() else type(error).__name__
        raise InputError(f"{name} is damaged ({why})", hint="copy or export it again") from None


def _opened(data: bytes, name: str) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    _load_decoders()
    _check_parts(data, name)
    if data[4:12].startswith(HEIF_BRANDS):  # they need a library of their own (LGPL, so an extra)
        try:
            import pi_heif
        except ImportError:
            raise InputError(
                f"{name} is a HEIC photo, and the library that reads them is not installed",
                hint='pip install "gemma-edge[heic]", or export it as JPEG',
            ) from None
        pi_heif.register_heif_opener(thumbnails=False)
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is not an image, or of a kind that is not read",
            hint="JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP and PDF are read",
        ) from None


def _load_decoders() -> None:
    """Those of ``_FORMATS`` alone: all of them take three times as long."""
    from PIL import Image

    for plugin in _PLUGINS:
        with suppress(ImportError):  # a Pillow without it
            import_module(f"PIL.{plugin}ImagePlugin")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs what it raises as well
    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, in words, before any pixel is read
    if avif := sys.modules.get("PIL.AvifImagePlugin"):
        # Of 64 threads the stacks alone are half a gigabyte.
        vars(avif)["DEFAULT_MAX_THREADS"] = 2


def _check_parts(data: bytes, name: str) -> None:
    """Refuse what Pillow would walk through for minutes: a PNG of millions of chunks, a JPEG of
    millions of segments, or with megabytes between them."""
    at = 8
    if data.startswith(b"\xff\xd8"):
        many = _walk_jpeg(data) is None
    elif data.startswith(b"\x89PNG"):
        parts = 0
        while at < len(data) and parts < _MAX_PARTS:
            at += 12 + int.from_bytes(data[at : at + 4], "big")
            parts += 1
        many = parts == _MAX_PARTS
    else:
        return
    if many:
        message = f"{name} is damaged (no picture in its first {_MAX_PARTS:,} parts)"
        raise InputError(message, hint="copy or export it again")


def _walk_jpeg(data: bytes) -> bool | None:
    """Whether a JPEG is decoded row by row: baseline, all colours in one scan. The others are held
    whole, at full size, even where an eighth is wanted. None where its picture never begins."""
    at, components, junk = 2, 0, 0
    for _ in range(_MAX_PARTS):
        found = _JUNK.match(data, at)
        start, at = at, found.end() if found else at
        junk += at - start
        if junk > _MAX_JUNK:
            return None
        if at + 9 >= len(data):
            return False
        marker = data[at + 1]
        if marker in (_SOF0, _SOF1):
            components = data[at + 9]
        elif marker == _SOS:
            return components > 0 and data[at + 4] == components
        if data[at] == 0xFF and 0 < marker < 0xFF:  # noqa: PLR2004  (else there is more junk)
            length = 0 if marker in _BARE else int.from_bytes(data[at + 2 : at + 4], "big")
            at += 2 + length
    return None


def _count(image: "Image.Image", size_bytes: int) -> int:
    if image.format == "TIFF":
        count = 1
        with suppress(EOFError):
            while count < MAX_FRAMES:
                image.seek(count)
                count += 1
        image.seek(0)
        return count
    if image.format == "GIF" and size_bytes > _COUNTED_BYTES:
        return MAX_FRAMES if getattr(image, "is_animated", False) else 1
    return min(MAX_FRAMES, getattr(image, "n_frames", 1))


def _chosen(
    image: "Image.Image", name: str, pages: PageNumbers | None, count: int
) -> tuple[tuple[int, ...], str]:
    unit = "page" if image.format == "TIFF" else "frame"
    if pages is not None:
        return pages.choose(count, name, unit), ""
    if image.format == "TIFF" or count == 1:
        return tuple(range(1, count + 1)), ""
    many = f"{MAX_FRAMES:,} or more" if count == MAX_FRAMES else f"{count:,}"
    return (1,), f"the first of {many} frames"


def _check_size(image: "Image.Image", name: str, data: bytes = b"") -> None:
    """``data`` is the file where this is its first image."""
    pixels = image.width * image.height
    limit = MAX_DECODED_BYTES // _BYTES_PER_PIXEL.get(image.format or "", 4)
    if image.format in ("JPEG", "MPO") and _walk_jpeg(data):
        limit = MAX_JPEG_PIXELS
    if any(tile[0] in _IN_PYTHON for tile in getattr(image, "tile", ())[:1]):
        limit = _MAX_PYTHON_PIXELS
    if pixels > limit:
        raise InputError(
            f"{name} is {image.width}x{image.height}, {pixels / 1e6:,.0f} megapixels; "
            f"at most {limit / 1e6:,.0f} are read",
            hint="save it smaller, or as JPEG",
        )


def _drafted(image: "Image.Image", max_tokens: int) -> tuple[int, int]:
    """The size in the file. A JPEG will be decoded no larger than is needed."""
    width, height = image.size
    if image.format in ("JPEG", "MPO"):
        ratio = GAP * math.sqrt(max_tokens * PATCH_PX * PATCH_PX / (width * height))
        image.draft(None, (math.ceil(width * ratio), math.ceil(height * ratio)))
    return width, height


def _decoded(
    image: "Image.Image", max_tokens: int, size: tuple[int, int]
) -> "tuple[Image.Image, int, int]":
    """The picture, and its size in the file as it is seen."""
    width, height = size
    drafted = image.size
    image.load()
    rgb = to_rgb(image, max_tokens)
    if image.size != drafted:  # Pillow turns a TIFF by itself
        width, height = image.size
    elif orientation(image) >= _LIES:
        width, height = height, width
    return rgb, width, height


# No decoder is to be trusted with this process: a crash, a loop or a flood of memory ends with the
# child, and what the libraries print (libtiff does) is not seen. It takes about 0.1 s to start, so
# one is kept for the files that follow; only the decoders that crash most begin anew for each.


_SECONDS, _CPU_SECONDS = 60, 10  # for opening a file, and for each frame
_KEPT_FILE_BYTES = 64 << 20
_one_large_at_a_time = Lock()  # several threads decode; their memory must not add up


def is_apart(data: bytes) -> bool:
    """Whether it is a TIFF, a JPEG 2000 or a HEIC photo."""
    starts = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
    return data.startswith(starts) or data[4:12].startswith(HEIF_BRANDS)


def _start_decoder(
    memory_bytes: int = CHILD_MEMORY_BYTES + 2 * _KEPT_FILE_BYTES,
    seconds: float = _SECONDS, cpu_seconds: int = _CPU_SECONDS,
) -> Child:  # fmt: skip
    limits = Limits(seconds, cpu_seconds, memory_bytes, MAX_DECODED_BYTES, may_write_files=False)
    return Child("gemma_edge.documents.images:decoder", limits=limits, decodes=True)


_decoders = Spares(_start_decoder)


def begin_decoding() -> None:
    """Images are about to come: a child starts beside what is done until then."""
    _decoders.begin()


def iter_frames_apart(
    data: bytes, name: str, pages: PageNumbers | None, max_tokens: int,
    start: Callable[[], Child] | None = None,
) -> Iterator[Frame]:  # fmt: skip
    """The frames of ``iter_frames``, decoded in a child, or in one that ``start`` gives. One is
    decoded while the one before it is made use of.
    Raises InputError: as there; or the decoder crashed, or took too long or too much memory;
    UsageError: a page that there is not; GemmaEdgeError: no process can be started."""
    if start is None and (is_apart(data) or len(data) > _KEPT_FILE_BYTES):
        memory_bytes = CHILD_MEMORY_BYTES + 2 * len(data)
        start = partial(_start_decoder, memory_bytes, cpu_seconds=2 * _CPU_SECONDS)
    with start() if start else _decoders.borrow() as child:
        yield from _ask_for_frames(child, data, name, pages, max_tokens)


def _ask_for_frames(
    child: Child, data: bytes, name: str, pages: PageNumbers | None, max_tokens: int
) -> Iterator[Frame]:
    asked = {"name": name, "pages": pages.text if pages else None, "max_tokens": max_tokens}
    child.send(asked, data)
    from PIL import Image  # beside the first of them

    spent = 0.0
    while True:
        begun = time.monotonic()
        try:
            head, parts = child.receive_answer()
            if head.get("large"):
                with _one_large_at_a_time:
                    begun = time.monotonic()
                    head, parts = child.call({})
        except ChildError as error:
            raise _stopped(name, error) from None
        if not head:
            return
        spent += time.monotonic() - begun
        frame = Frame(
            Image.frombytes("RGB", (head["size"][0], head["size"][1]), parts[0]), *head["frame"]
        )
        if spent > drawing_seconds(frame.total):
            raise _late(f"{name} page {frame.number}", drawing_seconds(frame.total))
        if not frame.is_last:
            child.send({})
        yield frame
        if frame.is_last:
            return


def _stopped(name: str, error: ChildError) -> InputError:
    message = f"{name} cannot be read (its decoder stopped: {error})"
    if isinstance(error, ChildStopped) and error.death.cause == "timeout":
        message = f"{name} takes too long to decode"
    return InputError(message, hint="copy or export it again")


def decoder() -> Handler:
    """The child program. Asked ``{"name", "pages": text or null, "max_tokens"}`` with the bytes of
    a file, it answers ``{"size": [width, height], "frame": the rest of a Frame}`` with RGB bytes
    for its first frame, and asked ``{}`` for the next; ``{"large": true}`` where that takes much
    memory, so it is to be asked again, and ``{}`` where there is none."""
    frames: Iterator[Frame | None] = iter(())
    _load_decoders()

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        nonlocal frames
        if request.parts:
            asked = request.header
            pages = parse_page_numbers(asked["pages"]) if asked["pages"] else None
            frames = iter_frames(request.parts[0], asked["name"], pages, asked["max_tokens"])
        for frame in frames:
            if frame is None:
                yield ChildMessage({"large": True})
            else:
                image, *rest = frame
                yield ChildMessage({"size": image.size, "frame": rest}, (image.tobytes(),))
                if frame.is_last:  # the file need not be kept
                    frames = iter(())
            return

    return answer


_FINER = 2.0  # pixels for each that is kept: small letters stay smooth when resized


def iter_pdf_pages(
    data: bytes, name: str, pages: PageNumbers | None, max_tokens: int, password: str | None
) -> "Iterator[Image.Image]":
    """The pages, in the order of the document, each with about twice the pixels of
    ``max_tokens`` patches. While one is made use of the next is being drawn.
    Raises InputError: encrypted, damaged, or too slow to draw; UsageError: a page that there is
    not."""
    from PIL import Image

    pixels = int(_FINER * max_tokens * PATCH_PX * PATCH_PX)
    child, found = open_child(data, name, password, LIMITS)
    count = found["page_count"]
    with child:
        numbers = pages.choose(count, name) if pages else range(1, count + 1)
        child.send({"draw": numbers[0], "pixels": pixels})
        spent, most = 0.0, drawing_seconds(len(numbers))
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            begun = time.monotonic()
            try:
                head, parts = child.receive_answer()
            except ChildError as stopped:
                raise unreadable(f"{name} page {number}", str(stopped)) from None
            spent += time.monotonic() - begun
            if spent > most:
                raise _late(f"{name} page {number}", most)
            if "error" in head:
                raise damaged(f"{name} page {number}", head["error"])
            if following is not None:
                child.send({"draw": following, "pixels": pixels})
            image = Image.frombytes("RGB", (head["width"], head["height"]), b"".join(parts))
            shown_number = number if count > 1 else 0
            image.info = {_KEY: Origin(name, 0, 0, shown_number, count, document=True)}
            yield image


# Pixels of any kind to upright RGB of no more than a model can use. Sixteen bits are scaled, not
# clipped; transparency lies on white; colours of a profile become sRGB; what the EXIF says is
# turned. All of it happens after the image was made smaller, and that in strips, so a large image
# costs its own storage and little more.


# What Pillow's decoders raise on damaged bytes (found by mutating good files).
DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
GAP = 2.0  # finer than the final size by this: the one resizing that counts comes after
_STRIP_PX = 4 << 20  # pixels that are converted at a time
_WHITE_8, _WHITE_16 = 255, 65535
_ORIENTATION = 0x0112  # EXIF: 1 is upright, from 5 on width and height are exchanged
_UPRIGHT, _LIES = 1, 5
# A screen with text: most pixels are as their neighbour, and many edges are sharp. Shares of 15
# screenshots and rendered pages: above 0.64 and 0.007; of photographs, mostly below 0.5, and of
# drawn shapes, below 0.005. What is taken for one by mistake costs time, no more.
_SAMPLE_PX, _SAME_STEP, _FLAT, _SHARP_STEP, _SHARP = 1200, 2, 0.6, 64, 0.007


def to_rgb(image: "Image.Image", max_tokens: int = MAX_TOKENS) -> "Image.Image":
    """A loaded image in mode RGB, upright, with the same look, reduced to what ``max_tokens`` can
    use."""
    needed = max_tokens * PATCH_PX * PATCH_PX
    factor = max(1, math.floor(math.sqrt(image.width * image.height / needed) / GAP))
    plain = _reduced(image, factor)
    if plain.mode == "F":
        plain = _scaled(plain, is_float=image.mode == "F")
    return _turned(_in_srgb(plain, image.info.get("icc_profile")), orientation(image))


def orientation(image: "Image.Image") -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or a broken one."""
    try:
        value = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except DAMAGED:  # a broken EXIF block turns nothing
        return _UPRIGHT
    return value if value in range(1, 9) else _UPRIGHT


def is_screen(image: "Image.Image") -> bool:
    """Whether an RGB image looks like a screen or a rendered page with text: flat, with many
    sharp edges. Its middle is looked at."""
    from PIL import ImageChops

    width, height = min(_SAMPLE_PX, image.width), min(_SAMPLE_PX, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if min(width, height) < PATCH_PX:
        return False
    grey = image.crop((left, top, left + width, top + height)).convert("L")
    before, after = grey.crop((0, 0, width - 1, height)), grey.crop((1, 0, width, height))
    steps = ImageChops.difference(before, after).histogram()
    pixels = sum(steps)
    flat, sharp = sum(steps[: _SAME_STEP + 1]), sum(steps[_SHARP_STEP:])
    return flat >= _FLAT * pixels and sharp >= _SHARP * pixels


def _reduced(image: "Image.Image", factor: int) -> "Image.Image":
    from PIL import Image

    if factor == 1:
        return _flattened(image)
    size = -(-image.width // factor), -(-image.height // factor)
    rows = max(1, _STRIP_PX // image.width // factor) * factor
    whole: Image.Image | None = None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small = _flattened(strip).reduce(factor)
        whole = whole or Image.new(small.mode, size)
        whole.paste(small, (0, top // factor))
    return cast("Image.Image", whole)


def _flattened(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return image.convert("F")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGB", over.size, "white")
        white.paste(over, mask=over.getchannel("A"))
        return white
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def _scaled(grey: "Image.Image", *, is_float: bool) -> "Image.Image":
    """Grey values of more than 8 bits to 8: by 16 bits, or by the largest value where they are
    floating point numbers up to 1."""
    from PIL import Image

    _, largest = cast("tuple[float, float]", grey.getextrema())
    if is_float and largest <= 1.0:
        factor = float(_WHITE_8)
    else:
        factor = 1.0 if largest <= _WHITE_8 else _WHITE_8 / _WHITE_16
    return Image.eval(grey, lambda value: value * factor + 0.5).convert("L")


def _in_srgb(image: "Image.Image", profile: object) -> "Image.Image":
    """RGB by the image's own colour profile; a profile that is broken, or not of this kind of
    image, is left aside."""
    from PIL import ImageCms

    lab = image.mode == "LAB"
    if not lab and (not isinstance(profile, bytes) or not profile):
        return image.convert("RGB")
    try:
        own = ImageCms.createProfile("LAB") if lab else io.BytesIO(cast("bytes", profile))
        source = ImageCms.ImageCmsProfile(own)
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        seen = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, *DAMAGED):
        return image.convert("L" if lab else "RGB").convert("RGB")
    return cast("Image.Image", seen)


def _turned(image: "Image.Image", orientation: int) -> "Image.Image":
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[orientation]) if orientation in turns else image


# What was copied: an image, or files. Windows and macOS have a clipboard of their own; elsewhere
# Pillow asks `wl-paste` or `xclip`.


def read_clipboard() -> bytes | tuple[str, ...]:
    """The bytes of the copied image, as PNG, or the names of the copied files.
    Raises InputError: there is no image in it; UsageError: this machine has no clipboard that can
    be read."""
    limits = Limits(_SECONDS, _CPU_SECONDS, CHILD_MEMORY_BYTES, ANSWER_BYTES)
    with Child("gemma_edge.documents.images:clipboard", limits=limits) as child:
        try:
            head, parts = child.call({})
        except ChildError as error:
            raise _no_clipboard(str(error)) from None
    return parts[0] if parts else tuple(map(str, head["files"]))


def clipboard() -> Handler:
    """The child program: whatever was copied is as foreign as a file. It answers ``{"files":
    [name, …]}``, or a PNG."""
    from PIL import Image, ImageGrab

    _load_decoders()
    Image.init()
    for kind in Image.OPEN.keys() - {*_FORMATS, "DIB"}:
        del Image.OPEN[kind]
    Image.ID[:] = [kind for kind in Image.ID if kind in Image.OPEN]

    def answer(_: ChildRequest) -> Iterator[ChildMessage]:
        try:
            found = ImageGrab.grabclipboard()
        except (NotImplementedError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise _no_clipboard(reason) from None
        if isinstance(found, list) and found:
            yield ChildMessage({"files": found})
            return
        if not isinstance(found, Image.Image):
            hint = "copy one, or name a file"
            raise InputError("there is no image in the clipboard", hint=hint)
        with _explained(CLIPBOARD):
            _check_size(found, CLIPBOARD)
            saved = io.BytesIO()
            found.save(saved, "PNG", compress_level=1)
        yield ChildMessage({}, (saved.getvalue(),))

    return answer


def _no_clipboard(reason: str) -> UsageError:
    message = f"the clipboard cannot be read ({reason})"
    return UsageError(message, hint="save the image, and name its file")
