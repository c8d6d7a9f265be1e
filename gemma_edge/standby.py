"""A child process on standby: it stays when the process that started it ends, with all that it has
loaded, and another process of the same person finds it.

It listens on a socket in a folder that only its owner may open (a named pipe with a secret on
Windows, whose name and secret are in a file there), and makes sure that who comes is its owner. The
first message says what is wanted: ``use`` it, one process at a time; its ``status``; its end
(``stop``). What follows ``use`` are the messages of ``isolation.py``, as through the pipes before.
It ends by itself when its time is over, when memory gets scarce, and when its socket is gone.
Nothing that comes through is ever executed.
"""

import errno
import json
import os
import re
import signal
import stat
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol
from zlib import crc32

from gemma_edge.disk import create
from gemma_edge.isolation import (
    REPLY,
    REQUEST,
    Child,
    Death,
    Frame,
    Limits,
    Malformed,
    Parents,
    Writer,
    read_frame,
)

if TYPE_CHECKING:
    import socket

ANSWER_SECONDS = 2.0  # it answers in a millisecond; one that was stopped (SIGSTOP) never does
END_SECONDS = 10.0  # to be gone; a driver may take long to give memory back
LOOK_SECONDS = 5.0  # between two looks at the memory that is left
_POLL_SECONDS = 0.01
_MESSAGE_BYTES = 4 << 20  # of what is said before it is used; a plan has some 20 KiB
_MOST_LETTERS = 90  # of a socket's path: 103 on macOS, 107 on Linux (sun_path)
_SUFFIX = ".sock" if hasattr(os, "getuid") else ".pipe"
_NAME = re.compile(rf"([0-9a-f]{{16}})\.([0-9]{{1,10}})\{_SUFFIX}")


class Unsafe(Exception):
    """Others could get at it; the text says how, for a person."""


# ------------------------------------------------------------------------------------- where


def secure(folder: Path, *, make: bool = False) -> bool:
    """Whether the folder is there and only its owner may open it; ``make`` makes it.

    Raises:
        Unsafe: others may open it, or it is no folder of this person's.
        OSError: it cannot be made.
    """
    if make:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise Unsafe(f"{folder} is no folder")
    if hasattr(os, "getuid"):
        if found.st_uid != os.getuid():
            raise Unsafe(f"{folder} belongs to somebody else")
        if found.st_mode & 0o077:
            raise Unsafe(f"others may open {folder}; chmod 700 mends it")
    return True


def folder_of(runtime: Path | None, own: Path, temporary: Path) -> Path:
    """Where the sockets are: in the ``runtime`` folder of this person's session, which is gone with
    it, else in our ``own``; where that has too long a path for a socket, in one of its own in the
    ``temporary``."""
    folder = runtime / "gemma-edge" if runtime is not None else own / "standby"
    room = len(os.fsencode(folder)) + 1 + 16 + 1 + 10 + len(_SUFFIX)
    if hasattr(os, "getuid") and room > _MOST_LETTERS:
        mark = crc32(os.fsencode(folder))
        return temporary / f"gemma-edge-{os.getuid()}-{mark:08x}"
    return folder


def sockets(folder: Path, key: str = "") -> list[Path]:
    """Those of the children on standby, the newest first; with a ``key`` its own alone. Nothing
    where the folder is not safe."""
    try:
        if not secure(folder):
            return []
        entries = [each for each in os.scandir(folder) if _NAME.fullmatch(each.name)]
        entries.sort(key=lambda each: each.stat(follow_symlinks=False).st_mtime_ns, reverse=True)
    except (OSError, Unsafe):
        return []
    return [Path(each.path) for each in entries if each.name.startswith(key)]


# ------------------------------------------------------------------------------- connections


class Connection(Protocol):
    """Two ends that take and give messages."""

    stream: IO[bytes]
    writer: Writer

    def wait(self, seconds: float) -> None:
        """How long the other end may take from here on; 0 is for ever."""

    def close(self) -> None:
        """Wakes whoever reads. Idempotent."""


class _SocketConnection:
    """A Unix socket whose other end belongs to this person."""

    def __init__(self, own: "socket.socket") -> None:
        if not _is_own(own):
            own.close()
            raise PermissionError(errno.EPERM, "the other end belongs to somebody else")
        self._socket = own
        self.wait(ANSWER_SECONDS)
        self.stream: IO[bytes] = own.makefile("rb")
        self.writer = Writer(own.fileno())

    def wait(self, seconds: float) -> None:
        import socket

        whole, rest = divmod(seconds, 1)
        limit = struct.pack("ll", int(whole), int(rest * 1e6))  # struct timeval
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, direction, limit)

    def close(self) -> None:
        self.writer.stop()
        with suppress(OSError):
            self._socket.shutdown(2)
        with suppress(OSError, ValueError):
            self.stream.close()
        self._socket.close()


