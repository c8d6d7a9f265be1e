"""When a long prompt is worth a word about how far it is read."""

import time
from collections.abc import Callable, Iterable, Iterator

from gemma_edge.engine.protocol import Reading

_QUIET_SECONDS = 1.0
_PAUSE_SECONDS = 0.25


class Progress:
    """``Reading`` events for a prompt of ``total_tokens``: none in the first second, then at most
    four a second. ``clock`` is in seconds."""

    def __init__(self, total_tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total_tokens = total_tokens
        self._clock = clock
        self._next = clock() + _QUIET_SECONDS

    def follow(self, positions: Iterable[int]) -> Iterator[Reading]:
        """Events for the positions reached."""
        for position in positions:
            yield from self.at(position)

    def at(self, position: int) -> Iterator[Reading]:
        """An event, if it is time for one."""
        now = self._clock()
        if now >= self._next:
            self._next = now + _PAUSE_SECONDS
            yield Reading(position, self._total_tokens)
