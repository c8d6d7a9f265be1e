"""One engine, one request at a time; the others wait in a bounded line."""

import threading
from types import TracebackType

from gemma_edge.errors import EngineError


class Turnstile:
    """A lock that at most ``waiting`` others may wait for; one more is refused in words.

    Two requests on one GPU at once are what made the first account of this project crash.
    """

    def __init__(self, waiting: int = 8) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._waiting = waiting
        self._owner = 0

    @property
    def busy(self) -> bool:
        """Whether somebody is inside."""
        return self._lock.locked()

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise EngineError(
                "the answer before this one is still open", hint="read it to its end, or close it"
            )
        if not self._places.acquire(blocking=False):
            raise EngineError(
                f"the model is busy and {self._waiting} requests already wait",
                hint="try again when an answer has ended",
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner = 0
        self._lock.release()
        self._places.release()
