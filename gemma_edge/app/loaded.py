"""What was prepared to be loaded, and an engine with the plan that it was loaded by.

Nothing here looks at a machine or plans before it is asked to: a command that finds its engine on
standby (``app/standby.py``) needs no more than this.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from gemma_edge.app.runtime import EarlyEngine, ModelLoading, Runtime
from gemma_edge.catalog import ModelFiles
from gemma_edge.engine.protocol import (
    Answer,
    Engine,
    EngineInfo,
    Event,
    Finished,
    Loading,
    PromptCount,
    Request,
    Restored,
)
from gemma_edge.errors import BuildError, GemmaEdgeError
from gemma_edge.planning.plan import Candidate, Plan
from gemma_edge.records import dataclass
from gemma_edge.store.remote import StoreSettings

if TYPE_CHECKING:
    from gemma_edge.engine.process import LoadedProcess, Stay
    from gemma_edge.hardware.claims import Claim, Held
    from gemma_edge.hardware.machine import Hardware

VisionMode = Literal["needed", "possible", "unused"]
BUNDLED = "demo"


class Seen(NamedTuple):
    """What was planned, and on which machine."""

    candidate: Candidate
    hardware: "Hardware"


class Words(NamedTuple):
    """What is said of a plan: in one line, in a few words, and what ``--model`` takes for it."""

    line: str
    brief: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files that were checked and the plan for them; nothing is loaded yet, unless an engine with
    it was ``found`` on standby: then ``words`` are what was said when it was loaded, and ``see``
    looks again. ``stay`` is what the engine is told that is to wait for others afterwards."""

    files: ModelFiles
    plan: Plan
    image_tokens: int
    see: Callable[[], Seen]
    settings: StoreSettings
    words: Words | None = None
    found: "LoadedProcess | None" = None
    stay: "Stay | None" = None

    @property
    def candidate(self) -> Candidate:
        return self.see().candidate

    @property
    def hardware(self) -> "Hardware":
        return self.see().hardware

    def render(self, info: EngineInfo | None = None) -> str:
        """``E4B Q4 QAT on RTX 4060 Laptop: 42/42 layers, 32k context, 4.1 of 7.6 GiB``; after
        loading of the plan that was loaded, which may be a fallback."""
        if self.words is not None:
            return self.words.line
        from gemma_edge.planning.render import render_first_line  # noqa: PLC0415

        plan = (info.plan if info else None) or self.plan
        return render_first_line(plan, self.candidate, self.hardware)

    @property
    def brief(self) -> str:
        if self.words is not None:
            return self.words.brief
        from gemma_edge.planning.render import brief_title, render_devices  # noqa: PLC0415

        where = render_devices(self.plan, self.hardware) if self.plan.devices else "the CPU"
        return f"{brief_title(self.candidate)} on {where}"

    @property
    def wanted(self) -> str:
        """What ``--model`` takes for the same model."""
        if self.words is not None:
            return self.words.wanted
        return BUNDLED if self.files.bundled else self.candidate.model_name


QUIET_SECONDS, BETWEEN_SECONDS = 0.5, 0.1  # a load that is over by then is not worth a word
TOKENS = 32  # a few more or less change the rate by less than the machine does
MAX_SECONDS = 3.0  # what a person waits for a prompt without wondering
_DRAFTED = 0.05  # of an answer; with more of it drafted the rate is that of copying
NEAR_TOKENS = 4096  # of context; with more behind it a token takes longer than planned


def start_engine(
    plan: Plan, runtime: Runtime, *, found: "LoadedProcess | None" = None,
    stay: "Stay | None" = None,
) -> Engine:  # fmt: skip
    """An engine that is loaded by a plan, or one that was ``found`` with it."""
    if isinstance(runtime.load, EarlyEngine):
        return runtime.load(plan, found, stay)
    return runtime.load(plan)


def explain(error: BuildError, hardware: "Hardware") -> BuildError:
    """An engine that died, with what looking at the machine told, where it told something."""
    from gemma_edge.hardware.findings import why_it_dies  # noqa: PLC0415

    found = why_it_dies(hardware)
    if found is None:
        return error
    return BuildError(f"{error.message}: {found.text}", hint=render_fix(found.fix))


def render_fix(fix: str) -> str:
    """A fix as a hint; ``doctor --fix`` knows the Python that pip's is meant for."""
    return f"gemma-edge doctor --fix runs it: {fix}" if fix.startswith("pip ") else fix


@runtime_checkable
class _Staying(Protocol):
    """An engine whose process may stay when it is closed."""

    @property
    def stays(self) -> bool: ...

    def end(self) -> None: ...


