"""gemma-edge: Gemma 4 on the computer you have; nothing leaves it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemma_edge.chat.conversation import Conversation

__version__ = "0.1.0"
__all__ = ["Conversation"]

_HOMES = {"Conversation": "gemma_edge.chat.conversation"}  # imported when they are asked for


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `gemma_edge` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)
