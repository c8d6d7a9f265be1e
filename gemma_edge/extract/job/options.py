"""How an extraction is done: the choices that a person has. Plain data."""

from dataclasses import dataclass
from typing import Literal

from gemma_edge.documents.picture import MAX_TOKENS

Strategy = Literal["auto", "whole", "windows"]
STRATEGIES: tuple[Strategy, ...] = ("auto", "whole", "windows")
Vision = Literal["auto", "always", "never"]
VISIONS: tuple[Vision, ...] = ("auto", "always", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``image_tokens`` is the budget of a picture, ``tiles`` into how many parts a page is cut for
    it (1, 2, 4). ``strict`` lets nothing be null that the schema does not let be. ``max_tokens`` is
    the longest single answer. ``scored`` gives each value a confidence, for half a millisecond a
    token."""

    strategy: Strategy = "auto"
    vision: Vision = "auto"
    image_tokens: int = MAX_TOKENS
    tiles: int = 1
    strict: bool = False
    max_tokens: int | None = None
    scored: bool = True
