"""Where the messages of a conversation come from, whatever a terminal can do. Loads no library."""

from collections.abc import Callable
from typing import Protocol

FENCE = '"""'  # a message between two of these may have lines
_EXITED = "the line was taken away"


class Asker(Protocol):
    """Where the next message comes from."""

    def ask(self, sign: str, draft: str = "") -> str:
        """One message, "" for none; ``draft`` stands there to be changed.

        Raises:
            EOFError: there are no more.
            KeyboardInterrupt: Ctrl-C.
        """

    def remember(self, text: str) -> None:
        """Keep a line that could not be carried out."""

    def refresh(self) -> None:
        """What the status line says has changed. From any thread."""

    def interject(self, say: Callable[[], None]) -> bool:
        """Run ``say`` above the line; False where nobody is asked now. From any thread."""

    def leave(self) -> None:
        """End ``ask`` now, with ``Left``. From any thread."""


class Left(Exception):
    """The line was taken away; ``draft`` is what was in it."""

    def __init__(self, draft: str) -> None:
        super().__init__(_EXITED)
        self.draft = draft


def is_open(text: str) -> bool:
    """Whether a fenced message still waits for its end."""
    inner = text.lstrip()
    return inner.startswith(FENCE) and FENCE not in inner[len(FENCE) :]


def unfenced(text: str) -> str:
    """The message without the fence around it."""
    inner = text.strip()
    if inner.startswith(FENCE) and inner.endswith(FENCE) and len(inner) >= 2 * len(FENCE):
        return inner[len(FENCE) : -len(FENCE)].strip("\n")
    return text
