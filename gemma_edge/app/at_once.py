"""Several files answered at once, each in a thread; what comes of them comes in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Event
from typing import Generic, TypeVar

from gemma_edge.app.request import BatchRequest, ModelRequest
from gemma_edge.errors import Interrupted
from gemma_edge.isolation import Once

AT_ONCE = (8, 4, 2)  # documents
_AHEAD = 4  # times as many are begun as are answered at once: a long one holds up nobody
_LOOK_SECONDS = 0.05  # so that Ctrl-C is noticed

Answered = TypeVar("Answered")


def for_many(
    model: ModelRequest, batch: BatchRequest, count: int
) -> tuple[ModelRequest, Sequence[int]]:
    """What is asked of the model for so many files, and how many at once the plan may try."""
    if not batch.at_once:
        return model, [each for each in AT_ONCE if each <= count]
    return replace(model, at_once=max(1, min(batch.at_once, count))), ()


class _Running(Generic[Answered]):
    """Work in a thread of its own; ``ended`` is set at its end."""

    def __init__(self, work: Callable[[], Answered], ended: Event) -> None:
        def run() -> Answered:
            try:
                return work()
            finally:
                self.is_over = True
                ended.set()

        self.is_over = False
        self.result = Once(run)
        self.result.begin()


def answer_at_once(
    works: Iterable[Callable[[], Answered]], count: int, wait: Callable[[Event, float], object]
) -> Iterator[Answered]:
    """What each gives, in order, ``count`` at once. ``wait`` waits for an event, so many seconds at
    most. Where somebody stops it, what is there already is given before that is raised.
    Raises what the work raises, when it is its turn."""
    begun: deque[_Running[Answered]] = deque()
    ended, rest = Event(), iter(works)
    is_all = False
    try:
        while begun or not is_all:
            running = sum(not each.is_over for each in begun)
            while not is_all and running < count and len(begun) < _AHEAD * count:
                if (work := next(rest, None)) is None:
                    is_all = True
                else:
                    begun.append(_Running(work, ended))
                    running += 1
            if begun and begun[0].is_over:
                yield begun.popleft().result()
            elif begun:
                wait(ended, _LOOK_SECONDS)
                ended.clear()
    except (Interrupted, KeyboardInterrupt):
        for each in begun:
            if each.is_over and not each.result.failed:
                yield each.result()
        raise
