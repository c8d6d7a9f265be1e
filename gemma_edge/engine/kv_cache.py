"""The KV cache: what it holds, how much of it a new prompt keeps, and a copy of it on disk."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import mmap
import os
import re
import shutil
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from gemma_edge.disk import create, new_name, put, remove_left
from gemma_edge.engine.llama import SEQUENCE, WINDOW_CELLS, Aborted, LlamaContext, NoCells, Piece
from gemma_edge.engine.protocol import Restored
from gemma_edge.errors import EngineError, OutOfMemory
from gemma_edge.planning.memory import checkpoints_of
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass
from gemma_edge.trust import printable
from gemma_edge.units import render_bytes

# What the KV cache holds, and how much of it a new prompt may keep. A prompt is a list of units: a
# token id, or a `Media` (an image by content). The cache holds the same list; a new prompt keeps
# the longest common prefix, images included. Sliding-window layers forget: they hold cells from
# `pos_min` on. Cutting back to position `d` is right only if `pos_min == 0 or d >= pos_min + n_swa
# - 1` (measured: docs/architecture.md, "Sliding window"). Where it is not, a `Checkpoint` of the
# window cells, taken at the end of an earlier prompt, brings them back.


@dataclass(frozen=True, slots=True)
class Media:
    """An image in a prompt: equal content at equal size is the same unit."""

    digest: str
    tokens: int


Unit = int | Media


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The window cells from ``pos_min`` on, right for the first ``units`` units of the cache."""

    units: int
    pos_min: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reuse:
    """Keep ``units`` units; restore ``checkpoint`` first, if there is one."""

    units: int
    checkpoint: Checkpoint | None = None


# Reading so many again costs about what the checkpoint does: one more batch.
NEAR_TOKENS = 32


