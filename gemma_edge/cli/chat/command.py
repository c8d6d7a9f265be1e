"""What a ``/command`` of the conversation is: an entry of a table, from which ``/help``, completion
and the README are made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gemma_edge.cli.chat.talk import Talk

Completes = Literal["", "path", "model", "session", "setting", "word"]


class Leave(Exception):
    """``/exit``: the conversation ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``run`` gets what stands after the name, without spaces around it. ``completes`` says what
    that is: one of ``words``, a path, a model, a session. ``asks``: it may need a yes, so what is
    typed must be seen."""

    name: str
    arguments: str = ""
    help: str
    run: "Callable[[Talk, str], None]"
    completes: Completes = ""
    words: tuple[str, ...] = ()
    asks: bool = False

    @property
    def usage(self) -> str:
        """``/image FILE``."""
        return f"/{self.name} {self.arguments}".rstrip()


def help_rows(commands: tuple[Command, ...]) -> list[tuple[str, str]]:
    """A row a command."""
    return [(each.usage, each.help) for each in commands]
