"""Waiting for a network that fails: how often, how long, and when it is enough."""

import threading

from gemma_edge.store.download import Upstream, look_up
from gemma_edge.store.failures import (
    MAX_WAIT_SECONDS,
    Stopped,
    TryAgain,
    asked_too_long,
    gave_up,
)
from gemma_edge.store.progress import Meter
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings

_MAX_BACKOFF_SECONDS = 30.0
_UNREACHABLE_ATTEMPTS = 3


class Patience:
    """How often, and how long, one file's download may fail without a single new byte."""

    def __init__(self, settings: StoreSettings, meter: Meter, stop: threading.Event) -> None:
        self._settings, self._meter, self._stop = settings, meter, stop
        self._failures, self._reached = 0, False

    def progressed(self) -> None:
        """A byte came."""
        self._failures, self._reached = 0, True

    def check(self) -> None:
        """Raises: Stopped: somebody wants an end."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, failure: TryAgain) -> None:
        """Before the next attempt.

        Raises:
            GemmaEdgeError: there is none, or the server asks for more time than anybody has.
            Stopped: somebody wants an end.
        """
        meter, settings = self._meter, self._settings
        self._failures += 1
        seconds = failure.wait_seconds
        if seconds is not None and seconds > MAX_WAIT_SECONDS:
            raise asked_too_long(meter.file, seconds)
        limit = settings.attempts
        if failure.unreachable and not self._reached:
            limit = min(limit, _UNREACHABLE_ATTEMPTS)  # nobody waits long for a wrong address
        if self._failures >= limit:
            raise gave_up(meter.file, failure.reason, meter.done_bytes, meter.total_bytes)
        if seconds is None:
            doubled = settings.backoff_seconds * 2 ** (self._failures - 1)
            seconds = min(doubled, _MAX_BACKOFF_SECONDS)
        meter.tell("waiting", f"{failure.reason}; goes on in {seconds:.0f} s")
        if self._stop.wait(seconds):
            raise Stopped


def ask_patiently(
    file: RemoteFile, revision: str, settings: StoreSettings, patience: Patience
) -> Upstream:
    """What the hub has at this revision.

    Raises:
        GemmaEdgeError: it does not say.
        Stopped: somebody wants an end.
    """
    while True:
        patience.check()
        try:
            return look_up(file, revision, settings)
        except TryAgain as failure:
            patience.wait(failure)
