"""Commands about what was said: back, again, on, shorter."""

from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.terminal.copying import copy
from gemma_edge.cli.terminal.markdown_source import last_fence
from gemma_edge.errors import UsageError


def undo(talk: Talk, _value: str) -> None:
    """Take the last question and its answer back; the question is the next draft."""
    history = talk.session.history
    asked = history.open or (history.exchanges[-1].question if history.exchanges else None)
    if asked is None or not talk.session.undo():
        raise UsageError("nothing was asked yet", hint="type a question")
    talk.draft = asked.text
    talk.pictures, talk.files = asked.pictures, asked.files
    talk.output.note("taken back; the session file keeps it")


def edit(talk: Talk, value: str) -> None:
    """The last question in other words, with all that went with it."""
    history = talk.session.history
    if history.open is None and not history.exchanges:
        raise UsageError("nothing was asked yet", hint="type a question")
    talk.amending = True
    if value:
        talk.say(value)
        return
    talk.draft = (history.open or history.exchanges[-1].question).text
    talk.output.note("the next message takes the place of the last question")


def regenerate(talk: Talk, _value: str) -> None:
    """Another answer to the last question."""
    talk.answer(talk.session.regenerate())


def go_on(talk: Talk, _value: str) -> None:
    """The last answer goes on where it ended."""
    talk.answer(talk.session.continue_answer())


def drop(talk: Talk, value: str) -> None:
    """Leave the oldest questions out of the context."""
    if value and not value.isdecimal():
        raise UsageError(f"`{value}` is not a number of questions", hint="/drop 2")
    count = talk.session.drop(int(value or 1))
    if not count:
        raise UsageError("there is nothing to drop", hint="type a question")
    left = f"{count} oldest questions" if count > 1 else "oldest question"
    talk.output.note(f"the {left} left the context; the session file keeps all")


def compact(talk: Talk, _value: str) -> None:
    """A summary in the place of all but the last question."""
    session = talk.session
    before = session.meter().used_tokens
    talk.output.note("summary of what was said before:")
    with cancel_on_interrupt(talk.engine):
        talk.show.answer(session.compact(), talk.output)
    after = session.meter().used_tokens
    if after != before:
        talk.output.note(
            f"{before:,} tokens of conversation are {after:,} now; the session file keeps all"
        )


def clear(talk: Talk, _value: str) -> None:
    """Forget what was said."""
    talk.session.clear()
    talk.pictures, talk.files, talk.last = (), (), None
    talk.output.note("cleared")


def copy_answer(talk: Talk, value: str) -> None:
    """The last answer to the clipboard, or the last code in it."""
    exchanges = talk.session.history.exchanges
    if not exchanges:
        raise UsageError("there is no answer to copy", hint="type a question")
    text = exchanges[-1].answer
    if value == "code":
        text = last_fence(text)
        if not text:
            raise UsageError("there is no code in the last answer", hint="/copy takes all of it")
    elif value:
        raise UsageError(f"`{value}` cannot be copied", hint="/copy, /copy code")
    how = copy(text, talk.context)
    talk.output.note(f"{len(text):,} characters copied {how}")
