"""One protocol for every child process: its start, its limits, its messages, its end.

What reads hostile bytes or calls native code runs in a process of its own, so that a crash, a loop
or a flood of memory ends there. A child program is a function ``module:function`` that returns a
handler; the handler answers each ``ChildRequest`` with ``ChildMessage``s. The parent holds a
``Child``.

A message is a JSON object and byte strings, each of them with its length before it, so pictures and
arrays travel as they are. It goes through copies of the child's stdin and stdout that no library
knows: what a child prints goes to stderr, whose last lines are kept. Nothing that a child sends is
ever executed. A child ends when its stdin does, so none outlives its parent.
"""

import atexit
import json
import math
import os
import re
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from queue import SimpleQueue
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    TypeVar,
)

from gemma_edge import errors
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.trust import (
    leave_working_folder_alone,
    without_working_folder,
    without_working_folder_in_path,
)
from gemma_edge.units import render_bytes

if TYPE_CHECKING:  # a child needs none of it, and it takes as long to import as all the rest
    import subprocess

Buffer = bytes | bytearray | memoryview
Cause = Literal["memory", "instruction", "timeout", "crash"]


class Limits(NamedTuple):
    """What a child may use; ``None`` is no limit.

    ``seconds`` by the clock and ``cpu_seconds`` of the processor are for each message, not for
    all of them. ``memory_bytes`` is address space on Linux, memory that is in use on macOS, memory
    that was promised to it on Windows. No message of more than ``message_bytes`` is taken from it.
    """

    seconds: float | None = None
    cpu_seconds: int | None = None
    memory_bytes: int | None = None
    message_bytes: int = 1 << 30
    may_write_files: bool = True


class ChildMessage(NamedTuple):
    """A JSON object, and the byte strings that belong to it."""

    header: dict[str, Any]
    parts: tuple[bytes, ...] = ()


class Death(NamedTuple):
    """Why a process is gone: the cause, a few words for a person, and its exit status, None where
    this process ended it."""

    cause: Cause
    reason: str
    status: int | None = None


class ChildError(Exception):
    """The child did not answer; the text says why, in a few words for a person."""


class ChildStopped(ChildError):
    """It is gone: it crashed, or went over a limit."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.reason)
        self.death = death


class ChildBug(ChildError):
    """Its program raised what nobody foresaw. It lives on; ``__cause__`` has its traceback."""


class _Trace(Exception):
    """A traceback of the child, shown as the cause of an error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


# ---------------------------------------------------------------------------------- messages

REQUEST, INTERRUPT, REPLY, END, ERROR, BUG = range(6)
_PREFIX = struct.Struct("<BHII")  # kind, number of parts, number of the request, bytes of JSON
# Ends whatever was printed before the child program began (a tool that is preloaded, a .pth file).
_GREETING = b"\n\0gemma-edge child\0\n"
_MAX_NOISE_BYTES = 1 << 16

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class Frame(NamedTuple):
    """One message as it travels."""

    kind: int
    number: int
    header: dict[str, Any]
    parts: tuple[bytes, ...]


class Malformed(Exception):
    """What came is no message."""


def read_frame(stream: IO[bytes], most_bytes: int) -> Frame:
    """The next one.

    Raises:
        EOFError: the other end is gone.
        Malformed: it is larger than ``most_bytes``, or no message.
    """
    kind, count, number, size = _PREFIX.unpack(_read(stream, _PREFIX.size))
    if not REQUEST <= kind <= BUG:
        raise Malformed("a message that is none")
    sizes = struct.unpack(f"<{count}Q", _read(stream, 8 * count)) if count else ()
    total = size + sum(sizes)
    if total > most_bytes:
        raise Malformed(f"a message of {render_bytes(total)}; {render_bytes(most_bytes)} are read")
    try:
        header = _decode(_read(stream, size).decode("ascii"))
    except ValueError:
        raise Malformed("a message that is none") from None
    if not isinstance(header, dict):
        raise Malformed("a message that is none")
    return Frame(kind, number, header, tuple(_read(stream, each) for each in sizes))


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if data is None or len(data) < size:  # None: a socket on which nothing comes in time
        raise EOFError
    return data


