"""The one door to Pillow: images that people name, upright, RGB, at the size the model sees."""

import io
import logging
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, cast

from gemma_edge.documents.files import StrPath, read_file, shown
from gemma_edge.documents.picture import Picture, fit_size
from gemma_edge.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_IMAGE_BYTES = 256 << 20
MAX_PIXELS = 120_000_000  # phone cameras of 108 megapixels; 360 MB as RGB

# The decoders that hostile bytes may reach. Pillow has forty more; some start other programs.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")
# What Pillow's decoders raise on damaged bytes (found by mutating good files).
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_KINDS = (  # how a file begins, what it is, what to do
    (b"%PDF-", "a PDF, not an image", "gemma-edge extract reads PDFs"),
    (b"<svg", "an SVG drawing, not pixels", "save it as PNG"),
    (b"GGUF", "a GGUF model, not an image", "--model or --mmproj takes it"),
)
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")
_WHITE_8, _WHITE_16 = 255, 65535
_NOTE = "gemma_edge_note"  # key in Image.info: what open_image left out


def open_image(path: StrPath) -> "Image.Image":
    """The image at ``path``: mode RGB, turned as its EXIF says, transparency on white.

    Raises:
        InputError: missing, empty, not an image, damaged, or larger than ``MAX_PIXELS``.
    """
    return read_image(read_file(path, max_bytes=MAX_IMAGE_BYTES), shown(path))


def read_image(data: bytes, name: str) -> "Image.Image":
    """The same for bytes that are there already, such as those of stdin."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check what was piped into it")
    for mark, kind, hint in _KINDS:
        if data.startswith(mark):
            raise InputError(f"{name} is {kind}", hint=hint)
    if data[4:12] in _HEIC:
        raise InputError(f"{name} is a HEIC photo, which is not read", hint="export it as JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken EXIF and the like; the pixels are what counts
        try:
            return _decode(data, name)
        except MemoryError:
            raise InputError(
                f"{name} needs more memory than there is", hint="save it smaller"
            ) from None
        except _DAMAGED as error:
            raise InputError(
                f"{name} is damaged ({_first_line(error)})", hint="copy or export it again"
            ) from None


def fit_picture(image: "Image.Image", name: str, max_tokens: int) -> Picture:
    """The image resized, once, to whole patches within ``max_tokens``.

    It is stretched, by half a patch at most in all but extreme shapes, as the model was trained
    with it. ``lost`` is filled when at least a tenth of the pixels went.
    """
    from PIL import Image

    width, height = fit_size(image.width, image.height, max_tokens)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    lost = [image.info[_NOTE]] if _NOTE in image.info else []
    if width * height < 0.9 * image.width * image.height:
        lost.append(f"{image.width}x{image.height} -> {width}x{height}")
    return Picture(resized.tobytes(), width, height, name, ", ".join(lost))


def _decode(data: bytes, name: str) -> "Image.Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs what it raises as well
    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, in words, before any pixel is read
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is not an image, or of a kind that is not read",
            hint="JPEG, PNG, WebP, AVIF, GIF, TIFF and BMP are read",
        ) from None
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise InputError(
            f"{name} is {image.width}x{image.height}, {pixels / 1e6:,.0f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:,.0f} are read",
            hint="save it smaller",
        )
    frames = getattr(image, "n_frames", 1)
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except _DAMAGED:  # a broken EXIF block turns nothing
        upright = image
    rgb = _to_rgb(upright)
    rgb.info = {_NOTE: f"the first of {frames} frames"} if frames > 1 else {}
    return rgb


def _to_rgb(image: "Image.Image") -> "Image.Image":
    """RGB with the same look: 16 bits scaled, not clipped; transparency on white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _scale(image).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGB", over.size, "white")
        white.paste(over, mask=over.getchannel("A"))
        return white
    return image.convert("RGB")


def _scale(image: "Image.Image") -> "Image.Image":
    """Grey values of more than 8 bits to 8: by 16 bits, or by the largest value where they are
    floating point numbers up to 1."""
    from PIL import Image

    grey = image.convert("F")
    _, largest = cast("tuple[float, float]", grey.getextrema())
    if image.mode == "F" and largest <= 1.0:
        factor = float(_WHITE_8)
    else:
        factor = 1.0 if largest <= _WHITE_8 else _WHITE_8 / _WHITE_16
    return Image.eval(grey, lambda value: value * factor + 0.5).convert("L")


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:120] if text and text[0].isprintable() else type(error).__name__
