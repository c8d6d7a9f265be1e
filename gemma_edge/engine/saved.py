"""A KV cache in a file: what it holds, for whom, and whether it is whole. Knows no llama.cpp.

    GEMMAKV1 | header length (u64) | header (JSON) | state | checkpoints ... | CRC-32 of all before

The file is mapped while it is filled, so a copy of gigabytes takes no memory that the system could
not take back, and the slow part, the disk, needs nothing of the engine.
"""

import contextlib
import errno
import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.engine.cache import Checkpoint, Media, Unit, position_of
from gemma_edge.engine.fingerprint import Fingerprint, difference
from gemma_edge.errors import EngineError
from gemma_edge.units import render_bytes

MAX_BYTES = 4 << 30  # reading more takes longer than many prompts, and a disk is for other things
FREE_BYTES = 1 << 30  # left on the disk

_MAGIC = b"GEMMAKV1"
_LENGTH = struct.Struct("<Q")
_CHECK = struct.Struct("<I")
# Said by disks that cannot set blocks aside (ZFS, some network disks).
_CANNOT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_PIECE = 16 << 20  # of a checksum: the lock of the interpreter is free meanwhile


@dataclass(frozen=True, slots=True)
class Cells:
    """What a file holds: the units of the cache, the state of llama.cpp, and the checkpoints."""

    units: list[Unit]
    state: memoryview
    checkpoints: list[Checkpoint]


class Unusable(Exception):
    """A file that cannot be used; its text says why, for a person."""


class Part:
    """A file that is being written, beside its place. ``state`` is to be filled, then ``finish``
    is called, or ``discard``.

    Raises:
        EngineError: it is too large, or the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        wanted: Fingerprint,
        units: Sequence[Unit],
        checkpoints: Sequence[Checkpoint],
        state_bytes: int,
    ) -> None:
        head = _head(wanted, units, checkpoints, state_bytes)
        tail = b"".join(checkpoint.data for checkpoint in checkpoints)
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._size = len(head) + state_bytes + len(tail) + _CHECK.size
        _check_room(path, self._size)
        try:
            self._file, self._map = _allocate(self._part, self._size)
        except OSError as error:
            raise _refused(path, error) from None
        whole = memoryview(self._map)
        whole[: len(head)] = head
        whole[len(head) + state_bytes : -_CHECK.size] = tail
        self.state = whole[len(head) : len(head) + state_bytes]
        self._whole = whole

    def finish(self) -> int:
        """Make it last, put it in its place, and return its size in bytes.

        Raises:
            EngineError: the disk refuses.
        """
        self._whole[-_CHECK.size :] = _CHECK.pack(_checksum(self._whole[: -_CHECK.size]))
        try:
            self._map.flush()
            os.fsync(self._file)
            self._close()
            os.replace(self._part, self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            self.discard()
            raise _refused(self._path, error) from None
        return self._size

    def discard(self) -> None:
        """Remove it. Idempotent."""
        self._close()
        with contextlib.suppress(OSError):
            self._part.unlink()

    def _close(self) -> None:
        if self._file >= 0:
            self.state.release()
            self._whole.release()
            self._map.close()
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def open_saved(path: Path, wanted: Fingerprint, context_tokens: int) -> Iterator[Cells]:
    """The ``Cells`` of a file, mapped for as long as it is open.

    Raises:
        Unusable: there is none, it is damaged, of another model, or larger than the context.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise Unusable("nothing was saved") from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise Unusable(f"{path.name} cannot be read: {error}") from None
    with mapped, memoryview(mapped) as whole:
        try:
            cells = _read(whole, wanted, context_tokens)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError, struct.error):
            raise Unusable(f"{path.name} is damaged") from None
        try:
            yield cells
        finally:
            cells.state.release()


def _read(whole: memoryview, wanted: Fingerprint, context_tokens: int) -> Cells:
    start = len(_MAGIC) + _LENGTH.size
    if whole[: len(_MAGIC)] != _MAGIC:
        raise ValueError
    (length,) = _LENGTH.unpack(whole[len(_MAGIC) : start])
    header = json.loads(bytes(whole[start : start + length]))
    if reason := difference(header["fingerprint"], wanted):
        raise Unusable(reason)
    units: list[Unit] = [
        Media(*unit) if isinstance(unit, list) else unit for unit in header["units"]
    ]
    if header["tokens"] > context_tokens:
        raise Unusable(
            f"it holds {header['tokens']:,} tokens, more than the context of {context_tokens:,}"
        )
    at = start + length
    ends = at + header["state_bytes"] + sum(c["bytes"] for c in header["checkpoints"])
    if ends + _CHECK.size != len(whole):
        raise ValueError
    if _CHECK.unpack(whole[ends:])[0] != _checksum(whole[:ends]):
        raise ValueError
    state = whole[at : at + header["state_bytes"]]
    at += header["state_bytes"]
    checkpoints = []
    for saved in header["checkpoints"]:
        data = bytes(whole[at : at + saved["bytes"]])
        checkpoints.append(Checkpoint(saved["units"], saved["pos_min"], data))
        at += saved["bytes"]
    return Cells(units, state, checkpoints)


def _head(
    wanted: Fingerprint,
    units: Sequence[Unit],
    checkpoints: Sequence[Checkpoint],
    state_bytes: int,
) -> bytes:
    header = json.dumps({
        "fingerprint": dict(wanted),
        "tokens": position_of(units, len(units)),
        "units": [[u.digest, u.tokens] if isinstance(u, Media) else u for u in units],
        "state_bytes": state_bytes,
        "checkpoints": [
            {"units": c.units, "pos_min": c.pos_min, "bytes": len(c.data)} for c in checkpoints
        ],
    }).encode()  # fmt: skip
    return _MAGIC + _LENGTH.pack(len(header)) + header


def _checksum(data: memoryview) -> int:
    value = 0
    for start in range(0, len(data), _PIECE):
        value = zlib.crc32(data[start : start + _PIECE], value)
    return value


def _check_room(path: Path, size: int) -> None:
    """A full disk under a mapped file ends the process, so it is asked before."""
    if size > MAX_BYTES:
        raise EngineError(
            f"the cache takes {render_bytes(size)}, more than the {render_bytes(MAX_BYTES)} that "
            "are kept on disk"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise _refused(path, error) from None
    if size + FREE_BYTES > free:
        raise EngineError(
            f"the cache takes {render_bytes(size)}, the disk has only {render_bytes(free)} free"
        )


def _allocate(path: Path, size: int) -> tuple[int, mmap.mmap]:
    """A file for its owner alone, with all its blocks, open and mapped."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    try:
        os.ftruncate(file, size)
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file, 0, size)
            except OSError as error:
                if error.errno not in _CANNOT:  # else the disk has room, which was asked before
                    raise
        return file, mmap.mmap(file, size)
    except OSError:
        os.close(file)
        path.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """So that a new name in it survives a loss of power. Windows cannot, and need not."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refused(path: Path, error: OSError) -> EngineError:
    return EngineError(f"the cache cannot be saved as {path.name}: {error.strerror or error}")
