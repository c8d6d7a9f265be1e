"""What is said while files come in: one event type, several files at once."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_SECONDS = 5.0  # speed is that of the last seconds, or a stall would not be seen
_EVERY_SECONDS = 0.1  # ten events a second and file are enough for any terminal
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """One file's state. ``file`` is its name as people write it (``hf:owner/repo/file.gguf``).

    ``state`` is ``waiting``, ``downloading``, ``checking`` (its hash) or ``done``; ``note`` is a
    sentence when something happened (a retry, the rate limit, another process at work).
    """

    file: str
    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    state: str = "downloading"
    note: str = ""


Listener = Callable[[Progress], None]


class Meter:
    """Counts one file's bytes and tells ``listen`` at most ten times a second.

    ``clock`` is in seconds; only differences are used.
    """

    def __init__(
        self,
        file: str,
        listen: Callable[[Progress], None],
        clock: Callable[[], float],
        *,
        total_bytes: int = 0,
    ) -> None:
        self.file, self.total_bytes, self.done_bytes = file, total_bytes, 0
        self.listen, self._clock = listen, clock
        self._marks: deque[tuple[float, int]] = deque()
        self._told = float("-inf")
        self._state = ""
        self._guard = threading.Lock()  # one thread counts, another one keeps the time

    def start(self, done_bytes: int) -> None:
        """What is there already, without counting it as speed."""
        with self._guard:
            self.done_bytes = done_bytes
            self._marks.clear()
            self._marks.append((self._clock(), done_bytes))
        self.tell("downloading")

    def add(self, count_bytes: int) -> None:
        """So many more bytes are on disk."""
        self.done_bytes += count_bytes
        if self._clock() - self._told >= _EVERY_SECONDS:
            self._mark()
            self.tell("downloading")

    def checked(self, count_bytes: int) -> None:
        """So many bytes in all have been hashed."""
        if self._clock() - self._told >= _EVERY_SECONDS:
            self.done_bytes = count_bytes
            self.tell("checking")

    def tick(self) -> None:
        """From time to time, by another thread: when nothing comes, the speed is seen to fall."""
        if self._state == "downloading" and self._clock() - self._told >= _IDLE_SECONDS:
            self._mark()
            self.tell("downloading")

    def tell(self, state: str, note: str = "") -> None:
        """An event now."""
        self._told, self._state = self._clock(), state
        speed = self._speed() if state == "downloading" else None
        left = max(0, self.total_bytes - self.done_bytes)
        eta = left / speed if speed else None
        self.listen(Progress(self.file, self.done_bytes, self.total_bytes, speed, eta, state, note))

    def _mark(self) -> None:
        with self._guard:
            self._marks.append((self._clock(), self.done_bytes))
            while self._marks[-1][0] - self._marks[0][0] > _WINDOW_SECONDS:
                self._marks.popleft()

    def _speed(self) -> float | None:
        with self._guard:
            if not self._marks:
                return None
            (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first else None