@dataclass(slots=True)
class LoadedEngine:
    """An engine with the plan that it was loaded by; leaving its ``with`` frees the model. It notes
    how fast it answers: once, for a model without a measured speed. Nothing is delayed for it: an
    answer that is long enough is a measurement by itself; only where none was, ``learn`` makes one
    after the work is done. ``say`` tells a person why it could not be kept. ``held`` is what it
    claims of memory, and ``claim`` says that of a plan; one that stays claims it itself."""

    engine: Engine
    prepared: Prepared
    say: Callable[[str], None]
    held: "Held | None" = None
    claim: "Callable[[Plan], Claim] | None" = None
    _known: bool = field(init=False)
    _cancelled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """The bundled model is so small that its speed says nothing about others, and adapters
        make a model slower than it is."""
        plan = self.prepared.plan
        measured = plan.speed is not None and plan.speed.measured
        self._known = self.prepared.files.bundled or bool(plan.adapters) or measured
        self._known = self._known or self.prepared.found is not None

    def __enter__(self) -> "LoadedEngine":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def info(self) -> EngineInfo:
        with self._explaining():
            info, held = self.engine.info, self.held
        if held is not None and held.used and held.claim.loaded is None and self.claim is not None:
            if self.stays:
                held.release()
                return info
            loaded = info.plan or self.prepared.plan  # maybe a fallback
            held.use(replace(held.claim, taken=self.claim(loaded).taken, loaded=time.time()))
        return info

    @property
    def stays(self) -> bool:
        """Whether it was loaded, and waits for others when it is closed."""
        return isinstance(self.engine, _Staying) and self.engine.stays

    def loading(self, seconds: float = 0.0) -> Loading | None:
        return self.engine.loading(seconds)

    def watch(self, on_event: Callable[[ModelLoading], None]) -> None:
        """Wait for the end of loading, with a word now and then where it takes a while."""
        if (progress := self.loading(QUIET_SECONDS)) is None:
            return
        from gemma_edge.planning.render import brief_title  # noqa: PLC0415

        title = brief_title(self.prepared.candidate)
        plan = self.prepared.plan
        paths = (plan.model, plan.projector, plan.drafter)
        size = sum(path.stat().st_size for path in paths if path and path.exists())
        while progress is not None:
            on_event(ModelLoading(title, size, progress))
            progress = self.loading(BETWEEN_SECONDS)

    def count(self, request: Request) -> PromptCount:
        with self._explaining():
            return self.engine.count(request)

    def generate(self, request: Request) -> Answer:
        with self._explaining():
            events = self.engine.generate(request)
        alone = self.prepared.plan.sequences == 1  # else an answer shares its time with others
        listening = self._listen(events, learns=request.constraint is None and alone)
        return Answer(listening, getattr(events, "cancel", self.engine.cancel))

    def warm(self, request: Request) -> Iterator[Event]:
        with self._explaining():
            events = self.engine.warm(request)
        return self._listen(events, learns=False)

    def save(self, path: Path) -> int:
        return self.engine.save(path)

    def restore(self, path: Path) -> Restored:
        return self.engine.restore(path)

    def measure(self, tokens: int = TOKENS, *, filled: bool = False) -> float:
        return self.engine.measure(tokens, filled=filled)

    @property
    def cancelled(self) -> bool:
        """Whether somebody stopped an answer of it."""
        return self._cancelled

    def cancel(self) -> None:
        self._cancelled = True
        self.engine.cancel()

    def close(self, *, end: bool = False) -> None:
        """``end``: it does not wait for others either, its memory is free afterwards."""
        if end and isinstance(self.engine, _Staying):
            self.engine.end()
        self.engine.close()
        if self.held is not None:
            self.held.release()

    def learn(self) -> None:
        """Measure now, if nothing was learnt and it takes a moment only; never after Ctrl-C, nor
        where the next one wants to find what was read."""
        speed = self.prepared.plan.speed
        if self._known or self._cancelled or self.stays:
            return
        if speed is None or speed.tokens_per_second * MAX_SECONDS < TOKENS:
            return
        try:
            self._keep(self.engine.measure(TOKENS))
        except GemmaEdgeError:  # the answer is there; the next run measures
            self._known = True

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except BuildError as error:
            raise explain(error, self.prepared.hardware) from None

    def _listen(self, events: Iterator[Event], *, learns: bool) -> Generator[Event, None, None]:
        try:
            with self._explaining():
                for event in events:
                    if isinstance(event, Finished) and learns and not self._known:
                        self._learn_from(event)
                    yield event
        finally:
            if isinstance(events, Generator):
                events.close()  # the engine stops when its listener does

    def _learn_from(self, finished: Finished) -> None:
        usage, seconds = finished.usage, finished.timings.decode_seconds
        near = usage.prompt_tokens + usage.generated_tokens <= NEAR_TOKENS
        drafts = max(usage.accepted_tokens, usage.guessed_tokens)
        drafted = drafts > _DRAFTED * usage.generated_tokens
        if usage.generated_tokens >= TOKENS and seconds > 0 and near and not drafted:
            self._keep(usage.generated_tokens / seconds)

    def stop_learning(self) -> None:
        """For whoever measures it and decides what is to be kept of it."""
        self._known = True

    def keep(
        self, tokens_per_second: float, read_tokens_per_second: float | None,
        drafter_times: float | None = None,
    ) -> None:  # fmt: skip
        """Let plans know how fast it is, also where they know already, and how many times as fast
        its drafter makes it; the bundled model too. Not with adapters, which make a model slower
        than it is."""
        if not self.prepared.plan.adapters:
            self._keep(tokens_per_second, read_tokens_per_second, drafter_times)

    def _keep(
        self, tokens_per_second: float, read: float | None = None,
        drafter_times: float | None = None,
    ) -> None:  # fmt: skip
        """Under the plan that was really loaded, which may be a fallback; not a run that spilled
        into main memory, which would make every later estimate too low."""
        from gemma_edge.planning.speed import (  # noqa: PLC0415
            describe_measurement,
            render_spill,
            seems_spilled,
        )
        from gemma_edge.store.measurements import record_measurement  # noqa: PLC0415

        self._known, prepared = True, self.prepared
        if tokens_per_second <= 0:
            return
        loaded = self.engine.info.plan or prepared.plan
        run = describe_measurement(
            loaded, prepared.candidate, prepared.hardware, tokens_per_second, read
        )
        run = replace(run, drafter_times=drafter_times)
        if seems_spilled(run, prepared.hardware):
            self.say(render_spill(run))
        elif problem := record_measurement(prepared.settings, run):
            self.say(problem)
