"""Child programs for test_isolation.py: each does one thing that a child may do."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma_edge.errors import InputError
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler


def echo(*arguments: str) -> Handler:
    """Says what it was asked, with its parts the other way round."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        said = {**request.header, "arguments": arguments}
        yield ChildMessage(said, request.parts[::-1])

    return answer


def surroundings() -> Handler:
    def answer(_: ChildRequest) -> Iterator[ChildMessage]:
        yield ChildMessage({"variables": dict(os.environ), "path": sys.path,
                       "flags": sys.flags.isolated,
                       "files": sorted(map(int, os.listdir("/proc/self/fd")))
                       if sys.platform == "linux" else [],
                       "folder": os.getcwd()})  # fmt: skip

    return answer


def count() -> Handler:
    """Numbers, until it is interrupted."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        stopped: list[bool] = []
        request.on_interrupt(lambda: stopped.append(True))
        for number in range(request.header["most"]):
            if stopped:
                return
            yield ChildMessage({"number": number})
            time.sleep(request.header.get("pause", 0))

    return answer


def turns() -> Handler:
    """Numbers, and gives way after each, until it is interrupted."""
    numbers = count()

    def answer(request: ChildRequest) -> Iterator[ChildMessage | None]:
        if request.header.get("dies"):
            os._exit(3)
        for message in numbers(request):
            yield message
            yield None

    return answer


def noisy() -> Handler:
    """Prints wherever it can, as libraries do."""
    ctypes.CDLL(None).puts(b"from C")
    print("from Python", flush=True)
    os.write(1, bytes(range(256)) * 40)
    assert os.read(0, 1) == b""
    return echo()


def fail() -> Handler:
    """Ends, or raises, as it is told."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        how = request.header["how"]
        if how.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, how))
        elif how in FAULTS:
            FAULTS[how]()
        yield ChildMessage({"how": how})

    return answer


def _abort() -> None:
    sys.stderr.write("ggml.c:97: GGML_ASSERT(batch > 0) failed\nand more\n")
    sys.stderr.flush()
    os.abort()


def _spin() -> None:
    while True:
        pass


def _error() -> None:
    raise InputError("the file is damaged", hint="copy it again")


def _bug() -> None:
    raise ValueError("nobody foresaw it")


FAULTS = {
    "words": _abort, "exit": lambda: os._exit(7), "hang": lambda: time.sleep(60), "loop": _spin,
    "error": _error, "bug": _bug,
}  # fmt: skip


def hungry() -> Handler:
    """Takes as many bytes as it is told, and keeps them a while."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        taken = bytearray(request.header["bytes"])
        taken[:: 1 << 12] = b"x" * len(taken[:: 1 << 12])
        time.sleep(request.header.get("pause", 0))
        yield ChildMessage({"taken": len(taken)})

    return answer


def liar() -> Handler:
    """Writes what is no message into the channel, wherever that is."""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        for number in range(3, 16):
            try:
                os.write(number, request.parts[0])
            except OSError:
                continue
        yield ChildMessage({})

    return answer


def parent() -> Handler:
    """Starts a process of its own, and says which."""

    def answer(_: ChildRequest) -> Iterator[ChildMessage]:
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        yield ChildMessage({"pid": grandchild.pid})
        os._exit(3)

    return answer


def writer(path: str) -> Handler:
    def answer(_: ChildRequest) -> Iterator[ChildMessage]:
        with open(path, "w", encoding="ascii") as file:
            file.write("written")
        yield ChildMessage({})

    return answer


def unready() -> Handler:
    raise ImportError("no such library")


def stays() -> Handler:
    """Stays where it is told to, and remembers a word."""
    from gemma_edge.standby import Host, Unsafe, Waiting

    word = ""

    def stay(told: dict[str, Any], request: ChildRequest) -> str:
        scarce, key = told["scarce"], "0123456789abcdef"
        assert request.parents is not None
        try:
            Host(request.parents, Waiting(
                Path(told["folder"]), key, told["seconds"], {"kind": "a test"},
                lambda: bool(scarce) and Path(scarce).exists(),
            ))  # fmt: skip
        except Unsafe as error:
            return str(error)
        return ""

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        nonlocal word
        match request.header:
            case {"stay": told}:
                yield ChildMessage({"problem": stay(told, request)})
            case {"remember": said}:
                word = said
                yield ChildMessage({})
            case {"recall": _}:
                yield ChildMessage({"word": word})
            case {"bug": _}:
                raise ValueError("unforeseen")
            case {"endless": _}:
                stopped = threading.Event()
                request.on_interrupt(stopped.set)
                while not stopped.wait(0.01):
                    yield ChildMessage({})
                word = "interrupted"

    return answer
