"""The engine in a process of its own: loaded by a plan that fits, asked, and started again."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gemma_edge.engine.fallback import (
    RequestLock,
    died,
    is_fault,
    next_plan,
    render_change,
    render_numbers,
    render_restart,
)
from gemma_edge.engine.protocol import (
    Answer,
    Chunk,
    Counter,
    EngineInfo,
    Event,
    Finished,
    Notice,
    PromptCount,
    PromptTokens,
    Request,
    Restored,
    Timings,
    Usage,
    pack,
    unpack,
)
from gemma_edge.engine.protocol import Loading as LoadProgress
from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped, GemmaEdgeError, OutOfMemory
from gemma_edge.isolation import Child, ChildError, ChildMessage, ChildStopped, Death, Exchange
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass

WORKER = ("gemma_edge.engine.worker:main",)

CallName = Literal[
    "prepare", "load", "open_counter", "count", "tokenize", "detokenize", "generate", "warm",
    "save", "saved", "restore", "measure", "stay",
]  # fmt: skip


def pack_call(name: CallName, argument: object = None) -> tuple[Any, ...]:
    """A call of the worker as ``Child.send`` takes it."""
    parts: list[bytes] = []
    return {"call": name, "argument": pack(argument, parts)}, *parts


def value_of(message: ChildMessage | None) -> Any:
    """What the worker said, a value of the engine's protocol; None where an answer ends."""
    return None if message is None else unpack(message.header["value"], message.parts)


def call(process: Child, name: CallName, argument: object = None) -> Any:
    """The one answer of the worker to a call; raises like ``Child.call``."""
    return value_of(process.call(*pack_call(name, argument)))


def load(process: Child, plan: Plan, tell: Callable[[float], None]) -> EngineInfo:
    """What a worker loaded; ``tell`` takes how far it is. Raises like ``Child.call``."""
    header, *parts = pack_call("load", plan)
    info: EngineInfo | None = None
    for message in process.stream({**header, "watched": True}, *parts):
        if "share" in message.header:
            tell(message.header["share"])
        else:
            info = value_of(message)
    assert info is not None  # an answer, or it raised
    return info


_LOADING_POLL_SECONDS = 0.05  # how soon Ctrl-C ends the wait for a model


@dataclass(frozen=True, slots=True)
class LoadedProcess:
    """A process that is ready; ``plan`` is what it loaded."""

    process: Child
    plan: Plan
    info: EngineInfo


class EarlyProcess:
    """A process of an engine that is started before there is a plan: it imports llama.cpp while
    the plan is made. One ``Loading`` takes it. ``program`` is a child program."""

    def __init__(self, program: Sequence[str] = WORKER) -> None:
        self._process: Child | None = Child(*program)
        self._process.send(*pack_call("prepare"))

    @property
    def pid(self) -> int | None:
        """Its process id; None where it was taken."""
        return self._process.pid if self._process else None

    def take(self) -> Child | None:
        """It, with an answer that is still to be received; None where it was taken already."""
        process, self._process = self._process, None
        return process

    def close(self) -> None:
        """End it, unless it was taken. Idempotent."""
        if (process := self.take()) is not None:
            process.close()


Stay = Callable[[EngineInfo], dict[str, Any]]


class Start(NamedTuple):
    """What there is when an engine is asked for: the process that was started ``early``, one on
    standby that was ``found`` with the model, and, where it is to ``stay`` on standby itself
    afterwards, what its process is told of it (as JSON) once it is loaded."""

    early: EarlyProcess | None = None
    found: LoadedProcess | None = None
    stay: Stay | None = None


