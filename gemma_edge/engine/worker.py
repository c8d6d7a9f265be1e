"""The engine's own process: ``python -m gemma_edge.engine.worker``, spoken to over its pipes.

Whatever stops it (an abort in llama.cpp, a GPU out of memory, an instruction that the processor
refuses, a kill) stops nothing else. It ends when its stdin ends, so it never outlives its parent.
"""

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import BinaryIO

from gemma_edge.engine.protocol import Engine, Request
from gemma_edge.engine.wire import Call, Failed, Reply, Sender, read_message
from gemma_edge.errors import EngineError, GemmaEdgeError, OutOfMemory
from gemma_edge.fit.plan import Plan
from gemma_edge.hardware import preload_cuda

Open = Callable[[Plan], Engine]


def open_llama(plan: Plan) -> Engine:
    """The real engine; its libraries are loaded here, CUDA's from packages of this environment
    where the system has none.

    Raises:
        EngineError: they cannot be loaded. And whatever loading raises.
    """
    cuda = preload_cuda()
    try:
        from gemma_edge.engine import llama_log
        from gemma_edge.engine.llama_engine import LlamaEngine
    except (ImportError, OSError, RuntimeError) as error:  # llama-cpp-python raises all three
        raise EngineError(
            f"llama.cpp cannot be loaded: {cuda.error or error}",
            hint=cuda.fix or "gemma-edge doctor finds out why",
        ) from error
    llama_log.mirror(sys.stderr.fileno())
    return LlamaEngine(plan)


class Worker:
    """Answers one call at a time, in order; cancelling goes past the line."""

    def __init__(self, read: BinaryIO, sender: Sender, open_engine: Open) -> None:
        self._read = read
        self._sender = sender
        self._open = open_engine
        self._engine: Engine | None = None
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
        try:
            while True:
                call = read_message(self._read)
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
        engine = self._engine
        assert engine is not None  # the parent loads first
        if call.name == "count":
            self._sender.send(Reply(engine.count(call.argument)))
        elif call.name == "measure":
            self._sender.send(Reply(engine.measure(call.argument)))
        else:
            self._generate(engine, call.number, call.argument)

    def _generate(self, engine: Engine, number: int, request: Request) -> None:
        events = engine.generate(request)
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
