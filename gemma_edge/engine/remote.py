"""The engine as the rest of the program sees it: llama.cpp in a process of its own.

When that process dies a person sees one line: a new one is started, by the next plan of the ladder
where memory was the cause, and what was asked is asked again.
"""

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from gemma_edge.engine.ladder import Death, next_plan, render_restart
from gemma_edge.engine.loading import Loaded, Loading, died
from gemma_edge.engine.process import WORKER, EngineProcess
from gemma_edge.engine.protocol import (
    Chunk,
    EngineInfo,
    Event,
    Finished,
    Notice,
    PromptCount,
    Request,
    Restored,
    Timings,
    Usage,
)
from gemma_edge.engine.queueing import Turnstile
from gemma_edge.engine.wire import CallName
from gemma_edge.errors import EngineError, EngineStopped, GemmaEdgeError, OutOfMemory
from gemma_edge.fit.plan import Plan

_LOOK_SECONDS = 0.02  # between looks whether a file is written
MAX_RESTARTS = 3  # in a row, with no answer that ended by itself between them


class RemoteEngine:
    """An ``Engine`` in another process. Loading begins at once, in the background; the first use
    waits for it. ``program`` is the Python code of the process: tests make it fail on purpose."""

    def __init__(self, plan: Plan, *, program: str = WORKER) -> None:
        self._program = program
        self._turnstile = Turnstile()
        self._restarts = 0
        self._notices: list[str] = []
        self._cancelled = self._closed = False
        self._answering: EngineProcess | None = None
        self._loading = Loading(plan, program, [])  # what is told of this one stands in ``info``

    @property
    def info(self) -> EngineInfo:
        """What was loaded; waits for it, and raises why it was not."""
        loaded = self._loading.result()
        assert loaded is not None
        return loaded.info

    @property
    def pid(self) -> int:
        """The process id of the engine; waits for it."""
        loaded = self._loading.result()
        assert loaded is not None
        return loaded.process.pid

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated."""
        count: PromptCount = self._ask("count", request)
        return count

    def measure(self, tokens: int = 32) -> float:
        """Tokens a second of plain decoding, by the process's own clock."""
        rate: float = self._ask("measure", tokens)
        return rate

    def generate(self, request: Request) -> Iterator[Event]:
        """``Chunk``s, then one ``Finished``; refusals are raised before anything is evaluated.

        The answer begins at once, also before its first event is asked for.
        """
        return self._accepted("generate", request)

    def warm(self, request: Request) -> Iterator[Event]:
        """``Reading``s, then one ``Finished``; it begins at once like an answer."""
        return self._accepted("warm", request)

    def save(self, path: Path) -> int:
        """Write the cache to a file; between the copy and the end other threads' answers go on."""
        self._ask("save", path)
        while True:
            size: int | None = self._ask("saved", None)
            if size is not None:
                return size
            time.sleep(_LOOK_SECONDS)

    def restore(self, path: Path) -> Restored:
        """Take a saved cache back, or say why not."""
        restored: Restored = self._ask("restore", path)
        return restored

    def cancel(self) -> None:
        """Stop the running answer before its next token, or the wait for the model."""
        self._cancelled = True
        if self._answering is not None:
            self._answering.cancel()

    def close(self) -> None:
        """End the process. An answer that was left open just ends. Idempotent."""
        self._closed = True
        self._loading.close()

    def _ask(self, name: CallName, argument: object) -> Any:
        with self._turnstile:
            while True:
                loaded = self._loading.result()
                assert loaded is not None
                try:
                    return loaded.process.call(name, argument).value
                except (EOFError, OutOfMemory) as error:
                    self._notices.append(self._recover(loaded, error))

    def _accepted(self, name: CallName, request: Request) -> Iterator[Event]:
        stream = self._answer(name, request)
        next(stream)  # it stands behind the acceptance now, inside of its ``with``
        return stream

    def _answer(self, name: CallName, request: Request) -> Generator[Event, None, None]:
        with self._turnstile:
            self._cancelled = False
            loaded = self._begin(name, request)
            try:
                yield Notice("accepted")  # taken by ``_accepted``
            except GeneratorExit:  # closed before its first event: it is under way over there
                self._answering = None
                if loaded is not None and not self._closed:
                    _drain(loaded.process)
                raise
            said = False
            while loaded is not None:
                yield from self._told()
                events = self._listen(loaded)
                try:
                    for event in events:
                        said = said or isinstance(event, Chunk)
                        yield event
                    return
                except (EOFError, OutOfMemory) as error:
                    if self._closed:
                        return
                    sentence = self._recover(loaded, error)
                    if said:
                        raise EngineStopped(sentence, hint="ask it again") from None
                    self._notices.append(sentence)
                finally:
                    events.close()
                loaded = self._begin(name, request)
            yield _cancelled_early()

    def _begin(self, name: CallName, request: Request) -> Loaded | None:
        """Send the request until a process accepts it; None if it was cancelled before."""
        while True:
            loaded = self._loading.result(lambda: self._cancelled)
            if loaded is None:
                return None
            self._answering = loaded.process
            try:
                loaded.process.call(name, request)
            except (EOFError, OutOfMemory) as error:
                self._notices.append(self._recover(loaded, error))
            else:
                return loaded

    def _listen(self, loaded: Loaded) -> Generator[Event, None, None]:
        """The events of the answer that has begun; left early, it is cancelled and drained."""
        ended = False
        try:
            while True:
                try:
                    event: Event = loaded.process.receive()
                except BaseException as error:
                    ended = True
                    if not isinstance(error, (EOFError, GemmaEdgeError)):
                        loaded.process.close()  # in the middle of a message: nothing fits now
                    raise
                ended = isinstance(event, Finished)
                if ended:
                    self._restarts = 0
                yield event
                if ended:
                    return
        finally:
            self._answering = None
            if not ended:
                _drain(loaded.process)

    def _told(self) -> Iterator[Notice]:
        notices, self._notices = self._notices, []
        yield from map(Notice, notices)

    def _recover(self, loaded: Loaded, error: Exception) -> str:
        """Start again; return what happened, and what was changed, as a sentence.

        Raises:
            EngineError: it would stop again for the same reason.
        """
        self._answering = None
        if self._closed:
            raise EngineError("the engine is closed")
        if isinstance(error, OutOfMemory):
            loaded.process.close()
            death = Death("memory", error.message)
        else:
            death = loaded.process.death()
        plan = (next_plan(loaded.plan) if death.cause == "memory" else None) or loaded.plan
        self._restarts += 1
        stopped = death.cause == "instruction" or self._restarts > MAX_RESTARTS
        self._loading = Loading(plan, self._program, self._notices)
        if stopped:
            self._restarts = 0
            raise died(death)
        return render_restart(death, loaded.plan, plan)


def _drain(process: EngineProcess) -> None:
    """Read a cancelled answer to its end, so that the next one begins clean."""
    process.cancel()
    try:
        while not isinstance(process.receive(), Finished):
            pass
    except (EOFError, GemmaEdgeError):
        return  # the next call finds out what happened


def _cancelled_early() -> Finished:
    nothing = Usage(prompt_tokens=0, cached_tokens=0, evaluated_tokens=0, generated_tokens=0)
    never = Timings(prompt_seconds=0.0, first_token_seconds=0.0, decode_seconds=0.0)
    return Finished("cancelled", nothing, never)
