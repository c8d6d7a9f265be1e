"""The program of the engine's own process.

Whatever stops it (an abort in llama.cpp, a GPU out of memory, an instruction that the processor
refuses, a kill) stops nothing else.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_edge import isolation
from gemma_edge.engine.protocol import Answer, Engine, Event, pack, unpack
from gemma_edge.errors import BuildError, EngineError
from gemma_edge.hardware.gpus import cuda_libraries, put_variables
from gemma_edge.planning.plan import Plan

if TYPE_CHECKING:
    from concurrent.futures import Future

    from gemma_edge.engine.process import CallName
    from gemma_edge.engine.prompt import LlamaCounter  # it loads llama.cpp
    from gemma_edge.hardware.claims import Held

Tell = Callable[[float], None]
Open = Callable[[Plan, Tell], Engine]
TELL_SECONDS = 0.1  # between two words on how far a load is


def open_llama(plan: Plan, tell: Tell | None = None) -> Engine:
    """The real engine; its libraries are loaded here, CUDA's from packages of this environment
    where the system has none.
    Raises BuildError: they cannot be loaded. And whatever loading raises."""
    with _libraries(plan.variables):
        from gemma_edge.engine.engine import LlamaEngine
    return LlamaEngine(plan, tell=tell)


def open_llama_counter(plan: Plan) -> "LlamaCounter":
    """The vocabulary of a plan's model alone. Raises like ``open_llama``."""
    with _libraries(plan.variables):
        from gemma_edge.engine.prompt import LlamaCounter
    return LlamaCounter(plan)


@contextlib.contextmanager
def _libraries(variables: Sequence[str]) -> Iterator[None]:
    """While llama.cpp is imported: what it needs, where it writes, and why it cannot be."""
    put_variables(variables)
    cuda = cuda_libraries()
    try:
        if "llama_cpp" not in sys.modules:  # tests open an engine in their own process
            isolation.skip_start("llama_cpp")
        from gemma_edge.engine.llama import mirror

        yield
    except (ImportError, OSError, RuntimeError) as error:  # llama-cpp-python raises all three
        raise BuildError(
            f"llama.cpp cannot be loaded: {cuda.error or error}",
            hint=cuda.fix or "gemma-edge doctor finds out why",
        ) from error
    mirror(sys.stderr.fileno())


class Worker:
    """Answers one call after the other: ``{"call": its name, "argument"}`` with ``{"value"}``."""

    def __init__(self, open_engine: Open) -> None:
        self._open = open_engine
        self._engine: Engine | None = None
        self._counter: LlamaCounter | None = None
        self._saving: Future[int] | None = None
        self._held: Held | None = None

    def answer(self, request: isolation.ChildRequest) -> Iterator[isolation.ChildMessage | None]:
        """What comes back: one value, or the events of an answer after its acceptance. Where a step
        brought none, others may be answered."""
        name, argument = request.header["call"], unpack(request.header["argument"], request.parts)
        if name == "prepare":
            prepare()
            yield _message(None)
            return
        if name == "load":
            self._engine = self._open(argument, _telling(request))
            yield _message(self._engine.info)
            return
        if name == "stay":
            yield _message(self._stay(json.loads(argument), request.parents))
            return
        if name not in ("generate", "warm"):
            yield _message(self._call(name, argument))
            return
        engine = self._engine
        assert engine is not None  # the parent loads first
        events = engine.warm(argument) if name == "warm" else engine.generate(argument)
        cancel = engine.cancel
        poll: Callable[[], Event | None] = partial(next, events)
        if isinstance(events, Answer):
            cancel, poll = events.cancel, events.poll
        request.on_interrupt(cancel)
        yield _message(True)
        with contextlib.suppress(StopIteration):
            while True:
                event = poll()
                yield None if event is None else _message(event)

    def _stay(self, told: dict[str, Any], parents: isolation.Parents | None) -> str:
        """Outlive who started this process; why not, else "". The memory is claimed by it now."""
        from gemma_edge.hardware.claims import Claim, Held
        from gemma_edge.standby import Host, Unsafe, Waiting, memory_is_scarce

        assert parents is not None  # only tests call without one
        claim = Claim(**told["claim"] | {"pid": os.getpid(), "loaded": time.time()})
        self._held = Held(Path(told["claims"]), claim)
        self._held.use()
        folder = Path(told["folder"])
        how = Waiting(folder, told["key"], told["seconds"], told["about"], memory_is_scarce)
        try:
            Host(parents, how)
        except (Unsafe, OSError) as error:
            self._held.release()
            return str(error)
        return ""

    def _call(self, name: "CallName", argument: Any) -> object:
        if name == "open_counter":
            self._counter = open_llama_counter(argument)
            return None
        if name in ("count", "tokenize", "detokenize"):
            return self._ask_vocabulary(name, argument)
        engine = self._engine
        assert engine is not None  # the parent loads first
        if name == "measure":
            tokens, filled = argument
            return engine.measure(tokens, filled=filled)
        if name == "restore":
            return engine.restore(argument)
        if name == "save":
            self._saving = _begin_saving(engine, argument)
            return None
        if self._saving is None:
            raise EngineError("the engine was started again, what it held is not saved")
        return self._saving.result() if self._saving.done() else None

    def _ask_vocabulary(self, name: "CallName", argument: Any) -> object:
        if name == "count":
            counter = self._engine or self._counter
            assert counter is not None  # the parent opens first
            return counter.count(argument)
        assert self._counter is not None
        if name == "detokenize":
            return self._counter.detokenize(argument)
        request, pieces = argument
        return self._counter.tokenize(request, pieces=pieces)


def prepare() -> None:
    """Import what ``open_llama`` needs, before there is a plan. What cannot be imported is told
    when it is asked for."""
    with contextlib.suppress(EngineError), _libraries(()):
        for name in ("gemma_edge.engine.engine", "gemma_edge.engine.constraint", "jinja2.sandbox"):
            import_module(name)


def _begin_saving(engine: Engine, path: Any) -> "Future[int]":
    """Write the cache in a thread: answers go on meanwhile. One at a time is asked for."""
    from concurrent.futures import ThreadPoolExecutor

    disk = ThreadPoolExecutor(max_workers=1)
    saving = disk.submit(engine.save, path)
    disk.shutdown(wait=False)
    return saving


def _telling(request: isolation.ChildRequest) -> Tell:
    """Passes on how far a load is, now and then, to a parent that asked for it."""
    told = -TELL_SECONDS

    def tell(share: float) -> None:
        nonlocal told
        now = time.monotonic()
        if "watched" in request.header and now - told >= TELL_SECONDS:
            told = now
            request.tell({"share": share})

    return tell


def _message(value: object) -> isolation.ChildMessage:
    parts: list[bytes] = []
    return isolation.ChildMessage({"value": pack(value, parts)}, tuple(parts))


def serve(open_engine: Open) -> isolation.Handler:
    os.putenv("GGML_NO_BACKTRACE", "1")  # else an abort starts a debugger and takes seconds
    return Worker(open_engine).answer


def main() -> isolation.Handler:
    return serve(open_llama)