class Writer:
    """Writes messages whole, whoever sends: threads, and a signal handler by ``interject``."""

    def __init__(self, file_number: int) -> None:
        self._file_number = file_number
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()

    def send(
        self, kind: int, number: int, header: Mapping[str, Any], parts: Sequence[Buffer]
    ) -> None:
        """Write one message. A reader that is gone shows at the next read, not here."""
        body = _encode(header).encode("ascii")
        prefix = _PREFIX.pack(kind, len(parts), number, len(body))
        views = [memoryview(part).cast("B") for part in parts]
        sizes = struct.pack(f"<{len(views)}Q", *(view.nbytes for view in views)) if views else b""
        with self._lock:
            self._write(prefix + sizes + body)
            for view in views:
                self._write(view)
        self._send_waiting()

    def interject(self, kind: int, number: int) -> None:
        """Write a message without content now, or right after the one that is being written. Never
        waits, so a signal handler that interrupts ``send`` may call it."""
        self._waiting.append(_PREFIX.pack(kind, 0, number, 2) + b"{}")
        self._send_waiting()

    def stop(self) -> None:
        """Write no more: the number of a closed file may soon belong to another."""
        self._file_number = -1

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is written any more."""
        return self._file_number < 0

    def _send_waiting(self) -> None:
        # The lock may be held by the very code that a signal handler interrupted.
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                with suppress(IndexError):  # another one was faster
                    self._write(self._waiting.popleft())
            finally:
                self._lock.release()

    def _write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        with suppress(OSError):
            while left:
                left = left[os.write(self._file_number, left) :]


# -------------------------------------------------------------------------------- the parent

_DEATH_SECONDS = 10.0  # one that closed its pipe is dying; a driver may take long over it
_KILL_SECONDS = 5.0  # one that waits in the kernel for a device cannot be killed: it is left alone
_WATCH_SECONDS = 0.1
_TAIL_BYTES = 16 << 10  # of stderr

# The child's Python imports its own library first, then what this process would, and nothing of
# the working folder.
_BOOT = (
    "import sys; own = [each for each in sys.path if each]; "
    "sys.path[:] = own + [each for each in sys.argv[2].split(sys.argv[1]) if each not in own]; "
    "from gemma_edge.isolation import run; run(sys.argv[3], sys.argv[4:])"
)
_ISOLATED = ("-I", "-S")  # no variable of Python's, no .pth file, no sitecustomize

# What a program may need to find its libraries and its folders, and its devices. These patterns
# are compiled where they are used: a child needs none of them.
_VARIABLES = (
    r"(?i:PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TMP|TEMP|LD_\w+|DYLD_\w+|NIX_LD\w*"
    r"|XDG_(CACHE|DATA|CONFIG|RUNTIME)_\w+|WSL\w*"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|USERPROFILE|(LOCAL)?APPDATA|PROGRAM(DATA|FILES)"
    r"|NUMBER_OF_PROCESSORS|PROCESSOR_\w+)"
)
_DEVICE_VARIABLES = (  # where accelerators and their libraries take settings from, and the desktop
    r"(?i:(CUDA|NVIDIA|GGML|LLAMA|HIP|ROCR|ROCM|HSA|AMD|GPU|VK|VULKAN|MESA|RADV|ZE|SYCL|ONEAPI|MTL"
    r"|METAL|MUSA|OCL|OMP|GOMP|KMP|MKL|OPENBLAS|SLURM)_\w+|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY)"
)
_SECRETS = r"(?i:KEY|TOKEN|SECRET|PASS|CREDENTIAL|(?<!X)AUTH|JWT|COOKIE)"
_SECRET_VALUES = r"://[^/\s]*@"  # an address with a name and a password in it
_DECODES = {"MALLOC_ARENA_MAX": "2"}  # glibc's arenas count as memory, 64 MiB for each thread


class Child:
    """A child process that runs ``program`` ("module:function") with ``arguments``.

    Several requests may be on their way; they are answered in order, and one thread at a time sends
    and receives. What is asked ``apart`` is received by whoever asked, from any thread.
    ``interrupt`` and ``close`` may be called from any, ``interrupt`` also from a
    signal handler. The child gets the variables that it may need out of ``environment`` (this
    process's own without it), none that looks like a secret, and nothing of the working folder:
    paths for it are absolute; one that only ``decodes`` gets those of no device. A ``trusted``
    program is a person's own code: it gets all of them, and a Python as if the person had started
    it in the working folder.

    Raises:
        GemmaEdgeError: it cannot be started.
    """

    system_limits_memory: ClassVar[bool] = sys.platform != "darwin"  # macOS refuses RLIMIT_AS

    def __init__(
        self,
        program: str,
        *arguments: str,
        limits: Limits = Limits(),  # noqa: B008  (a tuple)
        environment: Mapping[str, str] | None = None,
        trusted: bool = False,
        decodes: bool = False,
    ) -> None:
        self._begin(limits)
        self._tail = b""
        variables = dict(os.environ if environment is None else environment)
        if not trusted:
            variables = {name: variables[name] for name in passed_on(variables, not decodes)}
        variables |= _DECODES if decodes else {}
        self._process = _start(program, arguments, variables, trusted)
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._writer = Writer(self._stdin.fileno())
        self._listener = threading.Thread(target=self._keep_tail, daemon=True)
        self._listener.start()
        self._job = _contain(self._process, limits.memory_bytes)
        is_limited = self.system_limits_memory and self._job.is_whole
        if limits.memory_bytes is not None and not is_limited:
            threading.Thread(target=self._watch, args=(limits.memory_bytes,), daemon=True).start()
            limits = limits._replace(memory_bytes=None)
        self._writer.send(REQUEST, 0, limits._asdict(), ())

    def _begin(self, limits: Limits) -> None:
        self._limits = limits
        self._death: Death | None = None
        self._closed = threading.Event()
        self._greeted = self._reaped = self._is_left = False
        self._number = self._unanswered = 0
        self._lock = threading.Lock()
        self._is_read = self._is_over = False  # by a thread that waits; its end was read
        self._in_order = _Inbox(self._lock)
        self._apart: dict[int, _Inbox] = {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_idle(self) -> bool:
        """Whether it lives, and has answered all that it was asked."""
        ended = self._death is not None or self._closed.is_set()
        return not ended and not self._unanswered and self._process.poll() is None

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, header: Mapping[str, Any], *parts: Buffer) -> ChildMessage:
        """Send a request, and wait for the one message that answers it.

        Raises:
            ChildStopped: the child is gone.
            ChildBug: its program raised what nobody foresaw.
            GemmaEdgeError: what its program raised.
        """
        self.send(header, *parts)
        return self.receive_answer()

    def receive_answer(self, seconds: float | None = None) -> ChildMessage:
        """The one message that answers the oldest request, waited for as in ``receive``. Raises
        like ``call``."""
        reply = self.receive(seconds)
        if reply is not None and self.receive() is not None:
            self._give_up("more than one answer")
        return reply or ChildMessage({})

    def stream(self, header: Mapping[str, Any], *parts: Buffer) -> Iterator[ChildMessage]:
        """Send a request; its answer, message by message. Raises like ``call``."""
        self.send(header, *parts)
        while (reply := self.receive()) is not None:
            yield reply

    def send(self, header: Mapping[str, Any], *parts: Buffer) -> None:
        """Send a request. A child that is gone shows at the next ``receive``."""
        self._send(header, parts)

    def ask_apart(self, header: Mapping[str, Any], *parts: Buffer) -> "Exchange":
        """Send a request whose answer is received apart from others."""
        inbox = _Inbox(self._lock)
        return Exchange(self, self._send(header, parts, inbox), inbox)

    def _send(
        self, header: Mapping[str, Any], parts: Sequence[Buffer], inbox: "_Inbox | None" = None
    ) -> int:
        with self._lock:
            self._number = number = self._number + 1
            self._unanswered += 1
            if inbox is not None:
                self._apart[number] = inbox
        with self._clock(self._limits.seconds):
            self._writer.send(REQUEST, number, header, parts)
        return number

    def receive(self, seconds: float | None = None) -> ChildMessage | None:
        """The next message, or None where an answer ends. At most ``seconds`` are waited, without
        them as long as the limits say. Raises like ``call``."""
        return self._receive(self._in_order, seconds)

    def _receive(self, inbox: "_Inbox", seconds: float | None = None) -> ChildMessage | None:
        try:
            with self._clock(self._limits.seconds if seconds is None else seconds):
                frame = self._take(inbox)
        except EOFError:
            if self._is_left:
                raise ChildStopped(Death("crash", "it was left")) from None
            raise ChildStopped(self._find_death()) from None
        except Malformed as error:
            self._give_up(str(error))
        except BaseException:  # in the middle of a message: nothing fits any more
            self.close()
            raise
        if frame.kind == REPLY:
            return ChildMessage(frame.header, frame.parts)
        with self._lock:
            self._apart.pop(frame.number, None)
            if frame.kind != BUG:  # after one nobody knows what state it is in
                self._unanswered -= 1
        if frame.kind == END:
            return None
        raise _read_error(frame)

    def _take(self, inbox: "_Inbox") -> Frame:
        """The next frame for it. Of the threads that wait, one reads for all."""
        with self._lock:
            try:
                while self._is_read and not inbox.frames:
                    inbox.wait()
                if inbox.frames:
                    return inbox.frames.popleft()
                if self._is_over:
                    raise EOFError
                self._is_read = True
            finally:
                if not self._is_read:  # this one was woken to read, and leaves
                    self._wake_reader()
        return self._read_for_all(inbox)

    def _read_for_all(self, own: "_Inbox") -> Frame:
        """Put each frame where it belongs; the first for ``own``, and then another one reads."""
        is_over = True
        try:
            while True:
                frame = self._next()
                with self._lock:
                    target = self._apart.get(frame.number, self._in_order)
                    if target is own:
                        is_over = False
                        return frame
                    target.frames.append(frame)
                    target.wake()
        finally:
            with self._lock:
                self._is_read, self._is_over = False, self._is_over or is_over
                self._wake_reader()

    def _wake_reader(self) -> None:
        """Let one that waits read; where there is no more, it passes that on. It may be one that
        was woken before and has a frame: it calls this when it takes it."""
        for each in [self._in_order, *self._apart.values()]:
            if each.wake():
                break

    def interrupt(self) -> None:
        """Ask for an early end of the last request; its handler knows how."""
        self._writer.interject(INTERRUPT, self._number)

    def end(self) -> None:
        """End its process. Idempotent."""
        self.close()

    def leave(self) -> None:
        """Go without ending it: a child that stays lives on, any other ends by itself."""
        self._is_left = True
        self._closed.set()
        self._writer.stop()
        self._job.let_go()
        for stream in (self._stdin, self._stdout):  # it closes its ends when it sees the first
            with suppress(OSError):
                stream.close()
        # Nothing of it is left when it ends, where this process lives so long.
        threading.Thread(target=self._process.wait, daemon=True).start()

    def close(self) -> None:
        """End it and what it started, at once. Idempotent."""
        if self._is_left:
            return
        self._end(Death("crash", "it was ended"))
        self._closed.set()
        self._writer.stop()
        if self._reap(_KILL_SECONDS) is None:
            return
        self._listener.join(_KILL_SECONDS)
        for stream in (self._stdin, self._stdout):
            with suppress(OSError):  # a pipe that nobody reads any more
                stream.close()

    def _next(self) -> Frame:
        try:
            if not self._greeted:
                _skip_noise(self._stdout)
                self._greeted = True
            return read_frame(self._stdout, self._limits.message_bytes)
        except ValueError:
            if not self._closed.is_set():
                raise
            raise EOFError from None  # another thread closed it

    @contextmanager
    def _clock(self, seconds: float | None) -> Iterator[None]:
        """End the child where what is done within takes longer."""
        if seconds is None:
            yield
            return
        death = Death("timeout", f"it took longer than {seconds:g} s")
        timer = threading.Timer(seconds, self._end, (death,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _watch(self, most_bytes: int) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            if used_memory(self.pid) > most_bytes:
                self._end(Death("memory", f"out of memory: more than {render_bytes(most_bytes)}"))

    def _end(self, death: Death) -> None:
        self._death = self._death or death
        self._kill()

    def _give_up(self, why: str) -> NoReturn:
        self._end(Death("crash", f"it sent {why}"))
        raise ChildStopped(self._find_death())

    def _kill(self) -> None:
        """The child with what it started: its group, its job on Windows."""
        if self._reaped:  # the number may be another's by now
            return
        with suppress(OSError):  # it is gone
            if sys.platform == "win32":
                self._job.close()
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self, seconds: float) -> int | None:
        """Its exit status, None if it does not end in time."""
        import subprocess

        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._kill()  # what it started and left behind
        self._reaped = True
        return status

    def _find_death(self) -> Death:
        """Why there is nothing more to read; afterwards nothing of it is left."""
        status = self._reap(_DEATH_SECONDS)
        if status is None:
            self._end(Death("crash", "it stopped answering"))
        else:
            self._listener.join(_KILL_SECONDS)
            lines = self._tail.decode("utf-8", "replace").splitlines()
            self._death = self._death or parse_death(status, lines)
        self.close()
        assert self._death is not None
        return self._death

    def _keep_tail(self) -> None:
        """What native code writes before it dies says why."""
        assert self._process.stderr
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), 1 << 16):
                self._tail = (self._tail + data)[-_TAIL_BYTES:]


class _Inbox:
    """Frames for one who waits; all of a child share its lock, which is held at each call."""

    def __init__(self, lock: threading.Lock) -> None:
        self.frames: deque[Frame] = deque()
        self._ready = threading.Condition(lock)
        self._waits = 0

    def wait(self) -> None:
        self._waits += 1
        try:
            self._ready.wait()
        finally:
            self._waits -= 1

    def wake(self) -> bool:
        """Whether somebody waits."""
        self._ready.notify()
        return self._waits > 0


class Exchange:
    """A request and its answer, apart from others."""

    def __init__(self, child: Child, number: int, inbox: _Inbox) -> None:
        self._child, self._number, self._inbox = child, number, inbox

    def receive(self) -> ChildMessage | None:
        """Like ``Child.receive``."""
        return self._child._receive(self._inbox)

    def interrupt(self) -> None:
        """Ask for its early end, like ``Child.interrupt``."""
        self._child._writer.interject(INTERRUPT, self._number)


def _start(
    program: str, arguments: Sequence[str], variables: dict[str, str], trusted: bool
) -> "subprocess.Popen[bytes]":
    import subprocess

    own = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(own)
    if trusted:
        folders = [package, *filter(None, sys.path), os.getcwd()]
    else:
        folders = [package, *without_working_folder_in_path(sys.path, package)]
        variables = without_working_folder(variables)
    python = sys.executable
    base = getattr(sys, "_base_executable", python)
    if sys.platform == "win32" and base != python:
        # The Python of an environment starts another process; multiprocessing goes past it so.
        variables["__PYVENV_LAUNCHER__"], python = python, base
    boot = [_BOOT, os.pathsep, os.pathsep.join(folders), program, *arguments]
    try:
        return subprocess.Popen(
            [python, *(() if trusted else _ISOLATED), "-c", *boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            # ggml, and loaders, look for libraries where they are: not among a stranger's files.
            cwd=None if trusted else own,
            start_new_session=True,  # Ctrl-C at the terminal is not for it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise GemmaEdgeError(
            f"a process for {program} could not be started ({error.strerror or error})",
            hint="free some memory, or try again",
        ) from None


def about_devices(variables: Mapping[str, str]) -> list[str]:
    """The names of those that say where and how is computed."""
    return list(filter(re.compile(_DEVICE_VARIABLES).fullmatch, variables))


def passed_on(variables: Mapping[str, str], devices: bool) -> list[str]:
    """The names of those that a child gets, with ``devices`` those of accelerators too."""
    wanted = re.compile(_VARIABLES)
    if devices:
        wanted = re.compile(f"{_VARIABLES}|{_DEVICE_VARIABLES}")
    secret, in_value = re.compile(_SECRETS), re.compile(_SECRET_VALUES)
    return [
        name
        for name, value in variables.items()
        if wanted.fullmatch(name) and not secret.search(name) and not in_value.search(value)
    ]


_MOST_IDLE = 2
_IDLE_SECONDS = 20.0


class Spares:
    """Idle children of one program, kept for whoever needs one next: many files pay for one start.
    ``begin`` starts one before it is needed. Those that nobody needs for a while are ended."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start, self._lock = start, threading.Lock()
        self._idle: dict[Child, threading.Timer] = {}
        self._is_used = self._is_over = False

    def begin(self) -> None:
        """Start one now, if none waits. That it cannot be started shows where it is needed."""
        if not self._idle:
            with suppress(GemmaEdgeError):
                self._keep(self._start())

    @contextmanager
    def borrow(self) -> Iterator[Child]:
        """A child for one file. One that has not answered all that it was asked is ended.

        Raises:
            GemmaEdgeError: none can be started.
        """
        child = self._take() or self._start()
        try:
            yield child
        finally:
            self._keep(child)

    def close(self) -> None:
        """End those that wait."""
        while child := self._take():
            child.close()

    def _finish(self) -> None:
        """This process ends: no thread can be started any more that would end an idle child."""
        self._is_over = True
        self.close()

    def _take(self) -> Child | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                child, timer = self._idle.popitem()
            timer.cancel()
            if child.is_idle:
                return child
            child.close()

    def _keep(self, child: Child) -> None:
        timer = threading.Timer(_IDLE_SECONDS, self._drop, (child,))
        timer.daemon = True
        with self._lock:
            kept = child.is_idle and len(self._idle) < _MOST_IDLE and not self._is_over
            if kept:
                self._idle[child] = timer
            if not self._is_used:
                self._is_used = True
                atexit.register(self._finish)
        if kept:
            timer.start()
        else:
            child.close()

    def _drop(self, child: Child) -> None:
        with self._lock:
            found = self._idle.pop(child, None)
        if found is not None:
            child.close()


def _skip_noise(stream: IO[bytes]) -> None:
    """Up to the greeting.

    Raises:
        EOFError: there is none.
        Malformed: there is too much before it.
    """
    seen = bytearray()
    while not seen.endswith(_GREETING):
        if len(seen) > _MAX_NOISE_BYTES:
            raise Malformed("what is no message")
        seen += _read(stream, 1)


def _read_error(frame: Frame) -> Exception:
    """What the child's program raised."""
    if frame.kind == BUG:
        bug = ChildBug(frame.header.get("error"))
        bug.__cause__ = _Trace(frame.header.get("trace"))
        return bug
    name, message, hint = (str(frame.header.get(key)) for key in ("error", "message", "hint"))
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, GemmaEdgeError)):
        kind = GemmaEdgeError
    return kind(message, hint=hint)


def used_memory(pid: int) -> int:
    """Bytes of memory that a process has in use; 0 where that is not known."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:  # it is gone
            return 0
    if sys.platform == "darwin":
        import ctypes

        # struct rusage_info_v0 of <sys/resource.h>: a UUID, then ten numbers of 64 bits
        numbers = (ctypes.c_uint64 * 12)()
        asked = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pid_rusage(pid, 0, numbers)
        return numbers[9] if asked == 0 else 0  # ri_phys_footprint
    return _committed_memory(pid) if sys.platform == "win32" else 0


_LOOK_SECONDS = 0.05
Said = TypeVar("Said")


class Once(Generic[Said]):
    """A question that is asked once. ``begin`` asks it in a thread; whoever needs the answer waits
    for it, and has what was raised."""

    def __init__(self, ask: Callable[[], Said]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._answers: list[Said] = []
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Ask it now. Again, or after the answer, it is nothing."""
        with self._lock:
            if self._thread is None and not self._answers:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def wait(self, seconds: float = math.inf) -> bool:
        """Whether the thread comes to its end within these seconds."""
        ends = time.monotonic() + seconds
        while self._thread is not None and self._thread.is_alive():
            if time.monotonic() >= ends:
                return False
            self._thread.join(_LOOK_SECONDS)  # so that Ctrl-C is noticed
        return True

    def __call__(self) -> Said:
        """The answer. Raises what the question raises."""
        self.wait()
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._answers:
                self._answers.append(self._ask())
            return self._answers[0]

    @property
    def failed(self) -> bool:
        """Whether the thread came to its end without an answer."""
        return self._error is not None

    def again(self) -> Said:
        """The answer now. The one that is kept stays as it is."""
        return self._ask()

    def _run(self) -> None:
        try:
            self._answers.append(self._ask())
        except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
            self._error = error


# ------------------------------------------------------------------------------ how it ended

# Windows' exit statuses (ntstatus.h)
_STATUSES = {
    0xC0000005: "access violation",
    0xC0000017: "out of memory",
    0xC000001D: "an instruction that this processor refuses",
    0xC00000FD: "stack overflow",
    0xC0000409: "abort",
}
_ILLEGAL = 0xC000001D
# What llama.cpp, ggml's backends, the C++ library and Python say when memory runs out.
_MEMORY_WORDS = (
    r"(?i:failed to allocate|unable to allocate|memory allocation of|out ?of ?(?:device ?)?memory"
    r"|cudaMalloc failed|ErrorOutOf(?:Device|Host)Memory|insufficient memory|bad_alloc|MemoryError)"
)
_TELLING_WORDS = r"(?i:GGML_ASSERT|GGML_ABORT|what\(\)|error)"
_LINE_CHARS = 200


def is_memory(text: str) -> bool:
    """Whether these words say that memory ran out."""
    return bool(re.search(_MEMORY_WORDS, text))


def parse_death(status: int, lines: Sequence[str]) -> Death:
    """From the exit status and the last lines of stderr.

    SIGKILL without a word counts as memory: it is what the kernel sends when there is none left.
    """
    if status == -_number("SIGILL") or status % (1 << 32) == _ILLEGAL:
        return Death("instruction", _STATUSES[_ILLEGAL], status)
    if status == -_number("SIGXCPU"):
        return Death("timeout", "it took too long", status)
    said = _telling(lines)
    if is_memory(said):
        return Death("memory", f"out of memory: {said}", status)
    if status == -_number("SIGKILL"):
        killed = "killed, by the system when memory runs out or by somebody"
        return Death("memory", killed, status)
    ended = _STATUSES.get(status, f"status {status}") if status >= 0 else _signal_name(-status)
    return Death("crash", f"{ended}: {said}" if said else ended, status)


def _telling(lines: Sequence[str]) -> str:
    """The line that says most, shortened; "" where none does."""
    said = [line.strip() for line in lines if line.strip() and line.strip().isprintable()]
    if not said:
        return ""
    memory = [line for line in said if is_memory(line)]
    traced = any(line.startswith("Traceback ") for line in said)
    telling = [line for line in said if not traced and re.search(_TELLING_WORDS, line)]
    return (memory or telling or said[-1:])[0][:_LINE_CHARS]


def _number(name: str) -> int:
    """A signal's number; a number that no status has where the system lacks it."""
    return int(getattr(signal, name, 1 << 20))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --------------------------------------------------------------------------------- the child


class ChildRequest:
    """A question, as the child's handler sees it. ``tell`` sends the header of a message at once,
    for a library that calls back in the middle of a long call; ``parents`` are all who may ask."""

    def __init__(
        self,
        number: int,
        header: dict[str, Any],
        parts: tuple[bytes, ...],
        writer: Writer | None = None,
        parents: "Parents | None" = None,
    ) -> None:
        self.number, self.header, self.parts = number, header, parts
        self.writer, self.parents = writer or Writer(-1), parents
        self._lock = threading.Lock()
        self._interrupted = self._answered = False
        self._stop: Callable[[], None] | None = None

    def tell(self, header: dict[str, Any]) -> None:
        """Send the header of a message now."""
        self.writer.send(REPLY, self.number, header, ())

    def on_interrupt(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called, from another thread, when the parent asks for an early end; at
        once where it did so already."""
        with self._lock:
            self._stop = stop
            if self._interrupted:
                stop()

    def interrupt(self) -> None:
        """The parent asks for an early end."""
        with self._lock:
            self._interrupted = True
            if self._stop is not None and not self._answered:
                self._stop()

    def finish(self) -> None:
        """It is answered: an interrupt comes too late now."""
        with self._lock:
            self._answered = True


Handler = Callable[[ChildRequest], Iterable[ChildMessage | None]]
"""Answers a request. Where it gives None, other requests may be answered before it goes on; one
that never does is answered in one go."""


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """The child: what ``Child`` starts, and nothing else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it interrupts in words
    leave_working_folder_alone()
    stream, writer = os.fdopen(os.dup(0), "rb"), os.dup(1)
    silent = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silent, 0)
    os.close(silent)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    os.write(writer, _GREETING)
    limits = Limits(**read_frame(stream, 1 << 16).header)
    _set_limits(limits)
    module, _, function = program.partition(":")
    handler: Handler = getattr(import_module(module), function)(*arguments)
    parents = Parents(handler, limits.cpu_seconds)

    def close() -> None:
        stream.close()
        os.close(writer)

    threading.Thread(
        target=parents.listen, args=(stream, Writer(writer), close), daemon=True
    ).start()
    parents.serve()


