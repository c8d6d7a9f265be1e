"""Pictures and a question to an answer that streams. Pure over the Engine."""

from collections.abc import Iterator, Sequence

from gemma_edge.describe.tasks import usual_question
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Engine, Event, JsonConstraint, Message, Request, Sampling
from gemma_edge.errors import UsageError


def describe(  # noqa: PLR0913  (three of them are optional and named)
    engine: Engine,
    pictures: Sequence[Picture],
    question: str | None = None,
    *,
    max_tokens: int | None = None,
    sampling: Sampling | None = None,
    constraint: JsonConstraint | None = None,
) -> Iterator[Event]:
    """The engine's events for one turn: the pictures, then ``question`` or the usual one.

    Raises:
        UsageError: no picture.
        ProjectorError, DoesNotFit, SchemaError, EngineError: from the engine.
    """
    if not pictures:
        raise UsageError("there is no image to describe", hint="gemma-edge describe cat.jpg")
    text = (question or "").strip() or usual_question("caption", len(pictures))
    message = Message("user", text, tuple(pictures))
    return engine.generate(
        Request(
            messages=(message,),
            max_tokens=max_tokens,
            sampling=sampling or Sampling(),
            constraint=constraint,
        )
    )
