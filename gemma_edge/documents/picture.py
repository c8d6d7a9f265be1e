"""An image as the engine wants it, and the arithmetic of image tokens. Pure; no image library."""

import math
from dataclasses import dataclass, field
from hashlib import sha256

PATCH_PX = 48  # one token sees 48 x 48 px: patch 16, pooled 3 x 3 (clip.cpp, gemma4v)
MIN_TOKENS = 70  # below it llama.cpp scales up by itself (clip.cpp, set_limit_image_tokens)
MAX_TOKENS = 1120  # the largest budget Gemma 4 was trained with


@dataclass(frozen=True, slots=True)
class Picture:
    """RGB rows, ``len(rgb) == width * height * 3``, both sides multiples of 48 px.

    ``lost`` says in words what resizing cost ("4032x3024 -> 1296x960"), or is empty.
    """

    rgb: bytes = field(repr=False)
    width: int
    height: int
    name: str = ""
    lost: str = ""

    @property
    def tokens(self) -> int:
        """Soft tokens it takes in the prompt, markers not counted."""
        return (self.width // PATCH_PX) * (self.height // PATCH_PX)

    @property
    def digest(self) -> str:
        """Content hash: the same pixels in the same size are the same picture."""
        size = f"{self.width}x{self.height}:".encode()
        return sha256(size + self.rgb).hexdigest()


def fit_size(
    width: int, height: int, max_tokens: int, min_tokens: int = MIN_TOKENS
) -> tuple[int, int]:
    """The size, in px, to which an image is resized: multiples of 48, aspect kept as far as
    that allows, between ``min_tokens`` and ``max_tokens`` patches.

    It is llama.cpp's own rule (mtmd-image.cpp, ``calc_size_preserved_ratio`` with align 48), so
    llama.cpp finds nothing left to resize or to pad.
    """
    fit_width = max(PATCH_PX, math.floor(width / PATCH_PX + 0.5) * PATCH_PX)
    fit_height = max(PATCH_PX, math.floor(height / PATCH_PX + 0.5) * PATCH_PX)
    patch_area = PATCH_PX * PATCH_PX
    if fit_width * fit_height > max_tokens * patch_area:
        shrink = math.sqrt(width * height / (max_tokens * patch_area))
        fit_width = max(PATCH_PX, math.floor(width / shrink / PATCH_PX) * PATCH_PX)
        fit_height = max(PATCH_PX, math.floor(height / shrink / PATCH_PX) * PATCH_PX)
    elif fit_width * fit_height < min_tokens * patch_area:
        grow = math.sqrt(min_tokens * patch_area / (width * height))
        fit_width = math.ceil(width * grow / PATCH_PX) * PATCH_PX
        fit_height = math.ceil(height * grow / PATCH_PX) * PATCH_PX
    return _within(fit_width, fit_height, max_tokens)


def _within(width: int, height: int, max_tokens: int) -> tuple[int, int]:
    """Clamp the long side: a strip of 5000 x 50 px must not exceed the budget either."""
    long_limit = max_tokens * PATCH_PX * PATCH_PX // min(width, height) // PATCH_PX * PATCH_PX
    if width >= height:
        return min(width, long_limit), height
    return width, min(height, long_limit)