class KvCache:
    """``units`` is always exactly what one sequence of llama.cpp's KV cache holds, up to
    ``position``."""

    def __init__(self, context: LlamaContext, window: int, sequence: int = SEQUENCE) -> None:
        self.units: list[Unit] = []
        self.position = 0
        self._context = context
        self._window = window
        self.sequence = sequence
        self._checkpoints: list[Checkpoint] = []
        self._too_large = False

    def kept_of(self, wanted: Sequence[Unit]) -> int:
        """How many positions of ``wanted`` would be kept."""
        return position_of(wanted, self._reuse(wanted).units)

    def _reuse(self, wanted: Sequence[Unit]) -> Reuse:
        return plan_reuse(
            self.units, wanted, pos_min=self._context.pos_min(self.sequence), window=self._window,
            checkpoints=self._checkpoints,
        )  # fmt: skip

    def keep_prefix(self, wanted: Sequence[Unit]) -> int:
        """Cut the cache back to what ``wanted`` shares with it; return the kept positions."""
        reuse = self._reuse(wanted)
        keep = reuse.units
        saved = reuse.checkpoint
        if saved is not None and not self._put_window(saved):
            keep = 0
        if keep < len(self.units):
            self._cut(keep)
        self._keep_checkpoints()
        return self.position

    def _put_window(self, saved: Checkpoint) -> bool:
        return self._context.put_state(saved.data, WINDOW_CELLS, self.sequence)

    def lent_to(self, wanted: Sequence[Unit]) -> tuple[int, Checkpoint | None]:
        """How many units of ``wanted`` another sequence can take from here, and the checkpoint
        that it needs: the window at a place that this one has left behind is nowhere else."""
        common = min(common_prefix(self.units, wanted), len(wanted) - 1)
        if self._window == 0:
            return max(0, common), None
        found: tuple[int, Checkpoint | None] = (0, None)
        for each in self._checkpoints:
            units = min(common, each.units)
            intact = window_intact(position_of(wanted, units), each.pos_min, self._window)
            if intact and units > found[0]:
                found = (units, each)
        return found

    def borrow(self, source: KvCache, wanted: Sequence[Unit]) -> int:
        """Begin as ``source`` does, as far as ``wanted`` is the same, in place of what is held;
        return the positions. Its cells are shared; those of windows are copied, because llama.cpp
        writes over no cell of two sequences, also where neither needs it any more."""
        self.forget()
        units, saved = source.lent_to(wanted)
        if not units:
            return 0
        position = position_of(wanted, units)
        self._context.share(source.sequence, self.sequence, position)
        if saved is not None:
            if not self._put_window(saved):
                self.forget()
                return 0
            self._context.cut(position, self.sequence)  # it may go on behind that
            self._checkpoints = [replace(saved, units=units)]
        self.units, self.position = list(wanted[:units]), position
        return position

    def _cut(self, keep: int) -> None:
        """Keep the first ``keep`` units; none, where llama.cpp cannot remove the others alone."""
        if not self._context.cut(position_of(self.units, keep), self.sequence):
            self.forget()
            return
        del self.units[keep:]
        self.position = position_of(self.units, keep)

    def _keep_checkpoints(self) -> None:
        """Of one from beyond the cut, the cells before the cut are still right; where those are
        not a whole window, it leads nowhere any more."""
        clipped = (replace(c, units=min(c.units, len(self.units))) for c in self._checkpoints)
        self._checkpoints = [
            c
            for c in clipped
            if window_intact(position_of(self.units, c.units), c.pos_min, self._window)
        ]

    def evaluate(self, tokens: Sequence[int], rows: Sequence[int] | None = None) -> None:
        """Go on by these, alone; ``rows`` are the places of those whose logits are wanted, for what
        fits in one batch, without them the last."""
        size = self._context.batch_tokens
        for start in range(0, len(tokens), size):
            part = tokens[start : start + size]
            with undone([self]):
                self._context.decode([self.piece(part, rows)])
            self.took(part)

    def piece(self, tokens: Sequence[int], rows: Sequence[int] | None = None) -> Piece:
        """What is to be evaluated next; ``took`` follows once it is. Without ``rows`` the logits of
        the last one are kept."""
        rows = (len(tokens) - 1,) if rows is None else rows
        return Piece(tokens, self.position, rows, self.sequence)

    def took(self, tokens: Sequence[int]) -> None:
        self.units.extend(tokens)
        self.position += len(tokens)

    def wait(self) -> None:
        """Until what was evaluated last is there; a GPU goes on by itself."""
        self._context.wait()

    def drop(self, tokens: int) -> None:
        """Remove the last so many, which were drafted: no layer has lost a cell for them, because
        llama.cpp writes over those alone that were out of the window before the batch."""
        if tokens:
            self._cut(len(self.units) - tokens)

    def see(self, unit: Media, decode: Callable[[int, int], None]) -> None:
        """``decode`` is told the position and the sequence."""
        with undone([self]):
            decode(self.position, self.sequence)
        self.units.append(unit)
        self.position += unit.tokens

    def worth_checkpoint(self, units: Sequence[Unit]) -> bool:
        """Whether the way back to the end of ``units`` would cost more than a moment, so that a
        checkpoint there is worth a pass over the weights of its own."""
        if self._window == 0 or self._too_large:
            return False
        last = max((c.units for c in self._checkpoints if c.units <= len(units)), default=0)
        between = units[last:]
        return last == 0 or position_of(between, len(between)) >= NEAR_TOKENS

    def save_checkpoint(self) -> None:
        """Save the window cells here, so that a later prompt may come back to this point. llama.cpp
        saves no more than the window before the last position, so the way back leads to this very
        point and not behind it."""
        if self._window == 0:
            return
        size = self._context.state_bytes(WINDOW_CELLS, self.sequence)
        most = checkpoints_of(size, self._context.sequences)
        self._too_large = most == 0
        data = bytearray(0 if self._too_large else size)
        if self._too_large or not self._context.copy_state(data, WINDOW_CELLS, self.sequence):
            return
        self._checkpoints = self._checkpoints[-(most - 1) :] if most > 1 else []
        oldest = max(0, self.position - self._window)
        self._checkpoints.append(Checkpoint(len(self.units), oldest, bytes(data)))

    def copy_out(
        self, path: Path, wanted: Fingerprint, *, here: bool = False, seconds: float = 0.0,
        most_bytes: int | None = None,
    ) -> CacheWriter:  # fmt: skip
        """All that it holds, copied into a file that is still to be finished; ``here`` without the
        ways back to earlier points. ``seconds`` is what reading it took.
        Raises EngineError: it holds nothing, it is too large, or the disk or llama.cpp refuses."""
        if not self.units:
            raise EngineError("there is nothing to save: the cache is empty")
        holds = Cells(list(self.units), [] if here else self._checkpoints, seconds)
        size = self._context.state_bytes(sequence=self.sequence)
        part = CacheWriter(path, wanted, holds, size, most_bytes)
        if not self._context.copy_state(part.state, sequence=self.sequence):
            part.discard()
            raise EngineError("llama.cpp could not copy its cache")
        return part

    def take_back(self, path: Path, wanted: Fingerprint, context_tokens: int) -> Restored:
        """What a file holds, in place of what is held now. llama.cpp wrote no more of the sliding
        layers than their window, and says so by the oldest position that it holds: ``plan_reuse``
        goes by that, so a cut further back is no cut."""
        try:
            with open_saved(path, wanted, context_tokens) as (cells, state):
                self.forget()
                if not self._context.put_state(state, sequence=self.sequence):
                    self.forget()
                    return Restored(0, f"{REFUSED} what {path.name} holds")
                self.units = cells.units
                self._checkpoints = cells.checkpoints
        except Unusable as reason:
            return Restored(0, str(reason))
        self.position = position_of(self.units, len(self.units))
        return Restored(self.position, read_seconds=cells.seconds)

    def forget(self) -> None:
        self._context.cut(0, self.sequence)
        self.units.clear()
        self._checkpoints.clear()
        self.position = 0


