"""Pixels of any kind to upright RGB of no more than a model can use. One of the doors to Pillow.

Sixteen bits are scaled, not clipped; transparency lies on white; colours of a profile become
sRGB; what the EXIF says is turned. All of it happens after the image was made smaller, and that
in strips, so a large image costs its own storage and little more.
"""

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, cast

from gemma_edge.documents.picture import MAX_TOKENS, PATCH_PX

if TYPE_CHECKING:
    from PIL import Image

# What Pillow's decoders raise on damaged bytes (found by mutating good files).
DAMAGED = (
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
GAP = 2.0  # finer than the final size by this: the one resizing that counts comes after
_STRIP_PX = 4 << 20  # pixels that are converted at a time
_WHITE_8, _WHITE_16 = 255, 65535
_ORIENTATION = 0x0112  # EXIF: 1 is upright, from 5 on width and height are exchanged
_UPRIGHT, _LIES = 1, 5
# A screen with text: most pixels are as their neighbour, and many edges are sharp. Shares of 15
# screenshots and rendered pages: above 0.64 and 0.007; of photographs, mostly below 0.5, and of
# drawn shapes, below 0.005. What is taken for one by mistake costs time, no more.
_SAMPLE_PX, _SAME_STEP, _FLAT, _SHARP_STEP, _SHARP = 1200, 2, 0.6, 64, 0.007


def shrink_factor(width: int, height: int, max_tokens: int) -> int:
    """By how much an image may be made smaller before it is resized to ``max_tokens``."""
    needed = max_tokens * PATCH_PX * PATCH_PX
    return max(1, math.floor(math.sqrt(width * height / needed) / GAP))


def to_rgb(image: "Image.Image", max_tokens: int = MAX_TOKENS) -> "Image.Image":
    """A loaded image in mode RGB, upright, with the same look, reduced to what ``max_tokens`` can
    use."""
    plain = _reduced(image, shrink_factor(image.width, image.height, max_tokens))
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


def exchanges_sides(orientation: int) -> bool:
    """Whether width and height as stored are height and width as seen."""
    return orientation >= _LIES


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
    """The image in a plain mode, smaller by ``factor``; converted in strips."""
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
    """A mode that can be made smaller: F, L, RGB, CMYK or LAB; transparency on white."""
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
        source = (
            ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            if lab
            else ImageCms.ImageCmsProfile(io.BytesIO(cast("bytes", profile)))
        )
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        seen = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, *DAMAGED):
        return image.convert("L" if lab else "RGB").convert("RGB")
    return cast("Image.Image", seen)


def _turned(image: "Image.Image", orientation: int) -> "Image.Image":
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
