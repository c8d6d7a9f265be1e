"""The one place that writes files: whole or not at all, never through a link, safe from a loss of
power where it matters. Locks, and folders that do not grow.

A file that is written whole lies under a name that nobody can foresee until it is complete, then
takes its place at once. A file that is gone on with (a journal, the answers of a batch, a download)
is opened by ``open_plain`` and grows at its end.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Ends the name of a file that is not complete; the Hugging Face cache's own clean-up removes
# *.incomplete.
PARTIAL_SUFFIX = ".gemma-edge.incomplete"
_STEM_CHARACTERS = 40  # of the name that it will have; names end at 255 bytes
_PLAIN = 0  # of each file that is opened: not through a link, for no child, not waiting for a pipe
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
    _PLAIN |= getattr(os, _name, 0)

# Windows lets nobody replace a file that another program has open for a moment, such as one that
# looks for viruses: access denied, sharing violation, lock violation (winerror.h).
_IN_USE = (5, 32, 33)
_WAITS_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.8)

_LEFT_SECONDS = 24 * 3600  # a file that was being written so long ago is of a process that died
_SAID_BYTES = 200  # of who holds a lock
_LOCKED_BYTE = 1 << 20  # behind the text: Windows lets nobody read what is locked


def write_atomically(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o666,
    durable: bool = False,
    replace: bool = True,
) -> None:
    """Write a file under its name at once; its folder is made where it is missing.

    Text becomes UTF-8 with ``\\n``; half a character in it, U+FFFD. ``mode``: as of ``os.open``,
    and nobody may do more with the file than with the one that was there. ``durable``: the file
    and its name are synced before this returns. Where the name is a link, the link is replaced and
    what it leads to stays as it is. Without ``replace`` a name that is taken stays.

    Raises:
        OSError: the disk, its permissions, or no plain file of that name; what was there before
            is still there. FileExistsError: the name is taken.
    """
    data = encode(content) if isinstance(content, str) else content
    if not replace:
        _make_folder(path.parent)
        create(path, mode).close()  # the name is ours from here on
    try:
        with beside(path, durable=durable) as fresh, create(fresh, mode & _mode_of(path)) as file:
            _write(file.fileno(), data)
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        if not replace:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def encode(text: str) -> bytes:
    """UTF-8; a lone surrogate, which UTF-8 cannot say, becomes U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")
        return pairs.decode("utf-16-le", "replace").encode("utf-8")


@contextlib.contextmanager
def beside(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A new name in the folder of ``path``, which is made where it is missing. What is made under
    it (by ``create``, or as a link) gets the name ``path`` at the end; after an error nothing of
    it is left. ``durable``: the name is synced.

    Raises:
        OSError: the folder, or no plain file stands under ``path``.
    """
    fresh = new_name(path)
    _make_folder(path.parent)
    try:
        yield fresh
        put(fresh, path, durable=durable)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # not the name that is taken
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def new_name(path: Path) -> Path:
    """A name in the same folder that nobody can foresee, for a file that is not complete."""
    stem = path.name[:_STEM_CHARACTERS].lstrip(".")
    return path.with_name(f".{stem}.{os.urandom(8).hex()}{PARTIAL_SUFFIX}")


def create(path: Path, mode: int = 0o666, *, buffering: int = -1) -> BinaryIO:
    """A new file, open to write and to read.

    Raises:
        FileExistsError: there is something of that name, be it a link to nothing.
        OSError: the disk or its permissions.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, mode)
    return os.fdopen(number, "r+b", buffering)


def put(fresh: Path, path: Path, *, durable: bool = False) -> None:
    """Give a file its name, in the place of the one that had it. ``durable``: the name is synced.

    Raises:
        OSError: the disk or its permissions; ``path`` is a device, a pipe or a folder.
    """
    _check_replaceable(path)
    for wait in (*_WAITS_SECONDS, None):
        try:
            os.replace(fresh, path)
            break
        except PermissionError as error:
            if wait is None or getattr(error, "winerror", None) not in _IN_USE:
                raise
            time.sleep(wait)
    if durable:
        sync_folder(path.parent)


