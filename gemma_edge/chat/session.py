"""A conversation: what was said so far, and the next answer. Pure over the Engine protocol.

Thoughts are shown but not remembered: Gemma 4 is trained without the thoughts of earlier turns
(gemma4.md section 4).
"""

from collections.abc import Generator, Iterator, Sequence

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import (
    Chunk,
    Engine,
    Event,
    Finished,
    Message,
    Notice,
    Request,
    Sampling,
)

# Said of an engine that was started again in a conversation.
KEPT = "the conversation is kept"


class Session:
    """Holds the turns; ``system`` and ``think`` may change between them."""

    def __init__(
        self,
        engine: Engine,
        system: str | None = None,
        think: bool = False,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.system = system
        self.think = think
        self.turns: list[Message] = []
        self._asked: Message | None = None
        self._engine = engine
        self._sampling = sampling or Sampling()
        self._max_tokens = max_tokens

    @property
    def messages(self) -> tuple[Message, ...]:
        """The system turn, if there is one, and all turns so far."""
        first = (Message("system", self.system),) if self.system else ()
        return (*first, *self.turns)

    def say(self, text: str, pictures: Sequence[Picture] = ()) -> Iterator[Event]:
        """Ask, and stream the answer. The pair of turns is kept once the answer ends, by itself
        or cancelled; when nothing was answered, neither is kept, so it can be asked again.

        Raises:
            EngineStopped: the engine died in the answer; the pair is kept as far as it was said.
            DoesNotFit, ProjectorError, EngineError: from the engine; the conversation is as before.
        """
        question = self._asked = Message("user", text, tuple(pictures))
        said: list[str] = []
        ended = False
        events = self._engine.generate(self._request(question))
        try:
            for event in events:
                if isinstance(event, Chunk) and event.channel == "answer":
                    said.append(event.text)
                elif isinstance(event, Notice) and self.turns:  # the engine was started again
                    event = Notice(f"{event.text}, {KEPT}")  # noqa: PLW2901
                ended = isinstance(event, Finished) and event.reason != "cancelled"
                yield event
        finally:
            if isinstance(events, Generator):
                events.close()  # the engine stops when its listener does
            if ended or said:
                self.turns += [question, Message("model", "".join(said))]

    def say_again(self) -> Iterator[Event]:
        """Ask the last question once more. What was answered to it so far is forgotten, unless
        nothing is said this time."""
        question = self._asked
        assert question is not None  # there was one, else what should be asked again?
        before: list[Message] = []
        if self.turns[-2:-1] == [question]:
            before, self.turns = self.turns[-2:], self.turns[:-2]
        count = len(self.turns)
        try:
            yield from self.say(question.text, question.pictures)
        finally:
            if len(self.turns) == count:
                self.turns += before

    def clear(self) -> None:
        """Forget the turns; the system prompt stays."""
        self.turns.clear()

    def _request(self, question: Message) -> Request:
        return Request(
            messages=(*self.messages, question),
            think=self.think,
            max_tokens=self._max_tokens,
            sampling=self._sampling,
        )
