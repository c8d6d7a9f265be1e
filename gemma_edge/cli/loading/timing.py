"""The first answer of a model on this machine calibrates the plan: how fast it really was is kept.

Nothing is delayed for it. An answer that is long enough is a measurement by itself; only where none
was, and a measurement is cheap, the engine makes one after the work is done.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemma_edge.engine.protocol import (
    Engine,
    EngineInfo,
    Event,
    Finished,
    PromptCount,
    Request,
    Restored,
)
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.plan import Plan
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store import StoreSettings
from gemma_edge.store.measurements import record_measurement

TOKENS = 32  # a few more or less change the rate by less than the machine does
MAX_SECONDS = 3.0  # what a person waits for a prompt without wondering
NEAR_TOKENS = 4096  # of context; with more behind it a token takes longer than planned


@dataclass(slots=True)
class Timed:
    """An engine that notes how fast it answers: once, for a model without a measured speed.
    ``say`` tells a person why that could not be kept."""

    engine: Engine
    plan: Plan
    candidate: Candidate
    hardware: Hardware
    settings: StoreSettings
    say: Callable[[str], None]
    _known: bool = field(init=False)
    _cancelled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """The bundled model is so small that its speed says nothing about others, and adapters
        make a model slower than it is."""
        bundled = self.candidate.files is not None and self.candidate.files.bundled
        measured = self.plan.speed is not None and self.plan.speed.measured
        self._known = bundled or bool(self.plan.adapters) or measured

    @property
    def info(self) -> EngineInfo:
        """What was loaded; waits for it."""
        return self.engine.info

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated."""
        return self.engine.count(request)

    def generate(self, request: Request) -> Iterator[Event]:
        """The answer, event by event."""
        events = self.engine.generate(request)
        return events if self._known or request.constraint else self._listen(events)

    def warm(self, request: Request) -> Iterator[Event]:
        """Read messages into the cache."""
        return self.engine.warm(request)

    def save(self, path: Path) -> int:
        """Write the cache to a file."""
        return self.engine.save(path)

    def restore(self, path: Path) -> Restored:
        """Take a saved cache back."""
        return self.engine.restore(path)

    def measure(self, tokens: int = TOKENS) -> float:
        """Tokens a second of plain decoding."""
        return self.engine.measure(tokens)

    def cancel(self) -> None:
        """Ask the running answer to stop."""
        self._cancelled = True
        self.engine.cancel()

    def close(self) -> None:
        """Free the model."""
        self.engine.close()

    def learn(self) -> None:
        """Measure now, if nothing was learnt and it takes a moment only; never after Ctrl-C."""
        speed = self.plan.speed
        if self._known or self._cancelled or speed is None:
            return
        if speed.tokens_per_second * MAX_SECONDS < TOKENS:
            return
        try:
            self._keep(self.engine.measure(TOKENS))
        except GemmaEdgeError:  # the answer is there; the next run measures
            self._known = True

    def _listen(self, events: Iterator[Event]) -> Iterator[Event]:
        try:
            for event in events:
                if isinstance(event, Finished):
                    self._learn_from(event)
                yield event
        finally:
            if isinstance(events, Generator):
                events.close()  # the engine stops when its listener does

    def _learn_from(self, finished: Finished) -> None:
        usage, seconds = finished.usage, finished.timings.decode_seconds
        near = usage.prompt_tokens + usage.generated_tokens <= NEAR_TOKENS
        if usage.generated_tokens >= TOKENS and seconds > 0 and near:
            self._keep(usage.generated_tokens / seconds)

    def _keep(self, tokens_per_second: float) -> None:
        """Under the plan that was really loaded, which may be a fallback."""
        self._known = True
        if tokens_per_second <= 0:
            return
        from gemma_edge.fit.planning import describe_measurement  # noqa: PLC0415  (loaded by now)

        loaded = self.engine.info.plan or self.plan
        run = describe_measurement(loaded, self.candidate, self.hardware, tokens_per_second)
        if problem := record_measurement(self.settings, run):
            self.say(problem)
