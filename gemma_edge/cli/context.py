"""The outside world as one argument: streams, environment, clock, terminal, and how to load.

Only this file reads the environment and ``sys``. Tests hand in another ``Context``; nothing has
to be patched.
"""

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gemma_edge.app import runtime
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
        stdin, stdout, stderr = sys.stdin, sys.stdout, sys.stderr
        terminals = [bool(stream) and stream.isatty() for stream in (stdin, stdout, stderr)]
        return cls(
            stdin=stdin or io.StringIO(),  # None when the caller closed it
            stdout=stdout or open(os.devnull, "w", encoding="utf-8"),  # noqa: SIM115
            stderr=stderr or open(os.devnull, "w", encoding="utf-8"),  # noqa: SIM115
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


def silence_stdout() -> None:
    """Point stdout at nothing after a write to it failed, or the interpreter complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
