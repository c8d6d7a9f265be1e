"""``gemma-edge sessions``: the conversations that are kept."""

from pathlib import Path
from typing import Annotated, Any

from gemma_edge.chat.journal import read_history
from gemma_edge.chat.sessions import (
    Listed,
    find_journal,
    list_journals,
    remove,
    render_json,
    render_markdown,
)
from gemma_edge.cli.completion import session_names
from gemma_edge.cli.context import Context, sessions_dir
from gemma_edge.cli.flags import Actions, argument
from gemma_edge.cli.options import ShowFlags
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus
from gemma_edge.units import render_age, render_bytes

Names = Annotated[
    tuple[str, ...],
    argument("NAME", "A name, a title, or a part that only it has.", complete=session_names),
]


def list_command(show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Name the conversations, the last one first."""
    folder = sessions_dir(context)
    found = list_journals(folder)
    if show.json:
        output.document({"sessions": [_as_document(each) for each in found]})
        return ExitStatus.OK
    if not found:
        output.note("no session is kept yet; gemma-edge chat starts one")
        return ExitStatus.OK
    output.table(render_rows(folder, context.now()))
    size = sum(each.size_bytes for each in found)
    output.note(f"{render_bytes(size)}; gemma-edge chat --session NAME goes on with one")
    return ExitStatus.OK


def show_command(names: Names, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Print conversations as Markdown, or with --json whole.

    \b
    gemma-edge sessions show 20261124-1205 > talk.md
    """
    for path in _find(names, context):
        history = read_history(path)
        output.data(render_json(history) if show.json else render_markdown(history))
        for note in history.notes:
            output.note(note)
    return ExitStatus.OK


def rm_command(names: Names, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Delete conversations.

    \b
    gemma-edge sessions rm 20261124-1205
    """
    for path in _find(names, context):
        output.note(f"{path.name} deleted, {render_bytes(remove(path))}")
    return ExitStatus.OK


def _find(names: tuple[str, ...], context: Context) -> list[Path]:
    """All of them before anything is done with one."""
    return [find_journal(sessions_dir(context), name) for name in names]


def render_rows(folder: Path, now: float) -> list[tuple[str, ...]]:
    """A row a session: its name, when it was used, how long it is, its title."""
    return [
        (
            each.name, render_age(now - each.changed),
            f"{each.questions} question{'' if each.questions == 1 else 's'}", each.title,
        )
        for each in list_journals(folder)
    ]  # fmt: skip


def _as_document(each: Listed) -> dict[str, Any]:
    facts = ("name", "title", "model", "created", "changed", "questions", "size_bytes")
    return {**{name: getattr(each, name) for name in facts}, "path": str(each.path)}


ACTIONS = Actions(
    help="""\
The conversations that are kept on this machine.

\b
gemma-edge sessions
gemma-edge sessions show 20261124-1205 > talk.md
gemma-edge sessions rm 20261124-1205
""",
    commands={"list": list_command, "show": show_command, "rm": rm_command},
    usual="list",
)
