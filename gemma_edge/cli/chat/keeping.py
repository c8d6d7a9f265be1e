"""Which conversation this is: a new one, the last one, one by its name, or one that is not kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gemma_edge.catalog import kind_of
from gemma_edge.chat.journal import Journal, check_name, load_history
from gemma_edge.chat.session import Session
from gemma_edge.chat.shelf import find_journal, list_journals, prune
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.folders import sessions_dir
from gemma_edge.cli.options import AUTO, ModelOptions
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import EngineError, InputError


def choose_journal(wishes: ChatWishes, context: Context) -> Journal | None:
    """The journal to write, which may be there already; None for a private conversation.

    Raises:
        InputError: there is none to go on with, several are meant, or it is open elsewhere.
        UsageError: not a name.
    """
    if wishes.private:
        return None
    folder = sessions_dir(context)
    if wishes.resume:
        return Journal.open(find_journal(folder), clock=context.now)
    if not wishes.session:
        return Journal.create(folder, clock=context.now)
    if _is_known(folder, wishes.session):
        return Journal.open(find_journal(folder, wishes.session), clock=context.now)
    check_name(wishes.session)
    return Journal.create(folder, wishes.session, clock=context.now)


def _is_known(folder: Path, name: str) -> bool:
    """Whether a session is meant that is there; what is near to several is not new either."""
    if not list_journals(folder):
        return False
    try:
        find_journal(folder, name)
    except InputError as error:
        return not error.message.startswith("there is no")
    return True


def with_its_model(
    options: ModelOptions, journal: Journal | None, tell: Callable[[str], None]
) -> ModelOptions:
    """A conversation that goes on does so with its own model, where none is named."""
    if options.model != AUTO or journal is None or not journal.exists:
        return options
    model = load_history(journal.path).model
    if kind_of(model) == "path" and not Path(model).is_file():
        tell(f"the model of this conversation is not there any more: {model}")
        return options
    return replace(options, model=model) if model else options


def open_session(
    engine: Engine, model: str, wishes: ChatWishes, journal: Journal | None
) -> Session:
    """The conversation of ``journal``, ready for the next question."""
    session = Session(
        engine,
        wishes.system or None,
        wishes.think,
        sampling=wishes.sampling,
        max_tokens=wishes.max_tokens,
        journal=journal,
        model=model,
    )
    session.max_thought_tokens = wishes.think_tokens
    session.stop = wishes.stop
    return session


def wake(session: Session, tell: Callable[[str], None]) -> None:
    """Take the cache of a conversation that goes on back from disk, or say that it is read
    again."""
    if session.journal is None or not session.history.exchanges:
        return
    restored = session.restore_cache()
    if not restored.tokens:
        tell(f"the conversation is read again: {restored.reason}")


def recall(session: Session) -> list[str]:
    """What a person sees of a conversation that goes on: what it is, and the last words of it."""
    history = session.history
    count = len(history.exchanges) + len(history.earlier)
    lines = [
        f"{history.title} · {count} question{'' if count == 1 else 's'} so far",
        *history.notes,
    ]
    if history.open is not None:
        lines.append(f"not answered yet: {history.open.text} (/regen asks it again)")
    elif history.exchanges:
        last = history.exchanges[-1]
        lines.append(f"› {_short(last.question.text)}")
        lines.append(_short(last.answer, end=True))
        if last.reason in (None, "stopped", "length"):
            lines.append("that answer is not complete; /continue goes on, /regen asks again")
    return lines


def _short(text: str, *, end: bool = False, characters: int = 300) -> str:
    text = text.strip()
    if len(text) <= characters:
        return text
    return f"… {text[-characters:]}" if end else f"{text[:characters]} …"


def leave(session: Session, context: Context, tell: Callable[[str], None]) -> None:
    """Keep what the engine holds, so that the conversation is back in a moment, and keep all
    sessions within their cap."""
    journal = session.journal
    if journal is None:
        return
    try:
        session.save_cache()
    except EngineError as error:
        tell(f"the conversation is kept, the engine's memory of it is not: {error.message}")
    journal.close()
    for sentence in prune(sessions_dir(context), keep=[journal.path]):
        tell(sentence)
