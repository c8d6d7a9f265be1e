"""The line that a person types into: history, search, an editor, completion, several lines.

It is drawn on stderr: stdout is the answer's alone. The terminal is never asked where its cursor
is, so nothing comes back that could be taken for typed keys. Other threads may say something above
the line while somebody types, or take the line away; what was typed is kept.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, create_output
from prompt_toolkit.output import Output as TerminalOutput
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from gemma_edge.cli.chat_commands import COMMANDS, Command
from gemma_edge.cli.terminal import Asker, Left, is_open
from gemma_edge.disk import write_atomically
from gemma_edge.trust import is_network

HISTORY_BYTES = 1 << 20  # all of it is read at the start

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse ansibrightblack",
        "completion-menu": "noinherit",
        "completion-menu.completion": "noinherit",
        "completion-menu.completion.current": "noinherit reverse",
        "completion-menu.meta.completion": "noinherit ansibrightblack",
        "completion-menu.meta.completion.current": "noinherit reverse",
        "scrollbar.background": "noinherit",
        "scrollbar.button": "noinherit reverse",
    }
)


class Prompter(Asker):
    """A terminal that can be drawn on. ``shown`` is called once the first line is on it, ``status``
    gives the line below it. ``history`` is a file, or None to remember nothing after the end."""

    def __init__(  # noqa: PLR0913  (what a line is made of)
        self,
        stream: TextIO,
        size: Callable[[], os.terminal_size],
        *,
        history: Path | None,
        completer: Completer,
        status: Callable[[], str],
        shown: Callable[[], None],
        colour: bool,
    ) -> None:
        self._shown = shown
        self._asking = False
        self._session: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=completer,
            complete_while_typing=Condition(self._is_command),
            complete_in_thread=True,
            multiline=True,
            prompt_continuation="  ",
            bottom_toolbar=status,
            key_bindings=_keys(),
            style=_STYLE,
            color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
            enable_open_in_editor=True,
            enable_suspend=True,
            tempfile_suffix=".md",
            reserve_space_for_menu=6,
            output=_open(stream, size),
        )
        self._session.app.after_render += self._rendered

    def ask(self, sign: str, draft: str = "") -> str:
        try:
            return self._session.prompt(sign, default=draft)
        except Left:
            raise Left(self._session.default_buffer.text) from None
        finally:
            self._asking = False

    def remember(self, text: str) -> None:
        self._session.history.append_string(text)

    def forget(self) -> None:
        if isinstance(self._session.history, _Lasting):
            self._session.history.take_back()

    def refresh(self) -> None:
        self._session.app.invalidate()

    def interject(self, say: Callable[[], None]) -> bool:
        return self._soon(lambda: run_in_terminal(say))

    def leave(self) -> None:
        self._soon(lambda: self._session.app.exit(exception=Left("")))

    def _soon(self, act: Callable[[], object]) -> bool:
        loop = self._session.app.loop
        if not self._asking or loop is None:
            return False
        with suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(act)
            return True
        return False

    def _rendered(self, _app: Application[str]) -> None:
        if not self._session.app.is_done:
            self._asking = True
            shown, self._shown = self._shown, lambda: None
            shown()

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


class _Terminal(Vt100_Output):
    """Takes no more rows than it needs, without asking how many there are."""

    def get_rows_below_cursor_position(self) -> int:
        return 1  # at least this one


def _open(stream: TextIO, size: Callable[[], os.terminal_size]) -> TerminalOutput:
    def get_size() -> Size:
        columns, rows = size()
        return Size(rows=rows, columns=columns)

    output = create_output(stdout=stream)
    if isinstance(output, Vt100_Output):
        return _Terminal(stream, get_size, output.term, output.default_color_depth)
    return output  # an older Windows console, which draws by calls


def _keys() -> KeyBindings:
    """Enter sends, but not in the middle of a fenced message; Alt+Enter begins a line."""
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    def _begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


def _history(path: Path | None) -> History:
    """A file that cannot be written is no reason not to chat."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if path.stat().st_size > HISTORY_BYTES:
            _shorten(path)
    except OSError:
        return InMemoryHistory()
    return _Lasting(path)


class _Lasting(FileHistory):
    """Goes on in memory where the disk is full: the journal says so, of what matters more."""

    _sizes = (0, 0)  # in bytes, before the last line and after it

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            before = os.path.getsize(self.filename)
            super().store_string(string)
            self._sizes = before, os.path.getsize(self.filename)

    def take_back(self) -> None:
        """The last line is not kept for another run; in this one it can be called up."""
        before, after = self._sizes
        with suppress(OSError):
            if after and os.path.getsize(self.filename) == after:  # nobody else wrote since
                os.truncate(self.filename, before)
        self._sizes = 0, 0


def _shorten(path: Path) -> None:
    """Keep the younger half; an entry begins with a line ``# time``."""
    kept = path.read_bytes()[-HISTORY_BYTES // 2 :]
    write_atomically(path, kept[max(0, kept.find(b"\n# ")) :], mode=0o600)


# What Tab offers: commands, their words, models, sessions, and files.


Names = Callable[[str], Iterable[str]]


class ChatCompleter(Completer):
    """``names`` gives the models and sessions that there are, when they are asked for."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """A command where the line begins with one; else a path, where Tab asks for it."""

        commands = {each.name: each for each in COMMANDS}
        text = document.text_before_cursor
        if text.startswith("/") and "\n" not in text:
            name, space, value = text[1:].partition(" ")
            if not space and "/" not in name:
                yield from _named(commands.values(), name)
                return
            if name in commands:
                yield from self._value(commands[name], value, complete_event)
                return
        if complete_event.completion_requested:
            yield from self._path(text, complete_event)

    def _value(self, command: Command, value: str, event: CompleteEvent) -> Iterable[Completion]:
        if command.completes == "path":
            if is_network(value.lstrip("'\"")):
                return  # nothing there is touched before a person says so
            yield from self._paths.get_completions(Document(value.lstrip("'\"")), event)
            return
        for word in command.words or self._names(command.completes):
            if word.startswith(value):
                yield Completion(word, -len(value))

    def _path(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        word = text.split()[-1] if text and not text[-1].isspace() else ""
        if "/" in word and not is_network(word):
            yield from self._paths.get_completions(Document(word), event)


def _named(commands: Iterable[Command], start: str) -> Iterable[Completion]:
    for each in commands:
        if each.name.startswith(start):
            yield Completion(each.name, -len(start), display=each.usage, display_meta=each.help)
