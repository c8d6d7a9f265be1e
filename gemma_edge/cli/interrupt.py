"""Ctrl-C while a model answers: the first stops the answer, the second the program."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gemma_edge.engine.protocol import Engine


@contextmanager
def cancel_on_interrupt(engine: Engine) -> Iterator[None]:
    """Inside, SIGINT calls ``engine.cancel()`` and what was said is kept; the handler that was
    there before is restored after. Where SIGINT is ignored (a background job), it stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous == signal.SIG_IGN:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        engine.cancel()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.default_int_handler)
