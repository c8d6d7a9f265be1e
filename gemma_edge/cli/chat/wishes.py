"""What a command line asks of a chat."""

from dataclasses import dataclass
from pathlib import Path

from gemma_edge.engine.protocol import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWishes:
    """``question`` empty means a conversation, or stdin. ``think_tokens`` is the budget of a
    thought, None for as much as there is room. ``session`` names one, ``resume`` is the last one;
    ``private`` writes nothing down. ``plain`` shows Markdown as it was written."""

    question: str = ""
    system: str = ""
    think: bool = False
    think_tokens: int | None = None
    images: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    resume: bool = False
    session: str = ""
    private: bool = False
    plain: bool = False