def _is_own(own: "socket.socket") -> bool:
    """Whether the process at the other end belongs to this person; where the system does not say,
    the folder is what keeps others out."""
    import socket

    if hasattr(socket, "SO_PEERCRED"):  # Linux: struct ucred
        said = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return bool(struct.unpack("3i", said)[1] == os.getuid())
    if sys.platform == "darwin":  # struct xucred; SOL_LOCAL is 0, LOCAL_PEERCRED 1 (sys/un.h)
        return bool(struct.unpack_from("2I", own.getsockopt(0, 1, 76))[1] == os.getuid())
    return True


class _PipeStream:
    """What ``read_frame`` reads, of messages."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._rest = pipe, b""
        self.seconds: float | None = ANSWER_SECONDS

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        while len(self._rest) < size:
            try:
                if not self._pipe.poll(self.seconds):
                    break
                self._rest += self._pipe.recv_bytes()
            except (EOFError, OSError):
                break
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Nothing is read any more."""


class _PipeWriter(Writer):
    """Writes into a pipe that takes messages."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(0)
        self._pipe = pipe

    def _write(self, data: bytes | memoryview) -> None:
        with suppress(OSError):
            if data and not self.is_stopped:
                self._pipe.send_bytes(bytes(data))


class _PipeConnection:
    """A named pipe of Windows whose other end knows the secret."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._stream = _PipeStream(pipe)
        self.stream: IO[bytes] = self._stream  # type: ignore[assignment]
        self.writer: Writer = _PipeWriter(pipe)

    def wait(self, seconds: float) -> None:
        self._stream.seconds = seconds or None

    def close(self) -> None:
        self.writer.stop()
        with suppress(OSError):
            self._pipe.close()


class _SocketListener:
    """Waits for others on a Unix socket."""

    def __init__(self, path: Path) -> None:
        import socket

        self._socket = socket.socket(socket.AF_UNIX)
        with suppress(FileNotFoundError):
            path.unlink()  # of a process that had this number before
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(8)

    def accept(self) -> Connection:
        """The next one. Raises OSError: it was nobody, or somebody else."""
        return _SocketConnection(self._socket.accept()[0])


class _PipeListener:
    """Waits for others on a named pipe. ``address`` is one where there are no such pipes."""

    def __init__(self, path: Path, address: str = "") -> None:
        from multiprocessing.connection import Listener

        address = address or rf"\\.\pipe\gemma-edge-{os.urandom(16).hex()}"
        secret = os.urandom(32)
        self._listener = Listener(address, authkey=secret)
        with create(path, 0o600) as file:
            file.write(json.dumps({"address": address, "secret": secret.hex()}).encode())

    def accept(self) -> Connection:
        """The next one. Raises OSError: it was nobody, or somebody else."""
        from multiprocessing import AuthenticationError

        try:
            return _PipeConnection(self._listener.accept())
        except (EOFError, AuthenticationError):
            raise PermissionError(errno.EPERM, "the secret is another") from None


def _connect(path: Path) -> Connection:
    """To the child behind a socket. Raises OSError: nobody is there, or somebody else."""
    if path.suffix == ".pipe":
        from multiprocessing import AuthenticationError
        from multiprocessing.connection import Client

        try:
            said = json.loads(path.read_bytes())
            return _PipeConnection(Client(said["address"], authkey=bytes.fromhex(said["secret"])))
        except (ValueError, KeyError, TypeError, EOFError, AuthenticationError):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody is there") from None
    import socket

    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "it is no socket")
    own = socket.socket(socket.AF_UNIX)
    try:
        own.settimeout(ANSWER_SECONDS)  # for one that does not accept
        own.connect(str(path))
        own.settimeout(None)
    except OSError:
        own.close()
        raise
    return _SocketConnection(own)


# --------------------------------------------------------------------------------- who comes


class Status(NamedTuple):
    """A child on standby as it is now: ``about`` is what was said of it. ``ends_seconds`` is when
    it ends if nobody comes, from now; None for never, and while it is ``busy``."""

    path: Path
    pid: int
    busy: bool
    since: float
    ends_seconds: float | None
    about: Mapping[str, Any]


class _Asked(NamedTuple):
    connection: Connection
    status: Status


