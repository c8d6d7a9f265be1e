"""Messages as plain lines: a dumb terminal, or none that can be drawn on."""

from collections.abc import Callable

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.cli.terminal.asker import is_open


class LineAsker:
    """An ``Asker`` that reads stdin. Nothing can be said above a line, or taken away."""

    def __init__(self, context: Context, output: Output) -> None:
        self._context = context
        self._output = output

    def ask(self, sign: str, draft: str = "") -> str:
        """A line, or several between two fences. A draft cannot be changed here."""
        text = self._line(sign)
        while is_open(text):
            text += "\n" + self._line("  ")
        return text.rstrip("\r\n")

    def remember(self, text: str) -> None:
        """It stands on the screen."""

    def refresh(self) -> None:
        """There is no status line."""

    def interject(self, say: Callable[[], None]) -> bool:
        """Not while a line is read."""
        return False

    def leave(self) -> None:
        """The line is read to its end."""

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
