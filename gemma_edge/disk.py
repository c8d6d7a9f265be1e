"""Files written whole or not at all, safe from a loss of power where it matters; folders that do
not grow."""

import contextlib
import os
import threading
from pathlib import Path

_BINARY = getattr(os, "O_BINARY", 0)


def write_atomically(
    path: Path, content: str | bytes, *, mode: int = 0o666, durable: bool = False
) -> None:
    """Write a file under its name at once; its folder is made where it is missing.

    Text becomes UTF-8 with ``\\n``. ``mode``: as of ``os.open``. ``durable``: the file and its name
    are synced before this returns.

    Raises:
        OSError: the disk or its permissions; what was there before is still there.
        UnicodeEncodeError: a lone surrogate in the text.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, mode)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(number)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in it survive a loss of power. Windows cannot, and need not."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def keep_within(folder: Path, most_bytes: int) -> None:
    """Remove what was used longest ago until no more than ``most_bytes`` lie in a folder."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    over = sum(size for _, size, _ in files) - most_bytes
    for _, size, path in sorted(files)[:-1]:
        if over <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        over -= size