@contextlib.contextmanager
def undone(caches: Sequence[KvCache]) -> Iterator[None]:
    """What an evaluation inside leaves behind in these, if it does not come to its end."""
    try:
        yield
    except (Aborted, NoCells):
        for cache in caches:
            cache._cut(len(cache.units))
        raise
    except (EngineError, OutOfMemory):
        for cache in caches:
            cache.forget()
        raise


def position_of(units: Sequence[Unit], count: int) -> int:
    """Position after the first ``count`` units; an image advances by its tokens."""
    extra = sum(unit.tokens - 1 for unit in units[:count] if isinstance(unit, Media))
    return count + extra


def common_prefix(cached: Sequence[Unit], wanted: Sequence[Unit]) -> int:
    limit = min(len(cached), len(wanted))
    if cached[:limit] == wanted[:limit]:
        return limit
    return next(i for i in range(limit) if cached[i] != wanted[i])


def plan_reuse(
    cached: Sequence[Unit], wanted: Sequence[Unit], *, pos_min: int, window: int,
    checkpoints: Sequence[Checkpoint] = (),
) -> Reuse:  # fmt: skip
    """How much of ``cached`` the prompt ``wanted`` may keep.

    At least one unit is left to evaluate, so that there are logits to sample from. ``window`` is
    n_swa in tokens, 0 for a model without sliding layers; ``pos_min`` is read from llama.cpp
    **before** anything is removed."""
    keep = min(common_prefix(cached, wanted), len(wanted) - 1)
    if keep <= 0:
        return Reuse(0)
    if keep == len(cached) or window == 0:
        return Reuse(keep)
    if window_intact(position_of(cached, keep), pos_min, window):
        return Reuse(keep)
    for checkpoint in reversed(checkpoints):
        target = min(keep, checkpoint.units)
        if window_intact(position_of(cached, target), checkpoint.pos_min, window):
            return Reuse(target, checkpoint)
    return Reuse(0)


def window_intact(position: int, pos_min: int, window: int) -> bool:
    """Whether cells from ``pos_min`` on are all that sliding layers need at ``position``."""
    return pos_min == 0 or position >= pos_min + window - 1


REFUSED = "llama.cpp refuses"  # for its content, or for want of cells
_HEAD_BYTES = 1 << 20  # metadata and the first tensors of a model file
_BLOB = re.compile(r"[0-9a-f]{64}")

Fingerprint = Mapping[str, str]

# What a fingerprint names, and what it means when it differs.
DIFFERENCES = {
    "llama.cpp": "it was saved by llama-cpp-python {then}, this is {now}",
    "weights": "the weights are another file than when it was saved",
    "projector": "the projector is another than when it was saved",
    "adapters": "the adapters are others than when it was saved",
    "template": "the chat template is another than when it was saved",
    "kv_type": "it was saved as {then}, the cache is {now}",
    "flash_attention": "flash attention was {then} when it was saved, now it is {now}",
}


