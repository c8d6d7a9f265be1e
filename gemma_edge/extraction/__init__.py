"""Documents to JSON that a schema accepts. Pure Python over the Engine."""

from importlib.resources import files
from typing import Literal

# How documents are read: in one piece or by windows of pages, pages as pictures or as text.
Strategy = Literal["auto", "whole", "windows"]
STRATEGIES: tuple[Strategy, ...] = ("auto", "whole", "windows")
Vision = Literal["auto", "always", "never"]
VISIONS: tuple[Vision, ...] = ("auto", "always", "never")


def read_data(name: str) -> str:
    """The text of a data file of this package, such as ``prompts/more.txt``."""
    return files(__name__).joinpath(*name.split("/")).read_text(encoding="utf-8")
