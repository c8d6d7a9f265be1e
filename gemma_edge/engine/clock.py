"""Wall-clock marks of one answer."""

import time

from gemma_edge.engine.protocol import Timings


class Clock:
    """Started with the answer; in seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._read = self._first = 0.0

    def prompt_read(self) -> None:
        """The prompt is in the cache now."""
        self._read = time.perf_counter()

    def token_chosen(self) -> None:
        """One more; the first one counts."""
        self._first = self._first or time.perf_counter()

    def timings(self) -> Timings:
        """Up to now."""
        now = time.perf_counter()
        read = self._read or now
        return Timings(
            prompt_seconds=read - self._start,
            first_token_seconds=(self._first or now) - self._start,
            decode_seconds=now - read,
        )
