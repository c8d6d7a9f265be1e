"""Parse, run, and turn whatever went wrong into lines and an exit status.

``main(argv, context) -> ExitStatus`` is the one boundary. Typer only parses: a command function
returns the work as a function, which runs here, outside of Typer.
"""

import sys
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gemma_edge.cli import context as world
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import HelpAsked, Job, expand
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, GemmaEdgeError, Interrupted, UsageError
from gemma_edge.version import __version__

# ----------------------------------------------------------------------------
# Help pages: flags in groups, so that the many of a model do not hide the few of a command.


FIRST = ("Arguments", "Options")


class Page(TyperCommand):
    """A command whose flags stand under the title that each was given (``rich_help_panel``)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """One section a title: arguments, the command's own flags, then the shared ones."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in FIRST}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None:
                groups.setdefault(group_of(each), []).append(record)
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def group_of(parameter: object) -> str:
    """The title that a flag or an argument stands under."""
    if getattr(parameter, "param_type_name", "") == "argument":
        return FIRST[0]
    return getattr(parameter, "rich_help_panel", None) or FIRST[1]


PROGRAM = "gemma-edge"
HELP_WIDTH = 100  # wider pages are harder to read
# Module and function of each command; only the one that was asked for is imported.
COMMANDS = {
    "chat": "chat:command",
    "sessions": "sessions:command",
    "describe": "describe:command",
    "extract": "extract:command",
    "eval": "evaluate:evaluate_command",
    "diff": "evaluate:diff_command",
    "plan": "plan:command",
    "doctor": "doctor:command",
    "schema": "schema:command",
    "recipes": "recipes:command",
    "models": "models:command",
    "pull": "pull:command",
    "list": "models:list_command",
    "show": "models:show_command",
    "verify": "models:verify_command",
    "rm": "models:rm_command",
    "path": "models:path_command",
    "import": "models:import_command",
}


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": []},  # ours writes where Output writes
    )
    app.callback(invoke_without_command=True)(expand(top))
    for name in names:
        module, _, function = COMMANDS[name].partition(":")
        command = getattr(import_module(f"gemma_edge.cli.{module}"), function)
        app.command(name, cls=Page, context_settings={"help_option_names": []})(expand(command))
    return app


def top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> Job | None:
    """Gemma 4 on the computer you have: chat, describe images, read documents into JSON.

    Nothing leaves the machine.

    \b
    gemma-edge pull e4b
    gemma-edge chat "hello" --model e4b
    gemma-edge describe photo.jpg
    gemma-edge extract bill.pdf --schema "vendor, date, total num"
    """
    if version:
        return _page(f"{PROGRAM} {__version__}")
    return _top_page if ctx.invoked_subcommand is None else None


def main(argv: Sequence[str], context: Context) -> ExitStatus:
    """Run one command line in the given world. Never raises, never exits."""
    output = Output(context)
    try:
        return parse(argv, context.width)(context, output)
    except Interrupted as stop:
        output.note(f"{stop.message}; {stop.hint}" if stop.hint else stop.message)
        return stop.exit_status
    except GemmaEdgeError as error:
        output.error(error.message, error.hint)
        return error.exit_status
    except KeyboardInterrupt:
        output.end_answer()
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        return ExitStatus.FAILED  # whoever read us has seen enough: nothing to say
    except Exception as error:  # noqa: BLE001  (the one boundary: a bug must not be a mess)
        return _tell_bug(output, error, context)


def parse(argv: Sequence[str], width: int) -> Job:
    """A command line to the work it asks for; a help page, ``width`` columns wide, is work too.

    Raises:
        UsageError: it cannot be carried out as written.
    """
    named = argv[:1]
    known = not named or named[0] in COMMANDS
    command = typer.main.get_command(build_app(named if known else COMMANDS))
    try:
        job: Job = command.main(
            list(argv),
            PROGRAM,
            standalone_mode=False,
            terminal_width=min(width, HELP_WIDTH),
        )
    except HelpAsked as asked:
        return _page(asked.page)
    except typer.TyperException as error:
        raise _usage_error(error, argv) from error
    return job


def run() -> None:
    """The console script."""
    context = Context.from_process()
    status = main(world.arguments(), context)
    try:
        context.stdout.flush()
    except OSError:  # already told, or nobody is there to be told
        world.silence_stdout()
    sys.exit(status)


def _top_page(context: Context, output: Output) -> ExitStatus:
    from gemma_edge.cli.overview import (  # noqa: PLC0415  (40 ms that only this page needs)
        run as show,
    )

    return show(context, output)


def _page(text: str) -> Job:
    def show(_context: Context, output: Output) -> ExitStatus:
        output.data(text)
        return ExitStatus.OK

    return show


def _usage_error(error: typer.TyperException, argv: Sequence[str]) -> UsageError:
    """Click's words in our tone, with the nearest thing that exists."""
    command = next((word for word in argv if word in COMMANDS), "")
    hint = f"{PROGRAM} {command}{' ' if command else ''}--help"
    option = getattr(error, "option_name", None)
    near: Sequence[str] = getattr(error, "possibilities", None) or ()
    message = error.format_message()
    if option is not None and message.startswith("No such option"):
        message = f"there is no option `{option}`"
    elif not command and argv and message.startswith("No such command"):
        word = next(word for word in argv if not word.startswith("-"))
        message = f"there is no command `{word}`"
        near = get_close_matches(word, COMMANDS, n=1)
    else:
        message = message[:1].lower() + message[1:].rstrip(".").replace("'", "`")
    guess = f"did you mean {near[0]}? " if near else ""
    return UsageError(message, hint=guess + hint)


def _tell_bug(output: Output, error: Exception, context: Context) -> ExitStatus:
    """One line for a person, everything for a developer."""
    if context.debug:
        context.stderr.write("".join(traceback.format_exception(error)))
    output.error(
        f"a bug in {PROGRAM}: {type(error).__name__}: {error}",
        "" if context.debug else "GEMMA_EDGE_DEBUG=1 shows where; please report it with that",
    )
    return ExitStatus.FAILED
