"""Images that people name, and the pages of documents as images: opened, and fitted to a budget
of tokens. One of the doors to Pillow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gemma_edge.documents.files import StrPath, read_file, shown
from gemma_edge.documents.frames import Frame, iter_frames
from gemma_edge.documents.frames_apart import is_apart, iter_frames_apart
from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.pdf_pages import iter_pdf_pages
from gemma_edge.documents.pdf_process import is_pdf
from gemma_edge.documents.picture import MAX_TOKENS, Picture, fit_size, tile_boxes
from gemma_edge.documents.pixels import is_screen
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_IMAGE_BYTES = 256 << 20

_KINDS = (  # how a file begins, what it is, what to do
    (b"<svg", "an SVG drawing, not pixels", "save it as PNG"),
    (b"GGUF", "a GGUF model, not an image", "--model or --mmproj takes it"),
)
_KEY = "gemma_edge"  # of an Origin in Image.info
_KEPT = 0.9  # of the pixels: a loss up to here is not worth a word
_BENT = 1.5  # the ratio of sides may change by this before it is said


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

    Raises:
        InputError: missing, empty, not an image, damaged, or too large.
    """
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

    Raises:
        InputError: empty, of a kind that is not read, damaged, encrypted, or too large.
        UsageError: a page that there is not.
    """
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    for mark, kind, hint in _KINDS:
        if data.startswith(mark):
            raise InputError(f"{name} is {kind}", hint=hint)
    if is_pdf(data):
        yield from _pdf_pages(data, name, pages, max_tokens, password)
        return
    frames = iter_frames_apart if is_apart(data) else iter_frames
    for frame in frames(data, name, pages, max_tokens):
        yield _marked(frame, name, is_tiff=data[:2] in (b"II", b"MM"))


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
    with it. ``lost`` is filled when at least a tenth of the pixels went.
    """
    return _fitted(image, replace(origin_of(image), name=name), max_tokens)


def fit_tiles(image: "Image.Image", name: str, max_tokens: int, tiles: int) -> tuple[Picture, ...]:
    """The image cut into overlapping halves (``tiles`` 2) or quarters (4), each within
    ``max_tokens``; an image that is seen whole within them is not cut."""
    origin = replace(origin_of(image), name=name)
    whole = _fitted(image, origin, max_tokens)
    if tiles == 1 or not whole.whole_tokens:
        return (whole,)
    boxes = tile_boxes(image.width, image.height, tiles)
    return tuple(
        _fitted(image.crop(box), _part(origin, image, box, f"{number}/{tiles}"), max_tokens)
        for number, box in enumerate(boxes, 1)
    )


def _pdf_pages(
    data: bytes, name: str, pages: PageNumbers | None, max_tokens: int, password: str | None
) -> "Iterator[Image.Image]":
    from PIL import Image

    for page in iter_pdf_pages(data, name, pages, max_tokens, password):
        image = Image.frombytes("RGB", (page.width, page.height), page.rgb)
        number = page.number if page.count > 1 else 0
        image.info = {_KEY: Origin(name, 0, 0, number, page.count, document=True)}
        yield image


def _marked(frame: Frame, name: str, *, is_tiff: bool) -> "Image.Image":
    """The frame's image with its origin; a TIFF of several pages is a document."""
    several = frame.total > 1 and not frame.note
    origin = Origin(
        name, frame.width, frame.height, frame.number if several else 0, frame.total,
        document=is_tiff and frame.total > 1, note=frame.note,
    )  # fmt: skip
    frame.image.info = {_KEY: origin}
    return frame.image


def _part(origin: Origin, image: "Image.Image", box: tuple[int, ...], number: str) -> Origin:
    """The origin of a tile; ``box`` is in pixels of an image that may have been reduced."""
    scale = origin.width / image.width
    width, height = round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale)
    return replace(origin, name=f"{origin.title} {number}", page=0, width=width, height=height)


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
    drawn = not origin.width  # a page has no pixels of its own: any budget can be filled
    return Picture(
        resized.tobytes(), width, height, origin.title, ", ".join(lost),
        whole_tokens=_whole_tokens(image, drawn=drawn) if smaller or drawn else 0,
    )  # fmt: skip


def _whole_tokens(image: "Image.Image", *, drawn: bool) -> int:
    scale = MAX_TOKENS if drawn else 1
    return Picture(b"", *fit_size(scale * image.width, scale * image.height, MAX_TOKENS)).tokens
