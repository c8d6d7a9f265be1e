"""The images in a file, one after another: which decoders may run, and how much they may cost.
One of the doors to Pillow.

The size is checked before any pixel is read. A JPEG is decoded at an eighth of its size or more,
as much as is needed, so a panorama of a gigapixel costs no more than a photograph.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.picture import PATCH_PX
from gemma_edge.documents.pixels import DAMAGED, GAP, exchanges_sides, orientation, to_rgb
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_DECODED_BYTES = 480_000_000  # 120 megapixels of most kinds; phone cameras have 108
MAX_JPEG_PIXELS = 1_000_000_000  # decoded at an eighth: 16 megapixels
# What a decoder takes for a pixel, measured; 4 where nothing is said.
_BYTES_PER_PIXEL = {"WEBP": 16, "JPEG2000": 16, "AVIF": 8, "HEIF": 8, "GIF": 8}
MAX_FRAMES = 10_000

# The decoders that hostile bytes may reach. Pillow has forty more; some start other programs.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
HEIF_BRANDS = (b"ftyphe", b"ftypmif1", b"ftypmsf1")  # begin at the file's fifth byte
_LARGE_PIXELS = 20_000_000
_COUNTED_BYTES = 16 << 20  # of a GIF: its frames are counted one by one
_MARK, _SOF0, _SOF1, _SOS = 0xFF, 0xC0, 0xC1, 0xDA  # of a JPEG (ITU T.81, table B.1)
_SMALLER_COPY = 254  # TIFF tag NewSubfileType; bit 0 marks a smaller version of another page
_one_large_at_a_time = Lock()  # several threads decode; their memory must not add up


class Frame(NamedTuple):
    """One image of a file: RGB, upright, perhaps already smaller than ``width`` x ``height``,
    its size in the file as seen. ``number`` counts from 1 among ``total``."""

    image: "Image.Image"
    width: int
    height: int
    number: int
    total: int
    note: str = ""


def iter_frames(
    data: bytes, name: str, pages: PageNumbers | None, max_tokens: int
) -> Iterator[Frame]:
    """The frames that ``pages`` names; without it all pages of a TIFF, and the first frame of
    anything that moves. Each is decoded when it is asked for.

    Raises:
        InputError: not an image, damaged, or too large.
        UsageError: a page that there is not.
    """
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
                _check_size(image, name, _limit(image))
            if pages is None and at > 0 and _is_smaller_copy(image):
                continue
            _check_size(image, name, _limit(image, data if at == 0 else b""))
            frame = _decoded(image, max_tokens, number, count)
        yield frame._replace(note=note)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What decoders raise becomes one line."""
    # Not catch_warnings, which threads would undo for each other. Broken EXIF and the like do not
    # count: the pixels do.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        yield
    except MemoryError:
        raise InputError(
            f"{name} needs more memory than there is", hint="save it smaller"
        ) from None
    except DAMAGED as error:
        raise InputError(
            f"{name} is damaged ({_first_line(error)})", hint="copy or export it again"
        ) from None


def _opened(data: bytes, name: str) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    Image.init()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs what it raises as well
    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, in words, before any pixel is read
    if data[4:12].startswith(HEIF_BRANDS):
        _learn_heic(name)
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is not an image, or of a kind that is not read",
            hint="JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP and PDF are read",
        ) from None


def _learn_heic(name: str) -> None:
    """Photos of an iPhone need a library of their own (LGPL, so an extra)."""
    try:
        import pi_heif
    except ImportError:
        raise InputError(
            f"{name} is a HEIC photo, and the library that reads them is not installed",
            hint='pip install "gemma-edge[heic]", or export it as JPEG',
        ) from None
    pi_heif.register_heif_opener(thumbnails=False)


def _count(image: "Image.Image", size_bytes: int) -> int:
    """Frames in the file; ``MAX_FRAMES`` where there may be more."""
    if image.format == "TIFF":
        for number in range(1, MAX_FRAMES):
            try:
                image.seek(number)
            except EOFError:
                image.seek(0)
                return number
        image.seek(0)
        return MAX_FRAMES
    if image.format == "GIF" and size_bytes > _COUNTED_BYTES:
        return MAX_FRAMES if getattr(image, "is_animated", False) else 1
    return min(MAX_FRAMES, getattr(image, "n_frames", 1))


def _chosen(
    image: "Image.Image", name: str, pages: PageNumbers | None, count: int
) -> tuple[tuple[int, ...], str]:
    """The numbers of the frames to read, and what a person must know about the others."""
    unit = "page" if image.format == "TIFF" else "frame"
    if pages is not None:
        return pages.choose(count, name, unit), ""
    if image.format == "TIFF" or count == 1:
        return tuple(range(1, count + 1)), ""
    many = f"{MAX_FRAMES:,} or more" if count == MAX_FRAMES else f"{count:,}"
    return (1,), f"the first of {many} frames"


def _is_smaller_copy(image: "Image.Image") -> bool:
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(_SMALLER_COPY, 0)
    return isinstance(kind, int) and bool(kind & 1)


def _check_size(image: "Image.Image", name: str, limit: int) -> None:
    pixels = image.width * image.height
    if pixels > limit:
        raise InputError(
            f"{name} is {image.width}x{image.height}, {pixels / 1e6:,.0f} megapixels; "
            f"at most {limit / 1e6:,.0f} are read",
            hint="save it smaller, or as JPEG",
        )


def _limit(image: "Image.Image", data: bytes = b"") -> int:
    """The most pixels that it may have; ``data`` is the file where this is its first image."""
    if image.format in ("JPEG", "MPO") and _is_sequential(data):
        return MAX_JPEG_PIXELS
    return MAX_DECODED_BYTES // _BYTES_PER_PIXEL.get(image.format or "", 4)


def _is_sequential(data: bytes) -> bool:
    """Whether a JPEG is decoded row by row: baseline, all colours in one scan. The others are
    held whole, at full size, even where an eighth is wanted."""
    at, components = 2, 0
    while at + 9 < len(data) and data[at] == _MARK:
        marker = data[at + 1]
        if marker in (_SOF0, _SOF1):
            components = data[at + 9]
        elif marker == _SOS:
            return components > 0 and data[at + 4] == components
        at += 1 if marker == _MARK else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _decoded(image: "Image.Image", max_tokens: int, number: int, total: int) -> Frame:
    width, height = image.size
    if image.format in ("JPEG", "MPO"):
        ratio = GAP * math.sqrt(max_tokens * PATCH_PX * PATCH_PX / (width * height))
        image.draft(None, (math.ceil(width * ratio), math.ceil(height * ratio)))
    drafted = image.size
    if drafted[0] * drafted[1] > _LARGE_PIXELS:
        with _one_large_at_a_time:
            image.load()
            rgb = to_rgb(image, max_tokens)
    else:
        image.load()
        rgb = to_rgb(image, max_tokens)
    if image.size != drafted:  # Pillow turns a TIFF by itself
        width, height = image.size
    elif exchanges_sides(orientation(image)):
        width, height = height, width
    return Frame(rgb, width, height, number, total)


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:120] if text and text[0].isprintable() else type(error).__name__
