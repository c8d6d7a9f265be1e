"""The engine's own process: ``python -m gemma_edge.engine.worker``, spoken to over its pipes.

Whatever stops it (an abort in llama.cpp, a GPU out of memory, an instruction that the processor
refuses, a kill) stops nothing else. It ends when its stdin ends, so it never outlives its parent.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from gemma_edge.engine.process import Album, Call, Failed, Reply, Sender, read_message
from gemma_edge.engine.protocol import Engine, Event, Request
from gemma_edge.errors import EngineError, GemmaEdgeError, OutOfMemory
from gemma_edge.hardware.gpus import preload_cuda
from gemma_edge.planning.plan import Plan

if TYPE_CHECKING:  # it loads llama.cpp
    from gemma_edge.engine.prompt import LlamaCounter

Open = Callable[[Plan], Engine]
Ask = Callable[[Request], Iterator[Event]]


def open_llama(plan: Plan) -> Engine:
    """The real engine; its libraries are loaded here, CUDA's from packages of this environment
    where the system has none.

    Raises:
        EngineError: they cannot be loaded. And whatever loading raises.
    """
    with _libraries():
        from gemma_edge.engine.llama_engine import LlamaEngine
    return LlamaEngine(plan)


def open_llama_counter(plan: Plan) -> "LlamaCounter":
    """The vocabulary of a plan's model alone. Raises like ``open_llama``."""
    with _libraries():
        from gemma_edge.engine.prompt import LlamaCounter
    return LlamaCounter(plan)


@contextlib.contextmanager
def _libraries() -> Iterator[None]:
    """While llama.cpp is imported: what it needs, where it writes, and why it cannot be."""
    cuda = preload_cuda()
    try:
        from gemma_edge.engine.llama import mirror

        yield
    except (ImportError, OSError, RuntimeError) as error:  # llama-cpp-python raises all three
        raise EngineError(
            f"llama.cpp cannot be loaded: {cuda.error or error}",
            hint=cuda.fix or "gemma-edge doctor finds out why",
        ) from error
    mirror(sys.stderr.fileno())


class Worker:
    """Answers one call at a time, in order; cancelling goes past the line."""

    def __init__(self, read: BinaryIO, sender: Sender, open_engine: Open) -> None:
        self._read = read
        self._sender = sender
        self._open = open_engine
        self._engine: Engine | None = None
        self._counter: LlamaCounter | None = None
        self._disk = ThreadPoolExecutor(max_workers=1)  # answers go on while it is written
        self._saving: Future[int] | None = None
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._running = self._cancelled = 0  # numbers of calls

    def serve(self) -> None:
        """Until the process is ended by ``_listen``."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            call = self._calls.get()
            try:
                self._answer(call)
            except GemmaEdgeError as error:
                self._sender.send(Failed(error))
            except MemoryError:
                self._sender.send(Failed(OutOfMemory("the engine's process is out of memory")))
            except Exception as error:  # noqa: BLE001  (told to the parent, where it looks like one)
                self._sender.send(Failed(_plain(error), traceback.format_exc()))

    def _listen(self) -> None:
        """Take calls in; the end of stdin ends the process, whatever llama.cpp is doing."""
        album = Album()
        try:
            while True:
                call = read_message(self._read, album)
                if call.name == "cancel":
                    self._cancelled = call.number
                    if self._running == call.number and self._engine is not None:
                        self._engine.cancel()
                else:
                    self._calls.put(call)
        finally:
            os._exit(0)  # no atexit, no destructors: a GPU driver may hang in them

    def _answer(self, call: Call) -> None:
        if call.name == "load":
            self._engine = self._open(call.argument)
            self._sender.send(Reply(self._engine.info))
            return
        if call.name == "open_counter":
            self._counter = open_llama_counter(call.argument)
            self._sender.send(Reply())
            return
        if call.name == "count":
            counter = self._engine or self._counter
            assert counter is not None  # the parent opens first
            self._sender.send(Reply(counter.count(call.argument)))
            return
        engine = self._engine
        assert engine is not None  # the parent loads first
        if call.name == "measure":
            self._sender.send(Reply(engine.measure(call.argument)))
        elif call.name == "restore":
            self._sender.send(Reply(engine.restore(call.argument)))
        elif call.name == "save":
            self._saving = self._disk.submit(engine.save, call.argument)
            self._sender.send(Reply())
        elif call.name == "saved":
            self._sender.send(Reply(self._saved()))
        else:
            ask = engine.warm if call.name == "warm" else engine.generate
            self._stream(ask, call.number, call.argument)

    def _saved(self) -> int | None:
        """The size of the file, None while it is being written."""
        saving = self._saving
        if saving is None:
            raise EngineError("the engine was started again, what it held is not saved")
        return saving.result() if saving.done() else None

    def _stream(self, ask: Ask, number: int, request: Request) -> None:
        engine = self._engine
        assert engine is not None
        events = ask(request)
        self._running = number
        if self._cancelled == number:  # it came while the prompt was being prepared
            engine.cancel()
        self._sender.send(Reply())
        try:
            for event in events:
                self._sender.send(event)
        finally:
            self._running = 0


def run(open_engine: Open) -> None:
    """Serve the parent over this process's own stdin and stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it cancels in words
    _no_core_file()
    os.putenv("GGML_NO_BACKTRACE", "1")  # else an abort starts a debugger and takes seconds
    read = os.fdopen(os.dup(0), "rb")
    write = os.dup(1)
    silent = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silent, 0)
    os.dup2(2, 1)  # no print of a native library may break the stream
    Worker(read, Sender(write), open_engine).serve()


def main() -> None:
    """The program."""
    run(open_llama)


def _no_core_file() -> None:
    """An abort would write gigabytes."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _plain(error: Exception) -> Exception:
    """A form of it that any process can read back: its class if that is Python's own."""
    builtin = type(error).__module__ == "builtins"
    return type(error)(str(error)) if builtin else RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
