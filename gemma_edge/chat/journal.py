"""A conversation on disk: a folder with an append-only file, the pictures, and the KV cache.

    NAME/journal.jsonl    a record a line, written as it happens; nothing is ever taken out
    NAME/pictures/HASH    pixels, by their content
    NAME/cache.kv         what the engine held, to go on at once; can always be read again
    NAME/lock             held by the process that has the conversation open

Everything is for its owner alone. A process that is killed loses nothing that was written; what
must survive a loss of power too is synced: the question, and the end of an answer.
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_edge.chat.history import History, Record, Teller
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.saved import sync_folder
from gemma_edge.errors import GemmaEdgeError, InputError, UsageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

FILE, PICTURES, CACHE, LOCK = "journal.jsonl", "pictures", "cache.kv", "lock"
VERSION = 1


class Journal:
    """One conversation's folder. Use ``create`` or ``open``; close it.

    Nothing is on disk before the first record, so a conversation without a word leaves nothing.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._file = -1
        self._lock: BaseFileLock | None = None
        self._named = True

    @classmethod
    def create(
        cls, folder: Path, name: str = "", *, clock: Callable[[], float] = time.time
    ) -> "Journal":
        """A new conversation in ``folder``, called ``name``, or by date and time.

        Raises:
            UsageError: there is one of that name, or it is no name.
        """
        if name:
            check_name(name)
            if (folder / name).exists():
                raise UsageError(
                    f"there is a session `{name}` already", hint=f"gemma-edge chat --session {name}"
                )
            return cls(folder / name, clock)
        journal = cls(folder / time.strftime("%Y%m%d-%H%M%S", time.localtime(clock())), clock)
        journal._named = False
        return journal

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> "Journal":
        """A conversation that is there, to go on with; ``load`` reads it.

        Raises:
            InputError: there is none, or another process has it open.
        """
        if not (path / FILE).is_file():
            raise InputError(f"there is no session `{path.name}`", hint="gemma-edge sessions")
        journal = cls(path, clock)
        journal._start()
        return journal

    @property
    def name(self) -> str:
        """What ``--session`` takes."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether anything was written."""
        return (self.path / FILE).is_file()

    @property
    def kv_path(self) -> Path:
        """Where the engine keeps its cache of this conversation."""
        return self.path / CACHE

    def now(self) -> float:
        """In seconds since 1970, as records say it."""
        return round(self._clock(), 3)

    def load(self) -> Teller:
        """What was said so far, as a teller that goes on from there."""
        teller = Teller(self._picture)
        for record in read_records(self.path, teller.history.notes):
            teller.take(record)
        teller.end()
        return teller

    def append(self, record: Record, *, sync: bool = False) -> None:
        """Write a record; to all but pieces of an answer ``at`` is added, in seconds since 1970.

        Raises:
            GemmaEdgeError: the disk refuses, or another process has it open.
        """
        piece = record["type"] in ("said", "thought")
        stamped = record if piece else {**record, "at": self.now()}
        line = json.dumps(stamped, ensure_ascii=False) + "\n"
        try:
            self._start()
            _write(self._file, line.encode("utf-8", "surrogatepass"))
            if sync:
                os.fsync(self._file)
        except OSError as error:
            raise GemmaEdgeError(
                f"the session cannot be kept in {self.path}: {error.strerror or error}",
                hint="free some space, or --private",
            ) from None

    def keep_picture(self, picture: Picture) -> dict[str, Any]:
        """Write its pixels, once, and return what a record says of it.

        Raises:
            GemmaEdgeError: the disk refuses.
        """
        digest = picture.digest
        path = self.path / PICTURES / digest
        if not path.exists():
            try:
                self._start()
                path = self.path / PICTURES / digest
                path.parent.mkdir(exist_ok=True, mode=0o700)
                part = path.with_suffix(".part")
                number = _create(part)
                try:
                    _write(number, zlib.compress(picture.rgb, 1))
                    os.fsync(number)
                finally:
                    os.close(number)
                os.replace(part, path)
            except OSError as error:
                raise GemmaEdgeError(
                    f"{picture.name or 'an image'} cannot be kept in {path.parent}: "
                    f"{error.strerror or error}",
                    hint="free some space, or --private",
                ) from None
        return {"digest": digest, "width": picture.width, "height": picture.height,
                "name": picture.name, "lost": picture.lost,
                "whole_tokens": picture.whole_tokens}  # fmt: skip

    def _picture(self, record: Record) -> Picture | None:
        """A picture that was kept, if it is there and the same."""
        try:
            rgb = zlib.decompress((self.path / PICTURES / str(record["digest"])).read_bytes())
            picture = Picture(
                rgb, record["width"], record["height"], record.get("name", ""),
                record.get("lost", ""), record.get("whole_tokens", 0),
            )  # fmt: skip
        except (OSError, zlib.error, KeyError):
            return None
        return picture if picture.digest == record["digest"] else None

    def _start(self) -> None:
        """Take the folder for this process and open the file at its end. Idempotent."""
        if self._file >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stem, number = self.path.name, 1
        while not self._make_folder() and not self._named:  # begun in the same second as another
            number += 1
            self.path = self.path.with_name(f"{stem}-{number}")
        self._named = True
        self._lock = take_lock(self.path)
        path = self.path / FILE
        fresh = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o600)
        size = os.fstat(self._file).st_size
        if size:  # the last line may be half of one
            os.lseek(self._file, size - 1, os.SEEK_SET)
            if os.read(self._file, 1) != b"\n":
                _write(self._file, b"\n")
        if fresh:
            sync_folder(self.path)

    def _make_folder(self) -> bool:
        """Whether it is a new one."""
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def read_records(path: Path, notes: list[str]) -> Iterator[Record]:
    """The records of a session's folder. What is no record is noted; the last line may be half of
    one, where the machine stopped.

    Raises:
        InputError: it cannot be read.
    """
    try:
        lines = (path / FILE).read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"the session `{path.name}` cannot be read: {error.strerror}",
            hint="gemma-edge sessions",
        ) from None
    damaged = 0
    for line in filter(None, lines):
        try:
            record = json.loads(line.decode("utf-8", "surrogatepass"))
            if not isinstance(record, dict):
                raise ValueError
        except (ValueError, RecursionError):
            damaged += 1
        else:
            yield record
    if damaged:
        notes.append(f"{damaged} unreadable line{'s' * (damaged > 1)} in the session file")


def load_history(path: Path) -> History:
    """What was said in a session, without opening it to go on.

    Raises:
        InputError: it cannot be read.
    """
    return Journal(path).load().history


def check_name(name: str) -> None:
    """A name must be one of a folder.

    Raises:
        UsageError: it is not.
    """
    if name in (".", "..") or not name.strip() or any(c in '/\\:*?"<>|' or c < " " for c in name):
        raise UsageError(f"`{name}` cannot be the name of a session", hint="letters, digits, - _")


def take_lock(path: Path) -> "BaseFileLock":
    """The folder of a session for this process alone; release it.

    Raises:
        InputError: another has it.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  (0.1 s, and only a writer needs it)

    try:
        lock = FileLock(path / LOCK, timeout=0, mode=0o600)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"the session `{path.name}` is open in another terminal", hint="close it there"
        ) from None
    except OSError as error:
        raise InputError(f"the session `{path.name}` cannot be locked: {error.strerror}") from None
    return lock


_BINARY = getattr(os, "O_BINARY", 0)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)


def _write(number: int, data: bytes) -> None:
    """All of it: a full disk may take a part only."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]
