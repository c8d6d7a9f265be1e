"""Files read and decoded in threads, a few ahead of the model, which is one."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from gemma_edge.cli.batch.sources import Source

Content = TypeVar("Content")


def read_ahead(
    read: Callable[[Source], Content], sources: Sequence[Source], jobs: int
) -> Iterator[tuple[Source, Callable[[], Content]]]:
    """Each source with what gives its content, or raises why there is none; ``jobs`` are read
    while one is used, and no more, so memory does not grow with their number."""
    waiting: deque[tuple[Source, Future[Content]]] = deque()
    rest = iter(sources)
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="decode")
    try:
        for source in islice(rest, jobs):
            waiting.append((source, pool.submit(read, source)))
        while waiting:
            source, future = waiting.popleft()
            future.exception()  # wait
            for following in islice(rest, 1):
                waiting.append((following, pool.submit(read, following)))
            yield source, future.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