class Loading:
    """Tries a plan and its fallbacks, each in a fresh process, in a thread of its own. Each step
    down is a sentence in ``notes``. The process on standby that was found needs none of it. What
    was loaded ``stays`` when it is left, where that was asked for."""

    def __init__(self, plan: Plan, program: Sequence[str], notes: list[str], start: Start) -> None:
        self._program = program
        self._early, self._found, self._stay = start
        self.stays = False
        self._notes = notes
        self._lock = threading.Lock()
        self._closed = False
        self._process: Child | None = None
        self._loaded: LoadedProcess | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        self._share: float | None = None
        self._began = time.monotonic()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()

    def progress(self, seconds: float) -> LoadProgress | None:
        """How far it is, after at most so long; None when it has ended."""
        if self._done.wait(seconds):
            return None
        return LoadProgress(self._share, time.monotonic() - self._began)

    def result(self, given_up: Callable[[], bool] = lambda: False) -> LoadedProcess | None:
        """Wait for it; None once ``given_up()`` is true.
        Raises ModelError, ProjectorError, DoesNotFit, EngineError: why nothing is loaded."""
        while not self._done.wait(_LOADING_POLL_SECONDS):
            if given_up():
                return None
        if self._error is not None:
            raise self._error
        return self._loaded

    def close(self, *, end: bool) -> None:
        """Free the model, or leave the process on standby where it stays and is not to ``end``."""
        with self._lock:
            self._closed = True
            if self._early is not None:
                self._early.close()
        if self._process is None:
            return
        if end:
            self._process.end()
        elif self.stays:
            self._process.leave()
        else:
            self._process.close()

    def _run(self, plan: Plan) -> None:
        try:
            self._loaded = self._load_first(plan)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._error = error
        finally:
            self._done.set()

    def _load_first(self, plan: Plan) -> LoadedProcess:
        if self._found is not None:
            self._process, self.stays = self._found.process, True
            return self._found
        first = plan
        tried: list[str] = []
        while True:
            outcome = self._try(plan)
            if isinstance(outcome, EngineInfo):
                info = replace(outcome, notes=(*self._notes, *outcome.notes), plan=plan)
                assert self._process is not None
                loaded = LoadedProcess(self._process, plan, info)
                return loaded if self._stay is None else self._let_stay(loaded, self._stay)
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

    def _let_stay(self, loaded: LoadedProcess, stay: Stay) -> LoadedProcess:
        try:
            problem = call(loaded.process, "stay", json.dumps(stay(loaded.info)))
        except ChildStopped:  # the first use tells
            return loaded
        self.stays = not problem
        if not problem:
            return loaded
        note = f"nothing stays loaded: {problem}"
        return replace(loaded, info=replace(loaded.info, notes=(*loaded.info.notes, note)))

    def _begin(self, plan: Plan) -> Child:
        while True:
            with self._lock:
                if self._closed:
                    raise EngineError("the engine is closed")
                if self._early is not None and plan.variables:
                    self._early.close()  # it may have loaded llama.cpp without them
                early = self._early.take() if self._early else None
                process = self._process = early or Child(*self._program)
            if early is None:
                return process
            with contextlib.suppress(ChildStopped):  # then another one is started
                early.receive_answer()
                return process

    def _tell(self, share: float) -> None:
        self._share = share

    def _try(self, plan: Plan) -> EngineInfo | Death:
        self._share = None
        process = self._begin(plan)
        try:
            info = load(process, _bare(plan), self._tell)
        except ChildStopped as stopped:
            return stopped.death
        except OutOfMemory as error:
            process.close()
            return Death("memory", error.message)
        except GemmaEdgeError:
            process.close()
            raise
        return info


def _too_large(plan: Plan, death: Death, tried: list[str]) -> DoesNotFit:
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


class _Asked:
    """An answer that somebody waits for: of which process, once it is asked, and whether it is to
    stop. ``cancel`` may come at any of its moments, from a signal handler or another thread."""

    __slots__ = ("cancelled", "exchange")

    def __init__(self) -> None:
        self.cancelled = False
        self.exchange: Exchange | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if (exchange := self.exchange) is not None:
            exchange.interrupt()


_NOTHING = Start()


