"""All ``/commands`` of the conversation: ``/help``, completion and the README are made of this."""

from contextlib import nullcontext
from difflib import get_close_matches

from gemma_edge.cli.chat import attach as chat_attach
from gemma_edge.cli.chat import settings as chat_settings
from gemma_edge.cli.chat import shelf as chat_shelf
from gemma_edge.cli.chat import switch as chat_switch
from gemma_edge.cli.chat import turns as chat_turns
from gemma_edge.cli.chat.command import Command, Leave, help_rows
from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.terminal.asker import FENCE
from gemma_edge.cli.terminal.hush import hush
from gemma_edge.errors import UsageError


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
        name="image", arguments="FILE|-", completes="path", run=chat_attach.image,
        help="an image for the next message, as a path in it is; - takes them back",
    ),
    Command(
        name="file", arguments="FILE|-", completes="path", run=chat_attach.file,
        help="text, code, PDF or office file for the next message, whole; - takes them back",
    ),
    Command(name="paste", help="the image or the files in the clipboard", run=chat_attach.paste),
    Command(
        name="model", arguments="[NAME]", completes="model", asks=True,
        run=chat_switch.switch_model,
        help="go on with another model",
    ),
    Command(
        name="ctx", arguments="[TOKENS]", run=chat_switch.resize,
        help="a larger context, like 16k, if there is memory for it",
    ),
    Command(
        name="system", arguments="[TEXT|@FILE]", run=chat_settings.system,
        help="who the model is to be; alone: shows it",
    ),
    Command(
        name="think", arguments="[on|off|N]", run=chat_settings.think,
        completes="word", words=("on", "off"),
        help="think before each answer, for N tokens at most",
    ),
    Command(
        name="set", arguments="[NAME VALUE]", run=chat_settings.configure,
        completes="word", words=chat_settings.sampling_names(),
        help="temperature and the like; alone: all, with the model's own",
    ),
    Command(
        name="show", arguments="[WHAT]", run=chat_settings.show,
        completes="word", words=chat_settings.SHOWN,
        help=f"{', '.join(chat_settings.SHOWN)}",
    ),
    Command(name="stats", help="tokens and seconds of the last answer", run=chat_settings.stats),
    Command(
        name="undo", run=chat_turns.undo,
        help="take the last question back, and its answer",
    ),
    Command(
        name="edit", arguments="[TEXT]", run=chat_turns.edit,
        help="ask the last question in other words",
    ),
    Command(name="regen", help="another answer to it", run=chat_turns.regenerate),
    Command(name="continue", help="go on with an answer that stopped", run=chat_turns.go_on),
    Command(
        name="compact", run=chat_turns.compact,
        help="a summary in the place of all but the last question",
    ),
    Command(
        name="drop", arguments="[N]", run=chat_turns.drop,
        help="leave the N oldest questions out of the context",
    ),
    Command(name="clear", help="forget what was said", run=chat_turns.clear),
    Command(
        name="save", arguments="[TITLE]", run=chat_shelf.save,
        help="give this session a title; it is saved as it happens",
    ),
    Command(
        name="load", arguments="SESSION", completes="session", run=chat_shelf.load,
        help="go on with another session",
    ),
    Command(
        name="sessions", arguments="[rm NAME]", run=chat_shelf.sessions,
        completes="word", words=("rm",),
        help="list the sessions, or delete one",
    ),
    Command(
        name="export", arguments="FILE", completes="path", run=chat_shelf.export,
        help="write the conversation to FILE.md or FILE.json",
    ),
    Command(
        name="copy", arguments="[code]", run=chat_turns.copy_answer,
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
