"""One model and those who ask it: a queue, threads that read answers, clients that leave."""

import asyncio
import hashlib
import ipaddress
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import field
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import StreamingResponse

from gemma_edge.app.loaded import LoadedEngine
from gemma_edge.app.runtime import Runtime
from gemma_edge.engine.process import RemoteCounter
from gemma_edge.engine.protocol import Counter, Event, Finished, PromptTokens, Request
from gemma_edge.errors import GemmaEdgeError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.serve.metrics import Metrics
from gemma_edge.serve.protocol import Json, Refusal, event, refusal_of
from gemma_edge.serve.queue import FairQueue
from gemma_edge.units import MIB

Value = TypeVar("Value")
_QUIET_SECONDS = 10.0  # between two signs of life in a stream
_READERS = 2  # documents and images that are taken apart at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may take. ``seconds`` is from its arrival to its end; ``waiting`` requests
    wait at most, ``each`` of one client."""

    body_bytes: int = 64 * MIB
    images: int = 16
    max_tokens: int | None = None
    seconds: float = 1800.0
    waiting: int = 256
    each: int = 64


class Left(Exception):
    """The client is not there any more."""


class Job:
    """Work in a thread, for a client that may leave: what it tells comes to the event loop, all of
    it at once where the loop is busy."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self._items: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._is_waking = False

    def tell(self, item: Any) -> None:
        """Raises Left: nobody listens."""
        if self._left.is_set():
            raise Left
        self.put(item)

    def leave(self) -> None:
        self._left.set()

    def run(self, work: Callable[["Job"], None]) -> None:
        """Do it; its end, or what it raised, is the last item."""
        ended: object = END
        try:
            work(self)
        except Left:
            pass
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            ended = Failed(error)
        self.put(ended)

    def put(self, item: object) -> None:
        """From any thread."""
        self._items.append(item)
        if not self._is_waking:
            self._is_waking = True
            with suppress(RuntimeError):  # the loop is closed: the server has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        self._ready.set()

    async def take(self) -> list[Any]:
        """All that was told since it was asked last, when there is something."""
        await self._ready.wait()
        self._ready.clear()
        return [self._items.popleft() for _ in range(len(self._items))]


END, QUIET = object(), object()  # it is over; nothing was told for a while


@dataclass(frozen=True, slots=True)
class Failed:
    """What work raised."""

    error: BaseException


