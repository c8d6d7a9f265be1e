"""Commands about sessions: named, listed, loaded, deleted, written to a file."""

from pathlib import Path

from gemma_edge.chat.export import render_json, render_markdown
from gemma_edge.chat.shelf import find_journal, remove
from gemma_edge.cli.chat.paths import as_path
from gemma_edge.cli.chat.sessions import render_rows
from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.folders import sessions_dir
from gemma_edge.errors import InputError, UsageError
from gemma_edge.units import render_bytes


def save(talk: Talk, value: str) -> None:
    """Give the session a title; alone: where it is."""
    session = talk.session
    if session.journal is None:
        raise UsageError("this conversation is private", hint="/export FILE writes it down")
    if value:
        session.title = value
    title = f"{session.history.title} · " if session.history.title else ""
    talk.output.note(
        f"{title}saved as it happens: gemma-edge chat --session {session.journal.name}"
    )


def load(talk: Talk, value: str) -> None:
    """Go on with another session."""
    if not value:
        raise UsageError("no session was named", hint="/sessions lists them")
    if talk.wishes.private:
        raise UsageError(
            "a private conversation is not kept, and goes on with none that is",
            hint=f"gemma-edge chat --session {value}",
        )
    talk.switch_session(find_journal(sessions_dir(talk.context), value))


def sessions(talk: Talk, value: str) -> None:
    """What there is; ``rm NAME`` deletes one."""
    folder = sessions_dir(talk.context)
    action, _, name = value.partition(" ")
    if action == "rm" and name.strip():
        path = find_journal(folder, name.strip())
        size = remove(path)
        talk.output.note(f"{path.name} deleted, {render_bytes(size)}")
    elif value:
        raise UsageError(f"`{value}` is not known", hint="/sessions, /sessions rm NAME")
    else:
        rows = render_rows(folder, talk.context.now())
        talk.output.rows(rows)
        if not rows:
            talk.output.note("no session is kept yet")


def export(talk: Talk, value: str) -> None:
    """The conversation as Markdown, or as JSON where the name says so."""
    if not value:
        raise UsageError("no file was named", hint="/export talk.md, /export talk.json")
    path = as_path(value, talk.context.home)
    history = talk.session.history
    text = render_json(history) if path.suffix.lower() == ".json" else render_markdown(history)
    write_new(path, text)
    talk.output.note(f"written to {path}")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        InputError: it is there, or the disk refuses.
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} is there already", hint="name another file") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}", hint="name another place"
        ) from None