def _ask(path: Path, what: str, **more: Any) -> _Asked | None:
    """What it says; None where nobody answers. What a process that is gone left is removed."""
    try:
        connection = _connect(path)
    except OSError as error:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            with suppress(OSError):
                path.unlink()
        return None
    connection.writer.send(REQUEST, 0, {"ask": what, **more}, ())
    try:
        said = read_frame(connection.stream, _MESSAGE_BYTES).header
        ends = said["ends"]
        status = Status(
            path, int(said["pid"]), bool(said["busy"]), float(said["since"]),
            None if ends is None else float(ends), dict(said["about"]),
        )  # fmt: skip
    except (EOFError, OSError, Malformed, KeyError, TypeError, ValueError):
        connection.close()
        return None
    return _Asked(connection, status)


def statuses(folder: Path) -> Iterator[Status]:
    """All that are on standby, the newest first; those that do not answer are left out."""
    for path in sockets(folder):
        if (asked := _ask(path, "status")) is not None:
            asked.connection.close()
            yield asked.status


def pids(folder: Path) -> list[int]:
    """Of all that are on standby, also of those that do not answer."""
    return [int(path.name.split(".")[1]) for path in sockets(folder)]


def stop(status: Status, *, busy: bool = False) -> bool:
    """End one and wait until it is gone, ``busy`` also where somebody uses it. Whether it is."""
    asked = _ask(status.path, "stop", busy=busy)
    if asked is None:
        return not status.path.exists()
    connection, now = asked
    try:
        if now.busy and not busy:
            return False
        connection.wait(END_SECONDS)
        with suppress(EOFError, OSError, Malformed):  # its end closes the connection
            read_frame(connection.stream, 0)
    finally:
        connection.close()
    return not status.path.exists()


class Standby(Child):
    """A child on standby that this process uses, as one that it started. ``about`` is what was said
    of it. ``close`` and ``leave`` are the same: it goes on to wait."""

    def __init__(self, asked: _Asked) -> None:
        self._begin(Limits())
        self._greeted = True
        self._connection, self._status = asked
        self._stdout, self._writer = self._connection.stream, self._connection.writer
        self.about = self._status.about
        weakref.finalize(self, self._connection.close)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._status.pid

    @property
    def is_idle(self) -> bool:
        """Whether it has answered all that it was asked."""
        ended = self._death is not None or self._closed.is_set()
        return not ended and not self._unanswered

    def leave(self) -> None:
        """Free it for others."""
        self.close()

    def close(self) -> None:
        """Free it for others; what it is answering ends early. Idempotent."""
        self._closed.set()
        self._connection.close()

    def end(self) -> None:
        """End its process, and wait until it is gone. Idempotent."""
        self.close()
        if self._status.path.exists():
            stop(self._status, busy=True)

    def _next(self) -> Frame:
        try:
            return super()._next()
        except OSError:  # it died, and something was on its way to it
            raise EOFError from None

    def _kill(self) -> None:
        self._connection.close()

    def _find_death(self) -> Death:
        self._death = self._death or Death("crash", "it was ended")
        self.close()
        return self._death


def use(
    folder: Path, key: str, fits: Callable[[Status], bool], *,
    seconds: float | None = None, private: bool = False,
) -> Standby | None:  # fmt: skip
    """One on standby under a key that nobody uses and that ``fits``; None where there is none.
    Nobody else is let in meanwhile. ``seconds`` is how long it waits
    afterwards, None as before; after a ``private`` use it ends."""
    for path in sockets(folder, key):
        known = _ask(path, "status")
        if known is None:
            continue
        known.connection.close()
        if not fits(known.status) or known.status.busy:
            continue
        asked = _ask(path, "use", seconds=_as_number(seconds), private=private)
        if asked is None:
            continue
        if not asked.status.busy:
            asked.connection.wait(0)
            return Standby(asked)
        asked.connection.close()
    return None


def _as_number(seconds: float | None) -> float | None:
    return -1.0 if seconds == inf else seconds


# --------------------------------------------------------------------------------- the child


class Waiting(NamedTuple):
    """How a child waits: where, under which key, for how many ``seconds`` (negative is for ever),
    and what it says ``about`` itself. ``is_scarce`` is whether others need its memory."""

    folder: Path
    key: str
    seconds: float
    about: Mapping[str, Any]
    is_scarce: Callable[[], bool]