@dataclass(slots=True)
class Service:
    """``name`` is what clients call the model; ``close`` frees the threads, not the engine."""

    engine: LoadedEngine
    runtime: Runtime
    name: str
    limits: Limits
    queue: FairQueue
    keys: tuple[str, ...] = ()
    stopping: bool = False
    metrics: Metrics = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _readers: ThreadPoolExecutor = field(init=False)
    _counter: Counter | None = field(init=False, default=None)
    _counting: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        queue = self.queue
        self.metrics = Metrics(lambda: queue.active, lambda: queue.waiting)
        self._threads = ThreadPoolExecutor(queue.places, "answer")
        self._readers = ThreadPoolExecutor(_READERS, "read")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._counter is not None:
            self._counter.close()

    @property
    def context_tokens(self) -> int:
        return self.engine.info.context_tokens

    def client_of(self, request: HttpRequest, user: str = "") -> str:
        """Whose turn it is: that of a key, where there are several, else of an address. Programs of
        this machine have one address, and are told apart by what they say of themselves: a key,
        which any may send, and a ``user``. Nobody elsewhere gets more turns by that."""
        said = request.headers.get("authorization", "")
        host = request.client.host if request.client else ""
        if len(self.keys) > 1:
            return hashlib.sha256(said.encode()).hexdigest()
        with suppress(ValueError):
            if ipaddress.ip_address(host).is_loopback:
                return hashlib.sha256("\0".join((host, said, user)).encode()).hexdigest()
        return host

    async def read(self, work: Callable[[], Value]) -> Value:
        """Take documents or images apart, beside the answers.
        Raises Refusal: they cannot be read."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, work)
        except GemmaEdgeError as error:
            raise refusal_of(error) from None

    async def ask(
        self, client: str, work: Callable[[Job], None], *, lively: bool = False
    ) -> AsyncGenerator[list[Any], None]:
        """What ``work`` tells, which is done in a thread when it is this client's turn; ``lively``,
        an empty list now and then where it tells nothing. Whoever stops listening stops it: its
        place is free when its thread has ended.
        Raises Refusal: the queue is full, the time is over, or the work has failed."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.limits.seconds
        place = await self._in_time(self.queue.take(client), ends)
        job = Job()
        done = loop.run_in_executor(self._threads, job.run, work)
        done.add_done_callback(lambda _: place.free())
        late = loop.call_at(ends, job.put, Failed(self._late()))
        quiet = loop.call_later(_QUIET_SECONDS, job.put, QUIET)
        over = False
        try:
            while not over:
                told: list[Any] = []
                error: Failed | None = None
                for item in await job.take():
                    if item is QUIET:
                        quiet = loop.call_later(_QUIET_SECONDS, job.put, QUIET)
                    elif item is END or isinstance(item, Failed):
                        over, error = True, item if isinstance(item, Failed) else None
                    elif error is None:
                        told.append(item)
                if told or (lively and not over):
                    yield told
                if error is not None:
                    raise _refused(error.error)
        finally:
            job.leave()
            late.cancel()
            quiet.cancel()
            if not over:
                self.metrics.left.inc()

    async def _in_time(self, waited: Awaitable[Value], ends: float) -> Value:
        left = ends - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(waited, max(0.0, left))
        except asyncio.TimeoutError:
            raise self._late() from None

    def _late(self) -> Refusal:
        text = f"it took longer than {self.limits.seconds:,.0f} s"
        return Refusal(504, "deadline", text, hint="fewer tokens, or --max-seconds")

    def answer(self, job: Job, request: Request) -> Iterator[Event]:
        """In a thread: the events of an answer, for as long as somebody listens."""
        events = self.engine.generate(request)
        try:
            for each in events:
                if isinstance(each, Finished):
                    self.metrics.finished(each)
                yield each
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()

    async def tokenize(self, request: Request, *, pieces: bool) -> PromptTokens:
        """The tokens of a prompt, asked of the vocabulary alone.
        Raises Refusal: it cannot be read."""
        return await self.read(
            lambda: self._count(lambda each: each.tokenize(request, pieces=pieces))
        )

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Raises Refusal: there is no such token."""
        return await self.read(lambda: self._count(lambda each: each.detokenize(tokens)))

    def _count(self, ask: Callable[[Counter], Value]) -> Value:
        with self._counting:
            if self._counter is None:
                plan = self.engine.info.plan or self.engine.prepared.plan
                self._counter = self.runtime.open_counter(plan)
            try:
                return ask(self._counter)
            except UsageError:
                raise
            except GemmaEdgeError:
                if isinstance(self._counter, RemoteCounter):
                    self._counter.close()  # it may be its process; the next one is new
                self._counter = None
                raise


def _refused(error: BaseException) -> BaseException:
    if isinstance(error, GemmaEdgeError):
        return refusal_of(error)
    return error


# ----------------------------------------------------------------------------
# Answers to clients that may leave.


async def unless_left(request: HttpRequest, waited: Awaitable[Value]) -> Value:
    """What is waited for; it is cancelled where the client leaves.
    Raises Left: it did."""
    task = asyncio.ensure_future(waited)
    watcher = asyncio.ensure_future(_leaves(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Left
        return task.result()
    finally:
        for each in (task, watcher):
            each.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task  # so that what it held is free


async def _leaves(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def stream(request: HttpRequest, events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """A stream of events. It begins with the first of them, so that what is refused before is no
    stream but an error."""
    first = await unless_left(request, anext(events))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(first, events), media_type="text/event-stream", headers=headers)


async def _told(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """What is wrong is the last event."""
    async with aclosing(events):
        try:
            yield first
            async for each in events:
                yield each
        except Refusal as refusal:
            yield event(refusal.as_document())


def usage_of(finished: "list[Finished]") -> Json:
    """Of several answers to one prompt: the prompt is counted once."""
    if not finished:
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    prompt = finished[0].usage.prompt_tokens
    generated = sum(each.usage.generated_tokens for each in finished)
    return {
        "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": finished[0].usage.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": sum(each.usage.thought_tokens for each in finished),
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip
