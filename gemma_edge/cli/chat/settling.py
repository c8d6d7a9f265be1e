"""Between two messages: the conversation is read into the cache, so that the next message costs
no more than its own tokens. The person never waits for it."""

import threading
from collections.abc import Callable

from gemma_edge.chat.session import Session
from gemma_edge.engine.protocol import Engine, Reading
from gemma_edge.errors import GemmaEdgeError

_LOOK_SECONDS, _END_SECONDS = 0.02, 2.0


def _nothing() -> None:
    """The usual first step."""


class Settling:
    """One thread at a time. ``first`` is done once, before the next reading. ``changed`` is called
    in the thread when there is something new to show."""

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self._error: GemmaEdgeError | None = None
        self.first: Callable[[], None] = _nothing
        self.changed: Callable[[], None] = _nothing
        self._thread: threading.Thread | None = None
        self._wanted = True

    def begin(self, session: Session, measure: Callable[[], None]) -> None:
        """``measure`` runs in the thread too: what asks the engine must not do so beside it."""
        self._wanted = True
        self._thread = threading.Thread(target=self._work, args=(session, measure), daemon=True)
        self._thread.start()

    def stop(self, engine: Engine) -> None:
        """The engine is free after this. A reading that has not begun yet has nothing to cancel,
        so it is asked again.

        Raises:
            GemmaEdgeError: what ``first`` raised.
        """
        self._wanted = False
        while self._thread is not None and self._thread.is_alive():
            if not self.pending:  # else it is still loading, which is waited for
                engine.cancel()
            self._thread.join(_LOOK_SECONDS)
        self._thread = self.reading = None
        self.check()

    def end(self) -> None:
        """The engine is closed: what still waits for it meets an error, and ends."""
        self._wanted = False
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    @property
    def pending(self) -> bool:
        """Whether ``first`` is still to be done: the model is loading."""
        return self.first is not _nothing

    @property
    def failed(self) -> bool:
        """Whether ``check`` raises."""
        return self._error is not None

    def check(self) -> None:
        """Raise, once, what ``first`` raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self, session: Session, measure: Callable[[], None]) -> None:
        try:
            self.first()
        except GemmaEdgeError as error:
            self._error = error
            self.changed()
            return
        self.first = _nothing
        if not self._wanted:
            return
        try:
            measure()
            self.changed()
            for event in session.settle() if self._wanted else ():
                if isinstance(event, Reading):
                    self.reading = event
                    self.changed()
        except GemmaEdgeError:
            return  # the next message meets it, and tells
        finally:
            self.reading = None
            self.changed()
