"""``gemma-edge sessions``: the conversations that are kept."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from gemma_edge.chat.journal import load_history
from gemma_edge.chat.sessions import (
    Listed,
    find_journal,
    list_journals,
    remove,
    render_json,
    render_markdown,
)
from gemma_edge.cli.context import Context, sessions_dir
from gemma_edge.cli.options import Job, ShowFlags, argument
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.units import render_age, render_bytes

ACTIONS = ("list", "show", "rm")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsFlags:
    """What is to be done with which."""

    action: Annotated[str, argument("[list|show|rm]", "See above.")] = "list"
    names: Annotated[
        tuple[str, ...], argument("NAME", "A name, a title, or a part that only it has.")
    ] = ()


def command(wish: SessionsFlags, show: ShowFlags) -> Job:
    """The conversations that are kept on this machine.

    `list` names them, the last one first; `show` prints one as Markdown, or with --json whole;
    `rm` deletes what is named.

    \b
    gemma-edge sessions
    gemma-edge sessions show 20261124-1205 > talk.md
    gemma-edge sessions rm 20261124-1205
    """
    return partial(run, wish, show)


def run(wish: SessionsFlags, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """List, show or delete."""
    output.quiet = show.quiet
    folder = sessions_dir(context)
    if wish.action not in ACTIONS:
        raise UsageError(
            f"there is no action `{wish.action}`", hint=f"gemma-edge sessions {', '.join(ACTIONS)}"
        )
    if wish.action == "list":
        _list(folder, context, output, as_json=show.json)
        return ExitStatus.OK
    if not wish.names:
        raise UsageError("no session was named", hint="gemma-edge sessions")
    for path in [find_journal(folder, name) for name in wish.names]:
        if wish.action == "rm":
            output.note(f"{path.name} deleted, {render_bytes(remove(path))}")
            continue
        history = load_history(path)
        output.data(render_json(history) if show.json else render_markdown(history))
        for note in history.notes:
            output.note(note)
    return ExitStatus.OK


def render_rows(folder: Path, now: float) -> list[tuple[str, ...]]:
    """A row a session: its name, when it was used, how long it is, its title."""
    return [
        (
            each.name, render_age(now - each.changed),
            f"{each.questions} question{'' if each.questions == 1 else 's'}", each.title,
        )
        for each in list_journals(folder)
    ]  # fmt: skip


def _list(folder: Path, context: Context, output: Output, *, as_json: bool) -> None:
    found = list_journals(folder)
    if as_json:
        output.document({"sessions": [_as_document(each) for each in found]})
        return
    if not found:
        output.note("no session is kept yet; gemma-edge chat starts one")
        return
    output.table(render_rows(folder, context.now()))
    size = sum(each.size_bytes for each in found)
    output.note(f"{render_bytes(size)}; gemma-edge chat --session NAME goes on with one")


def _as_document(each: Listed) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.title,
        "model": each.model,
        "created": each.created,
        "changed": each.changed,
        "questions": each.questions,
        "size_bytes": each.size_bytes,
        "path": str(each.path),
    }