class Parents:
    """Whom a child answers: the one that started it and, of a child that stays (``standby.py``),
    those that come later, one of them at a time. ``left`` is called when it is gone and nothing is
    done for it any more; without it that is the end of the process, whatever a library is doing."""

    def __init__(self, handler: Handler, cpu_seconds: int | None = None) -> None:
        self.left: Callable[[], None] | None = None
        self.is_broken = False  # something was raised that nobody foresaw
        self._handler, self._cpu_seconds = handler, cpu_seconds
        self._waiting: SimpleQueue[ChildRequest | None] = SimpleQueue()  # None: it is gone
        self._unanswered: dict[int, ChildRequest] = {}
        self._close: Callable[[], None] = lambda: None

    def listen(self, stream: IO[bytes], writer: Writer, close: Callable[[], None]) -> None:
        """Take the messages of one in, as long as it is there; then ``close`` both."""
        try:
            self._take_in(stream, writer)
        except (EOFError, OSError, Malformed):
            pass
        finally:
            if self.left is None:
                os._exit(0)  # no atexit, no destructors: a driver may hang in them, a decoder crash
            writer.stop()
            for each in list(self._unanswered.values()):
                each.interrupt()
            self._close = close
            self._waiting.put(None)

    def _take_in(self, stream: IO[bytes], writer: Writer) -> NoReturn:
        last, early = 0, set[int]()
        while True:
            frame = read_frame(stream, sys.maxsize)
            if frame.kind == INTERRUPT:
                found = self._unanswered.get(frame.number)
                if found is not None:
                    found.interrupt()
                elif frame.number > last:  # it has overtaken its request
                    early.add(frame.number)
                continue
            last = frame.number
            request = ChildRequest(last, frame.header, frame.parts, writer, self)
            if last in early:
                early.remove(last)
                request.interrupt()
            self._unanswered[last] = request
            self._waiting.put(request)

    def serve(self) -> NoReturn:
        """Answer all that is asked."""
        running: deque[_Answer] = deque()
        is_gone = False
        while True:
            while not is_gone and not (running and self._waiting.empty()):
                request = self._waiting.get()
                is_gone = request is None
                if request is not None:
                    running.append(_Answer(self._handler, request, self._cpu_seconds))
            if running:
                self._go_on(running)
            elif is_gone:
                is_gone = False
                self._close()
                if self.left is not None:
                    self.left()

    def _go_on(self, running: "deque[_Answer]") -> None:
        answer = running.popleft()
        if answer.go_on():
            running.append(answer)
            return
        answer.request.finish()
        self._unanswered.pop(answer.request.number, None)
        self.is_broken = self.is_broken or answer.is_bug
        answer.end()


