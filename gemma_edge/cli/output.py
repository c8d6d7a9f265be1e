"""How things look: the one object that writes. Data goes to stdout, everything else to stderr.

Commands say what they mean (``data``, ``answer``, ``note``, ``status``); whether that is coloured,
in ASCII, folded at 60 columns or silent is decided here.
"""

import json
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, cast

from gemma_edge.cli.context import Context
from gemma_edge.errors import DoesNotFit
from gemma_edge.trust import visible

if TYPE_CHECKING:
    from rich.console import Console

    from gemma_edge.engine.protocol import Engine

# Stand-ins for our own signs on a terminal that cannot show them.
_ASCII = str.maketrans(
    {"·": "-", "›": ">", "–": "-", "…": "...", "→": "->", "✔": "+", "✘": "x", "×": "x", "▸": ">",
     "█": "#", "▓": "=", "▒": "+", "░": ":", "━": "#", "╌": "."}
)  # fmt: skip
_MIN_COLUMN = 16  # a narrower column than this is harder to read than a long line
_DIM, _RED, _BOLD, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


class _Careless:
    """A stream of which nobody may be the reader, or that is full: what it does not take is lost,
    and costs nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class Output:
    """Writes to the streams of a ``Context``; ``quiet`` drops notes, thoughts and status."""

    def __init__(self, context: Context) -> None:
        self.quiet = False
        self._out, self._err = context.stdout, cast(TextIO, _Careless(context.stderr))
        self._out_is_terminal = context.stdout_is_terminal
        self._err_is_terminal = context.stderr_is_terminal
        self._context_width, self._size = context.width, context.size
        self._environment, self._debug = context.environment, context.debug
        self._obeys_codes = _obeys_codes(context)
        plain = bool(context.environment.get("NO_COLOR"))  # https://no-color.org
        self.colours = context.stderr_is_terminal and self._obeys_codes and not plain
        self._open_line = ""  # the stream whose last line has no newline yet
        self._last = ""  # the character of an answer that came last
        _never_fail(self._out)
        _never_fail(context.stderr)

    # Data, on stdout.

    def data(self, text: str) -> None:
        """Something that was asked for, whole."""
        self.end_line()
        self._write_out(text.removesuffix("\n") + "\n")

    def page(self, text: str) -> None:
        """Text of our own, whole lines."""
        self.data(self._ascii(text, self._out))

    def document(self, value: Any) -> None:
        """One JSON document, indented."""
        self.data(self._json(value, indent=2))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows in aligned columns. On a terminal the last column is folded."""
        clean = partial(self._ascii, stream=self._out)
        for line in self._aligned(rows, clean, folds=self._out_is_terminal):
            self.data(line)

    def event(self, value: Any) -> None:
        """One JSON document on one line."""
        self.data(self._json(value))

    def _json(self, value: Any, indent: int | None = None) -> str:
        """On a terminal what it must not obey is escaped as JSON escapes it."""
        text = json.dumps(value, indent=indent, ensure_ascii=not _is_unicode(self._out))
        if not self._out_is_terminal or text.isascii():
            return text
        hidden = [each for each in set(text) if visible(each, "é") != each]
        return text.translate({ord(each): json.dumps(each)[1:-1] for each in hidden})

    def record(self, value: Mapping[str, Any] | str) -> None:
        """One of many answers: data, or a line of a table."""
        if isinstance(value, str):
            self.data(value)
        else:
            self.event(value)

    def answer(self, text: str) -> None:
        """A piece of an answer, as it comes."""
        if self._open_line in ("err", "drawn"):
            self.end_line()
        self._write_out(text)
        if text:
            self._open_line = "" if text.endswith("\n") else "out"

    # Everything else, on stderr.

    def thought(self, text: str) -> None:
        """A piece of a thought, as it comes; dim."""
        if self.quiet or not text:
            return
        if self._open_line in ("out", "drawn"):
            self.end_line()
        self._write_err(self._paint(self._clean_err(text), _DIM))
        self._open_line = "" if text.endswith("\n") else "err"

    def note(self, text: str) -> None:
        """A line that a person may want to know; ``--quiet`` drops it."""
        if not self.quiet:
            self._line("", text)

    def status(self, text: str) -> None:
        """The quiet line after an answer: dim, and on the right of a terminal."""
        if self.quiet:
            return
        self.end_line()
        shown = self._one_line(text)
        if self._err_is_terminal:
            shown = shown.rjust(self._width - 1)
        self._write_err(self._paint(shown, _DIM) + "\n")

    def problem(self, text: str) -> None:
        """Something is wrong with the data; said in every mode."""
        self._line("? ", text)

    def error(self, message: str, hint: str = "") -> None:
        """What went wrong and the way out."""
        self._line("error: ", message, colour=_RED)
        if hint:
            self._line("hint: ", hint, colour=_BOLD)

    def trace(self, text: str) -> None:
        """Where a bug came from: for a developer, who asked for it (``GEMMA_EDGE_DEBUG=1``)."""
        if self._debug:
            self.end_line()
            self._write_err(visible(text))

    def draw(self, text: str) -> None:
        """A line that the next output takes away again; only where lines can be drawn over."""
        if not self.draws:
            return
        self.end_line()
        self._write_err(self._paint(self._one_line(text)[: self._width - 1], _DIM))
        self._open_line = "drawn"

    @property
    def draws(self) -> bool:
        """Whether stderr is a terminal where lines can be drawn over."""
        return self._err_is_terminal and self.draws_somewhere

    @property
    def draws_somewhere(self) -> bool:
        """Whether a prompt can be drawn on one of the streams."""
        terminal = self._err_is_terminal or self._out_is_terminal
        return terminal and not self.quiet and self._environment.get("TERM") != "dumb"

    def console(self) -> "Console":
        """For rich, to draw on stderr."""
        self.end_line()
        from rich.console import Console  # noqa: PLC0415  (0.1 s, only to draw progress)

        return Console(
            file=self._err, width=self._width - 1, force_terminal=True,
            no_color=not self.colours, highlight=False, markup=False, emoji=False,
            _environ=self._environment,
        )  # fmt: skip

    def dim(self, text: str) -> None:
        """A note that is less than the others."""
        if not self.quiet:
            self.end_line()
            self._write_err(self._paint(self._clean_err(text), _DIM) + "\n")

    def raw(self, text: str) -> None:
        """A part of the answer that was drawn for the terminal, with its escape codes."""
        self.end_line()
        self._write(text)

    @property
    def renders(self) -> bool:
        """Whether stdout is a terminal on which an answer can be drawn."""
        known = self._out_is_terminal and self._size is not None
        return known and self._obeys_codes and _is_unicode(self._out)

    def cut(self, text: str) -> str:
        """A line that fits on stderr, in ASCII where it must be."""
        text = self._one_line(text)
        return text if len(text) < self._width else text[: self._width - 4] + "..."

    def rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Notes in aligned columns; on a terminal the last column is folded."""
        if not self.quiet:
            for line in self._aligned(rows, self._clean_err, folds=self._err_is_terminal):
                self.end_line()
                self._write_err(line + "\n")

    def _aligned(
        self, rows: Sequence[Sequence[str]], clean: Callable[[str], str], *, folds: bool
    ) -> Iterator[str]:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
        start = sum(widths) + 2 * len(widths)
        for row in rows:
            row = [cell.replace("\n", "\\n") for cell in row]  # else it would be a row of its own
            cells = "".join(f"{cell:{width}}  " for cell, width in zip(row, widths, strict=False))
            left, last = clean(cells), clean(row[-1])
            if folds and len(left + last) >= self._width > start + _MIN_COLUMN:
                last = _fold(last, self._width, start)
            yield (left + last).rstrip()

    def prompt(self, sign: str) -> str:
        """The sign that stands before a person's line."""
        return self._ascii(sign, self._out if self._out_is_terminal else self._err)

    def ask(self, sign: str) -> None:
        """Show the prompt on stderr, where nothing edits the line."""
        self.end_line()
        self._write_err(visible(self.prompt(sign).replace("\n", "\\n")))

    def end_prompt(self) -> None:
        """The line was not ended by the person."""
        self._write_err("\n")

    @property
    def _width(self) -> int:
        """Columns now: a terminal may be resized."""
        return self._size().columns if self._size else self._context_width

    def _line(self, label: str, text: str, colour: str = "") -> None:
        self.end_line()
        first, *rest = self._clean_err(text).split("\n")  # no second line looks like one of ours
        inner = (each if each[:2] in ("", "  ") else f"  {each}" for each in rest)
        text = "\n".join([first, *inner])
        if self._err_is_terminal:
            text = _fold(text, self._width, len(label))
        self._write_err(f"{self._paint(label, colour) if label else ''}{text}\n")

    def end_line(self) -> None:
        """Text on one stream must not run into text of the other on the same terminal."""
        if self._open_line == "out":
            self._write_out("\n")
        elif self._open_line == "err":
            self._write_err("\n")
        elif self._open_line == "drawn":
            self._write_err("\r" + " " * (self._width - 1) + "\r")
        self._open_line = ""

    def _write_out(self, text: str) -> None:
        self._write(visible(text, self._last) if self._out_is_terminal else text)
        self._last = text[-1:]

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._open_line = ""  # nothing more can be written there, the error line included
            raise DoesNotFit(
                f"the answer cannot be written: {error.strerror or error}",
                hint="make room, or send stdout elsewhere",
            ) from error

    def _write_err(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()

    def _clean_err(self, text: str) -> str:
        return visible(self._ascii(text, self._err))

    def _one_line(self, text: str) -> str:
        return self._clean_err(text.replace("\n", "\\n"))

    def _ascii(self, text: str, stream: TextIO) -> str:
        return text if _is_unicode(stream) else text.translate(_ASCII)

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self.colours and colour else text


def _obeys_codes(context: Context) -> bool:
    """Whether escape codes do something: not on a dumb terminal, nor in an old Windows console."""
    told = context.environment.get
    if told("TERM") == "dumb":
        return False
    return context.platform != "win32" or bool(told("WT_SESSION") or told("TERM"))


def _is_unicode(stream: TextIO) -> bool:
    """Streams without an encoding live in memory and take anything."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") in (
        "utf8", "utf16", "utf16le", "utf16be", "utf8sig",
    )  # fmt: skip


def _never_fail(stream: TextIO) -> None:
    """Show what an encoding cannot say as an escape instead of failing in the middle."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _fold(text: str, width: int, label_columns: int) -> str:
    """Break at spaces for a terminal; all lines stand under the first, which follows a label of
    so many columns. Without a label, what is broken off is indented by two."""
    indent = " " * label_columns
    folded = textwrap.TextWrapper(
        width - 1, indent, indent or "  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(map(folded.fill, text.split("\n")))[label_columns:]


# ----------------------------------------------------------------------------
# Ctrl-C while a model answers: the first stops the answer, the second the program.


@contextmanager
def cancel_on_interrupt(engine: "Engine") -> Iterator[None]:
    """Inside, SIGINT calls ``engine.cancel()`` and what was said is kept; the handler that was
    there before is restored after. It is called again until the end, since an answer that begins a
    moment later would not know of it. Where SIGINT is ignored (a background job), it stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous == signal.SIG_IGN:
        yield
        return

    asked, over = threading.Event(), threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        engine.cancel()
        asked.set()

    def ask_again() -> None:
        asked.wait()
        while not over.wait(_AGAIN_SECONDS):
            engine.cancel()

    asking = threading.Thread(target=ask_again, daemon=True)
    asking.start()
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.default_int_handler)
        over.set()  # only now: ``stop`` must not meet a lock that this thread holds
        asked.set()
        asking.join()


_AGAIN_SECONDS = 0.05


# ----------------------------------------------------------------------------
# A question that only a person at a terminal can answer.


def can_ask(context: Context) -> bool:
    """Whether somebody sees a question and can answer it."""
    return context.stdin_is_terminal and context.stderr_is_terminal


def confirm(question: str, context: Context, output: Output, *, usual: bool) -> bool:
    """Yes or no, asked on stderr; an empty line is the ``usual`` answer, no line is a no."""
    choices = "[Y/n]" if usual else "[y/N]"
    while True:
        output.ask(f"{question} {choices} ")
        line = context.stdin.readline()
        if not line:
            output.note("")
            return False
        word = line.strip().lower()
        if not word:
            return usual
        if word in ("y", "yes", "n", "no"):
            return word.startswith("y")
