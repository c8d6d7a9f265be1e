"""A drawn page as a smaller file, for a page that a person looks at."""

import io

_QUALITY = 75  # letters stay sharp, and a page takes a quarter of its PNG
_METHOD = 2  # 0 (fast) to 6 (small); 4 takes twice the time for a tenth of the size


def shrink_image(png: bytes) -> bytes:
    """The same picture as WebP, or as JPEG where this Pillow has no WebP, if that is smaller.

    ``png`` is one that ``render_image`` drew, no file of a stranger.
    """
    from PIL import Image, features  # noqa: PLC0415  (40 ms, and only a review needs it)

    form = "WEBP" if features.check("webp") else "JPEG"
    more = {"method": _METHOD} if form == "WEBP" else {}
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(out, form, quality=_QUALITY, **more)
    return min(png, out.getvalue(), key=len)