class _Answer:
    """An answer that is being given."""

    def __init__(self, handler: Handler, request: ChildRequest, cpu_seconds: int | None) -> None:
        self.request = request
        self._handler, self._cpu_seconds = handler, cpu_seconds
        self._messages: Iterator[ChildMessage | None] | None = None
        self._last: tuple[int, dict[str, Any]] = (END, {})

    def go_on(self) -> bool:
        """Whether it is not over yet."""
        request = self.request
        if self._messages is None and request.writer.is_stopped:  # whoever asked is gone
            return False
        try:
            _restart_cpu_clock(self._cpu_seconds)
            if self._messages is None:
                self._messages = iter(self._handler(request))
            for message in self._messages:
                if message is None:
                    return True
                request.writer.send(REPLY, request.number, *message)
                _restart_cpu_clock(self._cpu_seconds)
        except GemmaEdgeError as error:
            names = (each.__name__ for each in type(error).__mro__)
            known = next(name for name in names if hasattr(errors, name))
            found = {"error": known, "message": error.message, "hint": error.hint}
            self._last = (ERROR, found)
        except MemoryError:
            os.write(2, b"MemoryError\n")
            os._exit(1)
        except Exception as error:  # noqa: BLE001  (told to the parent, where it looks like one)
            from traceback import format_exc

            found = {"error": f"{type(error).__name__}: {error}", "trace": format_exc()}
            self._last = (BUG, found)
        return False

    @property
    def is_bug(self) -> bool:
        return self._last[0] == BUG

    def end(self) -> None:
        kind, header = self._last
        self.request.writer.send(kind, self.request.number, header, ())


