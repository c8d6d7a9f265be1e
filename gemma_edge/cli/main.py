"""Parse, run, and turn whatever went wrong into lines and an exit status.

``main(argv, context) -> ExitStatus`` is the one boundary. Typer only parses: a command function
returns the work as a function, which runs here, outside of Typer.
"""

import gc
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gemma_edge.cli import completion
from gemma_edge.cli import context as outside
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import (
    HELP_NAMES,
    Actions,
    HelpAsked,
    Job,
    expand,
    option,
    parse_plainly,
)
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, GemmaEdgeError, Interrupted, UsageError
from gemma_edge.records import dataclass
from gemma_edge.version import __version__

PROGRAM = "gemma-edge"
HELP_WIDTH = 100  # wider pages are harder to read

# ----------------------------------------------------------------------------
# The commands. Only the one that is asked for is imported.

TALK, READ, MODELS, MACHINE = "Talk and look", "Read into JSON", "Models", "This machine"


@dataclass(frozen=True, slots=True)
class Entry:
    """Module and function (or ``Actions``) of a command, the first sentence of its help, and the
    title that it stands under."""

    place: str
    summary: str
    title: str


COMMANDS = {
    "chat": Entry("chat:command", "Talk.", TALK),
    "sessions": Entry("sessions:ACTIONS", "The conversations that are kept on this machine.", TALK),
    "describe": Entry("describe:command", "Look at images and say what they show.", TALK),
    "extract": Entry("extract:command", "Read documents into JSON.", READ),
    "eval": Entry(
        "extract:evaluate_command", "Score the answers about the documents of a folder.", READ
    ),
    "merge": Entry(
        "extract:merge_command", "Put together what the shares of a run have written.", READ
    ),
    "diff": Entry("extract:diff_command", "Compare two files of answers, value by value.", READ),
    "recipes": Entry("recipes:ACTIONS", "What `extract` is told about a kind of document.", READ),
    "schema": Entry("schema:ACTIONS", "Look at a schema before a document is read with it.", READ),
    "serve": Entry("serve:command", "Answer over HTTP.", READ),
    "models": Entry("models:command", "Show the models that can be fetched.", MODELS),
    "pull": Entry("files:pull", "Download a model and its projector.", MODELS),
    "list": Entry("files:list_command", "List the model files on this machine.", MODELS),
    "show": Entry("files:show_command", "Show what a model file says about itself.", MODELS),
    "verify": Entry("files:verify_command", "Prove that model files are what they were.", MODELS),
    "rm": Entry("files:rm_command", "Delete models from this machine.", MODELS),
    "path": Entry(
        "files:path_command", "Print the path of a model that is on this machine.", MODELS
    ),
    "import": Entry(
        "files:import_command", "Copy GGUF files from elsewhere into the store.", MODELS
    ),
    "plan": Entry("plan:command", "Say what would run.", MACHINE),
    "bench": Entry("bench:command", "Measure how fast models are on this machine.", MACHINE),
    "ps": Entry("engines:ps_command", "Show the models that are loaded now.", MACHINE),
    "stop": Entry("engines:stop_command", "End models that wait for the next command.", MACHINE),
    "doctor": Entry("doctor:command", "Find out what is wrong.", MACHINE),
    "hpc": Entry("hpc:ACTIONS", "A job script for a cluster, and what is missing for it.", MACHINE),
}

# ----------------------------------------------------------------------------
# Help pages: flags and commands under titles, so that the many of a model do not hide the few of
# a command.


FIRST = ("Arguments", "Options")
SETTINGS: dict[str, Any] = {"help_option_names": []}  # ours writes where Output writes


