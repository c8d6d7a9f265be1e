"""An image as the engine wants it, and the arithmetic of image tokens. Pure; no image library."""

import math
from dataclasses import dataclass, field
from hashlib import sha256

from gemma_edge.units import render_tokens

PATCH_PX = 48  # one token sees 48 x 48 px: patch 16, pooled 3 x 3 (clip.cpp, gemma4v)
MIN_TOKENS = 70  # below it llama.cpp scales up by itself (clip.cpp, set_limit_image_tokens)
MAX_TOKENS = 1120  # the largest budget Gemma 4 was trained with
OVERLAP = 0.1  # of a tile: some two lines of a printed page
TILES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Picture:
    """RGB rows, ``len(rgb) == width * height * 3``, both sides multiples of 48 px.

    ``lost`` says in words what resizing cost ("4032x3024 -> 1296x960"), or is empty; then
    ``whole_tokens`` is what the largest budget would take of it, else 0. ``digest`` is the hash of
    the content: the same pixels in the same size are the same picture.
    """

    rgb: bytes = field(repr=False)
    width: int
    height: int
    name: str = ""
    lost: str = ""
    whole_tokens: int = 0
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hashed once, because it is asked for with every question, and travels along."""
        size = f"{self.width}x{self.height}:".encode()
        object.__setattr__(self, "digest", sha256(size + self.rgb).hexdigest())

    @property
    def tokens(self) -> int:
        """Soft tokens it takes in the prompt, markers not counted."""
        return (self.width // PATCH_PX) * (self.height // PATCH_PX)


def render_cost(picture: Picture) -> str:
    """One line: the size, what was lost, the tokens, and how less would be lost.

    ``photo.jpg 4032x3024 -> 1296x960, 540 tokens; --detail max would use 1,073``
    """
    size = picture.lost or f"{picture.width}x{picture.height}"
    line = f"{picture.name} {size}, {render_tokens(picture.tokens)}"
    if picture.whole_tokens > picture.tokens:
        return f"{line}; --detail max would use {picture.whole_tokens:,}"
    return f"{line}; --tiles 4 would show more" if picture.whole_tokens else line


def tile_boxes(width: int, height: int, count: int) -> tuple[tuple[int, int, int, int], ...]:
    """Halves along the long side (``count`` 2) or quarters (4) of an image, in reading order, as
    ``(left, top, right, bottom)`` in px. Each reaches ``OVERLAP`` of its length into the next, so
    that a line of text that is cut in one is whole in the other.

    A picture of one piece (``count`` 1) is its whole.
    """
    halves, quarters = TILES[1:]
    across = 2 if count == quarters or (count == halves and width > height) else 1
    down = count // across
    return tuple(
        (left, top, right, bottom)
        for top, bottom in _spans(height, down)
        for left, right in _spans(width, across)
    )


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    if count == 1:
        return [(0, length)]
    part = min(length, math.ceil(length / (2 - OVERLAP)))
    return [(0, part), (length - part, length)]


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