class Host:
    """In a child: makes it stay, and lets others in. It is busy with the one that started it until
    that one is gone.

    Raises:
        Unsafe: others could get at the folder.
        OSError: there can be no socket in it.
    """

    def __init__(self, parents: Parents, how: Waiting) -> None:
        folder, key, seconds, about, self._is_scarce = how
        secure(folder, make=True)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup had it ignored
        self._parents, self._about = parents, about
        self._path = folder / f"{key}.{os.getpid()}{_SUFFIX}"
        listener = _SocketListener if _SUFFIX == ".sock" else _PipeListener
        self._listener: _SocketListener | _PipeListener = listener(self._path)
        self._own = self._path.lstat()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._busy, self._is_last, self._is_silent = True, False, False
        self._since = time.time()
        self._wait(seconds)
        parents.left = self._left
        for each in (self._accept, self._watch):
            threading.Thread(target=each, daemon=True).start()

    def _wait(self, seconds: float) -> None:
        self._seconds = inf if seconds < 0 else seconds
        self._ends = time.monotonic() + self._seconds

    def _left(self) -> None:
        """In the thread that answers: the one that used it is gone, and nothing is done for it."""
        if not self._is_silent:  # nobody reads what goes to stderr any more
            self._is_silent = True
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (1, 2):
                os.dup2(nothing, number)
            os.close(nothing)
        with self._lock:
            self._busy = False
            if self._is_last or self._parents.is_broken:
                self._end()
            self._wait(-1.0 if self._seconds == inf else self._seconds)
        self._changed.set()

    def _accept(self) -> NoReturn:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:  # somebody else, or one that is gone already
                time.sleep(_POLL_SECONDS)
                continue
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection: Connection) -> None:
        try:
            asked = read_frame(connection.stream, _MESSAGE_BYTES).header
        except (EOFError, OSError, Malformed):
            connection.close()
            return
        with self._lock:
            taken = asked.get("ask") == "use" and not self._busy
            connection.writer.send(REPLY, 0, self._status(), ())
            if taken:
                self._take(connection, asked)
            elif asked.get("ask") == "stop" and (not self._busy or asked.get("busy") is True):
                self._end()
        if taken:
            self._parents.listen(connection.stream, connection.writer, connection.close)
        else:
            connection.close()

    def _take(self, connection: Connection, asked: Mapping[str, Any]) -> None:
        self._busy = True
        self._is_last = self._is_last or asked.get("private") is True
        if isinstance(seconds := asked.get("seconds"), int | float):
            self._wait(seconds)
        connection.wait(0)

    def _status(self) -> dict[str, Any]:
        left = max(0.0, self._ends - time.monotonic())
        return {
            "pid": os.getpid(), "busy": self._busy, "since": self._since, "about": self._about,
            "ends": None if self._busy or left == inf else left,
        }  # fmt: skip

    def _watch(self) -> NoReturn:
        while True:
            with self._lock:
                if not self._busy and (self._is_over() or self._is_scarce()):
                    self._end()
                left = LOOK_SECONDS if self._busy else self._ends - time.monotonic()
            self._changed.wait(max(_POLL_SECONDS, min(LOOK_SECONDS, left)))
            self._changed.clear()

    def _is_over(self) -> bool:
        """Its time is, or nobody can find it any more."""
        return time.monotonic() >= self._ends or not self._is_there()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._path.lstat(), self._own)
        except OSError:
            return False

    def _end(self) -> NoReturn:
        if self._is_there():
            with suppress(OSError):
                self._path.unlink()
        os._exit(0)  # no destructors, as wherever a child ends


_LEAST_SHARE = 0.05  # of all memory
_LEAST_BYTES = 256 << 20
_STALLED = 10.0  # percent of the last 10 s in which some process waited for memory
_WARNING = 2  # of macOS: 1 normal, 2 warning, 4 critical
_LOADED = 95  # percent of Windows' memory that is in use


def memory_is_scarce() -> bool:
    """Whether other programs need the memory of one that waits; False where nobody says."""
    if sys.platform == "linux":
        return _is_scarce_on_linux(Path("/proc"))
    if sys.platform == "darwin":
        import ctypes

        level, size = ctypes.c_int(0), ctypes.c_size_t(4)
        ctypes.CDLL(None).sysctlbyname(
            b"kern.memorystatus_vm_pressure_level", ctypes.byref(level), ctypes.byref(size), None,
            ctypes.c_size_t(0),
        )  # fmt: skip
        return level.value >= _WARNING
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint32 * 16)(64)  # MEMORYSTATUSEX: its length, the load in percent, …
        ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))
        return status[1] >= _LOADED
    return False


def _is_scarce_on_linux(proc: Path) -> bool:
    with suppress(OSError, ValueError, KeyError):
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        sizes = {name: int(rest.split()[0]) << 10 for name, _, rest in
                 (line.partition(":") for line in lines) if rest.strip()}  # fmt: skip
        if sizes["MemAvailable"] < max(_LEAST_BYTES, _LEAST_SHARE * sizes["MemTotal"]):
            return True
    with suppress(OSError, ValueError, AttributeError):
        pressure = (proc / "pressure" / "memory").read_text("ascii")
        found = re.search(r"some avg10=([0-9.]+)", pressure)
        return found is not None and float(found[1]) >= _STALLED
    return False
