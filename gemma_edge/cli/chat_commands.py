"""What can be typed in a conversation beside messages: ``/help`` and all other ``/commands``."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from gemma_edge.app.request import AUTO
from gemma_edge.chat.sessions import find_journal, remove, render_json, render_markdown
from gemma_edge.cli.context import sessions_dir
from gemma_edge.cli.conversation import Talk, Wish, as_path, file, image, paste
from gemma_edge.cli.inputs import read_value
from gemma_edge.cli.output import cancel_on_interrupt
from gemma_edge.cli.sessions import render_rows
from gemma_edge.cli.streaming import render_status
from gemma_edge.cli.terminal import FENCE, copy, hush
from gemma_edge.errors import DoesNotFit, InputError, UsageError
from gemma_edge.units import parse_tokens, render_bytes, render_tokens

# ----------------------------------------------------------------------------
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


# ----------------------------------------------------------------------------
# Commands about what was said: back, again, on, shorter.


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
    from gemma_edge.cli.markdown import last_fence  # noqa: PLC0415  (rich, 0.1 s)

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


def configure(talk: Talk, value: str) -> None:
    """``/set``: all of them; ``/set NAME VALUE`` changes one, ``default`` takes the model's own."""
    name, _, wanted = value.replace("=", " ", 1).partition(" ")
    if not name:
        talk.output.note("\n".join(render_settings(talk)))
        return
    setting = next((each for each in SETTINGS if each.name == name.replace("-", "_")), None)
    if setting is None:
        names = ", ".join(each.name for each in SETTINGS)
        raise UsageError(f"there is no setting `{name}`", hint=f"/set {names}")
    if wanted.strip():
        _change(talk, setting, wanted.strip())
    talk.output.note(_line(talk, setting.name))


def render_settings(talk: Talk) -> list[str]:
    """A line a setting, with what the model asks for itself."""
    return [_line(talk, each.name) for each in SETTINGS]


def _change(talk: Talk, setting: Setting, wanted: str) -> None:
    own = wanted in OWN
    try:
        value = None if own else setting.parse(wanted)
    except ValueError:
        raise UsageError(
            f"`{wanted}` is not {setting.wanted}", hint=f"/set {setting.name} default"
        ) from None
    session = talk.session
    if setting.name == "max_tokens":
        session.max_tokens = value
    elif setting.name == "stop":
        session.stop = () if own else (_unescaped(wanted),)
    else:
        changes: dict[str, Any] = {setting.name: value}
        session.sampling = replace(session.sampling, **changes)


def _line(talk: Talk, name: str) -> str:
    session = talk.session
    if name == "max_tokens":
        most = session.max_tokens
        shown = render_tokens(most) if most else "as many as the context leaves"
        return f"{name:12} {shown}"
    if name == "stop":
        return f"{name:12} {', '.join(map(repr, session.stop)) or 'nothing'}"
    value = getattr(session.sampling, name)
    own = getattr(talk.engine.info.sampling, name)
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


def think(talk: Talk, value: str) -> None:
    """``on``, ``off``, a budget in tokens; alone: the other way."""
    session = talk.session
    if value in ("", _TRUE, _FALSE):
        session.think = value == _TRUE if value else not session.think
        if value != _FALSE:
            session.max_thought_tokens = None
    else:
        try:
            session.max_thought_tokens = parse_tokens(value)
        except ValueError:
            raise UsageError(
                f"`{value}` is neither on nor off, nor a number of tokens",
                hint="/think on, /think off, /think 500",
            ) from None
        session.think = True
    talk.output.note(_thinking(talk))


def _thinking(talk: Talk) -> str:
    session = talk.session
    if not session.think:
        return "not thinking"
    if session.max_thought_tokens is None:
        return "thinking before each answer"
    return f"thinking up to {render_tokens(session.max_thought_tokens)} before each answer"


def system(talk: Talk, value: str) -> None:
    """Who the model is to be; alone: what was said of that."""
    if value:
        talk.session.system = None if value in OWN else read_value(value, talk.output)
    talk.output.note(f"system: {talk.session.system or 'none'}")


def stats(talk: Talk, _value: str) -> None:
    """The last answer in numbers, and what the context holds."""
    talk.output.note("\n".join(_stats(talk)))


