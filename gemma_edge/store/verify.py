"""sha256 of files of many gigabytes: as fast as sha256sum, and never twice without need."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from gemma_edge.store.lock import write_atomically

_READ_BYTES = 1 << 20  # hashlib lets other threads run above 2 KiB; 1 MiB makes reads cheap


def hash_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The file's sha256 in hex; ``on_bytes`` is told how many bytes are done.

    Raises:
        OSError: it cannot be read.
    """
    digest, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as stream:
        _read_ahead(stream.fileno())
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if on_bytes is not None:
                on_bytes(done)
    return digest.hexdigest()


def _read_ahead(descriptor: int) -> None:
    """Tells the system that all of it is read in order, where it can be told."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)


class Behind(threading.Thread):
    """Hashes a growing file behind its writer, so that nothing is read again at the end.

    The bytes come from the page cache; a part from an earlier run is hashed on the way.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True, name="sha256")
        self._path, self._digest = path, hashlib.sha256()
        self._available, self._ended = 0, False
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self.done_bytes = 0

    def written(self, end_bytes: int) -> None:
        """The file is good up to here."""
        with self._changed:
            self._available = end_bytes
            self._changed.notify()

    def abandon(self) -> None:
        """Nobody wants the hash; the file is closed when this returns."""
        with self._changed:
            self._ended, self._available = True, 0
            self._changed.notify()
        self.join()

    def finish(self, on_bytes: Callable[[int], None]) -> str:
        """Wait for the rest; the sha256 in hex.

        Raises:
            OSError: the file could not be read.
        """
        with self._changed:
            self._ended = True
            self._changed.notify()
        while self.is_alive():
            self.join(0.1)
            on_bytes(self.done_bytes)
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def run(self) -> None:
        """The thread."""
        try:
            with self._path.open("rb", buffering=0) as stream:
                self._follow(stream.readinto)
        except OSError as error:
            self._error = error

    def _follow(self, read_into: Callable[[memoryview], int | None]) -> None:
        buffer = memoryview(bytearray(_READ_BYTES))
        while True:
            with self._changed:
                while self.done_bytes >= self._available and not self._ended:
                    self._changed.wait()
                available = self._available
            if self.done_bytes >= available:
                return
            count = read_into(buffer[: min(_READ_BYTES, available - self.done_bytes)])
            if not count:
                raise OSError(f"{self._path.name} became shorter while it was written")
            self._digest.update(buffer[:count])
            self.done_bytes += count


class CheckedHashes:
    """Which hash a file had when it was last read: by path, size, time of change and inode.

    A file that looks the same is not hashed again. It lives in ``data_dir``; losing it costs time
    and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()

    def get(self, path: Path) -> str | None:
        """The hash, if the file still looks as it did."""
        entry = self._read().get(str(path.resolve()))
        try:
            if not isinstance(entry, list) or entry[:-1] != _look(path):
                return None
        except OSError:
            return None
        return entry[-1] if isinstance(entry[-1], str) else None

    def put(self, path: Path, sha256: str) -> None:
        """Remember it. Not being able to is no error: it is hashed again then."""
        with self._guard:
            try:
                entries = {key: entry for key, entry in self._read().items() if os.path.exists(key)}
                entries[str(path.resolve())] = [*_look(path), sha256]
                write_atomically(self._path, json.dumps(entries, indent=1, sort_keys=True) + "\n")
            except (OSError, UnicodeEncodeError):
                return

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _look(path: Path) -> list[object]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def hash_once(
    path: Path, checked: CheckedHashes, on_bytes: Callable[[int], None] | None = None
) -> str:
    """The file's sha256, from memory where it looks unchanged.

    Raises:
        OSError: it cannot be read.
    """
    known = checked.get(path)
    if known is None:
        known = hash_file(path, on_bytes)
        checked.put(path, known)
    return known