def fingerprint(plan: Plan, *, template: str, version: str, flash_attention: bool) -> Fingerprint:
    """What must be the same for a saved cache to mean the same. The size of the context is not in
    it, nor where layers lie: the bytes are the same everywhere, the numbers up to llama.cpp's noise
    between devices."""
    adapters = [f"{identity(adapter.path)} {adapter.scale}" for adapter in plan.adapters]
    return {
        "llama.cpp": version,
        "weights": identity(plan.model),
        "projector": identity(plan.projector) if plan.projector else "",
        "adapters": ", ".join(adapters),
        "template": sha256(template.encode()).hexdigest(),
        "kv_type": plan.kv_type,
        "flash_attention": "on" if flash_attention else "off",
    }


def identity(path: Path) -> str:
    """Which file it is, without reading gigabytes: the hash that the Hugging Face cache names it
    by, else its size, time and head."""
    with contextlib.suppress(OSError):
        path = path.resolve()
    try:
        status = path.stat()
        if _BLOB.fullmatch(path.name):
            return f"{path.name} {status.st_size}"
        with path.open("rb") as file:
            head = sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return f"{status.st_size} {status.st_mtime_ns} {head}"


def difference(then: Fingerprint, now: Fingerprint) -> str:
    """Why what was saved for ``then`` is of no use ``now``; "" where it is."""
    for name, sentence in DIFFERENCES.items():
        if then.get(name) != now.get(name):
            return sentence.format(then=printable(str(then.get(name))), now=now.get(name))
    return ""


# A KV cache in a file: what it holds, for whom, and whether it is whole. Knows no llama.cpp.
#
#   GEMMAKV1 | header length (u64) | header (JSON) | state | checkpoints ... | CRC-32 of all before
#
# The file is mapped while it is filled, so a copy of gigabytes takes no memory that the system
# could not take back, and the slow part, the disk, needs nothing of the engine.
MAX_BYTES = 4 << 30  # reading more takes longer than many prompts, and a disk is for other things
FREE_BYTES = 1 << 30  # left on the disk

_MAGIC = b"GEMMAKV1"
_LENGTH = struct.Struct("<Q")
_CHECK = struct.Struct("<I")
# What disks answer that cannot set blocks aside (ZFS, some network disks).
_CANNOT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_CHECKPOINT = ("units", "pos_min", "bytes")  # what a header says of one
_PIECE = 16 << 20  # of a checksum: the lock of the interpreter is free meanwhile


@dataclass(frozen=True, slots=True)
class Cells:
    """What a file holds beside the state of llama.cpp: the units of the cache, the checkpoints,
    and how many ``seconds`` it took to read them."""

    units: list[Unit]
    checkpoints: list[Checkpoint]
    seconds: float = 0.0


class Unusable(Exception):
    """A file that cannot be used; its text says why, for a person."""


class CacheWriter:
    """A file that is being written, beside its place. ``state`` is to be filled, then ``finish`` is
    called, or ``discard``. Raises EngineError: it is too large, or the disk refuses."""

    def __init__(
        self, path: Path, wanted: Fingerprint, holds: Cells, state_bytes: int,
        most_bytes: int | None = None,
    ) -> None:  # fmt: skip
        head = _head(wanted, holds, state_bytes)
        tail = b"".join(checkpoint.data for checkpoint in holds.checkpoints)
        self._path, self._part = path, new_name(path)
        self._size = len(head) + state_bytes + len(tail) + _CHECK.size
        _check_room(path, self._size, MAX_BYTES if most_bytes is None else most_bytes)
        try:
            self._file, self._map = _allocate(self._part, self._size)
        except OSError as error:
            raise _refused(path, error) from None
        whole = memoryview(self._map)
        whole[: len(head)] = head
        whole[len(head) + state_bytes : -_CHECK.size] = tail
        self.state = whole[len(head) : len(head) + state_bytes]
        self._whole = whole

    def finish(self, *, durable: bool = True) -> int:
        """Put it in its place, and return its size in bytes; ``durable``: it survives a loss of
        power, else it may be damaged then, which who reads it notices.
        Raises EngineError: the disk refuses."""
        self._whole[-_CHECK.size :] = _CHECK.pack(_checksum(self._whole[: -_CHECK.size]))
        try:
            if durable:
                self._map.flush()
                os.fsync(self._file.fileno())
            self._close()
            put(self._part, self._path, durable=durable)
        except OSError as error:
            self.discard()
            raise _refused(self._path, error) from None
        return self._size

    def discard(self) -> None:
        self._close()
        with contextlib.suppress(OSError):
            self._part.unlink()

    def _close(self) -> None:
        if not self._file.closed:
            self.state.release()
            self._whole.release()
            self._map.close()
            self._file.close()


