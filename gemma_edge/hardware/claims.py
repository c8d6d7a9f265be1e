"""Memory that other gemma-edge processes of this person hold, or are about to take.

A model takes its memory seconds after it was planned, so two programs that start together would
both plan with all of it. Each writes what it plans into a file of ``<data>/running`` and keeps a
lock on it as long as it lives: a file whose lock is free is of a process that is gone, however it
ended. One at a time decides (``deciding``). Whatever cannot be read, written or locked costs the
care for one another and nothing else.
"""

import contextlib
import json
import os
import platform
import re
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gemma_edge.disk import open_plain, try_lock
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.records import dataclass

MAIN_MEMORY = "RAM"
DECIDING_SECONDS = 10.0  # one that decides takes one or two; a process that was stopped, for ever
_POLL_SECONDS = 0.02
_FORMAT = 1
_SIZE = 4096  # bytes of a file, always: a reader meets the old text or the new one
_MOST_FILES = 64
_MOST_BYTES = 1 << 50
_MOST_LETTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one process takes, by ``place_of`` a memory, in bytes; without the pages of a file and
    without margins. ``free`` is what was free in every memory at the time ``at``, when it looked;
    ``loaded`` is when it had taken it, None before that. ``title`` is of its model."""

    pid: int
    title: str
    at: float
    taken: Mapping[str, int]
    free: Mapping[str, int]
    loaded: float | None = None


def place_of(device: Device) -> str:
    """One name for one memory in all processes: not ggml's, which ``CUDA_VISIBLE_DEVICES`` moves.
    "" for a slice of a card, which has none that others share."""
    if device.integrated:
        return MAIN_MEMORY
    return "" if device.mig else device.pci_id or f"{device.backend} {device.title}"


def free_of(hardware: Hardware) -> dict[str, int]:
    """What is free in each memory, in bytes."""
    found = {place_of(device): device.free_bytes for device in hardware.devices if device.usable}
    if hardware.memory.available_bytes is not None:
        found[MAIN_MEMORY] = hardware.memory.available_bytes
    return {place: count for place, count in found.items() if place}


def outstanding(claims: Sequence[Claim], hardware: Hardware) -> dict[str, int]:
    """What of each memory counts as free and is spoken for.

    A claim that was loaded before the memory was measured is part of what is taken. Of the others
    some may be there already: what went away since the first of them looked, and is not of one that
    was loaded since."""
    free = free_of(hardware)
    coming = [each for each in claims if not _is_loaded(each, hardware)]
    if not coming:
        return {}
    first = min(coming, key=lambda each: each.at)
    since = [
        each
        for each in claims
        if each.loaded is not None and first.at <= each.loaded < hardware.measured_at
    ]
    found = {}
    for place, now in free.items():
        total = sum(each.taken.get(place, 0) for each in coming)
        gone = first.free.get(place, now) - now - sum(each.taken.get(place, 0) for each in since)
        found[place] = min(now, total - min(max(0, gone), total))
    return {place: count for place, count in found.items() if count}


def leave(hardware: Hardware, claims: Sequence[Claim]) -> Hardware:
    """The machine as it is for one more: what others have planned to take is not free."""
    return _change(hardware, {place: -n for place, n in outstanding(claims, hardware).items()})


def without(hardware: Hardware, claims: Sequence[Claim]) -> Hardware:
    """The machine as it would be if these processes were not here."""
    missing = outstanding(claims, hardware)
    places = {place for each in claims for place in each.taken}
    more = {p: sum(c.taken.get(p, 0) for c in claims) - missing.get(p, 0) for p in places}
    return _change(hardware, more)


def _change(hardware: Hardware, more: Mapping[str, int]) -> Hardware:
    def changed(free: int, total: int | None, place: str) -> int:
        return max(0, min(free + more.get(place, 0), total or _MOST_BYTES))

    memory = hardware.memory
    if memory.available_bytes is not None:
        left = changed(memory.available_bytes, memory.total_bytes, MAIN_MEMORY)
        memory = replace(memory, available_bytes=left)
    devices = tuple(
        replace(each, free_bytes=changed(each.free_bytes, each.total_bytes, place_of(each)))
        for each in hardware.devices
    )
    return replace(hardware, memory=memory, devices=devices)


def _is_loaded(claim: Claim, hardware: Hardware) -> bool:
    return claim.loaded is not None and claim.loaded < hardware.measured_at


# The files. Names: HOST-NUMBER.json, and HOST.lock for who decides; the folder may be on a server
# that several machines share.


class Held:
    """A claim of this process; it stands until ``release``, or the end of the process. A claim that
    is not ``used`` yet gives way to the next one of this process."""

    def __init__(self, folder: Path, claim: Claim) -> None:
        self.claim = claim
        self.used = False
        self._folder = folder
        self._end: weakref.finalize[..., Any] | None = None
        self._number = -1

    def hold(self) -> None:
        """Write it down, where it is not."""
        if self._end is not None and self._end.alive:
            return
        opened = _create(self._folder, _encode(self.claim))
        if opened is not None:
            self._number, path = opened
            _own[path] = self
            self._end = weakref.finalize(self, _drop, self._number, path, os.getpid())

    def use(self, claim: Claim | None = None) -> None:
        """It is being loaded; with ``claim`` it is, and that is what was taken after all."""
        self.used = True
        self.hold()
        if claim is not None:
            self.claim = claim
            with contextlib.suppress(OSError):
                _write(self._number, _encode(claim))

    def release(self) -> None:
        """It is not needed any more; what it had taken is free. Idempotent."""
        self.used = False
        if self._end is not None:
            self._end()


_own: "weakref.WeakValueDictionary[Path, Held]" = weakref.WeakValueDictionary()


class Desk:
    """Where one process decides: what the ``others`` claim, and the place for the next claim."""

    def __init__(self, folder: Path, others: tuple[Claim, ...]) -> None:
        self.others = others
        self._folder = folder

    def take(self, claim: Claim) -> Held:
        """From here on the others count with it."""
        for each in list(_own.values()):
            if not each.used:  # planned, and not loaded
                each.release()
        held = Held(self._folder, claim)
        held.hold()
        return held


def read(folder: Path) -> tuple[Claim, ...]:
    """What the others claim, for one who only looks."""
    if not folder.is_dir():
        return ()
    with deciding(folder) as desk:
        return desk.others


@contextlib.contextmanager
def deciding(folder: Path) -> Iterator[Desk]:
    """One process at a time reads what the others claim and adds its own. One that does not come to
    an end is not waited for longer than 10 s."""
    number = _open_guard(folder)
    try:
        yield Desk(folder, tuple(_read_others(folder)))
    finally:
        if number is not None:
            os.close(number)


def _open_guard(folder: Path) -> int | None:
    number = None
    deadline = time.monotonic() + DECIDING_SECONDS
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        number = _open(folder / f"{_host()}.lock", os.O_CREAT)
        while number is not None and not try_lock(number) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    return number


def _read_others(folder: Path) -> Iterator[Claim]:
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return
    pattern = re.compile(re.escape(_host()) + r"-[0-9a-f]{16}\.json")
    for name in sorted(filter(pattern.fullmatch, names))[:_MOST_FILES]:
        path = folder / name
        own = _own.get(path)
        if own is not None and own.claim.pid == os.getpid():
            if own.used:
                yield own.claim
        elif claim := _read(path):
            yield claim


def _read(path: Path) -> Claim | None:
    """The claim of a process that lives. A file of one that does not is removed."""
    left_behind = False
    try:
        number = _open(path)
        if number is None:
            return None
        try:
            left_behind = try_lock(number)
            os.lseek(number, 0, os.SEEK_SET)
            return None if left_behind else _decode(os.read(number, _SIZE + 1))
        finally:
            os.close(number)
    except OSError:
        return None
    finally:
        if left_behind:
            _unlink(path)


def _open(path: Path, flags: int = 0) -> int | None:
    """A plain file of this person's, and nothing that a link points to; None for another's."""
    number = open_plain(path, flags)
    if not hasattr(os, "getuid") or os.fstat(number).st_uid == os.getuid():
        return number
    os.close(number)
    return None


def _create(folder: Path, data: bytes) -> tuple[int, Path] | None:
    """Locked before it has its name, so that nobody takes it for one that was left behind."""
    path = folder / f"{_host()}-{os.urandom(8).hex()}.json"
    fresh = path if os.name == "nt" else path.with_suffix(".new")  # Windows: open files keep theirs
    try:
        number = _open(fresh, os.O_CREAT | os.O_EXCL)
        if number is None:
            return None
        try:
            if try_lock(number):
                _write(number, data)
                if fresh != path:
                    os.rename(fresh, path)
                return number, path
        except OSError:
            _unlink(fresh)
        os.close(number)
    except OSError:
        pass  # a disk that is full or read-only, a file system without locks
    return None


def _drop(number: int, path: Path, pid: int) -> None:
    if os.getpid() != pid:  # a fork of the process that holds it
        return
    if os.name != "nt":
        _unlink(path)
    with contextlib.suppress(OSError):
        os.close(number)
    _unlink(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _write(number: int, data: bytes) -> None:
    os.lseek(number, 0, os.SEEK_SET)
    os.write(number, data)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", platform.node())[:40] or "here"


def _encode(claim: Claim) -> bytes:
    title = "".join(filter(str.isprintable, claim.title))[:_MOST_LETTERS]
    text = json.dumps({"format": _FORMAT, **asdict(claim), "title": title})
    return text.encode("ascii").ljust(_SIZE)[:_SIZE]


def _decode(data: bytes) -> Claim | None:
    try:
        content = json.loads(data)
        loaded = content["loaded"]
        claim = Claim(
            pid=_number(content["pid"]), title=_text(content["title"]), at=_time(content["at"]),
            taken=_bytes(content["taken"]), free=_bytes(content["free"]),
            loaded=None if loaded is None else _time(loaded),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return claim if content["format"] == _FORMAT else None


def _bytes(value: Any) -> dict[str, int]:
    return {_text(place): _number(count) for place, count in value.items()}


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_BYTES:
        raise ValueError
    return value


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1 << 40:
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if not (isinstance(value, str) and len(value) <= _MOST_LETTERS and value.isprintable()):
        raise ValueError
    return value
