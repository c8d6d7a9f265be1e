"""Completion in the shell: what may come next on a command line, and the scripts that ask for it.

A shell runs ``gemma-edge`` with the words so far in its environment. For an answer nothing is
detected, loaded or fetched; what cannot be read is left out.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gemma_edge.cli.context import Context, personas_dir, recipes_dir, sessions_dir
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, GemmaEdgeError, InputError, UsageError
from gemma_edge.trust import printable

VARIABLE = "_GEMMA_EDGE_COMPLETE"  # what is asked: `complete_bash`, as Typer's scripts set it
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")

# ----------------------------------------------------------------------------
# Names that stand for something on this machine or in the catalogue: each with a word about it.

Names = Iterable[tuple[str, str]]


def model_names(_context: Context) -> Names:
    """The names of `gemma-edge models`."""
    from gemma_edge import catalog  # noqa: PLC0415  (only where a model is completed)
    from gemma_edge.app.models import name_of  # noqa: PLC0415

    for name in catalog.names():
        if catalog.kind_of(name) == "bundled":
            yield name, "part of gemma-edge"
    for size in catalog.sizes():
        yield size.name, size.good_for
        for quant in size.quants:
            yield name_of(size, quant), quant.title


def stored_names(context: Context) -> Names:
    """The files of `gemma-edge list`, by their models' names where they have one."""
    from gemma_edge.app.models import label  # noqa: PLC0415
    from gemma_edge.app.runtime import store_settings  # noqa: PLC0415
    from gemma_edge.store.files import list_files  # noqa: PLC0415

    settings = store_settings(context.environment, context.home, platform=context.platform)
    for each in list_files(settings):
        yield label(each) or each.name, each.name


def recipe_names(context: Context) -> Names:
    """Recipes that come with gemma-edge, and a person's own."""
    from gemma_edge.extraction.recipe_file import owned, shipped  # noqa: PLC0415

    yield from ((name, "yours") for name in owned([recipes_dir(context)]))
    yield from ((name, "") for name in shipped())


def session_names(context: Context) -> Names:
    """The conversations that are kept."""
    from gemma_edge.chat.sessions import list_journals  # noqa: PLC0415

    return ((each.name, each.title) for each in list_journals(sessions_dir(context)))


def persona_names(context: Context) -> Names:
    """Personas that come with gemma-edge, and a person's own."""
    from gemma_edge.chat.persona import find_personas  # noqa: PLC0415

    return ((name, "") for name in sorted(find_personas([personas_dir(context)])))


def completer(names: Callable[[Context], Names]) -> Callable[..., list[tuple[str, str]]]:
    """As Typer calls it: with its own context, in which ours is."""

    def complete_names(ctx: Any, args: list[str], incomplete: str) -> list[tuple[str, str]]:
        try:
            found = [
                (name, printable(said)) for name, said in names(ctx.obj)
                if name.startswith(incomplete) and name.isprintable()
            ]  # fmt: skip
        except (GemmaEdgeError, OSError):  # nobody wants to read about it while typing
            return []
        return list(dict(reversed(found)).items())[::-1]

    return complete_names


# ----------------------------------------------------------------------------
# The question of a shell, and the answer in its words.


def complete(command: Any, program: str, context: Context, output: Output) -> ExitStatus:
    """Print what may come next."""
    from typer._completion_classes import BashComplete  # noqa: PLC0415  (its search, not its words)

    shell = context.environment[VARIABLE].rpartition("_")[2]
    words, incomplete = _words(shell, context.environment)
    asked = BashComplete(command, {"obj": context}, program, VARIABLE)
    typed = incomplete[: incomplete.rfind(":") + 1] if shell == "bash" else ""
    found = [(each.value.removeprefix(typed), " ".join((each.help or "").split()))
             for each in asked.get_completions(words, incomplete)]  # fmt: skip
    if shell == "zsh":
        output.data(_for_zsh(found))
    elif context.environment.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return ExitStatus.OK if found else ExitStatus.FAILED
    elif found:
        output.data("\n".join(_line(shell, *each) for each in found))
    return ExitStatus.OK


def as_item(name: str, said: str) -> Any:
    """A name as Typer passes it on."""
    from typer._click.shell_completion import CompletionItem  # noqa: PLC0415

    return CompletionItem(name, help=said)


def _words(shell: str, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """The words after the program's name that are whole, and the one that is typed."""
    from typer._click.shell_completion import split_arg_string  # noqa: PLC0415

    if shell == "bash":
        pieces = split_arg_string(environment.get("COMP_WORDS", ""))
        current = int(environment.get("COMP_CWORD", "0"))
        return _joined([*pieces, ""][1 : current + 1])
    line = environment.get("_TYPER_COMPLETE_ARGS", "")
    words = split_arg_string(line)[1:]
    if shell in ("powershell", "pwsh"):
        incomplete = environment.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
        return words[:-1] if incomplete else words, incomplete
    if words and not line.endswith(" "):
        return words[:-1], words[-1]
    return words, ""


def _joined(pieces: list[str]) -> tuple[list[str], str]:
    """Words that bash has cut at ``:`` and ``=``; what it completes is the last piece alone."""
    words: list[str] = []
    for before, piece in zip(["", *pieces], pieces, strict=False):
        if words and ":" in (before, piece):
            words[-1] += piece
        elif piece != "=" or not words:
            words.append(piece)
    return words[:-1], words[-1] if words else ""


def _line(shell: str, name: str, said: str) -> str:
    if shell == "fish":
        return f"{name}\t{said}" if said else name
    if shell in ("powershell", "pwsh"):
        return f"{name}:::{said or ' '}"
    return name


def _for_zsh(found: list[tuple[str, str]]) -> str:
    """What the script of Typer evaluates; files where there is nothing else."""
    if not found:
        return "_files"
    rows = [f'"{_escape(name)}":"{_escape(said)}"' if said else f'"{_escape(name)}"'
            for name, said in found]  # fmt: skip
    return "_arguments '*: :((" + "\n".join(rows) + "))'"


def _escape(text: str) -> str:
    text = text.replace('"', '""').replace("'", "''")
    return re.sub(r"[$`]", r"\\\g<0>", text).replace(":", r"\\:")


# ----------------------------------------------------------------------------
# The scripts.


def install(program: str, context: Context, output: Output) -> ExitStatus:
    """Write the script where the shell reads it."""
    from typer._completion_shared import install as write  # noqa: PLC0415  (it knows each shell's place)

    shell = _shell(context)
    try:
        _, path = write(shell=shell, prog_name=program, complete_var=VARIABLE)
    except OSError as error:
        raise InputError(
            f"the script for {shell} cannot be written: {error.strerror or error}",
            hint=f"{program} --show-completion prints it",
        ) from error
    output.note(f"{shell} completes {program} from its next start on; {path}")
    return ExitStatus.OK


def show_script(program: str, context: Context, output: Output) -> ExitStatus:
    """Print it."""
    from typer._completion_shared import get_completion_script  # noqa: PLC0415

    output.data(
        get_completion_script(prog_name=program, complete_var=VARIABLE, shell=_shell(context))
    )
    return ExitStatus.OK


def _shell(context: Context) -> str:
    """The shell that this is typed into, else the one that a person logs in with."""
    from typer._completion_shared import _get_shell_name  # noqa: PLC0415  (the parent processes)

    found = (_get_shell_name(), Path(context.environment.get("SHELL", "")).name)
    for name in found:
        if name in SHELLS:
            return name
    raise UsageError(
        "no shell that completes is known here", hint=f"run it in {', '.join(SHELLS[:3])}"
    )
