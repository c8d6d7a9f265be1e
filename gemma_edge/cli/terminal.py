"""What a conversation needs of a terminal. Loads no library.

Where messages come from (``Asker``), plain lines, the clipboard, and keys that are not echoed.
"""

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.errors import UsageError
from gemma_edge.trust import find_program

FENCE = '"""'  # a message between two of these may have lines


class Left(Exception):
    """The line was taken away; ``draft`` is what was in it."""

    def __init__(self, draft: str) -> None:
        super().__init__("the line was taken away")
        self.draft = draft


def is_open(text: str) -> bool:
    """Whether a fenced message still waits for its end."""
    inner = text.lstrip()
    return inner.startswith(FENCE) and FENCE not in inner[len(FENCE) :]


def unfenced(text: str) -> str:
    inner = text.strip()
    if inner.startswith(FENCE) and inner.endswith(FENCE) and len(inner) >= 2 * len(FENCE):
        return inner[len(FENCE) : -len(FENCE)].strip("\n")
    return text


class Asker:
    """Where the next message comes from: plain lines of stdin, for a dumb terminal or none that can
    be drawn on; nothing can be said above a line, or taken away. ``prompt.Prompter`` can."""

    def __init__(self, context: Context, output: Output) -> None:
        self._context = context
        self._output = output

    def ask(self, sign: str, draft: str = "") -> str:
        """One message, "" for none; ``draft`` stands there to be changed, where it can be. Between
        two fences a message has several lines. Raises EOFError where there are no more."""
        text = self._line(sign)
        while is_open(text):
            text += "\n" + self._line("  ")
        return text.rstrip("\r\n")

    def remember(self, text: str) -> None:
        """Keep a line that could not be carried out."""

    def forget(self) -> None:
        """The last message was refused: no later run is to know of it."""

    def refresh(self) -> None:
        """What the status line says has changed. From any thread."""

    def interject(self, say: Callable[[], None]) -> bool:
        """Run ``say`` above the line; False where nobody is asked now. From any thread."""
        return False

    def leave(self) -> None:
        """End ``ask`` now, with ``Left``. From any thread."""

    def _line(self, sign: str) -> str:
        if self._context.ask is not None:
            return self._context.ask(self._output.prompt(sign))
        self._output.ask(sign)
        line = ""
        try:
            line = self._context.stdin.readline()
        finally:
            if not line:  # Ctrl-D and Ctrl-C leave the cursor behind the sign
                self._output.end_prompt()
        if not line:
            raise EOFError
        return line


# Text to the clipboard: by a tool of the platform, else by asking the terminal (OSC 52).


TERMINAL_BYTES = 74_994  # xterm and tmux take no more in one sequence
TOOL_SECONDS = 5.0


def copy(text: str, context: Context) -> str:
    """Copy ``text``; return how, in words. Over SSH the terminal is on the right machine. Raises
    UsageError where there is neither a tool nor a terminal that could take so much."""
    tools = () if context.environment.get("SSH_TTY") else _tools(context)
    for command in tools:
        if _hand_to(command, text):
            return f"with {Path(command[0]).stem}"
    encoded = base64.b64encode(text.encode()).decode()
    if not context.stderr_is_terminal or context.environment.get("TERM") == "dumb":
        raise UsageError("nothing here can copy", hint="/export FILE writes it down")
    if len(encoded) > TERMINAL_BYTES:
        raise UsageError(
            f"{len(text):,} characters are too many for the terminal's clipboard",
            hint="/export FILE writes it down",
        )
    context.stderr.write(f"\x1b]52;c;{encoded}\x07")
    context.stderr.flush()
    return "by the terminal (OSC 52), if it allows that"


def _tools(context: Context) -> list[tuple[str, ...]]:
    """Those of this platform that are here, by their paths."""
    told: Mapping[str, str] = context.environment
    if context.platform == "darwin":
        known: list[tuple[str, ...]] = [("pbcopy",)]
    elif context.platform == "win32":
        known = [("clip",)]
    else:
        known = [("wl-copy",)] if told.get("WAYLAND_DISPLAY") else []
        if told.get("DISPLAY"):
            known += [("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input")]
    found = [(find_program(name, told, platform=context.platform), more) for name, *more in known]
    return [(path, *more) for path, more in found if path]


def _hand_to(command: tuple[str, ...], text: str) -> bool:
    """Windows' clip reads UTF-16; xclip keeps running, so nothing may wait for its output."""
    data = text.encode("utf-16" if Path(command[0]).stem == "clip" else "utf-8")
    try:
        done = subprocess.run(
            command, input=data, timeout=TOOL_SECONDS, check=False, cwd=Path(command[0]).parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


# While a model answers, typed keys are not echoed into its answer; they wait for the next line.


if sys.platform == "win32":

    @contextmanager
    def no_echo(_context: Context) -> Iterator[None]:
        yield

else:

    @contextmanager
    def no_echo(context: Context) -> Iterator[None]:
        """Inside, a terminal shows no keys and hands on each at once; Ctrl-C stays a signal."""
        import termios  # noqa: PLC0415  (POSIX alone has it)

        try:
            number = context.stdin.fileno()
            before = termios.tcgetattr(number)
        except (OSError, ValueError, termios.error):  # no terminal, or none that can be asked
            yield
            return
        quiet = termios.tcgetattr(number)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(number, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(number, termios.TCSADRAIN, before)
