"""What the engine's process and its parent say to each other: length-prefixed pickles over pipes.

Both ends are this program, so pickle is safe here: nobody else holds the pipes. Every call has a
number; what comes back belongs to the last call, since one is answered at a time.
"""

import os
import struct
import threading
from dataclasses import dataclass
from typing import IO, Any, Literal

from gemma_edge.engine.album import Album

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