def _stats(talk: Talk) -> list[str]:
    meter = talk.session.meter()
    lines = []
    if talk.last is not None:
        usage, timings = talk.last.usage, talk.last.timings
        lines += [
            render_status(talk.last, talk.engine.info),
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


def show(talk: Talk, value: str) -> None:
    """A part of what is going on."""
    shows: dict[str, Callable[[], list[str]]] = {
        "": lambda: [*_model(talk), *_told_system(talk), _thinking(talk), *render_settings(talk)],
        "model": lambda: _model(talk),
        "system": lambda: _told_system(talk),
        "settings": lambda: [_thinking(talk), *render_settings(talk)],
        "thought": lambda: [talk.show.thought.strip() or "there was no thought"],
        "summary": lambda: [talk.session.history.summary or "nothing was summed up"],
        "messages": lambda: _messages(talk),
    }
    if value not in shows:
        raise UsageError(f"there is no `{value}` to show", hint=f"/show {', '.join(shows)[2:]}")
    talk.output.note("\n".join(shows[value]()))


SHOWN = ("model", "system", "settings", "thought", "summary", "messages")


def _model(talk: Talk) -> list[str]:
    info = talk.engine.info
    lines = [talk.loaded.prepared.render(info)]
    sees = "images are seen" if info.vision else "no images"
    trained = f"trained for {info.trained_context_tokens:,}"
    lines.append(f"{info.context_tokens:,} tokens of context ({trained}), {sees}")
    return lines


def _told_system(talk: Talk) -> list[str]:
    return [f"system: {talk.session.system or 'none'}"]


def _messages(talk: Talk) -> list[str]:
    lines: list[str] = []
    for exchange in talk.session.history.exchanges:
        asked = exchange.question
        names = [*(each.name for each in asked.pictures), *(each.name for each in asked.files)]
        lines += [f"› {asked.text}", *(f"  {name}" for name in names), exchange.answer]
    return lines or ["nothing was said yet"]


def sampling_names() -> tuple[str, ...]:
    """For completion."""
    return tuple(each.name for each in SETTINGS)


# ----------------------------------------------------------------------------
# Commands about sessions: named, listed, loaded, deleted, written to a file.


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


# ----------------------------------------------------------------------------
# Commands that load again: another model, a larger context. The conversation goes along.


def switch_model(talk: Talk, value: str) -> None:
    """Go on with another model; alone: which one this is."""
    if not value:
        talk.output.note(talk.loaded.prepared.render(talk.engine.info))
        talk.output.note("/model NAME goes on with another; `gemma-edge models` lists them")
        return
    request = replace(
        talk.loaded.request, model=value, quant=None, mmproj=None, gpu_layers=None,
        cpu_expert_layers=None,
    )  # fmt: skip
    _reload(talk, Wish(request=request, sight="possible"))


def resize(talk: Talk, value: str) -> None:
    """A context of so many tokens, if the plan has memory for it; alone: what it is."""
    info = talk.engine.info
    if not value:
        talk.output.note(
            f"{info.context_tokens:,} tokens; this model was trained for "
            f"{info.trained_context_tokens:,}"
        )
        return
    try:
        tokens = parse_tokens(value)
    except ValueError:
        raise UsageError(f"`{value}` is not a number of tokens", hint="/ctx 16k") from None
    used = talk.session.meter().used_tokens
    if tokens <= used:
        raise DoesNotFit(
            f"the conversation takes {used:,} tokens, more than {tokens:,}",
            hint="/compact, /drop, or a larger number",
        )
    request = replace(talk.loaded.request, context_tokens=tokens)
    if request.model == AUTO:  # the same one, whatever would be the best for that size
        request = replace(request, model=talk.loaded.prepared.wanted, quant=None)
    try:
        _reload(talk, Wish(request=request, sight="possible"))
    except DoesNotFit as error:
        error.hint = error.hint.replace("--ctx ", "/ctx ")
        raise


def _reload(talk: Talk, wish: Wish) -> None:
    for sentence in talk.reload(wish):
        talk.output.note(sentence)
    info = talk.engine.info
    talk.output.note(talk.loaded.prepared.render(info))
    for note in info.notes:
        talk.output.note(note)
    if talk.session.history.exchanges:
        talk.output.note("the conversation is read again while you type")


# ----------------------------------------------------------------------------
# All `/commands` of the conversation: `/help`, completion and the README are made of this.


def _help(talk: Talk, _value: str) -> None:
    talk.output.rows([*help_rows(COMMANDS), *KEYS])


def _leave(_talk: Talk, _value: str) -> None:
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
        completes="word", words=SHOWN,
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


def carry_out(talk: Talk, text: str) -> None:
    """A line that ``is_command``.

    Raises:
        UsageError: there is no such command, or it takes nothing and something stands after it.
        And what it raises; ``Leave`` ends the conversation.
    """
    word, _, value = text.strip()[1:].partition(" ")
    command = find(word)
    if value.strip() and not command.arguments:
        raise UsageError(f"/{command.name} takes nothing after it", hint=command.usage)
    talk.amending = False  # whatever comes now, it is not the last question in other words
    with nullcontext() if command.asks else hush(talk.context):
        command.run(talk, value.strip())


def is_command(text: str) -> bool:
    """Whether a line begins with a command, not with a path of a file."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    return word.startswith("/") and "/" not in word[1:] and "." not in word and "\\" not in word
