"""Engine processes that fail on purpose, each by a real death. Programs for test_faults.py."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from gemma_edge.engine.protocol import Chunk, Engine, Event, Request
from gemma_edge.engine.worker import open_llama, serve
from gemma_edge.isolation import Handler
from gemma_edge.planning.plan import Plan
from tests.scripted import ScriptedEngine

LARGE_BATCH = 64  # the plans that "killed" cannot load have a larger one


class Faulty:
    """An engine that does something before each event."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def generate(self, request: Request) -> Iterator[Event]:
        events = self._engine.generate(request)
        return self.spoil(request.messages[-1].text, events)

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        raise NotImplementedError


class Slow(Faulty):
    """Time to be killed in the middle of an answer."""

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            time.sleep(0.1)


class Fragile(Faulty):
    """Dies as it is told: ``SIGNAL before``, ``after`` the first chunk, or ``never``."""

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        name, _, when = text.partition(" ")
        number = getattr(signal, name)
        if when == "before":
            os.kill(os.getpid(), number)
        for event in events:
            yield event
            if isinstance(event, Chunk) and when == "after":
                os.kill(os.getpid(), number)


class Doomed(Faulty):
    """Loads, and dies at the first decode, as a build that the processor does not bear."""

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        os.kill(os.getpid(), signal.SIGSEGV)
        yield from events


class Endless(Faulty):
    """Says one word and the next for a second, or three words where that is asked."""

    def __init__(self) -> None:
        super().__init__(ScriptedEngine())

    def generate(self, request: Request) -> Iterator[Event]:
        text = request.messages[-1].text
        self._engine.answers = ["one two three" if text == "short" else "word " * 500]  # type: ignore[attr-defined]
        return super().generate(request)

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            time.sleep(0.002 if text != "short" else 0)


class SlowDisk(Faulty):
    """Writes for two seconds what was copied out at once."""

    def spoil(self, text: str, events: Iterator[Event]) -> Iterator[Event]:
        return events

    def save(self, path: Path) -> int:
        size = self._engine.save(path)
        time.sleep(2)
        return size


def killed(plan: Plan) -> Engine:
    """As by the kernel when there is no memory left."""
    if plan.batch_tokens > LARGE_BATCH:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_llama(plan)


def gap(plan: Plan) -> Engine:
    """Killed while it loads the middle one of three plans only."""
    return killed(plan) if plan.batch_tokens == 2 * LARGE_BATCH else open_llama(plan)


def abort(_plan: Plan) -> Engine:
    """As ggml does."""
    sys.stderr.write("ggml-cuda.cu:97: GGML_ASSERT(batch > 0) failed\n")
    sys.stderr.flush()
    os.abort()


def illegal(_plan: Plan) -> Engine:
    os.kill(os.getpid(), signal.SIGILL)
    raise AssertionError


def segfault(_plan: Plan) -> Engine:
    """While it loads."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def limited(plan: Plan) -> Engine:
    """Half a GiB of addresses more than a program with llama.cpp has, and not a page beyond."""
    import resource

    import gemma_edge.engine.engine  # noqa: F401

    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[0])
    most = pages * resource.getpagesize() + (512 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return open_llama(plan)


def sleepy(_plan: Plan) -> Engine:
    """A model on a slow disk."""
    time.sleep(60)
    raise AssertionError


def gradual(_plan: Plan, tell: Callable[[float], None]) -> Engine:
    """Tells a hundred times how far it is, as llama.cpp does for each tensor."""
    for number in range(101):
        tell(number / 100)
        time.sleep(0.02)
    return ScriptedEngine(["hello"])


def bug(_plan: Plan) -> Engine:
    raise ValueError("a bug that is one")


def chatty(plan: Plan) -> Engine:
    """Native code that prints where the messages go."""
    os.write(1, b"a line of some library\n")
    return open_llama(plan)


FAULTS = {
    "killed": killed,
    "gap": gap,
    "abort": abort,
    "illegal": illegal,
    "limited": limited,
    "bug": bug,
    "sleepy": sleepy,
    "chatty": chatty,
    "slow": lambda plan: Slow(open_llama(replace(plan, batch_tokens=LARGE_BATCH))),
    "slow disk": lambda plan: SlowDisk(open_llama(plan)),
    "fragile": lambda plan: Fragile(open_llama(plan)),
    "endless": lambda _plan: Endless(),
    "doomed": lambda _plan: Doomed(ScriptedEngine(["never said"])),
    "segfault": segfault,
}


def program(name: str) -> tuple[str, str]:
    """Such a child program."""
    return "tests.engine.faults:main", name


def main(name: str) -> Handler:
    """Serve like the real one, but for "exit"."""
    if name == "exit":
        os._exit(7)
    if name == "gradual":
        return serve(gradual)
    return serve(lambda plan, _tell: FAULTS[name](plan))  # type: ignore[arg-type]
