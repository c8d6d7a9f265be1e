"""Pictures and a question to an answer that streams. Pure over the Engine."""

from collections.abc import Iterator, Sequence
from importlib.resources import files

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Engine, Event, Message, Request, Sampling
from gemma_edge.errors import UsageError


def describe(
    engine: Engine,
    pictures: Sequence[Picture],
    question: str | None = None,
    *,
    max_tokens: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Event]:
    """The engine's events for one turn: the pictures, then ``question`` or the usual one.

    Raises:
        UsageError: no picture.
        ProjectorError, DoesNotFit, EngineError: from the engine.
    """
    if not pictures:
        raise UsageError("there is no image to describe", hint="gemma-edge describe cat.jpg")
    text = (question or "").strip() or default_question(len(pictures))
    message = Message("user", text, tuple(pictures))
    return engine.generate(
        Request(messages=(message,), max_tokens=max_tokens, sampling=sampling or Sampling())
    )


def default_question(count: int) -> str:
    """What is asked of one picture, or of several: the lines of ``prompt.txt``."""
    text = files("gemma_edge.describe").joinpath("prompt.txt").read_text(encoding="utf-8")
    one, several = text.splitlines()[:2]
    return one if count == 1 else several
