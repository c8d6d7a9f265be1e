"""An engine that answers from a script and closes answers early, as the real one does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemma_edge.engine.protocol import (
    Chunk,
    Event,
    Finished,
    FinishReason,
    Request,
    TokenScore,
)
from tests.scripted import ScriptedEngine


@dataclass(frozen=True)
class Closed:
    """``text`` is whole JSON, of which the model wrote the first ``chosen`` characters."""

    text: str
    chosen: int
    reason: FinishReason = "length"

    @classmethod
    def after(cls, text: str, said: str, reason: FinishReason = "length") -> "Closed":
        """Closed after the last ``said``."""
        return cls(text, text.rindex(said) + len(said), reason)


class ClosingEngine(ScriptedEngine):
    """A script of texts and of ``Closed`` ones; ``probability`` is that of each word."""

    def __init__(
        self, answers: Sequence[str | Closed], probability: float = 0.5, **more: Any
    ) -> None:
        super().__init__([each if isinstance(each, str) else each.text for each in answers], **more)
        self.closings = [each if isinstance(each, Closed) else None for each in answers]
        self.probability = probability

    def generate(self, request: Request) -> Iterator[Event]:
        events = super().generate(request)
        closed = self.closings.pop(0)
        at = 0
        for event in events:
            if isinstance(event, Chunk):
                forced = closed is not None and at >= closed.chosen
                at += len(event.text)
                chance = 1.0 if forced else self.probability
                score = TokenScore(event.text, chance, 1.0, forced=forced)
                event = replace(event, scores=(score,) if request.scored else ())
            elif isinstance(event, Finished) and closed is not None:
                event = replace(event, reason=closed.reason, closed_early=True)
            yield event
