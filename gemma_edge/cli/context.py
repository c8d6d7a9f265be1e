"""The outside world as one argument: streams, environment, clock, terminal, and how to load.

Only this file reads the environment and ``sys``. Tests hand in another ``Context``; nothing has
to be patched.
"""

import _thread
import contextlib
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gemma_edge.app import runtime
from gemma_edge.errors import ExitStatus
from gemma_edge.records import dataclass
from gemma_edge.trust import (
    leave_working_folder_alone,
    visible,
    without_working_folder,
    without_working_folder_in_path,
)

if TYPE_CHECKING:
    from gemma_edge.engine.protocol import Counter, Engine
    from gemma_edge.hardware.machine import Hardware
    from gemma_edge.planning.memory import Measure
    from gemma_edge.planning.plan import Plan

DEFAULT_WIDTH, ROWS = 80, 24
MIN_WIDTH = 20  # a terminal that reports 0 columns is one that does not know


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without an entry and without HOME, as in some containers
        return Path.cwd()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a run may touch. ``ask`` reads one line in the place of the terminal, ``ask_secret`` one
    that is not shown (None where no terminal is); ``width`` is in columns at the start, ``size``
    what a terminal has now (None where none is), ``clock`` in seconds, ``now`` in seconds since
    1970; ``open_measure`` gives what measures llama.cpp's buffers, for this machine or for
    another; ``open_counter`` counts the prompts of a plan before it is loaded."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    stdin_is_terminal: bool = False
    stdout_is_terminal: bool = False
    stderr_is_terminal: bool = False
    environment: Mapping[str, str]
    platform: str = sys.platform
    home: Path = field(default_factory=_home)
    width: int = DEFAULT_WIDTH
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    size: Callable[[], os.terminal_size] | None = None
    ask: Callable[[str], str] | None = None
    ask_secret: Callable[[str], str] | None = None
    load: "Callable[[Plan], Engine]" = field(default_factory=runtime.EarlyEngine)
    open_counter: "Callable[[Plan], Counter]" = runtime.open_counter
    detect_hardware: "Callable[[Mapping[str, str]], Hardware]" = runtime.detect_machine
    open_measure: "Callable[[Hardware | None], AbstractContextManager[Measure]]" = (
        runtime.open_measure
    )
    busy_programs: Callable[[], int | None] = runtime.count_busy_programs

    @classmethod
    def from_process(cls) -> "Context":
        """The real process."""
        stdin = sys.stdin
        stdout, stderr = map(_blocking, (sys.stdout or _closed(1), sys.stderr or _closed(2)))
        terminals = [bool(stream) and stream.isatty() for stream in (stdin, stdout, stderr)]
        return cls(
            stdin=stdin or io.StringIO(),  # None when the caller closed it
            stdout=stdout,
            stderr=stderr,
            stdin_is_terminal=terminals[0],
            stdout_is_terminal=terminals[1],
            stderr_is_terminal=terminals[2],
            environment=os.environ,
            width=_columns(os.environ, [stderr, stdout]),
            size=_sized(os.environ, stderr, stdout) if terminals[1] or terminals[2] else None,
            ask_secret=_ask_secret if terminals[0] and terminals[2] else None,
        )

    @property
    def debug(self) -> bool:
        """A bug shows its traceback (``GEMMA_EDGE_DEBUG=1``)."""
        return self.is_on("GEMMA_EDGE_DEBUG")

    def is_on(self, variable: str) -> bool:
        """A variable of the environment that is a switch."""
        return runtime.is_on(self.environment, variable)


def _closed(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)


def _columns(environment: Mapping[str, str], streams: Sequence[TextIO | None]) -> int:
    """``COLUMNS``, else what a terminal says: stderr first, where the folded lines go."""
    asked = environment.get("COLUMNS", "")
    if re.fullmatch("[0-9]{1,9}", asked):
        return max(MIN_WIDTH, int(asked))
    for stream in filter(None, streams):
        with contextlib.suppress(OSError, ValueError):  # closed, or no terminal
            return max(MIN_WIDTH, os.get_terminal_size(stream.fileno()).columns)
    return DEFAULT_WIDTH


