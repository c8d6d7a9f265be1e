"""A conversation at a terminal: what its ``/commands`` act on, and all of them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from gemma_edge.app.chat import Chat
from gemma_edge.chat.conversation import KEPT, Conversation
from gemma_edge.chat.sessions import find_journal, remove, render_json, render_markdown
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import as_path, find_files, name_files, read_value
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.sessions import render_rows
from gemma_edge.cli.streaming import AnswerDisplay, conclude, render_status
from gemma_edge.cli.terminal import FENCE, copy, no_echo
from gemma_edge.documents.document import shown
from gemma_edge.documents.images import read_clipboard
from gemma_edge.engine.protocol import Engine, Event
from gemma_edge.errors import (
    DoesNotFit,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    UsageError,
)
from gemma_edge.units import parse_tokens, render_bytes, render_tokens

# What the commands act on: the conversation, and the terminal that it is shown at.


KILO, ROOM = 1024, 1024  # tokens
_TYPED = 5  # lines; a longer message was pasted, and what it names is not meant
_SEARCHED = 50


@dataclass(slots=True, kw_only=True)
class ChatTerminal:
    """``draft`` stands in the next line already; ``amending`` says that the next message is the
    last question in other words."""

    context: Context
    output: Output
    chat: Chat
    display: AnswerDisplay
    draft: str = ""
    amending: bool = False

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""
        return self.chat.conversation

    @property
    def engine(self) -> Engine:
        """Where the answers come from; nothing is read beside what is asked of it."""
        return self.chat.engine

    def tell(self) -> None:
        """What was noted in the background."""
        while self.chat.notes:
            self.output.note(self.chat.notes.popleft())

    def note_all(self, notes: Iterable[str]) -> None:
        """A line each."""
        for note in notes:
            self.output.note(note)

    def say(self, text: str) -> None:
        """A message, with the files that it names and all else that goes with it. If it is refused
        it is the next draft, and what went with it goes with that."""
        conversation = self.conversation
        before = conversation.pictures, conversation.files
        try:
            message = self._attach_named(text)
            self.answer((conversation.edit if self.amending else conversation.say)(message))
            self.amending = False
        except GemmaEdgeError as error:
            if isinstance(error, DoesNotFit):
                error.hint = self._choices(text)
            self.draft, (conversation.pictures, conversation.files) = text, before
            raise

    def answer(self, events: Iterator[Event]) -> None:
        """Show an answer to its end, and the line about it; one whose engine dies is asked for
        again. The engine counts how often and at last refuses, so this ends."""
        engine = self.engine
        with cancel_on_interrupt(engine):
            while True:
                try:
                    finished = self.display.show(events)
                    break
                except EngineStopped as stop:
                    self.output.note(f"{stop.message}, {KEPT}")
                    events = self.conversation.say_again()
        if conclude(finished, self.output) is ExitStatus.INTERRUPTED:
            self.output.note("stopped; what was said is kept")
        elif finished.reason in ("length", "repetition"):
            self.output.note("/continue goes on")
        self.output.status(render_status(finished, engine.info))

    def status(self) -> str:
        """The quiet line under the one that is typed."""
        if not self.chat.opened:
            return self.output.cut("looking at this machine …")
        conversation, parts = self.conversation, []
        if (used := conversation.used) is not None:
            parts.append(f"{used.used_tokens:,} of {used.context_tokens:,}")
        if (reading := conversation.reading) is not None:
            parts.append(f"reading {reading.done_tokens:,} of {reading.total_tokens:,}")
        if self.amending:
            parts.append("changing the last question")
        if count := len(conversation.pictures):
            parts.append(f"{count} image{'s' if count > 1 else ''}")
        parts += [f"{file.name} {render_tokens(file.tokens)}" for file in conversation.files]
        return self.output.cut(" · ".join([*parts, self.chat.prepared.brief]))

    def _attach_named(self, text: str) -> str:
        """The message with names in the place of paths; what the paths lead to goes with it."""
        lines = text.split("\n")
        found = find_files("\n".join(lines[:_SEARCHED]), self.context.home)
        if len(lines) > _TYPED:
            if found:
                self.output.note(
                    f"{shown(found[0].path)} in so long a text is not attached; /file does"
                )
            return text
        for each in found:
            self.note_all(self.conversation.attach(each.path))
        return name_files(text, found)

    def _choices(self, text: str) -> str:
        """What can be done about a message that is too long; with a context that would hold it,
        and an answer of ``ROOM`` tokens, where the model was trained for that."""
        conversation = self.conversation
        needed = conversation.meter(text).used_tokens + ROOM
        needed += sum(file.tokens for file in conversation.files)
        needed += sum(picture.tokens for picture in conversation.pictures)
        trained = self.engine.info.trained_context_tokens
        larger = (
            f"/ctx {-(-needed // KILO)}k if there is memory for it, " if needed <= trained else ""
        )
        shorter = "/compact, /drop, " if conversation.history.exchanges else ""
        return f"{larger}{shorter}or less text".removeprefix("or ")


def recall(conversation: Conversation) -> list[str]:
    """What a person sees of a conversation that goes on: what it is, and the last words of it."""
    history = conversation.history
    count = len(history.exchanges) + len(history.earlier)
    if not history.title:
        return []
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


# What a `/command` of the conversation is: an entry of a table, from which `/help`, completion
# and the README are made.


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
    run: "Callable[[ChatTerminal, str], None]"
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


# Commands about what goes with the next message: images, and files, whole.


NONE = "-"


def image(terminal: ChatTerminal, value: str) -> None:
    """An image for the next message; ``-`` takes back what waits for it."""
    if value == NONE:
        terminal.conversation.pictures = ()
        terminal.output.note("no image goes with the next message")
        return
    path = _path(terminal, value, "/image FILE")
    terminal.output.note(terminal.conversation.attach_image(path))


def file(terminal: ChatTerminal, value: str) -> None:
    """A file for the next message, whole; ``-`` takes back what waits for it."""
    if value == NONE:
        terminal.conversation.files = ()
        terminal.output.note("no file goes with the next message")
        return
    terminal.note_all(terminal.conversation.attach_file(_path(terminal, value, "/file FILE")))


def paste(terminal: ChatTerminal, _value: str) -> None:
    """What is in the clipboard: an image, or files."""
    found = read_clipboard()
    if isinstance(found, bytes):
        terminal.output.note(terminal.conversation.attach_image(found))
        return
    for name in found:
        terminal.note_all(terminal.conversation.attach(name))


def _path(terminal: ChatTerminal, value: str, usage: str) -> Path:
    if not value.strip("'\" "):
        raise UsageError("no file was named", hint=usage)
    return as_path(value, terminal.context.home)


# Commands about what was said: back, again, on, shorter.


def undo(terminal: ChatTerminal, _value: str) -> None:
    """Take the last question and its answer back; the question is the next draft."""
    terminal.draft = terminal.conversation.last_question.text
    terminal.conversation.undo()
    terminal.output.note("taken back; the session file keeps it")


def edit(terminal: ChatTerminal, value: str) -> None:
    """The last question in other words, with all that went with it."""
    question = terminal.conversation.last_question
    terminal.amending = True
    if value:
        terminal.say(value)
        return
    terminal.draft = question.text
    terminal.output.note("the next message takes the place of the last question")


def regenerate(terminal: ChatTerminal, _value: str) -> None:
    """Another answer to the last question."""
    terminal.answer(terminal.conversation.regenerate())


def go_on(terminal: ChatTerminal, _value: str) -> None:
    """The last answer goes on where it ended."""
    terminal.answer(terminal.conversation.continue_answer())


def drop(terminal: ChatTerminal, value: str) -> None:
    """Leave the oldest questions out of the context."""
    if value and not value.isdecimal():
        raise UsageError(f"`{value}` is not a number of questions", hint="/drop 2")
    count = terminal.conversation.drop(int(value or 1))
    if not count:
        raise UsageError("there is nothing to drop", hint="type a question")
    left = f"{count} oldest questions" if count > 1 else "oldest question"
    terminal.output.note(f"the {left} left the context; the session file keeps all")


def compact(terminal: ChatTerminal, _value: str) -> None:
    """A summary in the place of all but the last question."""
    conversation = terminal.conversation
    before = conversation.meter().used_tokens
    terminal.output.note("summary of what was said before:")
    with cancel_on_interrupt(terminal.engine):
        terminal.display.show(conversation.compact())
    after = conversation.meter().used_tokens
    if after != before:
        terminal.output.note(
            f"{before:,} tokens of conversation are {after:,} now; the session file keeps all"
        )


def clear(terminal: ChatTerminal, _value: str) -> None:
    """Forget what was said."""
    terminal.conversation.clear()
    terminal.output.note("cleared")


def copy_answer(terminal: ChatTerminal, value: str) -> None:
    """The last answer to the clipboard, or the last code in it."""
    from gemma_edge.cli.markdown import last_fence  # noqa: PLC0415  (rich, 0.1 s)

    exchanges = terminal.conversation.history.exchanges
    if not exchanges:
        raise UsageError("there is no answer to copy", hint="type a question")
    text = exchanges[-1].answer
    if value == "code":
        text = last_fence(text)
        if not text:
            raise UsageError("there is no code in the last answer", hint="/copy takes all of it")
    elif value:
        raise UsageError(f"`{value}` cannot be copied", hint="/copy, /copy code")
    how = copy(text, terminal.context)
    terminal.output.note(f"{len(text):,} characters copied {how}")


OWN = ("default", "auto")  # back to the model's own
_TRUE, _FALSE = "on", "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """``parse`` raises ValueError; ``wanted`` says in words what it takes."""

    name: str
    wanted: str
    parse: Callable[[str], Any]


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)


SETTINGS = (
    Setting("temperature", "a number from 0", _positive),
    Setting("top_p", "a number from 0 to 1", _share),
    Setting("top_k", "a whole number", _whole),
    Setting("min_p", "a number from 0 to 1", _share),
    Setting("seed", "a whole number", _whole),
    Setting("stop", "a text that ends an answer", str),
    Setting("max_tokens", "a number of tokens", parse_tokens),
)


def configure(terminal: ChatTerminal, value: str) -> None:
    """``/set``: all of them; ``/set NAME VALUE`` changes one, ``default`` takes the model's own."""
    name, _, wanted = value.replace("=", " ", 1).partition(" ")
    if not name:
        terminal.output.note("\n".join(render_settings(terminal)))
        return
    setting = next((each for each in SETTINGS if each.name == name.replace("-", "_")), None)
    if setting is None:
        names = ", ".join(each.name for each in SETTINGS)
        raise UsageError(f"there is no setting `{name}`", hint=f"/set {names}")
    if wanted.strip():
        _change(terminal, setting, wanted.strip())
    terminal.output.note(_line(terminal, setting.name))


