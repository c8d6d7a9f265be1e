"""A conversation at a terminal: what its ``/commands`` act on, and all of them."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from gemma_edge.app.chat import Chat
from gemma_edge.chat.conversation import KEPT, Conversation
from gemma_edge.chat.sessions import exact_journal, render_json, render_markdown, similar
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import refuse_network
from gemma_edge.cli.inputs import (
    as_path,
    find_files,
    first_name,
    is_pasted,
    missed_files,
    name_files,
    read_value,
)
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.sessions import bring_back, delete, find_deleted, render_rows
from gemma_edge.cli.streaming import AnswerDisplay, conclude, render_status
from gemma_edge.cli.terminal import FENCE, copy, no_echo
from gemma_edge.disk import write_atomically
from gemma_edge.documents.document import shown
from gemma_edge.engine.protocol import Engine, Event
from gemma_edge.errors import (
    DoesNotFit,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    UsageError,
)
from gemma_edge.records import dataclass
from gemma_edge.trust import is_web
from gemma_edge.units import parse_tokens, render_tokens

# What the commands act on: the conversation, and the terminal that it is shown at.


KILO, ROOM = 1024, 1024  # tokens
_SHARE = 4  # of the rows: what a message that was refused may cover


@dataclass(slots=True, kw_only=True)
class ChatTerminal:
    """``draft`` stands in the next line already; ``amending`` says that the next message is the
    last question in other words. ``refused`` waits for what makes room for it."""

    context: Context
    output: Output
    chat: Chat
    display: AnswerDisplay
    draft: str = ""
    amending: bool = False
    refused: str = ""
    made_room: bool = False

    @property
    def conversation(self) -> Conversation:
        return self.chat.conversation

    @property
    def engine(self) -> Engine:
        """Where the answers come from; nothing is read beside what is asked of it."""
        return self.chat.engine

    def tell(self) -> None:
        """What was noted in the background."""
        while self.chat.notes:
            self.note(self.chat.notes.popleft())

    def note(self, *texts: str) -> None:
        for text in texts:
            self.output.note(text)

    def say(self, text: str) -> None:
        """A message, with the files that it names and all else that goes with it. If it is refused
        it is the next draft, and what went with it goes with that."""
        conversation, self.refused = self.conversation, ""
        before = conversation.pictures, conversation.files
        try:
            message = self._attach_named(text)
            self.answer((conversation.edit if self.amending else conversation.say)(message))
            self.amending = False
        except GemmaEdgeError as error:
            conversation.pictures, conversation.files = before
            self._keep_refused(text, error)
            raise

    def _keep_refused(self, text: str, error: GemmaEdgeError) -> None:
        """It stands in the next line to be changed, unless the error would scroll out of sight
        behind it: then it is kept for later, and what the hint says can be typed."""
        if isinstance(error, DoesNotFit):
            error.hint = self.choices(text) or error.hint
        if self.context.size is None or self.context.ask is not None:  # nothing is drawn
            self.draft = text
            return
        columns, rows = self.context.size()
        lines = sum(1 + len(line) // columns for line in text.split("\n"))
        if lines > rows // _SHARE:
            self.refused = text
            error.hint = "; ".join(filter(None, (error.hint, "Up brings the message back")))
        else:
            self.draft = text

    def offer_again(self) -> None:
        """After a command that may have made room: the message that had none, once."""
        if self.refused and self.made_room:
            self.draft, self.refused = self.refused, ""
        self.made_room = False

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
                    self.note(f"{stop.message}, {KEPT}")
                    events = self.conversation.say_again()
        if conclude(finished, self.output) is ExitStatus.INTERRUPTED:
            self.note("stopped; what was said is kept")
        elif finished.reason in ("length", "repetition"):
            self.note("/continue goes on")
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
        if is_pasted(text):
            if name := first_name(text):
                self.note(f"{shown(name)} in so long a text is not attached; /file does")
            return text
        found = find_files(text, self.context.home)
        for each in found:
            self.note(*self.conversation.attach(each.path))
        self.note(*map(render_missed, missed_files(text, found)))
        return name_files(text, found)

    def choices(self, text: str, *, once: bool = False) -> str:
        """What can be done about a message that is too long, as commands, or as flags where it is
        asked ``once``; with a context that would hold it, and an answer of ``ROOM`` tokens, where
        the model was trained for that."""
        conversation = self.conversation
        try:
            needed = conversation.meter(text).used_tokens + ROOM
        except GemmaEdgeError:  # it is a picture that is too large
            return ""
        trained, flag = self.engine.info.trained_context_tokens, "--ctx" if once else "/ctx"
        larger = (
            f"{flag} {-(-needed // KILO)}k if there is memory for it, " if needed <= trained else ""
        )
        shorter = "" if once or not conversation.history.exchanges else "/compact, /drop, "
        return f"{larger}{shorter}or less text".removeprefix("or ")


def render_missed(name: str) -> str:
    """What becomes of a name in a message that leads to no file."""
    if is_web(name):
        return f"{shown(name)} is on the web: it is not fetched, and not looked at"
    return f"{shown(name)} is not there, and goes with no message"


def render_session(conversation: Conversation) -> str:
    """Which conversation goes on; "" for one that only begins."""
    history, count = conversation.history, conversation.history.questions
    if not (history.title or history.exchanges or history.earlier or history.notes):
        return ""
    name = conversation.journal.name if conversation.journal else ""
    counted = f"{count} question{'' if count == 1 else 's'} so far"
    return " · ".join(filter(None, (name, history.title, counted)))


def recall(conversation: Conversation) -> list[str]:
    """What a person sees of a conversation that goes on: what it is, and the last words of it."""
    history, about = conversation.history, render_session(conversation)
    if not about:
        return []
    lines = [about, *history.notes]
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


# A `/command` of the conversation is a function; `/help`, completion and the page of commands are
# made from what stands above it, in this order.


Completes = Literal["", "path", "model", "session", "word"]
Run = Callable[[ChatTerminal, str], None]


class Leave(Exception):
    """``/exit``: the conversation ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``run`` gets what stands after the name, without spaces around it. ``completes`` says what
    that is: one of ``words``, a path, a model, a session. ``asks``: it may need a yes, so what is
    typed must be seen. ``makes_room``: a message that had none may have it now."""

    name: str
    arguments: str = ""
    help: str
    run: Run
    completes: Completes = ""
    words: tuple[str, ...] = ()
    asks: bool = False
    makes_room: bool = False

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.arguments}".rstrip()


COMMANDS: list[Command] = []
KEYS = (
    ("Alt+Enter", f"begins a line; so does Enter between two {FENCE}"),
    ("Ctrl-R", "searches what was typed before"),
    ("Ctrl-X Ctrl-E", "opens an editor"),
    ("Ctrl-C", "stops an answer, clears a line, and twice leaves"),
    ("Ctrl-D", "leaves"),
)


def help_rows() -> list[tuple[str, str]]:
    """A row a command, then the keys."""
    return [*((each.usage, each.help) for each in COMMANDS), *KEYS]


def _command(name: str, arguments: str = "", **more: Any) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        COMMANDS.append(Command(name=name, arguments=arguments, run=run, **more))
        return run

    return register


@_command("help", help="this page")
def _help(terminal: ChatTerminal, _value: str) -> None:
    terminal.output.rows(help_rows())


# What goes with the next message: images, and files, whole.


NONE = "-"


@_command(
    "image", "FILE|-", completes="path",
    help="an image for the next message, as a path in it is; - takes them back",
)  # fmt: skip
def _image(terminal: ChatTerminal, value: str) -> None:
    if value == NONE:
        terminal.conversation.pictures = ()
        terminal.note("no image goes with the next message")
    else:
        path = _path(terminal, value, "/image FILE")
        terminal.note(terminal.conversation.attach_image(path))


@_command(
    "file", "FILE|-", completes="path",
    help="text, code, PDF or office file for the next message, whole; - takes them back",
)  # fmt: skip
def _file(terminal: ChatTerminal, value: str) -> None:
    if value == NONE:
        terminal.conversation.files = ()
        terminal.note("no file goes with the next message")
    else:
        path = _path(terminal, value, "/file FILE")
        terminal.note(*terminal.conversation.attach_file(path))


@_command("paste", help="the image or the files in the clipboard")
def _paste(terminal: ChatTerminal, _value: str) -> None:
    from gemma_edge.documents.images import read_clipboard  # noqa: PLC0415

    found = read_clipboard()
    if isinstance(found, bytes):
        terminal.note(terminal.conversation.attach_image(found))
        return
    if terminal.chat.offline:
        refuse_network(found)
    for name in found:
        terminal.note(*terminal.conversation.attach(name))


def _path(terminal: ChatTerminal, value: str, usage: str) -> Path:
    if not value.strip("'\" "):
        raise UsageError("no file was named", hint=usage)
    if is_web(value):
        problem = f"{value} is on the web, and gemma-edge fetches nothing but models"
        raise InputError(problem, hint="download it, and name the file")
    path = as_path(value, terminal.context.home)
    if terminal.chat.offline:
        refuse_network([value, path])
    return path


# Another model, a larger context: the conversation goes along.


@_command(
    "model", "[NAME]", completes="model", asks=True, makes_room=True,
    help="go on with another model",
)  # fmt: skip
def _switch_model(terminal: ChatTerminal, value: str) -> None:
    if value:
        if terminal.chat.offline:
            refuse_network([value])
        _tell_loaded(terminal, terminal.chat.switch_model(value))
    else:
        hint = "/model NAME goes on with another; `gemma-edge models` lists them"
        terminal.note(terminal.chat.prepared.render(terminal.engine.info), hint)


@_command(
    "ctx", "[TOKENS]", makes_room=True, help="a larger context, like 16k, if there is memory for it"
)
def _resize(terminal: ChatTerminal, value: str) -> None:
    info = terminal.engine.info
    if not value:
        trained = f"{info.trained_context_tokens:,}"
        terminal.note(f"{info.context_tokens:,} tokens; this model was trained for {trained}")
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
    terminal.note(*(*changes, terminal.chat.prepared.render(info), *info.notes))
    if terminal.conversation.history.exchanges:
        terminal.note("the conversation is read again while you type")


# How the next answer is made.


OWN = ("default", "auto")  # back to the model's own
_TRUE, _FALSE = "on", "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """``parse`` raises ValueError; ``wanted`` says in words what it takes."""

    name: str
    wanted: str
    parse: Callable[[str], Any]


def _number(kind: Callable[[str], float], most: float = sys.float_info.max) -> Callable[[str], Any]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 <= value <= most:
            raise ValueError(text)
        return value

    return parse


SETTINGS = (
    Setting("temperature", "a number from 0", _number(float)),
    Setting("top_p", "a number from 0 to 1", _number(float, 1.0)),
    Setting("top_k", "a whole number", _number(int)),
    Setting("min_p", "a number from 0 to 1", _number(float, 1.0)),
    Setting("seed", "a whole number", _number(int)),
    Setting("stop", "a text that ends an answer", str),
    Setting("max_tokens", "a number of tokens", parse_tokens),
)


@_command("system", "[TEXT|@FILE]", help="who the model is to be; alone: shows it")
def _set_system(terminal: ChatTerminal, value: str) -> None:
    if value:
        terminal.conversation.system = None if value in OWN else read_value(value, terminal.output)
    terminal.note(*_system(terminal))


@_command(
    "think", "[on|off|N]", completes="word", words=("on", "off"),
    help="think before each answer, for N tokens at most",
)  # fmt: skip
def _set_think(terminal: ChatTerminal, value: str) -> None:
    conversation = terminal.conversation
    if value in ("", "on", "off"):
        conversation.think = value == "on" if value else not conversation.think
        if value != "off":
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
    terminal.note(_thinking(terminal))


@_command(
    "set", "[NAME VALUE]", completes="word", words=tuple(each.name for each in SETTINGS),
    help="temperature and the like; alone: all, with the model's own",
)  # fmt: skip
def _set(terminal: ChatTerminal, value: str) -> None:
    name, _, wanted = value.replace("=", " ", 1).partition(" ")
    if not name:
        terminal.note(*_settings(terminal))
        return
    setting = next((each for each in SETTINGS if each.name == name.replace("-", "_")), None)
    if setting is None:
        names = ", ".join(each.name for each in SETTINGS)
        raise UsageError(f"there is no setting `{name}`", hint=f"/set {names}")
    if wanted.strip():
        _change(terminal.conversation, setting, wanted.strip())
    terminal.note(_line(terminal, setting.name))


def _change(conversation: Conversation, setting: Setting, wanted: str) -> None:
    own = wanted in OWN
    try:
        value = None if own else setting.parse(wanted)
    except ValueError:
        raise UsageError(
            f"`{wanted}` is not {setting.wanted}", hint=f"/set {setting.name} default"
        ) from None
    if setting.name == "max_tokens":
        conversation.max_tokens = value
    elif setting.name == "stop":  # a line's end is typed as \\n
        typed = wanted.replace("\\n", "\n").replace("\\t", "\t")
        conversation.stop = () if own else (typed,)
    else:
        conversation.sampling = replace(conversation.sampling, **{setting.name: value})


def _line(terminal: ChatTerminal, name: str) -> str:
    conversation = terminal.conversation
    if name == "max_tokens":
        most = conversation.max_tokens
        shown = render_tokens(most) if most else "as many as the context leaves"
    elif name == "stop":
        shown = ", ".join(map(repr, conversation.stop)) or "nothing"
    else:
        shown = _chosen(
            name, getattr(conversation.sampling, name), getattr(terminal.engine.info.sampling, name)
        )
    return f"{name:12} {shown}"


def _chosen(name: str, value: float | None, own: float | None) -> str:
    if name == "seed":
        return "by chance" if value is None else str(value)
    default = "none" if own is None else f"{own:g}"
    if value is None:
        return f"{default} (the model's own)"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{shown} (the model's own: {default})"


# What is going on.


def _model(terminal: ChatTerminal) -> list[str]:
    info = terminal.engine.info
    sees = "images are seen" if info.vision else "no images"
    trained = f"trained for {info.trained_context_tokens:,}"
    plan = info.plan or terminal.chat.prepared.plan
    lines = [
        terminal.chat.prepared.render(info),
        f"{info.context_tokens:,} tokens of context ({trained}), {sees}",
    ]
    return [*lines, f"{plan.drafter.name} guesses words ahead"] if plan.drafter else lines


def _system(terminal: ChatTerminal) -> list[str]:
    return [f"system: {terminal.conversation.system or 'none'}"]


def _thinking(terminal: ChatTerminal) -> str:
    conversation = terminal.conversation
    if not conversation.think:
        return "not thinking"
    most = conversation.max_thought_tokens
    budget = "" if most is None else f" up to {render_tokens(most)}"
    return f"thinking{budget} before each answer"


def _settings(terminal: ChatTerminal) -> list[str]:
    return [_line(terminal, each.name) for each in SETTINGS]


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
    "settings": lambda terminal: [_thinking(terminal), *_settings(terminal)],
    "thought": lambda terminal: [terminal.display.thought.strip() or "there was no thought"],
    "summary": lambda terminal: [terminal.conversation.history.summary or "nothing was summed up"],
    "messages": _messages,
}


@_command("show", "[WHAT]", completes="word", words=tuple(SHOWN), help=", ".join(SHOWN))
def _show(terminal: ChatTerminal, value: str) -> None:
    parts = [value] if value else ["model", "system", "settings"]
    if parts[0] not in SHOWN:
        raise UsageError(f"there is no `{value}` to show", hint=f"/show {', '.join(SHOWN)}")
    for part in parts:
        terminal.note(*SHOWN[part](terminal))


@_command("stats", help="tokens and seconds of the last answer")
def _stats(terminal: ChatTerminal, _value: str) -> None:
    meter, last = terminal.conversation.meter(), terminal.conversation.finished
    if last is not None:
        usage, timings = last.usage, last.timings
        terminal.note(
            render_status(last, terminal.engine.info),
            f"{'prompt':12} {usage.prompt_tokens:,} tokens: {usage.cached_tokens:,} remembered, "
            f"{usage.evaluated_tokens:,} read in {timings.prompt_seconds:.1f} s",
            f"{'answer':12} {usage.generated_tokens:,} tokens, {usage.thought_tokens:,} of them "
            f"thought, in {timings.decode_seconds:.1f} s",
        )
        if usage.drafted_tokens:
            terminal.note(
                f"{'drafted':12} {usage.drafted_tokens:,} tokens, "
                f"{usage.accepted_tokens:,} of them said"
            )
        if usage.guessed_tokens:
            terminal.note(
                f"{'guessed':12} {usage.guessed_tokens:,} of them by the drafter, "
                f"{usage.guesses_accepted:,} of them said, in {usage.guess_seconds:.1f} s"
            )
    terminal.note(
        f"{'context':12} {meter.used_tokens:,} of {meter.context_tokens:,} tokens: "
        f"{meter.text_tokens:,} text, {meter.picture_tokens:,} images, "
        f"{meter.template_tokens:,} template"
    )


# What was said: back, again, on, shorter.


@_command("undo", help="take the last question back, and its answer")
def _undo(terminal: ChatTerminal, _value: str) -> None:
    terminal.draft = terminal.conversation.last_question.text
    terminal.conversation.undo()
    terminal.note("taken back; the session file keeps it")


@_command("edit", "[TEXT]", help="ask the last question in other words")
def _edit(terminal: ChatTerminal, value: str) -> None:
    question = terminal.conversation.last_question
    terminal.amending = True
    if value:
        terminal.say(value)
    else:
        terminal.draft = question.text
        terminal.note("the next message takes the place of the last question")


@_command("regen", help="another answer to it")
def _regenerate(terminal: ChatTerminal, _value: str) -> None:
    terminal.answer(terminal.conversation.regenerate())


@_command("continue", help="go on with an answer that stopped")
def _continue(terminal: ChatTerminal, _value: str) -> None:
    terminal.answer(terminal.conversation.continue_answer())


@_command("compact", makes_room=True, help="a summary in the place of all but the last question")
def _compact(terminal: ChatTerminal, _value: str) -> None:
    conversation = terminal.conversation
    before = conversation.meter().used_tokens
    terminal.note("summary of what was said before:")
    with cancel_on_interrupt(terminal.engine):
        terminal.display.show(conversation.compact())
    after = conversation.meter().used_tokens
    if after != before:
        terminal.note(
            f"{before:,} tokens of conversation are {after:,} now; the session file keeps all"
        )


@_command("drop", "[N]", makes_room=True, help="leave the N oldest questions out of the context")
def _drop(terminal: ChatTerminal, value: str) -> None:
    if value and not re.fullmatch("[0-9]{1,9}", value):
        raise UsageError(f"`{value}` is not a number of questions", hint="/drop 2")
    count = terminal.conversation.drop(int(value or 1))
    if not count:
        raise UsageError("there is nothing to drop", hint="type a question")
    left = f"{count} oldest questions" if count > 1 else "oldest question"
    terminal.note(f"the {left} left the context; the session file keeps all")


@_command("clear", makes_room=True, help="forget what was said")
def _clear(terminal: ChatTerminal, _value: str) -> None:
    terminal.conversation.clear()
    terminal.note("cleared")


# Sessions: named, listed, gone on with, deleted, written to a file.


@_command("save", "[TITLE]", help="give this session a title; it is saved as it happens")
def _save(terminal: ChatTerminal, value: str) -> None:
    conversation = terminal.conversation
    if conversation.journal is None:
        raise UsageError("this conversation is private", hint="/export FILE writes it down")
    if value:
        conversation.title = value
    title = f"{conversation.title} · " if conversation.title else ""
    terminal.note(
        f"{title}saved as it happens: gemma-edge chat --session {conversation.journal.name}"
    )


@_command("load", "SESSION", completes="session", help="go on with another session")
def _load(terminal: ChatTerminal, value: str) -> None:
    if not value:
        raise UsageError("no session was named", hint="/sessions lists them")
    if terminal.chat.switch_session(value):
        terminal.display.thought = ""  # of the other one
        journal = terminal.conversation.journal
        begun = [f"session {journal.name}: nothing was asked yet"] if journal else []
        terminal.chat.notes += recall(terminal.conversation) or begun


@_command(
    "sessions", "[rm NAME]", completes="word", words=("rm", "restore"),
    help="list the sessions, or delete one; restore NAME brings it back",
)  # fmt: skip
def _sessions(terminal: ChatTerminal, value: str) -> None:
    folder, now = terminal.chat.sessions, terminal.context.now()
    action, _, name = value.partition(" ")
    name = name.strip()
    if action == "rm" and name:
        _delete_session(terminal, folder, name)
    elif action == "restore" and name:
        terminal.note(bring_back(find_deleted(folder, name, now), folder))
    elif value:
        raise UsageError(f"`{value}` is not known", hint="/sessions, /sessions rm NAME")
    elif rows := render_rows(folder, now):
        terminal.output.rows(rows)
    else:
        terminal.note("no session is kept yet")


def _delete_session(terminal: ChatTerminal, folder: Path, name: str) -> None:
    """By its exact name; what is like it is only named."""
    path = exact_journal(folder, name)
    if path is None:
        near = similar(folder, name)
        like = f"; like it: {', '.join(each.name for each in near)}" if near else ""
        hint = f"/sessions rm {near[0].name}" if near else "/sessions"
        raise InputError(f"there is no session `{name}`{like}", hint=hint)
    terminal.note(delete(path, terminal.context.now()))


@_command("export", "FILE", completes="path", help="write the conversation to FILE.md or FILE.json")
def _export(terminal: ChatTerminal, value: str) -> None:
    path = _path(terminal, value, "/export talk.md, /export talk.json")
    history = terminal.conversation.history
    text = render_json(history) if path.suffix.lower() == ".json" else render_markdown(history)
    write_new(path, text)
    terminal.note(f"written to {path}")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; else InputError, as where the disk refuses."""
    try:
        write_atomically(path, text, replace=False)
    except FileExistsError:
        raise InputError(f"{path} is there already", hint="name another file") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}", hint="name another place"
        ) from None