def _sized(
    environment: Mapping[str, str], *streams: TextIO | None
) -> Callable[[], os.terminal_size]:
    """Columns and rows now, whenever it is called; a terminal of 0 by 0 does not know."""
    most = _columns(environment, [])

    def size() -> os.terminal_size:
        for stream in filter(None, streams):
            with contextlib.suppress(OSError, ValueError):
                now = os.get_terminal_size(stream.fileno())
                columns = (
                    min(now.columns or most, most) if environment.get("COLUMNS") else now.columns
                )
                return os.terminal_size((max(MIN_WIDTH, columns or most), now.lines or ROWS))
        return os.terminal_size((most, ROWS))

    return size


def _ask_secret(prompt: str) -> str:
    from getpass import getpass  # noqa: PLC0415  (only for an encrypted file)

    return getpass(visible(prompt))


def open_closed_streams() -> None:
    """Where a caller has closed stdin, stdout or stderr, keep its number from the next file that is
    opened, into which others would write. What is written to a closed stdout is an error, to a
    closed stderr it is lost."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)  # noqa: PLR2004
            os.set_inheritable(opened, True)


def flush(context: Context) -> None:
    """Write what is left. A stream that takes nothing is pointed at nothing, or the interpreter
    complains at its end."""
    for stream in (context.stdout, context.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # already told, or nobody is there to be told
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _blocking(stream: TextIO) -> TextIO:
    """A pipe that another program set to refuse what it cannot take at once would lose it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.set_blocking(stream.fileno(), True)
    return stream


# Ctrl-C. Before there is work it ends the process at once, as in ``gemma_edge/__init__.py``; at
# work it is an exception; after it, when the status is known, it is the end again.

_pressed = float("-inf")
_SWALLOWED_SECONDS = 2.0


def _leave(_number: int, _frame: object) -> None:
    os._exit(ExitStatus.INTERRUPTED)


def begin() -> None:
    """Nothing is there yet that Ctrl-C could spoil. A process that is to know nothing of it (one
    that was started in the background) stays so."""
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, _leave)
    if sys.platform != "win32" and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, _hear)  # it may come before anybody asks


def begin_work() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt; one that was lost in a library, where nothing
    can be raised, again. Does nothing where ``begin`` was not called."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        return

    def interrupt(_number: int, _frame: object) -> None:
        global _pressed  # noqa: PLW0603  (a process has one keyboard)
        _pressed = time.monotonic()
        raise KeyboardInterrupt

    def tell_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = tell_again
    signal.signal(signal.SIGINT, interrupt)


def end_work(status: int) -> None:
    """From here on Ctrl-C ends the process with the status that it has."""
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(status))


# What a job's scheduler says before it ends the job. A signal that nobody here listens to would end
# the process in the middle of a document.


_heard: list[str] = []


def _hear(number: int, _frame: object) -> None:
    _heard.append(signal.Signals(number).name)
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)


def stop_when_told(until: float | None, now: Callable[[], float]) -> Callable[[], str]:
    """From here on SIGTERM, and SIGUSR1 since the start, are wishes: what this returns says why no
    further file is to be begun, "" while there is no reason. A second SIGTERM ends the process.
    ``until``, like ``now``, is in seconds since 1970."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _hear)

    def why() -> str:
        if _heard:
            return f"told to stop ({_heard[0]})"
        return "the time is up" if until is not None and now() >= until else ""

    return why


def comes_of_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C was turned into this error by what it met."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def was_interrupted() -> bool:
    """Whether Ctrl-C was pressed just now, of which a library may have made another error."""
    return time.monotonic() - _pressed < _SWALLOWED_SECONDS


def distrust_working_folder() -> None:
    """Let nothing that this process imports or starts from here on come from the working folder: of
    a ``sys.path`` and variables that name it, as an empty entry of ``PATH`` does."""
    leave_working_folder_alone()
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = without_working_folder_in_path(sys.path, package)
    kept = without_working_folder(os.environ)
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)


def arguments() -> list[str]:
    """What stands on the command line after the program's name."""
    return sys.argv[1:]


# ----------------------------------------------------------------------------
# Our own folders.


def data_dir(context: Context) -> Path:
    """Our own folder."""
    return runtime.data_dir(context.environment, context.home, context.platform)


def sessions_dir(context: Context) -> Path:
    """Where conversations are kept."""
    return data_dir(context) / "sessions"


def history_path(context: Context) -> Path:
    """Where the lines that were typed are kept, over all conversations."""
    return data_dir(context) / "history"


def personas_dir(context: Context) -> Path:
    """Where a person's own personas are."""
    return data_dir(context) / "personas"


def recipes_dir(context: Context) -> Path:
    """Where a person's own recipes are."""
    return data_dir(context) / "recipes"
