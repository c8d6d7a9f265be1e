"""The engine in a process of its own: loaded by a plan that fits, asked, and started again."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gemma_edge.engine.fallback import (
    REBUILD_HINT,
    RequestLock,
    next_plan,
    render_change,
    render_numbers,
    render_restart,
)
from gemma_edge.engine.protocol import (
    Chunk,
    Counter,
    EngineInfo,
    Event,
    Finished,
    Notice,
    PromptCount,
    Request,
    Restored,
    Timings,
    Usage,
    pack,
    unpack,
)
from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped, GemmaEdgeError, OutOfMemory
from gemma_edge.isolation import Child, ChildError, ChildStopped, Death
from gemma_edge.planning.plan import Plan

WORKER = ("gemma_edge.engine.worker:main",)

CallName = Literal[
    "load", "open_counter", "count", "generate", "warm", "save", "saved", "restore", "measure"
]


class EngineProcess:
    """One process. What it is asked and what it answers are values of the engine's protocol.
    ``program`` is a child program and its arguments; tests pass another to make it fail on purpose.
    Raises GemmaEdgeError: it cannot be started."""

    def __init__(self, program: Sequence[str] = WORKER) -> None:
        self._child = Child(*program)

    @property
    def pid(self) -> int:
        return self._child.pid

    def call(self, name: CallName, argument: object = None) -> Any:
        """Send one call; its one answer.

        Raises:
            ChildStopped: the process died.
            ChildBug: the worker raised what nobody foresaw.
            GemmaEdgeError: what the worker raised.
        """
        self.send(name, argument)
        return self.receive_answer()

    def send(self, name: CallName, argument: object = None) -> None:
        """Send one call; a process that is gone shows at the next ``receive``."""
        parts: list[bytes] = []
        self._child.send({"call": name, "argument": pack(argument, parts)}, *parts)

    def receive(self) -> Any:
        """What comes next for the last call, None at its end; raises like ``call``."""
        message = self._child.receive()
        return None if message is None else unpack(message.header["value"], message.parts)

    def receive_answer(self) -> Any:
        """The one answer to the last call; raises like ``call``."""
        message = self._child.receive_answer()
        return unpack(message.header["value"], message.parts)

    def cancel(self) -> None:
        """Ask the running call to stop. Safe from a signal handler and from another thread."""
        self._child.interrupt()

    def close(self) -> None:
        """End it, at once. Idempotent."""
        self._child.close()


_LOADING_POLL_SECONDS = 0.05  # how soon Ctrl-C ends the wait for a model


@dataclass(frozen=True, slots=True)
class LoadedProcess:
    """A process that is ready; ``plan`` is what it loaded."""

    process: EngineProcess
    plan: Plan
    info: EngineInfo


class Loading:
    """Tries a plan and its fallbacks, each in a fresh process, in a thread of its own. Each step
    down is a sentence in ``notes``."""

    def __init__(self, plan: Plan, program: Sequence[str], notes: list[str]) -> None:
        self._program = program
        self._notes = notes
        self._lock = threading.Lock()
        self._closed = False
        self._process: EngineProcess | None = None
        self._loaded: LoadedProcess | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()

    def result(self, given_up: Callable[[], bool] = lambda: False) -> LoadedProcess | None:
        """Wait for it; None once ``given_up()`` is true.
        Raises ModelError, ProjectorError, DoesNotFit, EngineError: why nothing is loaded."""
        while not self._done.wait(_LOADING_POLL_SECONDS):
            if given_up():
                return None
        if self._error is not None:
            raise self._error
        return self._loaded

    def close(self) -> None:
        """End the process, whatever it is doing. Idempotent."""
        with self._lock:
            self._closed = True
        if self._process is not None:
            self._process.close()

    def _run(self, plan: Plan) -> None:
        try:
            self._loaded = self._load_first(plan)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._error = error
        finally:
            self._done.set()

    def _load_first(self, plan: Plan) -> LoadedProcess:
        """The first of the plan and its fallbacks that loads."""
        first = plan
        tried: list[str] = []
        while True:
            outcome = self._try(plan)
            if isinstance(outcome, EngineInfo):
                info = replace(outcome, notes=(*self._notes, *outcome.notes), plan=plan)
                assert self._process is not None
                return LoadedProcess(self._process, plan, info)
            if self._closed:
                raise EngineError("the engine was closed while it was loading")
            if outcome.cause != "memory":
                raise died(outcome)
            following = next_plan(plan)
            if following is None:
                raise _too_large(first, outcome, tried)
            tried.append(render_change(plan, following))
            self._notes.append(render_restart(outcome, plan, following))
            plan = following

    def _try(self, plan: Plan) -> EngineInfo | Death:
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed")
            process = self._process = EngineProcess(self._program)
        try:
            info: EngineInfo = process.call("load", _bare(plan))
        except ChildStopped as stopped:
            return stopped.death
        except OutOfMemory as error:
            process.close()
            return Death("memory", error.message)
        except GemmaEdgeError:
            process.close()
            raise
        return info


def died(death: Death) -> EngineError:
    """A death that no smaller plan would prevent, as an error."""
    if death.cause == "instruction":
        return EngineError(
            f"the engine stopped: llama.cpp was built with {death.reason}", hint=REBUILD_HINT
        )
    return EngineError(f"the engine stopped ({death.reason})", hint="gemma-edge doctor")


def _too_large(plan: Plan, death: Death, tried: list[str]) -> DoesNotFit:
    """No fallback loads: the last reason, what the ledger said, and what was tried."""
    numbers = render_numbers(plan)
    parts = [f"{plan.name or plan.model.stem} does not fit in memory: {death.reason}"]
    parts += [f"planned {numbers}"] if numbers else []
    parts += [f"tried also: {'; '.join(tried)}"] if tried else []
    return DoesNotFit(
        "; ".join(parts), hint="free some memory, --ctx with a smaller number, or a smaller model"
    )


def _bare(plan: Plan) -> Plan:
    return replace(plan, fallbacks=(), alternatives=(), attempts=(), reasons=())


# The engine as the rest of the program sees it: llama.cpp in a process of its own. When that
# process dies a person sees one line: a new one is started, by the next fallback where
# memory was the cause, and what was asked is asked again.
_POLL_SECONDS = 0.02  # between looks whether a file is written
MAX_RESTARTS = 3  # in a row, with no answer that ended by itself between them


class RemoteEngine:
    """An ``Engine`` in another process. Loading begins at once, in the background; the first use
    waits for it. ``program`` is a child program: tests make it fail on purpose."""

    def __init__(self, plan: Plan, *, program: Sequence[str] = WORKER) -> None:
        self._program = program
        self._request_lock = RequestLock()
        self._restarts = 0
        self._notices: list[str] = []
        self._cancelled = self._closed = False
        self._answering: EngineProcess | None = None
        self._loading = Loading(plan, program, [])  # its notes stand in ``info``

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
        count: PromptCount = self._ask("count", request)
        return count

    def measure(self, tokens: int = 32) -> float:
        """Tokens a second of plain decoding, by the process's own clock."""
        rate: float = self._ask("measure", tokens)
        return rate

    def generate(self, request: Request) -> Iterator[Event]:
        """``Chunk``s, then one ``Finished``; refusals are raised before anything is evaluated. The
        answer begins at once, also before its first event is asked for."""
        stream = self._answer("generate", request)
        next(stream)  # it stands behind the acceptance now, inside of its ``with``
        return stream

    def warm(self, request: Request) -> Iterator[Event]:
        """``Reading``s, then one ``Finished``; it begins at once like an answer."""
        stream = self._answer("warm", request)
        next(stream)
        return stream

    def save(self, path: Path) -> int:
        """Write the cache to a file; between the copy and the end other threads' answers go on."""
        self._ask("save", path)
        while True:
            size: int | None = self._ask("saved", None)
            if size is not None:
                return size
            time.sleep(_POLL_SECONDS)

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
        with self._request_lock:
            while True:
                loaded = self._loading.result()
                assert loaded is not None
                try:
                    return loaded.process.call(name, argument)
                except (ChildStopped, OutOfMemory) as error:
                    self._notices.append(self._recover(loaded, error))

    def _answer(self, name: CallName, request: Request) -> Generator[Event, None, None]:
        with self._request_lock:
            self._cancelled = False
            loaded = self._begin(name, request)
            try:
                yield Notice("accepted")  # taken by the caller
            except GeneratorExit:  # closed before its first event: it is under way over there
                self._answering = None
                if loaded is not None and not self._closed:
                    _drain(loaded.process)
                raise
            answered = False
            while loaded is not None:
                yield from self._pending_notices()
                events = self._listen(loaded)
                try:
                    for event in events:
                        answered = answered or isinstance(event, Chunk)
                        yield event
                    return
                except (ChildStopped, OutOfMemory) as error:
                    if self._closed:
                        return
                    sentence = self._recover(loaded, error)
                    if answered:
                        raise EngineStopped(sentence, hint="ask it again") from None
                    self._notices.append(sentence)
                finally:
                    events.close()
                loaded = self._begin(name, request)
            yield _cancelled_early()

    def _begin(self, name: CallName, request: Request) -> LoadedProcess | None:
        """Send the request until a process accepts it; None if it was cancelled before."""
        while True:
            loaded = self._loading.result(lambda: self._cancelled)
            if loaded is None:
                return None
            self._answering = loaded.process
            try:
                loaded.process.send(name, request)
                loaded.process.receive()
            except (ChildStopped, OutOfMemory) as error:
                self._notices.append(self._recover(loaded, error))
                continue
            if self._cancelled:  # it may have come before the request had its number
                loaded.process.cancel()
            return loaded

    def _listen(self, loaded: LoadedProcess) -> Generator[Event, None, None]:
        """The events of the answer that has begun; left early, it is cancelled and drained."""
        ended = False
        try:
            while True:
                ended = True  # whatever is raised here, nothing more comes
                event: Event | None = loaded.process.receive()
                if event is None:
                    return
                ended = False
                if isinstance(event, Finished):
                    self._restarts = 0
                yield event
        finally:
            self._answering = None
            if not ended:
                _drain(loaded.process)

    def _pending_notices(self) -> Iterator[Notice]:
        notices, self._notices = self._notices, []
        yield from map(Notice, notices)

    def _recover(self, loaded: LoadedProcess, error: ChildStopped | OutOfMemory) -> str:
        """Start again; return what happened, and what was changed, as a sentence.
        Raises EngineError: it would stop again for the same reason."""
        self._answering = None
        if self._closed:
            raise EngineError("the engine is closed")
        if isinstance(error, OutOfMemory):
            loaded.process.close()
            death = Death("memory", error.message)
        else:
            death = error.death
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
    with contextlib.suppress(ChildError, GemmaEdgeError):  # the next call finds out what happened
        while process.receive() is not None:
            pass


def _cancelled_early() -> Finished:
    nothing = Usage(prompt_tokens=0, cached_tokens=0, evaluated_tokens=0, generated_tokens=0)
    never = Timings(prompt_seconds=0.0, first_token_seconds=0.0, decode_seconds=0.0)
    return Finished("cancelled", nothing, never)


class RemoteCounter:
    """A ``Counter`` in another process. It starts at once; the first count waits for it."""

    def __init__(self, plan: Plan, *, program: Sequence[str] = WORKER) -> None:
        self._process = EngineProcess(program)
        self._process.send("open_counter", _bare(plan))
        self._opened = False
        self._refused: GemmaEdgeError | None = None

    def count(self, request: Request) -> PromptCount:
        try:
            if not self._opened:
                self._open()
            count: PromptCount = self._process.call("count", request)
        except ChildStopped as stopped:
            raise died(stopped.death) from None
        return count

    def _open(self) -> None:
        """Wait until it is ready; why it is not is known from then on."""
        if self._refused is not None:
            raise self._refused
        try:
            self._process.receive_answer()
        except GemmaEdgeError as error:
            self._refused = error
            raise
        self._opened = True

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.close()

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