def _check_replaceable(path: Path) -> None:
    """A device such as /dev/stdout would become a file for all."""
    try:
        found = os.stat(path).st_mode
    except OSError:  # nothing, a link to nothing, or a folder that may not be looked into
        return
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))


def _mode_of(path: Path) -> int:
    try:
        found = os.lstat(path).st_mode
    except OSError:
        return 0o777
    return stat.S_IMODE(found) if stat.S_ISREG(found) else 0o777


def _write(number: int, data: bytes) -> None:
    """All of it: a full disk may take a part only."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


def sync_folder(folder: Path) -> None:
    """Make the names in it survive a loss of power. Windows cannot, and need not."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def keep_within(folder: Path, most_bytes: int) -> int:
    """Remove what was used longest ago until no more than ``most_bytes`` lie in a folder. What is
    being written, and what another process has open (Windows), stays. The bytes that are left."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    left = sum(size for _, size, _ in files)
    whole = [each for each in sorted(files) if not each[2].name.endswith(PARTIAL_SUFFIX)]
    for _, size, path in whole[:-1]:
        if left <= most_bytes:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            left -= size
    return left


def count_files(folder: Path) -> tuple[int, int]:
    """How many files lie in a folder and those in it, and how many bytes they take."""
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process was faster
            status = path.lstat()
            sizes += [] if stat.S_ISDIR(status.st_mode) else [status.st_size]
    return len(sizes), sum(sizes)


def remove_files(folder: Path) -> OSError | None:
    """Remove all files in a folder and those in it. Why one stays, if one does: its disk cannot be
    written, or another program has it open (Windows)."""
    problem: OSError | None = None
    for path in folder.rglob("*"):
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                path.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was faster
            continue
        except OSError as error:
            problem = problem or error
    return problem


def remove_left(folder: Path) -> None:
    """Remove what processes that were killed a day ago or more had not completed."""
    for path in folder.glob(f".*{PARTIAL_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LEFT_SECONDS:
                path.unlink()


# Files that are gone on with, and locks.


def open_plain(path: Path, flags: int = 0, mode: int = 0o600) -> int:
    """The number of a plain file that is open to read and to write, and nothing that a link points
    to. ``flags``: such as ``O_CREAT`` or ``O_APPEND``.

    Raises:
        OSError: the disk, its permissions, a link, or another thing than a file.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():  # Windows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    number = os.open(path, os.O_RDWR | flags | _PLAIN, mode)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    raise OSError(errno.EINVAL, "it is no plain file", str(path))


def append(number: int, data: bytes, *, durable: bool = False) -> None:
    """Write all of it where an open file stands; ``durable``: on the disk when this returns.

    Raises:
        OSError: the disk refuses.
    """
    _write(number, data)
    if durable:
        os.fsync(number)


def try_lock(number: int) -> bool:
    """Lock an open file until it is closed or the process ends; False where another has it.

    Raises:
        OSError: this file system knows no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415  # exists on Windows alone

            os.lseek(number, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl  # noqa: PLC0415  # not on Windows

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


class Taken(Exception):
    """Another process holds a lock; the text is what it says of itself."""


@contextlib.contextmanager
def holding(path: Path, who: str) -> Iterator[None]:
    """Hold a lock. Its file is there for as long as it is held, and says ``who`` holds it; what a
    process that was killed has left is no lock.

    Raises:
        Taken: another process holds it.
        OSError: it cannot be made, or this file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = _take(path)
    try:
        os.ftruncate(number, 0)
        os.lseek(number, 0, os.SEEK_SET)
        _write(number, encode(who)[:_SAID_BYTES])
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows: not while it is open
            path.unlink()
        os.close(number)
        if os.name == "nt":
            with contextlib.suppress(OSError):
                path.unlink()


def _take(path: Path) -> int:
    while True:
        number = open_plain(path, os.O_CREAT)
        try:
            if not try_lock(number):
                os.lseek(number, 0, os.SEEK_SET)
                raise Taken(os.read(number, _SAID_BYTES).decode("utf-8", "replace"))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # the one before removed it while this one opened it