class RemoteEngine:
    """An ``Engine`` in another process. Loading begins at once, in the background; the first use
    waits for it. ``program`` is a child program: tests make it fail on purpose; ``start`` is what
    is there already."""

    def __init__(
        self, plan: Plan, *, program: Sequence[str] = WORKER, start: Start = _NOTHING
    ) -> None:
        self._program = program
        self._request_lock = RequestLock(plan.sequences)
        self._restart_lock = threading.Lock()
        self._restarted: tuple[Child, str] | None = None  # instead of which one, and why
        self._restarts = 0
        self._decoded = False  # anything, since it exists
        self._notices: list[str] = []
        self._closed = False
        self._asked: list[_Asked] = []  # the one under way, and those that wait for their turn
        self._stay = start.stay
        self._loading = Loading(plan, program, [], start)  # its notes stand in ``info``

    @property
    def info(self) -> EngineInfo:
        return self._loaded().info

    @property
    def pid(self) -> int:
        return self._loaded().process.pid

    def loading(self, seconds: float = 0.0) -> LoadProgress | None:
        return self._loading.progress(seconds)

    def count(self, request: Request) -> PromptCount:
        count: PromptCount = self._ask("count", request)
        return count

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        rate: float = self._ask("measure", (tokens, filled))
        return rate

    def generate(self, request: Request) -> Answer:
        """``Chunk``s, then one ``Finished``; refusals are raised before anything is evaluated. The
        answer begins at once, also before its first event is asked for."""
        return self._begin("generate", request)

    def warm(self, request: Request) -> Answer:
        return self._begin("warm", request)

    def _begin(self, name: CallName, request: Request) -> Answer:
        asked = _Asked()
        stream = self._answer(asked, name, request)
        next(stream)  # it stands behind the acceptance now, inside of its ``with``
        return Answer(stream, asked.cancel)

    def save(self, path: Path) -> int:
        """Write the cache to a file; between the copy and the end other threads' answers go on."""
        self._ask("save", path)
        while True:
            size: int | None = self._ask("saved", None)
            if size is not None:
                return size
            time.sleep(_POLL_SECONDS)

    def restore(self, path: Path) -> Restored:
        restored: Restored = self._ask("restore", path)
        return restored

    def cancel(self) -> None:
        for asked in tuple(self._asked):
            asked.cancel()

    @property
    def stays(self) -> bool:
        """Whether its process, which is loaded, goes on to wait when this is closed."""
        return self._loading.stays

    def close(self) -> None:
        self._closed = True
        self._loading.close(end=False)

    def end(self) -> None:
        """As ``close``, but no process stays on standby: its memory is free afterwards."""
        self._closed = True
        self._loading.close(end=True)

    def _loaded(self) -> LoadedProcess:
        loaded = self._loading.result()
        assert loaded is not None
        return loaded

    def _ask(self, name: CallName, argument: object) -> Any:
        if name in ("count", "saved"):  # answered between two steps of those under way
            return self._ask_now(name, argument)
        with self._request_lock.alone():
            return self._ask_now(name, argument)

    def _ask_now(self, name: CallName, argument: object) -> Any:
        while True:
            loaded = self._loaded()
            try:
                exchange = loaded.process.ask_apart(*pack_call(name, argument))
                value = value_of(exchange.receive())
                exchange.receive()
            except (ChildStopped, OutOfMemory) as error:
                self._recover(loaded, error)
            else:
                return value

    def _answer(
        self, asked: _Asked, name: CallName, request: Request
    ) -> Generator[Event, None, None]:
        self._asked.append(asked)  # from here on it can be cancelled, also while it waits
        try:
            with self._request_lock.answering():
                yield from self._ask_until_accepted(asked, name, request)
        finally:
            self._asked.remove(asked)

    def _ask_until_accepted(
        self, asked: _Asked, name: CallName, request: Request
    ) -> Generator[Event, None, None]:
        """Ask until a process accepts it, then pass its events on. An answer that is left early is
        cancelled over there and drained."""
        accepted = answered = under_way = False
        while loaded := self._loading.result(lambda: asked.cancelled):
            try:
                exchange = asked.exchange = loaded.process.ask_apart(*pack_call(name, request))
                exchange.receive()
                under_way = True
                if asked.cancelled:  # it may have come before the request had its number
                    exchange.interrupt()
                if not accepted:
                    accepted = True
                    yield Notice("accepted")  # taken by the caller
                yield from self._pending_notices()
                under_way = False  # whatever ``receive`` raises, nothing more comes
                while event := value_of(exchange.receive()):
                    under_way = True
                    if isinstance(event, Finished):
                        self._restarts = 0
                    self._decoded = self._decoded or isinstance(event, Chunk | Finished)
                    answered = answered or isinstance(event, Chunk)
                    yield event
                    under_way = False
                return
            except (ChildStopped, OutOfMemory) as error:
                if accepted and self._closed:
                    return
                self._recover(loaded, error, answered=answered)
            finally:
                asked.exchange = None
                if under_way:
                    _drain(exchange)
        if not accepted:
            yield Notice("accepted")
        yield _cancelled_early()

    def _pending_notices(self) -> Iterator[Notice]:
        notices, self._notices = self._notices, []
        yield from map(Notice, notices)

    def _recover(
        self, loaded: LoadedProcess, error: ChildStopped | OutOfMemory, *, answered: bool = False
    ) -> None:
        """Start again, and note what happened and what was changed.
        Raises EngineStopped: some of the answer was ``answered``; EngineError: it would stop again
        for the same reason."""
        if self._closed:
            raise EngineError("the engine is closed")
        with self._restart_lock:
            if self._restarted is None or self._restarted[0] is not loaded.process:
                self._restart(loaded, error)
                assert self._restarted is not None
                if not answered:
                    self._notices.append(self._restarted[1])
            sentence = self._restarted[1]
        if answered:
            raise EngineStopped(sentence, hint="ask it again") from None

    def _restart(self, loaded: LoadedProcess, error: ChildStopped | OutOfMemory) -> None:
        """Once for all whose answers it was making."""
        if isinstance(error, OutOfMemory):
            loaded.process.end()
            death = Death("memory", error.message)
        else:
            death = error.death
        plan = (next_plan(loaded.plan) if death.cause == "memory" else None) or loaded.plan
        self._restarts += 1
        if death.cause == "instruction" or (is_fault(death) and not self._decoded):
            raise died(death, decoded=self._decoded)
        self._loading = Loading(plan, self._program, self._notices, Start(stay=self._stay))
        if self._restarts > MAX_RESTARTS:
            self._restarts = 0
            raise died(death, decoded=True)
        self._restarted = (loaded.process, render_restart(death, loaded.plan, plan))


