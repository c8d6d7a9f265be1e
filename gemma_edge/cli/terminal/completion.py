"""What Tab offers: commands, their words, models, sessions, and files."""

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from gemma_edge.cli.chat.command import Command

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
        from gemma_edge.cli.chat.table import COMMANDS  # noqa: PLC0415  (behind the prompt)

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
            yield from self._paths.get_completions(Document(value.lstrip("'\"")), event)
            return
        for word in command.words or self._names(command.completes):
            if word.startswith(value):
                yield Completion(word, -len(value))

    def _path(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        word = text.split()[-1] if text and not text[-1].isspace() else ""
        if word.startswith(("/", "~", "./", "../")) or "/" in word:
            yield from self._paths.get_completions(Document(word), event)


def _named(commands: Iterable[Command], start: str) -> Iterable[Completion]:
    for each in commands:
        if each.name.startswith(start):
            yield Completion(each.name, -len(start), display=each.usage, display_meta=each.help)
