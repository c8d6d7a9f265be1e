"""One file from the hub to its place: goes on after anything, and is checked before it is seen."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gemma_edge.store.download import Upstream, file_lock, stream_http
from gemma_edge.store.failures import (
    StartOver,
    Stopped,
    TryAgain,
    damaged,
    explain_disk,
    gave_up,
)
from gemma_edge.store.layout import Place, publish
from gemma_edge.store.patience import Patience
from gemma_edge.store.progress import Meter
from gemma_edge.store.settings import StoreSettings
from gemma_edge.store.verify import Behind, hash_file
from gemma_edge.store.xet import stream_xet

_TURN_SECONDS = 0.5  # how long one look at the lock of another process lasts
_MAX_RESTARTS = 3  # from the first byte, in one run
_HASH_BYTES = 1 << 20  # the hashing thread is woken for no less


def fetch(
    upstream: Upstream, place: Place, settings: StoreSettings, meter: Meter, stop: threading.Event
) -> str:
    """Bring the file to its place; the sha256 of what lies there then.

    Raises:
        GemmaEdgeError: the network, the disk, or the bytes; what came in so far is kept, unless
            its hash is wrong.
        Changed: the hub replaced the file meanwhile; nothing is kept.
        Stopped: ``stop`` was set; what came in so far is kept.
    """
    meter.total_bytes = upstream.size_bytes
    try:
        for folder in (place.blob.parent, place.final.parent):
            folder.mkdir(parents=True, exist_ok=True)
        while True:
            with file_lock(place.lock, _TURN_SECONDS) as mine:
                if mine:
                    return _fetch_alone(upstream, place, settings, meter, stop)
            if stop.is_set():
                raise Stopped
            meter.done_bytes = _size(place.partial)
            meter.tell("waiting", "another process fetches it")
    except OSError as error:
        missing = upstream.size_bytes - _size(place.partial)
        raise explain_disk(error, place.blob, missing) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fetch_alone(
    upstream: Upstream, place: Place, settings: StoreSettings, meter: Meter, stop: threading.Event
) -> str:
    expected = upstream.sha256
    if (
        place.blob.is_file() and _size(place.blob) == upstream.size_bytes
    ):  # another process was faster, or it is damaged
        sha256 = hash_file(place.blob, meter.checked)
        if sha256 == (expected or sha256):
            place.partial.unlink(missing_ok=True)
            publish(place)
            return sha256
    if place.final == place.blob and place.final.exists():
        meter.tell("waiting", f"{place.final} has other bytes, and is replaced")
    while True:
        resumed = _size(place.partial) > 0
        sha256 = _Transfer(upstream, place, settings, meter, stop).run()
        if sha256 == (expected or sha256):
            publish(place)
            return sha256
        place.partial.unlink()
        if not resumed:
            raise damaged(upstream.file, expected or "", sha256)
        meter.start(0)
        meter.tell("downloading", "the part from before was damaged; it starts over")


class _Transfer:
    """Appends to the partial file until it is whole."""

    def __init__(
        self, upstream: Upstream, place: Place, settings: StoreSettings, meter: Meter,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._upstream, self._place, self._settings = upstream, place, settings
        self._meter, self._patience = meter, Patience(settings, meter, stop)
        self._by_xet = upstream.xet is not None
        self._position = self._restarts = 0
        self._behind = Behind(place.partial)

    def run(self) -> str:
        """The sha256 of the whole file, which lies in the partial one then."""
        total = self._upstream.size_bytes
        # Unbuffered: what has arrived is in the file even if this process is killed.
        descriptor = os.open(
            self._place.partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
        )
        with os.fdopen(descriptor, "r+b", buffering=0) as target:
            self._position = target.seek(0, os.SEEK_END)
            if self._position > total:
                self._position = 0
                target.truncate(0)
            self._follow()
            try:
                while self._position < total:
                    self._attempt(target)
                os.fsync(descriptor)  # before the hash is believed, also after a power cut
                self._behind.written(self._position)
                return self._behind.finish(self._meter.checked)
            finally:
                self._behind.abandon()

    def _follow(self) -> None:
        self._behind = Behind(self._place.partial)
        self._behind.start()
        self._behind.written(self._position)
        self._meter.start(self._position)

    def _attempt(self, target: BinaryIO) -> None:
        """As many bytes as one connection gives."""
        self._patience.check()
        target.seek(self._position)
        try:
            for chunk in self._open():
                self._append(target, chunk)
                self._patience.check()
            if self._position < self._upstream.size_bytes:
                raise TryAgain("the connection ended early")
        except TryAgain as failure:
            if self._by_xet:
                self._by_xet = False
                self._meter.tell("downloading", f"Xet: {failure.reason}; plain HTTP from here")
            else:
                self._patience.wait(failure)
        except StartOver as failure:
            self._restart(target, str(failure))

    def _open(self) -> Iterator[bytes]:
        stream = stream_xet if self._by_xet else stream_http
        return stream(self._upstream, self._position, self._settings)

    def _append(self, target: BinaryIO, chunk: bytes) -> None:
        if self._position + len(chunk) > self._upstream.size_bytes:
            raise StartOver("more bytes came than the file has")
        rest = memoryview(chunk)
        while rest:
            count = target.write(rest)
            self._meter.add(count)
            before, self._position = self._position, self._position + count
            rest = rest[count:]
            if before // _HASH_BYTES != self._position // _HASH_BYTES:
                self._behind.written(self._position)
        self._patience.progressed()

    def _restart(self, target: BinaryIO, reason: str) -> None:
        """From the first byte; a server that forces this again and again is given up."""
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise gave_up(self._meter.file, reason, self._position, self._upstream.size_bytes)
        self._behind.abandon()
        target.truncate(0)
        self._position = 0
        self._follow()
        self._meter.tell("downloading", f"{reason}; it starts over")