def render_settings(terminal: ChatTerminal) -> list[str]:
    """A line a setting, with what the model asks for itself."""
    return [_line(terminal, each.name) for each in SETTINGS]


def _change(terminal: ChatTerminal, setting: Setting, wanted: str) -> None:
    own = wanted in OWN
    try:
        value = None if own else setting.parse(wanted)
    except ValueError:
        raise UsageError(
            f"`{wanted}` is not {setting.wanted}", hint=f"/set {setting.name} default"
        ) from None
    conversation = terminal.conversation
    if setting.name == "max_tokens":
        conversation.max_tokens = value
    elif setting.name == "stop":
        conversation.stop = () if own else (_unescaped(wanted),)
    else:
        changes: dict[str, Any] = {setting.name: value}
        conversation.sampling = replace(conversation.sampling, **changes)


def _line(terminal: ChatTerminal, name: str) -> str:
    conversation = terminal.conversation
    if name == "max_tokens":
        most = conversation.max_tokens
        shown = render_tokens(most) if most else "as many as the context leaves"
        return f"{name:12} {shown}"
    if name == "stop":
        return f"{name:12} {', '.join(map(repr, conversation.stop)) or 'nothing'}"
    value = getattr(conversation.sampling, name)
    own = getattr(terminal.engine.info.sampling, name)
    default = "by chance" if name == "seed" else f"{own:g}" if own is not None else "none"
    if value is None:
        return (
            f"{name:12} {default} (the model's own)" if name != "seed" else f"{name:12} {default}"
        )
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name:12} {shown}" + ("" if name == "seed" else f" (the model's own: {default})")


def _unescaped(text: str) -> str:
    r"""A line's end is typed as ``\n``."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def think(terminal: ChatTerminal, value: str) -> None:
    """``on``, ``off``, a budget in tokens; alone: the other way."""
    conversation = terminal.conversation
    if value in ("", _TRUE, _FALSE):
        conversation.think = value == _TRUE if value else not conversation.think
        if value != _FALSE:
            conversation.max_thought_tokens = None
    else:
        try:
            conversation.max_thought_tokens = parse_tokens(value)
        except ValueError:
            raise UsageError(
                f"`{value}` is neither on nor off, nor a number of tokens",
                hint="/think on, /think off, /think 500",
            ) from None
        conversation.think = True
    terminal.output.note(_thinking(terminal))


def _thinking(terminal: ChatTerminal) -> str:
    conversation = terminal.conversation
    if not conversation.think:
        return "not thinking"
    if conversation.max_thought_tokens is None:
        return "thinking before each answer"
    return f"thinking up to {render_tokens(conversation.max_thought_tokens)} before each answer"


def system(terminal: ChatTerminal, value: str) -> None:
    """Who the model is to be; alone: what was said of that."""
    if value:
        terminal.conversation.system = None if value in OWN else read_value(value, terminal.output)
    terminal.output.note(f"system: {terminal.conversation.system or 'none'}")


def stats(terminal: ChatTerminal, _value: str) -> None:
    """The last answer in numbers, and what the context holds."""
    terminal.output.note("\n".join(_stats(terminal)))


def _stats(terminal: ChatTerminal) -> list[str]:
    meter = terminal.conversation.meter()
    lines = []
    last = terminal.conversation.finished
    if last is not None:
        usage, timings = last.usage, last.timings
        lines += [
            render_status(last, terminal.engine.info),
            f"{'prompt':12} {usage.prompt_tokens:,} tokens: {usage.cached_tokens:,} remembered, "
            f"{usage.evaluated_tokens:,} read in {timings.prompt_seconds:.1f} s",
            f"{'answer':12} {usage.generated_tokens:,} tokens, {usage.thought_tokens:,} of them "
            f"thought, in {timings.decode_seconds:.1f} s",
        ]
    lines.append(
        f"{'context':12} {meter.used_tokens:,} of {meter.context_tokens:,} tokens: "
        f"{meter.text_tokens:,} text, {meter.picture_tokens:,} images, "
        f"{meter.template_tokens:,} template"
    )
    return lines


def _model(terminal: ChatTerminal) -> list[str]:
    info = terminal.engine.info
    lines = [terminal.chat.prepared.render(info)]
    sees = "images are seen" if info.vision else "no images"
    trained = f"trained for {info.trained_context_tokens:,}"
    lines.append(f"{info.context_tokens:,} tokens of context ({trained}), {sees}")
    return lines


def _system(terminal: ChatTerminal) -> list[str]:
    return [f"system: {terminal.conversation.system or 'none'}"]


def _messages(terminal: ChatTerminal) -> list[str]:
    lines: list[str] = []
    for exchange in terminal.conversation.history.exchanges:
        asked = exchange.question
        names = [*(each.name for each in asked.pictures), *(each.name for each in asked.files)]
        lines += [f"› {asked.text}", *(f"  {name}" for name in names), exchange.answer]
    return lines or ["nothing was said yet"]


SHOWN: dict[str, Callable[[ChatTerminal], list[str]]] = {
    "model": _model,
    "system": _system,
    "settings": lambda terminal: [_thinking(terminal), *render_settings(terminal)],
    "thought": lambda terminal: [terminal.display.thought.strip() or "there was no thought"],
    "summary": lambda terminal: [terminal.conversation.history.summary or "nothing was summed up"],
    "messages": _messages,
}


def show(terminal: ChatTerminal, value: str) -> None:
    """A part of what is going on; alone: how the next answer is made."""
    parts = [value] if value else ["model", "system", "settings"]
    if parts[0] not in SHOWN:
        raise UsageError(f"there is no `{value}` to show", hint=f"/show {', '.join(SHOWN)}")
    terminal.output.note("\n".join(line for part in parts for line in SHOWN[part](terminal)))


def sampling_names() -> tuple[str, ...]:
    """For completion."""
    return tuple(each.name for each in SETTINGS)


# Commands about sessions: named, listed, loaded, deleted, written to a file.


def save(terminal: ChatTerminal, value: str) -> None:
    """Give the session a title; alone: where it is."""
    conversation = terminal.conversation
    if conversation.journal is None:
        raise UsageError("this conversation is private", hint="/export FILE writes it down")
    if value:
        conversation.title = value
    title = f"{conversation.history.title} · " if conversation.history.title else ""
    terminal.output.note(
        f"{title}saved as it happens: gemma-edge chat --session {conversation.journal.name}"
    )


def load(terminal: ChatTerminal, value: str) -> None:
    """Go on with another session."""
    if not value:
        raise UsageError("no session was named", hint="/sessions lists them")
    if terminal.chat.switch_session(value):
        terminal.chat.notes += recall(terminal.conversation)


def sessions(terminal: ChatTerminal, value: str) -> None:
    """What there is; ``rm NAME`` deletes one."""
    folder = terminal.chat.sessions
    action, _, name = value.partition(" ")
    if action == "rm" and name.strip():
        path = find_journal(folder, name.strip())
        size = remove(path)
        terminal.output.note(f"{path.name} deleted, {render_bytes(size)}")
    elif value:
        raise UsageError(f"`{value}` is not known", hint="/sessions, /sessions rm NAME")
    else:
        rows = render_rows(folder, terminal.context.now())
        terminal.output.rows(rows)
        if not rows:
            terminal.output.note("no session is kept yet")


def export(terminal: ChatTerminal, value: str) -> None:
    """The conversation as Markdown, or as JSON where the name says so."""
    if not value:
        raise UsageError("no file was named", hint="/export talk.md, /export talk.json")
    path = as_path(value, terminal.context.home)
    history = terminal.conversation.history
    text = render_json(history) if path.suffix.lower() == ".json" else render_markdown(history)
    write_new(path, text)
    terminal.output.note(f"written to {path}")


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


# Commands that load again: another model, a larger context. The conversation goes along.


def switch_model(terminal: ChatTerminal, value: str) -> None:
    """Go on with another model; alone: which one this is."""
    if value:
        _tell_loaded(terminal, terminal.chat.switch_model(value))
        return
    terminal.output.note(terminal.chat.prepared.render(terminal.engine.info))
    terminal.output.note("/model NAME goes on with another; `gemma-edge models` lists them")


def resize(terminal: ChatTerminal, value: str) -> None:
    """A context of so many tokens, if the plan has memory for it; alone: what it is."""
    info = terminal.engine.info
    if not value:
        terminal.output.note(
            f"{info.context_tokens:,} tokens; this model was trained for "
            f"{info.trained_context_tokens:,}"
        )
        return
    try:
        tokens = parse_tokens(value)
    except ValueError:
        raise UsageError(f"`{value}` is not a number of tokens", hint="/ctx 16k") from None
    try:
        _tell_loaded(terminal, terminal.chat.resize(tokens))
    except DoesNotFit as error:
        error.hint = error.hint.replace("--ctx ", "/ctx ")
        raise


def _tell_loaded(terminal: ChatTerminal, changes: tuple[str, ...]) -> None:
    info = terminal.engine.info
    terminal.note_all((*changes, terminal.chat.prepared.render(info), *info.notes))
    if terminal.conversation.history.exchanges:
        terminal.output.note("the conversation is read again while you type")


# All `/commands` of the conversation: `/help`, completion and the README are made of this.


def _help(terminal: ChatTerminal, _value: str) -> None:
    terminal.output.rows([*help_rows(COMMANDS), *KEYS])


def _leave(_terminal: ChatTerminal, _value: str) -> None:
    raise Leave


KEYS = (
    ("Alt+Enter", f"begins a line; so does Enter between two {FENCE}"),
    ("Ctrl-R", "searches what was typed before"),
    ("Ctrl-X Ctrl-E", "opens an editor"),
    ("Ctrl-C", "stops an answer, clears a line, and twice leaves"),
    ("Ctrl-D", "leaves"),
)

COMMANDS = (
    Command(name="help", help="this page", run=_help),
    Command(
        name="image", arguments="FILE|-", completes="path", run=image,
        help="an image for the next message, as a path in it is; - takes them back",
    ),
    Command(
        name="file", arguments="FILE|-", completes="path", run=file,
        help="text, code, PDF or office file for the next message, whole; - takes them back",
    ),
    Command(name="paste", help="the image or the files in the clipboard", run=paste),
    Command(
        name="model", arguments="[NAME]", completes="model", asks=True,
        run=switch_model,
        help="go on with another model",
    ),
    Command(
        name="ctx", arguments="[TOKENS]", run=resize,
        help="a larger context, like 16k, if there is memory for it",
    ),
    Command(
        name="system", arguments="[TEXT|@FILE]", run=system,
        help="who the model is to be; alone: shows it",
    ),
    Command(
        name="think", arguments="[on|off|N]", run=think,
        completes="word", words=("on", "off"),
        help="think before each answer, for N tokens at most",
    ),
    Command(
        name="set", arguments="[NAME VALUE]", run=configure,
        completes="word", words=sampling_names(),
        help="temperature and the like; alone: all, with the model's own",
    ),
    Command(
        name="show", arguments="[WHAT]", run=show,
        completes="word", words=tuple(SHOWN),
        help=f"{', '.join(SHOWN)}",
    ),
    Command(name="stats", help="tokens and seconds of the last answer", run=stats),
    Command(
        name="undo", run=undo,
        help="take the last question back, and its answer",
    ),
    Command(
        name="edit", arguments="[TEXT]", run=edit,
        help="ask the last question in other words",
    ),
    Command(name="regen", help="another answer to it", run=regenerate),
    Command(name="continue", help="go on with an answer that stopped", run=go_on),
    Command(
        name="compact", run=compact,
        help="a summary in the place of all but the last question",
    ),
    Command(
        name="drop", arguments="[N]", run=drop,
        help="leave the N oldest questions out of the context",
    ),
    Command(name="clear", help="forget what was said", run=clear),
    Command(
        name="save", arguments="[TITLE]", run=save,
        help="give this session a title; it is saved as it happens",
    ),
    Command(
        name="load", arguments="SESSION", completes="session", run=load,
        help="go on with another session",
    ),
    Command(
        name="sessions", arguments="[rm NAME]", run=sessions,
        completes="word", words=("rm",),
        help="list the sessions, or delete one",
    ),
    Command(
        name="export", arguments="FILE", completes="path", run=export,
        help="write the conversation to FILE.md or FILE.json",
    ),
    Command(
        name="copy", arguments="[code]", run=copy_answer,
        completes="word", words=("code",),
        help="the last answer to the clipboard, or its last code",
    ),
    Command(name="exit", help="leave, as Ctrl-D does", run=_leave),
)  # fmt: skip

_OTHER_NAMES = {"quit": "exit", "bye": "exit", "?": "help", "retry": "regen"}


def find(word: str) -> Command:
    """The command of this name, without the slash.

    Raises:
        UsageError: there is none; the hint is what was probably meant.
    """
    names = {each.name: each for each in COMMANDS}
    known = names.get(_OTHER_NAMES.get(word, word))
    if known is not None:
        return known
    near = get_close_matches(word, names, n=1)
    guess = f"did you mean /{near[0]}? " if near else ""
    raise UsageError(f"there is no command `/{word}`", hint=f"{guess}/help lists them")


def carry_out(terminal: ChatTerminal, text: str) -> None:
    """A line that ``is_command``.

    Raises:
        UsageError: there is no such command, or it takes nothing and something stands after it.
        And what it raises; ``Leave`` ends the conversation.
    """
    word, _, value = text.strip()[1:].partition(" ")
    command = find(word)
    if value.strip() and not command.arguments:
        raise UsageError(f"/{command.name} takes nothing after it", hint=command.usage)
    terminal.amending = False  # whatever comes now, it is not the last question in other words
    with nullcontext() if command.asks else no_echo(terminal.context):
        command.run(terminal, value.strip())


def is_command(text: str) -> bool:
    """Whether a line begins with a command, not with a path of a file."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    return word.startswith("/") and "/" not in word[1:] and "." not in word and "\\" not in word