@_command(
    "copy", "[code]", completes="word", words=("code",),
    help="the last answer to the clipboard, or its last code",
)  # fmt: skip
def _copy(terminal: ChatTerminal, value: str) -> None:
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
    terminal.note(f"{len(text):,} characters copied {how}")


@_command("exit", help="leave, as Ctrl-D does")
def _leave(_terminal: ChatTerminal, _value: str) -> None:
    raise Leave


_OTHER_NAMES = {"quit": "exit", "bye": "exit", "?": "help", "retry": "regen"}


def find(word: str) -> Command:
    """The command of this name, without the slash; the hint of a UsageError is what was probably
    meant."""
    names = {each.name: each for each in COMMANDS}
    known = names.get(_OTHER_NAMES.get(word, word))
    if known is not None:
        return known
    near = get_close_matches(word, names, n=1)
    guess = f"did you mean /{near[0]}? " if near else ""
    raise UsageError(f"there is no command `/{word}`", hint=f"{guess}/help lists them")


def carry_out(terminal: ChatTerminal, text: str) -> None:
    """A line that ``is_command``; what the command raises is raised, and ``Leave`` ends the
    conversation."""
    word, _, value = text.strip()[1:].partition(" ")
    command = find(word)
    if value.strip() and not command.arguments:
        raise UsageError(f"/{command.name} takes nothing after it", hint=command.usage)
    terminal.amending = False  # whatever comes now, it is not the last question in other words
    terminal.made_room = command.makes_room
    with nullcontext() if command.asks else no_echo(terminal.context):
        command.run(terminal, value.strip())


def is_command(text: str) -> bool:
    """Whether a line begins with a command, not with a path of a file."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    return word.startswith("/") and "/" not in word[1:] and "." not in word and "\\" not in word
