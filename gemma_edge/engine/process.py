"""The parent's end of one engine process: start it, speak, learn how it died, end it."""

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from gemma_edge.documents.document import Picture
from gemma_edge.engine.failures import (
    REBUILD_HINT,
    Death,
    Turnstile,
    next_plan,
    parse_death,
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
)
from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped, GemmaEdgeError, OutOfMemory
from gemma_edge.planning.plan import Plan

# ----------------------------------------------------------------------------
# Pictures cross the pipe to the engine's process once, however often they are asked about. Both
# ends keep an album. They see the same messages in the same order, so both know the same pictures
# and drop the same ones; what is known is only named.


# Four pictures at the largest detail (7.7 MB each), 17 at the usual one, in both processes: small
# beside the memory that every plan leaves free (planning/memory.py). One that was dropped is sent
# again.
ALBUM_BYTES = 32 << 20

Key = tuple[str, str, str, int]
Named = tuple[Key, tuple[bytes, int, int] | None]  # without pixels: the other end has it


class Album:
    """Writes messages for one other end, or reads those of one."""

    def __init__(self, most_bytes: int = ALBUM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._known: OrderedDict[Key, Picture] = OrderedDict()

    def write(self, message: object) -> bytes:
        """A message as bytes."""
        stream = io.BytesIO()
        _Pickler(stream, self).dump(message)
        self._trim()
        return stream.getvalue()

    def read(self, data: bytes) -> Any:
        """A message from its bytes."""
        message = _Unpickler(io.BytesIO(data), self).load()
        self._trim()
        return message

    def name(self, picture: Picture) -> Named:
        """How a picture is sent."""
        key = (picture.digest, picture.name, picture.lost, picture.whole_tokens)
        known = key in self._known
        self._keep(key, picture)
        return key, None if known else (picture.rgb, picture.width, picture.height)

    def find(self, named: Named) -> Picture:
        """The picture that was sent so, or before."""
        key, pixels = named
        picture = self._known[key] if pixels is None else Picture(*pixels, *key[1:])
        self._keep(key, picture)
        return picture

    def _keep(self, key: Key, picture: Picture) -> None:
        self._known[key] = picture
        self._known.move_to_end(key)

    def _trim(self) -> None:
        size = sum(len(picture.rgb) for picture in self._known.values())
        while size > self._most_bytes:
            _, dropped = self._known.popitem(last=False)
            size -= len(dropped.rgb)


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, album: Album) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._album = album

    def persistent_id(self, value: object) -> Named | None:
        """Pickle asks this of every object."""
        return self._album.name(value) if isinstance(value, Picture) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, album: Album) -> None:
        super().__init__(stream)
        self._album = album

    def persistent_load(self, named: Named) -> Picture:
        """The other way."""
        return self._album.find(named)


# ----------------------------------------------------------------------------
# What the engine's process and its parent say to each other: length-prefixed pickles over pipes.
# Both ends are this program, so pickle is safe here: nobody else holds the pipes. Every call has
# a number; what comes back belongs to the last call, since one is answered at a time.


_LENGTH = struct.Struct("<I")

CallName = Literal[
    "load", "open_counter", "count", "generate", "warm", "save", "saved", "restore", "measure",
    "cancel",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """Something asked of the worker. ``cancel`` carries the number of the call it ends."""

    number: int
    name: CallName
    argument: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A call is answered; for ``generate``: it is accepted, and events follow."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A call ended in an error. ``trace`` is set for a bug, so that it can be shown."""

    error: Exception
    trace: str = ""


def read_message(stream: IO[bytes], album: Album) -> Any:
    """The next message; ``album`` is the one of this stream.

    Raises:
        EOFError: the other end is gone.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(header)
    body = stream.read(size)
    if len(body) < size:
        raise EOFError
    return album.read(body)


class Sender:
    """Writes messages whole, whoever sends: threads, and a signal handler through ``interject``."""

    def __init__(self, file_number: int) -> None:
        self._file_number = file_number
        self._album = Album()
        self._lock = threading.Lock()
        self._waiting: object | None = None

    def send(self, message: object) -> None:
        """Write one message. A reader that is gone shows at the next read, not here."""
        with self._lock:
            self._write(message)
        self._send_waiting()

    def interject(self, message: object) -> None:
        """Write one message now, or right after the one that is being written. Never waits, so a
        signal handler that interrupts ``send`` may call it."""
        self._waiting = message
        self._send_waiting()

    def stop(self) -> None:
        """Write no more: the number of a closed file may soon belong to another."""
        self._file_number = -1

    def _send_waiting(self) -> None:
        # The lock may be held by the very code that a signal handler interrupted.
        while self._waiting is not None and self._lock.acquire(blocking=False):
            try:
                message, self._waiting = self._waiting, None
                if message is not None:
                    self._write(message)
            finally:
                self._lock.release()

    def _write(self, message: object) -> None:
        body = self._album.write(message)
        data = memoryview(_LENGTH.pack(len(body)) + body)
        try:
            while data:
                data = data[os.write(self._file_number, data) :]
        except OSError:
            return


# The child imports exactly what the parent would, and nothing of the working folder.
WORKER = "import sys; sys.path[:] = sys.argv[1:]; from gemma_edge.engine.worker import main; main()"

_KEPT_LINES = 60
_QUIT_SECONDS = 2.0
# A process that closed its pipe is dying; only one that writes a core file takes longer.
_DEATH_SECONDS = 10.0


class EngineProcess:
    """One process. ``program`` is Python code; tests pass another to make it fail on purpose.

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, program: str = WORKER) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=-1,
                start_new_session=True,  # Ctrl-C at the terminal is not for it
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
                | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise EngineError(
                f"the engine's process could not be started ({error.strerror or error})",
                hint="free some memory, or try again",
            ) from None
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._sender = Sender(self._stdin.fileno())
        self._album = Album()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = threading.Thread(target=self._keep_lines, daemon=True)
        self._listener.start()
        self._number = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def call(self, name: Any, argument: object = None) -> Any:
        """Send one call and wait for the first thing that comes back.

        Raises:
            EOFError: the process died.
            GemmaEdgeError: what the worker raised.
        """
        self.send(name, argument)
        return self.receive()

    def send(self, name: Any, argument: object = None) -> None:
        """Send one call; a process that is gone shows at the next ``receive``."""
        self._number += 1
        self._sender.send(Call(self._number, name, argument))

    def receive(self) -> Any:
        """What comes next for the last call; raises like ``call``."""
        if self._stdout.closed:
            raise EOFError
        message = read_message(self._stdout, self._album)
        if isinstance(message, Failed):
            if message.trace:
                message.error.__cause__ = _WorkerTrace(message.trace)
            raise message.error
        return message

    def cancel(self) -> None:
        """Ask the running call to stop. Safe from a signal handler and from another thread."""
        self._sender.interject(Call(self._number, "cancel"))

    def death(self) -> Death:
        """Why it is gone; called after an EOFError."""
        try:
            status = self._process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.close()
        return parse_death(status, tuple(self._lines))

    def close(self) -> None:
        """End it, at once. Idempotent."""
        self._sender.stop()
        with contextlib.suppress(OSError):
            self._stdin.close()  # the worker ends by itself
        try:
            self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_QUIT_SECONDS)
        self._stdout.close()

    def _keep_lines(self) -> None:
        """What native code writes before it dies says why."""
        assert self._process.stderr
        with self._process.stderr as stream:
            for line in stream:
                self._lines.append(line.decode("utf-8", "replace"))