def _drain(exchange: Exchange) -> None:
    """Read a cancelled answer to its end: until then its place is taken."""
    exchange.interrupt()
    with contextlib.suppress(ChildError, GemmaEdgeError):  # the next call finds out what happened
        while exchange.receive() is not None:
            pass


def _cancelled_early() -> Finished:
    nothing = Usage(prompt_tokens=0, cached_tokens=0, evaluated_tokens=0, generated_tokens=0)
    never = Timings(prompt_seconds=0.0, first_token_seconds=0.0, decode_seconds=0.0)
    return Finished("cancelled", nothing, never)


class RemoteCounter:
    """A ``Counter`` in another process. It starts at once; the first count waits for it."""

    def __init__(self, plan: Plan, *, program: Sequence[str] = WORKER) -> None:
        self._process = Child(*program)
        self._process.send(*pack_call("open_counter", _bare(plan)))
        self._opened = False
        self._refused: GemmaEdgeError | None = None

    def count(self, request: Request) -> PromptCount:
        count: PromptCount = self._ask("count", request)
        return count

    def tokenize(self, request: Request, *, pieces: bool = False) -> PromptTokens:
        tokens: PromptTokens = self._ask("tokenize", (request, pieces))
        return tokens

    def detokenize(self, tokens: tuple[int, ...]) -> str:
        text: str = self._ask("detokenize", tokens)
        return text

    def _ask(self, name: CallName, argument: object) -> Any:
        try:
            if not self._opened:
                self._open()
            return call(self._process, name, argument)
        except ChildStopped as stopped:
            raise died(stopped.death) from None

    def _open(self) -> None:
        if self._refused is not None:
            raise self._refused
        try:
            self._process.receive_answer()
        except GemmaEdgeError as error:
            self._refused = error
            raise
        self._opened = True

    def close(self) -> None:
        self._process.close()

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
