"""The only door to hf_xet, the hub's own way to move large files: chunks from many places at once.

Its ordered stream can begin anywhere, so it continues what plain HTTP began, and the other way
round. ``endpoint`` and access token come from the address that the hub names for the file.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from gemma_edge.store.download import Upstream, request_headers
from gemma_edge.store.failures import TryAgain
from gemma_edge.store.settings import StoreSettings

_AHEAD_CHUNKS = 16


class _Stale(Exception):
    """Nobody waits for the chunks any more."""


def stream_xet(upstream: Upstream, start: int, settings: StoreSettings) -> Iterator[bytes]:
    """The bytes from ``start`` on through Xet, in order. It may end early without an error.

    The library waits inside native code without a limit, so a thread of its own does that; when
    nothing comes for ``stall_seconds`` the group is aborted and the thread is left behind.
    """
    pump = _Pump(upstream, start, request_headers(settings))
    pump.start()
    try:
        while True:
            try:
                chunk = pump.chunks.get(timeout=settings.stall_seconds)
            except queue.Empty:
                raise TryAgain("no byte came for too long") from None
            if chunk is None:
                return
            if isinstance(chunk, BaseException):
                raise TryAgain(f"{type(chunk).__name__}: {chunk}")
            yield chunk
    finally:
        pump.abandon()


class _Pump(threading.Thread):
    """Hands over chunks, then None or the error."""

    def __init__(self, upstream: Upstream, start: int, headers: dict[str, str]) -> None:
        super().__init__(daemon=True, name="xet")
        self.chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD_CHUNKS)
        self._upstream, self._start, self._headers = upstream, start, headers
        self._abandoned = threading.Event()
        self._group: Any = None

    def abandon(self) -> None:
        """Only the group can be aborted: cancelling a stream that waits is an error."""
        self._abandoned.set()
        if self._group is not None:
            with contextlib.suppress(RuntimeError):
                self._group.abort()

    def run(self) -> None:
        """The thread."""
        last: BaseException | None = None
        try:
            self._pump()
        except BaseException as error:  # noqa: BLE001  (native code may panic: plain HTTP then)
            last = error
        with contextlib.suppress(_Stale):
            self._hand_over(last)

    def _pump(self) -> None:
        from hf_xet import (  # type: ignore[import-untyped] # noqa: PLC0415
            XetConfig,
            XetFileInfo,
            XetSession,
        )

        # The hub's token goes to the hub alone, for a short-lived one to the storage.
        open_headers = {k: v for k, v in self._headers.items() if k.lower() != "authorization"}
        source = self._upstream.xet
        config = XetConfig()
        if "telemetry.enabled" in config.keys():  # noqa: SIM118  (not a dict)
            config = config.with_config("telemetry.enabled", False)
        self._group = XetSession(config).new_download_stream_group(
            token_refresh_url=source.refresh_route,
            token_refresh_headers=self._headers,
            custom_headers=open_headers,
        )
        info = XetFileInfo(source.file_hash, self._upstream.size_bytes)
        for chunk in self._group.download_stream(info, start=self._start):
            self._hand_over(chunk)

    def _hand_over(self, chunk: "bytes | BaseException | None") -> None:
        while not self._abandoned.is_set():
            with contextlib.suppress(queue.Full):
                self.chunks.put(chunk, timeout=0.2)
                return
        raise _Stale
