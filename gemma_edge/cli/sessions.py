"""``gemma-edge sessions``: the conversations that are kept."""

import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from gemma_edge.app.runtime import remembered_dir
from gemma_edge.chat.journal import read_history
from gemma_edge.chat.sessions import (
    KEPT_SECONDS,
    Deleted,
    Listed,
    exact_journal,
    find_journal,
    list_deleted,
    list_journals,
    remove,
    render_json,
    render_markdown,
    restore,
    similar,
)
from gemma_edge.cli.completion import session_names
from gemma_edge.cli.context import Context, data_dir, sessions_dir
from gemma_edge.cli.flags import Actions, argument, option
from gemma_edge.cli.options import ShowFlags
from gemma_edge.cli.output import Output, can_ask, confirm
from gemma_edge.disk import count_files, remove_files
from gemma_edge.documents.document import shown
from gemma_edge.errors import ExitStatus, InputError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.units import render_age, render_bytes

Names = Annotated[
    tuple[str, ...],
    argument("NAME", "A name, a title, or a part that only it has.", complete=session_names),
]
ExactNames = Annotated[tuple[str, ...], argument("NAME", "A name.", complete=session_names)]


def list_command(show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Name the conversations, the last one first."""
    folder = sessions_dir(context)
    found, deleted = list_journals(folder), list_deleted(folder, context.now())
    files, size_bytes = count_files(remembered_dir(data_dir(context)))
    if show.json:
        remembered = {"files": files, "size_bytes": size_bytes}
        sessions = [_as_document(each) for each in found]
        output.document({"sessions": sessions, "remembered": remembered})
        return ExitStatus.OK
    if found:
        output.table(render_rows(folder, context.now()))
        size = sum(each.size_bytes for each in found)
        output.note(f"{render_bytes(size)}; gemma-edge chat --session NAME goes on with one")
    else:
        output.note("no session is kept yet; gemma-edge chat starts one")
    if deleted:
        names = ", ".join(each.journal.name for each in deleted)
        output.note(f"deleted: {names}; gemma-edge sessions restore NAME brings one back")
    if files:
        output.note(
            f"remembered of images and documents: {_render_files(files, size_bytes)}; "
            "gemma-edge sessions forget deletes it"
        )
    return ExitStatus.OK


def _render_files(files: int, size_bytes: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}, {render_bytes(size_bytes)}"


def show_command(names: Names, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Print conversations as Markdown, or with --json whole.

    \b
    gemma-edge sessions show 20261124-1205 > talk.md
    """
    folder = sessions_dir(context)
    for name, path in [(name, find_journal(folder, name)) for name in names]:
        if path.name != name:
            output.note(f"`{name}` is taken for {path.name}")
        history = read_history(path)
        output.data(render_json(history) if show.json else render_markdown(history))
        for note in history.notes:
            output.note(note)
    return ExitStatus.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFlags:
    """How lasting it is."""

    forever: Annotated[bool, option("--forever", help="Keep nothing to bring back.")] = False


def rm_command(
    names: ExactNames, how: RemoveFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Delete conversations. For 7 days `sessions restore` brings them back.

    \b
    gemma-edge sessions rm 20261124-1205
    gemma-edge sessions rm 20261124-1205 --forever
    """
    folder = sessions_dir(context)
    ask = partial(confirm, context=context, output=output, usual=False)
    paths = [_exactly(folder, name, ask if can_ask(context) else None) for name in names]
    for path in paths:
        if path is None:
            output.note("nothing is deleted of what was not meant")
        else:
            output.note(delete(path, context.now(), forever=how.forever))
    return ExitStatus.OK


def restore_command(
    show: ShowFlags, context: Context, output: Output, names: Annotated[
        tuple[str, ...], argument("NAME", "A name; without one, the only one that there is.")
    ] = (),
) -> ExitStatus:  # fmt: skip
    """Bring conversations back that were deleted in the last 7 days.

    \b
    gemma-edge sessions restore 20261124-1205
    """
    folder = sessions_dir(context)
    for deleted in [find_deleted(folder, name, context.now()) for name in names or ("",)]:
        output.note(bring_back(deleted, folder))
    return ExitStatus.OK


def forget_command(context: Context, output: Output) -> ExitStatus:
    """Delete what --remember kept of images and documents. They can be read again.

    \b
    gemma-edge sessions forget
    """
    folder = remembered_dir(data_dir(context))
    files, size_bytes = count_files(folder)
    problem = remove_files(folder)
    left, left_bytes = count_files(folder)
    gone = _render_files(files - left, max(0, size_bytes - left_bytes))
    if files > left or not left:
        output.note(f"forgotten: {gone}" if files > left else "nothing was remembered")
    if left:
        why = f": {problem.strerror or problem}" if problem else ""
        raise InputError(
            f"{_render_files(left, left_bytes)} in {shown(folder)} cannot be deleted{why}",
            hint="they stay until gemma-edge sessions forget can write there",
        )
    return ExitStatus.OK


def _exactly(folder: Path, name: str, ask: Callable[[str], bool] | None) -> Path | None:
    """The session of this name. One that is only like it is asked about, where somebody can answer;
    None where the answer is no.
    Raises InputError: there is none."""
    if (exact := exact_journal(folder, name)) is not None:
        return exact
    near = similar(folder, name)
    if len(near) == 1 and ask is not None:
        return near[0].path if ask(f"delete {near[0].name} ({near[0].about})?") else None
    like = f"; like it: {', '.join(each.name for each in near)}" if near else ""
    hint = f"gemma-edge sessions rm {quoted(near[0].name)}" if near else "gemma-edge sessions"
    raise InputError(f"there is no session `{name}`{like}", hint=hint)


def delete(path: Path, now: float, *, forever: bool = False) -> str:
    """Delete it, and say what became of it.
    Raises InputError: it is open, or the disk refuses."""
    said = f"{path.name} deleted, {render_bytes(remove(path, now=now, forever=forever))}"
    if forever:
        return said
    day = time.strftime("%Y-%m-%d", time.localtime(now + KEPT_SECONDS))
    return f"{said}; until {day} `gemma-edge sessions restore {quoted(path.name)}` brings it back"


def find_deleted(folder: Path, name: str, now: float) -> Deleted:
    """What was deleted last under this name; the only one for "".
    Raises InputError: there is none; UsageError: there are several."""
    deleted = list_deleted(folder, now)
    found = [each for each in deleted if name in ("", each.journal.name)]
    named = ", ".join(dict.fromkeys(each.journal.name for each in deleted))
    if not found:
        problem = f"no session `{name}` was deleted" if name else "no session was deleted"
        raise InputError(f"{problem} in the last 7 days", hint=named or "gemma-edge sessions")
    if len(found) > 1 and not name:
        raise UsageError("several sessions were deleted", hint=f"name one: {named}")
    return found[0]


def bring_back(deleted: Deleted, folder: Path) -> str:
    """Bring it back, and say as what.
    Raises InputError: the disk refuses."""
    name = deleted.journal.name
    path = restore(deleted, folder)
    known = "" if path.name == name else f", as {path.name}: another took its name"
    return f"{name} is back{known}; gemma-edge chat --session {quoted(path.name)} goes on with it"


def quoted(name: str) -> str:
    """A name as it is typed into a shell, after a command."""
    return f"-- {shlex.quote(name)}" if name.startswith("-") else shlex.quote(name)


def render_rows(folder: Path, now: float) -> list[tuple[str, ...]]:
    """A row a session: its name, when it was used, how long it is, its title."""
    return [
        (
            each.name, render_age(now - each.changed),
            f"{each.questions} question{'' if each.questions == 1 else 's'}", each.about,
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
gemma-edge sessions restore 20261124-1205
gemma-edge sessions forget
""",
    commands={
        "list": list_command,
        "show": show_command,
        "rm": rm_command,
        "restore": restore_command,
        "forget": forget_command,
    },
    usual="list",
)
