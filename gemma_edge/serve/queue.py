"""Who is next: a bounded queue in which each client has its turn, before the engine's places."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from gemma_edge.serve.protocol import Refusal

_LONGEST_WAIT = 60  # seconds that a client is told to wait, at most
_USUAL_SECONDS = 2.0  # of an answer, before one was measured
_WEIGHT = 0.2  # of the last answer in the mean


class FairQueue:
    """``places`` answers at a time; at most ``waiting`` wait, ``each`` of one client. Those that
    wait have their turns in a circle, client by client. For one event loop alone."""

    def __init__(
        self, places: int, *, waiting: int, each: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.places = places
        self.active = 0
        self._most, self._each = waiting, each
        self._clients: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._clock = clock
        self._seconds = _USUAL_SECONDS

    @property
    def waiting(self) -> int:
        return sum(map(len, self._clients.values()))

    @property
    def retry_after(self) -> int:
        """Seconds in which one more could be taken, by what answers took so far."""
        behind = self.waiting + self.active
        return max(1, min(_LONGEST_WAIT, round(self._seconds * behind / max(1, self.places))))

    async def take(self, client: str) -> "Place":
        """A place, when it is this client's turn; whoever has it frees it.
        Raises Refusal: too many wait already."""
        if self.active >= self.places or self._clients:
            await self._wait(client)
        else:
            self.active += 1
        return Place(self, self._clock())

    async def _wait(self, client: str) -> None:
        line = self._clients.get(client)
        if line is not None and len(line) >= self._each:
            text = f"{len(line)} requests of this client wait already"
            raise Refusal(429, "too_many_requests", text, retry_after=self.retry_after)
        if self.waiting >= self._most:
            text = f"the model is busy, and {self.waiting} requests wait already"
            raise Refusal(503, "overloaded", text, retry_after=self.retry_after)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clients.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()  # the place came at the same moment
            else:
                self._forget(client, turn)
            raise

    def _forget(self, client: str, turn: "asyncio.Future[None]") -> None:
        line = self._clients[client]
        line.remove(turn)
        if not line:
            del self._clients[client]

    def free(self, seconds: float) -> None:
        """A place that was had for so long."""
        self._seconds += _WEIGHT * (seconds - self._seconds)
        self._give_back()

    def _give_back(self) -> None:
        self.active -= 1
        if not self._clients:
            return
        client, line = self._clients.popitem(last=False)
        turn = line.popleft()
        if line:
            self._clients[client] = line  # behind the others
        self.active += 1
        turn.set_result(None)


class Place:
    """One of the places, until it is freed."""

    def __init__(self, queue: FairQueue, since: float) -> None:
        self._queue: FairQueue | None = queue
        self._since = since

    def free(self) -> None:
        """Idempotent."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.free(queue._clock() - self._since)