class _WorkerTrace(Exception):
    """Where a bug in the worker stands; shown as the cause of the error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


# ----------------------------------------------------------------------------
# Loading a plan in a process of its own, in the background, down the ladder where memory fails.


_LOADING_LOOK_SECONDS = 0.05  # how soon Ctrl-C ends the wait for a model


@dataclass(frozen=True, slots=True)
class Loaded:
    """A process that is ready; ``plan`` is what it loaded."""

    process: EngineProcess
    plan: Plan
    info: EngineInfo


class Loading:
    """Tries a plan and its fallbacks, each in a fresh process, in a thread of its own. Each step
    down is a sentence in ``notes``."""

    def __init__(self, plan: Plan, program: str, notes: list[str]) -> None:
        self._program = program
        self._notes = notes
        self._lock = threading.Lock()
        self._closed = False
        self._process: EngineProcess | None = None
        self._loaded: Loaded | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()

    def result(self, given_up: Callable[[], bool] = lambda: False) -> Loaded | None:
        """Wait for it; None once ``given_up()`` is true.

        Raises:
            ModelError, ProjectorError, DoesNotFit, EngineError: why nothing is loaded.
        """
        while not self._done.wait(_LOADING_LOOK_SECONDS):
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
            self._loaded = self._climb(plan)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._error = error
        finally:
            self._done.set()

    def _climb(self, plan: Plan) -> Loaded:
        """The first plan of the ladder that loads."""
        first = plan
        tried: list[str] = []
        while True:
            outcome = self._try(plan)
            if isinstance(outcome, EngineInfo):
                info = replace(outcome, notes=(*self._notes, *outcome.notes), plan=plan)
                assert self._process is not None
                return Loaded(self._process, plan, info)
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
        """One plan in a fresh process."""
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed")
            process = self._process = EngineProcess(self._program)
        try:
            info: EngineInfo = process.call("load", _bare(plan)).value
        except EOFError:
            return process.death()
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
    """Nothing of the ladder loads: the last reason, what the ledger said, and what was tried."""
    numbers = render_numbers(plan)
    parts = [f"{plan.name or plan.model.stem} does not fit in memory: {death.reason}"]
    parts += [f"planned {numbers}"] if numbers else []
    parts += [f"tried also: {'; '.join(tried)}"] if tried else []
    return DoesNotFit(
        "; ".join(parts), hint="free some memory, --ctx with a smaller number, or a smaller model"
    )


def _bare(plan: Plan) -> Plan:
    """Without what only the parent needs."""
    return replace(plan, fallbacks=(), alternatives=(), attempts=(), reasons=())


# ----------------------------------------------------------------------------
# The engine as the rest of the program sees it: llama.cpp in a process of its own. When that
# process dies a person sees one line: a new one is started, by the next plan of the ladder where
# memory was the cause, and what was asked is asked again.


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


# ----------------------------------------------------------------------------
# The exact size of a prompt before a context is planned: the vocabulary alone, in a process.


class RemoteCounter:
    """A ``Counter`` in another process. It starts at once; the first count waits for it."""

    def __init__(self, plan: Plan, *, program: str = WORKER) -> None:
        self._process = EngineProcess(program)
        self._process.send("open_counter", plan)
        self._opened = False
        self._refused: GemmaEdgeError | None = None

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated."""
        try:
            if not self._opened:
                self._open()
            count: PromptCount = self._process.call("count", request).value
        except EOFError:
            raise died(self._process.death()) from None
        return count

    def _open(self) -> None:
        """Wait until it is ready; why it is not is known from then on."""
        if self._refused is not None:
            raise self._refused
        try:
            self._process.receive()
        except GemmaEdgeError as error:
            self._refused = error
            raise
        self._opened = True

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.close()

    def __enter__(self) -> Counter:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