def skip_start(package: str) -> None:
    """Of a package import only what is asked for, in this process: its submodules, but nothing of
    what it loads for itself (`llama_cpp` takes four times as long with it). For a child program,
    whose process is its own.

    Raises:
        ImportError: it is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"there is no package {package}")
    hollow = type(sys)(package)
    hollow.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = hollow


def _set_limits(limits: Limits) -> None:
    """Limits on this process where the platform has them; a crash writes no core file."""
    if sys.platform == "win32":  # the parent holds it in a job
        return
    import resource

    wanted = {"RLIMIT_CORE": 0}
    if limits.memory_bytes is not None:
        wanted["RLIMIT_AS"] = limits.memory_bytes
    if not limits.may_write_files:
        wanted["RLIMIT_FSIZE"] = 0
    for name, value in wanted.items():
        with suppress(AttributeError, ValueError, OSError):  # a system that lacks it
            number = getattr(resource, name)
            _, hard = resource.getrlimit(number)
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (most, hard))


def _restart_cpu_clock(cpu_seconds: int | None) -> None:
    """So many seconds of the processor from now on."""
    if cpu_seconds is None or sys.platform == "win32":  # the parent's clock is the only one
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


# ----------------------------------------------------------------------------------- Windows

_JOB_LIMITS = 9  # JobObjectExtendedLimitInformation (winnt.h), and flags of LimitFlags
_PROCESS_MEMORY, _DIE_ON_UNHANDLED_EXCEPTION, _KILL_ON_CLOSE = 0x100, 0x400, 0x2000


_QUERY, _READ = 0x1000, 0x10  # PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_VM_READ


class _WindowsJob:
    """A handle of a job; its end is the end of what is in it, also when this process dies.
    ``is_whole`` is whether the child is in it, with its limits; elsewhere there is no need."""

    def __init__(self, handle: int, is_whole: bool = True) -> None:
        self._handle, self.is_whole = handle, is_whole

    def let_go(self) -> None:
        """What is in it may outlive this process."""
        if sys.platform == "win32" and self._handle:
            import ctypes

            limits, kernel = _limits_of_job(), ctypes.WinDLL("kernel32")
            limits.flags = _DIE_ON_UNHANDLED_EXCEPTION
            kernel.SetInformationJobObject(
                ctypes.c_void_p(self._handle), _JOB_LIMITS, ctypes.byref(limits),
                ctypes.sizeof(limits),
            )  # fmt: skip

    def close(self) -> None:
        """End it. Idempotent."""
        handle, self._handle = self._handle, 0
        if sys.platform == "win32" and handle:
            import ctypes

            ctypes.WinDLL("kernel32").CloseHandle(ctypes.c_void_p(handle))


def _limits_of_job() -> Any:
    """Empty ones, to be filled in."""
    import ctypes

    class JobLimits(ctypes.Structure):
        """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, with the two structures in it laid out."""

        _fields_ = (
            ("process_time", ctypes.c_int64),
            ("job_time", ctypes.c_int64),
            ("flags", ctypes.c_uint32),
            ("working_sets", ctypes.c_size_t * 2),
            ("processes", ctypes.c_uint32),
            ("affinity", ctypes.c_size_t),
            ("priority", ctypes.c_uint32 * 2),
            ("input_output", ctypes.c_uint64 * 6),
            ("process_memory", ctypes.c_size_t),
            ("memory", ctypes.c_size_t * 3),
        )

    return JobLimits()


def _contain(process: "subprocess.Popen[bytes]", memory_bytes: int | None) -> _WindowsJob:
    """Put a child into a job that limits its memory and ends with this process."""
    if sys.platform != "win32":
        return _WindowsJob(0)
    import ctypes

    kernel = ctypes.WinDLL("kernel32")
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
    limits = _limits_of_job()
    limits.flags = _KILL_ON_CLOSE | _DIE_ON_UNHANDLED_EXCEPTION
    if memory_bytes is not None:
        limits.flags |= _PROCESS_MEMORY
        limits.process_memory = memory_bytes
    size = ctypes.sizeof(limits)
    is_set = kernel.SetInformationJobObject(job, _JOB_LIMITS, ctypes.byref(limits), size)
    handle = ctypes.c_void_p(int(vars(process)["_handle"]))
    is_in = kernel.AssignProcessToJobObject(job, handle)
    return _WindowsJob(job.value or 0, bool(is_set and is_in))


def _committed_memory(pid: int) -> int:
    """What Windows promised a process."""
    if sys.platform != "win32":
        return 0
    import ctypes

    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS_EX (psapi.h)."""

        _fields_ = (
            ("size", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("sets_and_pools", ctypes.c_size_t * 8),
            ("private", ctypes.c_size_t),
        )

    kernel = ctypes.WinDLL("kernel32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.OpenProcess(_QUERY | _READ, False, pid))
    counters = Counters(size=ctypes.sizeof(Counters))
    kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    kernel.CloseHandle(process)
    return int(counters.private)
