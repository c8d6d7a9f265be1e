"""Runs ``pdf_child.py`` in a child process with limits, and asks it for one page after another.

The child gets the PDF on its stdin, so a document from a pipe goes the same way, and the
password is never on a command line. It takes about 0.1 s to start, most of it PDFium itself.
"""

import importlib.util
import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from gemma_edge.errors import GemmaEdgeError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfLimits:
    """What one PDF may cost. After ``seconds`` no further page is begun; after ``page_seconds``
    with one page, or with opening the file, the child is killed. ``memory_bytes`` of address space
    come on top of the file itself. No context holds the text of ``max_chars``."""

    max_pages: int = 2000
    max_chars: int = 4_000_000
    seconds: int = 90
    page_seconds: int = 30
    memory_bytes: int = 2 << 30


LIMITS = PdfLimits()

_CPU_SPARE = 2  # times the seconds of a page: a second line behind the clock
_MARK, _MARK_WITHIN = b"%PDF-", 1024  # PDF readers look that far (ISO 32000-1, annex H)
_DAMAGED_HINT = "open it in a PDF viewer and save it anew, or copy it again"


class ChildStopped(Exception):
    """The child is gone before it answered; the text says why. What it was asked for is to be
    treated as damaged; another child can be asked for the rest."""


def is_pdf(data: bytes) -> bool:
    """Whether the bytes are a PDF, whatever their name says."""
    return _MARK in data[:_MARK_WITHIN]


def damaged(name: str, detail: str) -> InputError:
    """For a PDF that PDFium refuses."""
    return InputError(f"{name} is damaged ({detail})", hint=_DAMAGED_HINT)


def unreadable(name: str, why: str) -> InputError:
    """For a PDF on which the child ends."""
    return InputError(f"{name} cannot be read (the PDF reader stopped: {why})", hint=_DAMAGED_HINT)


def encrypted(name: str, password: str | None) -> InputError:
    """For a PDF that wants a password, or another one."""
    if password is None:
        message = f"{name} is encrypted"
    else:
        message = f"{name} is encrypted, and the password that was given does not open it"
    return InputError(message, hint="--password, or GEMMA_EDGE_PDF_PASSWORD")


class PdfChild:
    """A child with one PDF open. ``send`` an order, ``receive`` its answer; two orders may be on
    their way, so that the child reads a page while the last one is made use of."""

    def __init__(self, data: bytes, name: str, password: str | None, limits: PdfLimits) -> None:
        """Start it and open the PDF; ``page_count`` tells how many pages there are.

        Raises:
            InputError: encrypted or damaged, or the child ended on it.
            GemmaEdgeError: no child can be started.
        """
        self._seconds = limits.page_seconds
        self._child = _start(name)
        order = {
            "library": _library_folder(),
            "password": password,
            "memory_bytes": limits.memory_bytes + 2 * len(data),
            "cpu_seconds": _CPU_SPARE * max(1, limits.page_seconds),
            "bytes": len(data),
        }
        try:
            self._write(json.dumps(order).encode("ascii") + b"\n" + data)
            head, _ = self.receive()
            if head.get("error") == "password":
                raise encrypted(name, password)
            if "error" in head:
                raise damaged(name, head["detail"])
        except ChildStopped as stopped:
            self.close()
            raise unreadable(name, str(stopped)) from None
        except BaseException:
            self.close()
            raise
        self.page_count: int = head["page_count"]

    def __enter__(self) -> "PdfChild":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, order: dict[str, Any]) -> None:
        """Ask for a page, as ``pdf_child.py`` says."""
        self._write(json.dumps(order).encode("ascii") + b"\n")

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next answer: its line, and the bytes that come with it.

        Raises:
            ChildStopped: it crashed, or took too long or too much memory.
        """
        stream = self._child.stdout
        assert stream is not None
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            self._child.kill()

        clock = Timer(self._seconds, stop)
        clock.daemon = True
        clock.start()
        try:
            line = stream.readline()
            head: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            content = stream.read(head.get("bytes", 0))
        finally:
            clock.cancel()
        if head and len(content) == head["bytes"]:
            return head, content
        if late:
            raise ChildStopped(f"it took longer than {self._seconds} s")
        raise ChildStopped(cause(self._child.wait(), b""))

    def close(self) -> None:
        """End it; to be called once the answers are no longer wanted."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with suppress(OSError):  # a pipe that nobody reads any more
                    stream.close()

    def _write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        with suppress(OSError):  # it ended already; what it says, or does not say, tells why
            self._child.stdin.write(data)
            self._child.stdin.flush()


def child_command(program: str) -> list[str]:
    """A file beside this one as a process: -I -S, so that nothing of the working folder, the
    environment or .pth files is imported."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name(program))]


def not_started(name: str, error: OSError) -> GemmaEdgeError:
    """For a process that the system refuses."""
    return GemmaEdgeError(
        f"a process to read {name} could not be started ({error.strerror or error})",
        hint="free some memory, or try again",
    )


def cause(status: int, stderr: bytes) -> str:
    """Why a child ended: a signal's name, or the last line of its traceback."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    lines = stderr.decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip().isprintable() and line.strip()]
    return said[-1][:200] if said else f"status {status}"


def _start(name: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            child_command("pdf_child.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError as error:
        raise not_started(name, error) from None


def _library_folder() -> str:
    """Where pypdfium2 is installed; it is not imported here."""
    spec = importlib.util.find_spec("pypdfium2")
    if spec is None or spec.origin is None:
        raise GemmaEdgeError("pypdfium2 is not installed", hint="pip install gemma-edge")
    return str(Path(spec.origin).parents[1])