@contextlib.contextmanager
def open_saved(
    path: Path, wanted: Fingerprint, context_tokens: int
) -> Iterator[tuple[Cells, memoryview]]:
    """The ``Cells`` of a file and its state, which is mapped for as long as it is open.
    Raises Unusable: there is none, it is damaged, of another model, larger than the context, or
    others can write it."""
    try:
        with path.open("rb") as file:
            if not _is_own(os.fstat(file.fileno())):
                raise Unusable(f"{path.name} is not yours alone to write")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise Unusable("nothing was saved") from None
    except ValueError:  # an empty file cannot be mapped
        raise Unusable(f"{path.name} is damaged") from None
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror or error}") from None
    with mapped, memoryview(mapped) as whole:
        try:
            cells, state = _read(whole, wanted, context_tokens)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError, struct.error):
            raise Unusable(f"{path.name} is damaged") from None
        try:
            yield cells, state
        finally:
            state.release()


def _is_own(status: os.stat_result) -> bool:
    """Whether what llama.cpp is to believe was written by this person."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(whole: memoryview, wanted: Fingerprint, context_tokens: int) -> tuple[Cells, memoryview]:
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
    numbers = [header["tokens"], header["state_bytes"]]
    numbers += [unit.tokens if isinstance(unit, Media) else unit for unit in units]
    numbers += [saved[name] for saved in header["checkpoints"] for name in _CHECKPOINT]
    seconds = header.get("read_seconds", 0.0)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError
    if not (type(seconds) is float and 0 <= seconds < math.inf):
        raise ValueError
    if header["tokens"] != position_of(units, len(units)):
        raise ValueError
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
    return Cells(units, checkpoints, seconds), state


def _head(wanted: Fingerprint, holds: Cells, state_bytes: int) -> bytes:
    header = json.dumps({
        "fingerprint": dict(wanted),
        "tokens": position_of(holds.units, len(holds.units)),
        "units": [[u.digest, u.tokens] if isinstance(u, Media) else u for u in holds.units],
        "read_seconds": round(holds.seconds, 3),
        "state_bytes": state_bytes,
        "checkpoints": [
            {"units": c.units, "pos_min": c.pos_min, "bytes": len(c.data)}
            for c in holds.checkpoints
        ],
    }).encode()  # fmt: skip
    return _MAGIC + _LENGTH.pack(len(header)) + header


def _checksum(data: memoryview) -> int:
    value = 0
    for start in range(0, len(data), _PIECE):
        value = zlib.crc32(data[start : start + _PIECE], value)
    return value


def _check_room(path: Path, size: int, most: int) -> None:
    """A full disk under a mapped file ends the process, so it is asked before."""
    if size > most:
        raise EngineError(
            f"the cache takes {render_bytes(size)}, more than the {render_bytes(most)} that are "
            "for it on the disk"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_left(path.parent)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise _refused(path, error) from None
    if size + FREE_BYTES > free:
        raise EngineError(
            f"the cache takes {render_bytes(size)}, the disk has {render_bytes(free)} free, and "
            f"{render_bytes(FREE_BYTES)} of it stay free"
        )


def _allocate(path: Path, size: int) -> tuple[BinaryIO, mmap.mmap]:
    """A new file for its owner alone, with all its blocks, open and mapped. No other process has
    it: one that is cut off under another's map ends that process."""
    file = create(path, 0o600)
    try:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _CANNOT:  # else the disk has space, which was asked before
                    raise
        return file, mmap.mmap(file.fileno(), size)
    except OSError:
        file.close()
        path.unlink()
        raise


def _refused(path: Path, error: OSError) -> EngineError:
    return EngineError(f"the cache cannot be saved as {path.name}: {error.strerror or error}")