class HelpPage(TyperCommand):
    """A command whose flags stand under the title that each was given (``rich_help_panel``)."""

    def __init__(self, name: str | None, **more: Any) -> None:
        super().__init__(name, **more)
        parse_plainly(self.params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of this command; what is wrong with them names it."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            vars(error)["ctx"] = ctx  # Typer leaves it out where a flag has no value
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """One section a title: arguments, the command's own flags, then the shared ones."""
        _write_sections(_flag_rows(self, ctx), formatter)


class Pages(TyperGroup):
    """A command whose actions are commands. ``usual`` is the one that needs no name."""

    usual = ""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        parse_plainly(self.params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``recipes``, ``recipes --json`` and ``recipes --json list`` are ``recipes list``."""
        if ctx.resilient_parsing or self.invoke_without_command:
            return super().parse_args(ctx, args)
        if not args or args[0].startswith("-") and args[0] not in HELP_NAMES:
            named = next((each for each in args if each in self.commands), None)
            if not named and not self.usual:
                raise UsageError(
                    f"`{_written(ctx)}` needs one of {', '.join(self.commands)}", hint=_page_of(ctx)
                )
            args = [each for each in args if each is not named]
            args.insert(0, named or self.usual)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names."""
        word = args[0]
        if not (word.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, word)):
            near = get_close_matches(word, self.list_commands(ctx), n=1)
            guess = f"did you mean {near[0]}? " if near else ""
            name = f"{_written(ctx)} {word}".strip()
            raise UsageError(f"there is no command `{name}`", hint=f"{guess}{_page_of(ctx)}")
        return super().resolve_command(ctx, args)

    def summaries(self) -> Iterator[tuple[str, str, str]]:
        """Title, name and first sentence of each command."""
        for name, command in self.commands.items():
            yield "Actions", name, command.get_short_help_str(limit=200)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands under their titles, then the flags."""
        _write_sections([*self.summaries(), *_flag_rows(self, ctx)], formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names and flags; no command is imported for it."""
        found = [completion.as_item(name, summary) for _, name, summary in self.summaries()
                 if name.startswith(incomplete)]  # fmt: skip
        return found + super(TyperGroup, self).shell_complete(ctx, incomplete)


class Top(Pages):
    """All commands; each is imported when it is asked for."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; None where there is none."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = load_command(cmd_name)
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help page."""
        return list(COMMANDS)

    def summaries(self) -> Iterator[tuple[str, str, str]]:
        """Title, name and first sentence of each command."""
        for name, entry in COMMANDS.items():
            yield entry.title, name, entry.summary


def _flag_rows(command: Any, ctx: Any) -> list[tuple[str, str, str]]:
    """Title, how it is written, and help of each flag, in the order of the page."""
    rows = []
    for each in command.get_params(ctx):
        if record := each.get_help_record(ctx):
            is_argument = group_of(each) == FIRST[0]  # without its Python type
            rows.append((group_of(each), each.metavar if is_argument else record[0], record[1]))
    return sorted(rows, key=lambda row: FIRST.index(row[0]) if row[0] in FIRST else len(FIRST))


def _write_sections(rows: Iterable[tuple[str, str, str]], formatter: Any) -> None:
    groups: dict[str, list[tuple[str, str]]] = {}
    for title, *row in rows:
        groups.setdefault(title, []).append((row[0], row[1]))
    for title, inside in groups.items():
        with formatter.section(title):
            formatter.write_dl(inside)


def group_of(parameter: object) -> str:
    """The title that a flag or an argument stands under."""
    if getattr(parameter, "param_type_name", "") == "argument":
        return FIRST[0]
    return getattr(parameter, "rich_help_panel", None) or FIRST[1]


def _written(ctx: Any) -> str:
    """A command as it is written after the program's name."""
    return str(ctx.command_path).removeprefix(PROGRAM).strip()


def _page_of(ctx: Any) -> str:
    return f"{ctx.command_path} --help"


# ----------------------------------------------------------------------------
# From functions to Typer's commands.


def build_app() -> Top:
    """The command line; its commands are not imported yet."""
    app = _app(cls=Top, invoke_without_command=True)
    app.callback()(expand(top))
    return typer.main.get_command(app)  # type: ignore[return-value]


def load_command(name: str) -> TyperCommand | Pages:
    """A command of the table with its flags, or with its actions."""
    module, _, place = COMMANDS[name].place.partition(":")
    found = getattr(import_module(f"gemma_edge.cli.{module}"), place)
    if not isinstance(found, Actions):
        app = _app()
        app.command(name, cls=HelpPage, context_settings=SETTINGS)(expand(found))
        return typer.main.get_command(app)  # type: ignore[return-value]
    app = _app(cls=Pages, help=found.help)
    app.callback()(expand(lambda: None))
    settings = SETTINGS | {"allow_interspersed_args": not found.own_words}
    for action, function in found.commands.items():
        app.command(action, cls=HelpPage, context_settings=settings)(expand(function))
    group: Pages = typer.main.get_command(app)  # type: ignore[assignment]
    group.usual = found.usual
    return group


def _app(**more: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, suggest_commands=False,
        context_settings=SETTINGS, **more,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TopFlags:
    """What is asked of the program itself."""

    version: Annotated[bool, option("--version", help="Show the version.")] = False
    install_completion: Annotated[
        bool, option("--install-completion", help="Let this shell complete what is typed.")
    ] = False
    show_completion: Annotated[
        bool, option("--show-completion", help="Print what --install-completion would install.")
    ] = False


def top(ctx: typer.Context, asked: TopFlags) -> Job | None:
    """Gemma 4 on the computer you have: chat, describe images, read documents into JSON.

    Nothing leaves the machine.

    \b
    gemma-edge pull e4b
    gemma-edge chat "hello" --model e4b
    gemma-edge describe photo.jpg
    gemma-edge extract invoice.pdf
    gemma-edge extract bill.pdf --schema "vendor, date, total num"
    """
    if asked.version:
        return partial(_print, f"{PROGRAM} {__version__}")
    if asked.install_completion or asked.show_completion:
        does = completion.install if asked.install_completion else completion.show_script
        return partial(does, PROGRAM)
    return _top_page if ctx.invoked_subcommand is None else None


def main(argv: Sequence[str], context: Context) -> ExitStatus:
    """Run one command line in the given environment. Never raises, never exits."""
    output = Output(context)
    try:
        if context.environment.get(completion.VARIABLE):
            job: Job = partial(completion.complete, build_app(), PROGRAM)
        else:
            job = parse(argv, context.width)
        outside.begin_work()
        return job(context, output)
    except KeyboardInterrupt:
        output.end_line()
        return ExitStatus.INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the one boundary: a bug must not be a mess)
        return _tell(error, output, context)


def parse(argv: Sequence[str], width: int) -> Job:
    """A command line to the work it asks for; a help page, ``width`` columns wide, is work too.

    Raises:
        UsageError: it cannot be carried out as written.
    """
    try:
        job: Job = build_app().main(
            list(argv),
            PROGRAM,
            standalone_mode=False,
            terminal_width=min(width, HELP_WIDTH),
        )
    except HelpAsked as asked:
        return partial(_print, asked.page)
    except typer.TyperException as error:
        raise _usage_error(error) from error
    return job


def flags_of(name: str, words: Sequence[str]) -> dict[str, Any]:
    """The flags of a command by their names, as its words say them; nothing runs.

    Raises:
        UsageError: they cannot be carried out as written.
    """
    try:
        parsed = load_command(name).make_context(f"{PROGRAM} {name}", [*words])
    except HelpAsked:
        return {}
    except typer.TyperException as error:
        raise _usage_error(error) from error
    return dict(parsed.params)


# What a command imports and plans stays until its end: looking for garbage among it every 700 new
# objects, as Python does, takes a tenth of its time.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


def run() -> None:
    """The console script."""
    outside.begin()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    outside.open_closed_streams()
    outside.distrust_working_folder()
    context = Context.from_process()
    try:
        status = main(outside.arguments(), context)
    except KeyboardInterrupt:  # a second one, while the first was told
        status = ExitStatus.INTERRUPTED
    outside.end_work(status)
    outside.flush(context)
    sys.exit(status)


def _top_page(context: Context, output: Output) -> ExitStatus:
    from gemma_edge.cli.models import run_alone  # noqa: PLC0415  (only this page plans)

    return run_alone(context, output)


def _print(text: str, _context: Context, output: Output) -> ExitStatus:
    output.data(text)
    return ExitStatus.OK


def _usage_error(error: typer.TyperException) -> UsageError:
    """Click's words in our tone, with the nearest thing that exists."""
    ctx = getattr(error, "ctx", None)
    hint = _page_of(ctx) if ctx is not None else f"{PROGRAM} --help"
    option_name = getattr(error, "option_name", None)
    near: Sequence[str] = getattr(error, "possibilities", None) or ()
    message = error.format_message()
    if option_name is not None and message.startswith("No such option"):
        message = f"there is no option `{option_name}`"
    elif found := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message):
        message = f"nothing is to be done with `{found[1]}`"
    else:
        message = message[:1].lower() + message[1:].rstrip(".").replace("'", "`")
    guess = f"did you mean {near[0]}? " if near else ""
    return UsageError(message, hint=guess + hint)


def _tell(error: Exception, output: Output, context: Context) -> ExitStatus:
    """One line for a person, and of a bug everything for a developer."""
    if isinstance(error, Interrupted):
        output.note(f"{error.message}; {error.hint}" if error.hint else error.message)
        return error.exit_status
    if outside.comes_of_interrupt(error):
        return ExitStatus.INTERRUPTED
    if isinstance(error, GemmaEdgeError):
        output.error(error.message, error.hint)
        return error.exit_status
    if isinstance(error, BrokenPipeError):
        return ExitStatus.FAILED  # whoever read us has seen enough: nothing to say
    if outside.was_interrupted():
        return ExitStatus.INTERRUPTED
    output.trace("".join(traceback.format_exception(error)))
    output.error(
        f"a bug in {PROGRAM}: {type(error).__name__}: {error}",
        "" if context.debug else "GEMMA_EDGE_DEBUG=1 shows where; please report it with that",
    )
    return ExitStatus.FAILED
