"""How flags are declared: each once, as a field of a small dataclass that a command takes whole.

A flag is a field ``name: Annotated[T, option(...)] = default``. A command is a function of such
dataclasses, of ``context`` and ``output``; its docstring is its help page. ``expand`` gives Typer a
signature with a parameter a flag. ``build`` makes a request of the application from flags, by the
names of the fields, so that nothing is copied by hand.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import partial, wraps
from pathlib import Path
from types import GenericAlias
from typing import (
    Annotated,
    Any,
    ClassVar,
    Protocol,
    TypeGuard,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import typer

from gemma_edge.app.runtime import is_offline
from gemma_edge.cli.completion import completer
from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, InputError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, is_web, local_path, printable

# What parsing a command line gives: the work, not yet begun.
Job = Callable[[Context, Output], ExitStatus]

HELP_NAMES = ("--help", "-h")
EVERYWHERE = "Everywhere"  # the part of a help page about flags that every command has


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """A command whose actions are commands of their own; ``usual`` is the one without a name. With
    ``own_words`` what follows the first word of an action is a command line of its own."""

    help: str
    commands: Mapping[str, Callable[..., ExitStatus]]
    usual: str = ""
    own_words: bool = False


def option(*names: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """How a flag is written and explained. ``panel`` is the title that it stands under in a help
    page; ``choices`` are the words that it takes, ``complete`` names those that a shell offers; the
    rest is Typer's."""
    choices: tuple[str, ...] = more.pop("choices", ())
    if choices:
        more = {"metavar": "|".join(choices), "parser": partial(_choose, choices=choices),
                "complete": lambda _context: ((each, "") for each in choices), **more}  # fmt: skip
    return typer.Option(*names, help=help, rich_help_panel=panel, **_completed(more))


def argument(metavar: str, help: str, **more: Any) -> Any:
    """What stands on the command line without a flag."""
    return typer.Argument(metavar=metavar, help=help, **_completed(more))


def _completed(more: dict[str, Any]) -> dict[str, Any]:
    names = more.pop("complete", None)
    more = {"show_default": False, **more}
    return more | {"autocompletion": completer(names)} if names else more


def _choose(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise typer.BadParameter(f"`{text}` is none of {', '.join(choices)}")
    return text


def reading(read: Callable[[str], Any], wrong: str) -> Callable[[str], Any]:
    """A parser that says of a text what is wrong with it, where ``read`` raises a ValueError."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            raise typer.BadParameter(f"`{text}` {wrong}") from None

    return parse


class HelpAsked(Exception):
    """``--help`` ends parsing with a page; Typer would write it by itself, past ``Output``."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


def show_help(ctx: typer.Context, wanted: bool) -> None:
    """Stop parsing with the page of the command that was asked about."""
    if wanted:
        raise HelpAsked(ctx.get_help())


Help = Annotated[
    bool,
    option(
        *HELP_NAMES, help="Show this page.", panel=EVERYWHERE, is_eager=True, callback=show_help
    ),
]


# ----------------------------------------------------------------------------
# From a command with dataclasses of flags to what Typer reads, and from flags to a request.


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Request = TypeVar("Request", bound=_Dataclass)


def build(request: type[Request], *flags: _Dataclass, **given: Any) -> Request:
    """A request of the application: its fields by name from ``flags``, or as they are ``given``.

    Raises:
        TypeError: the request has no field for a flag, which would be lost.
    """
    values = {each.name: getattr(some, each.name) for some in flags for each in fields(some)}
    return request(**values | given)


def expand(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command as Typer takes it: a parameter a flag instead of dataclasses of flags, lists
    instead of tuples, and ``--help``; what it gives is the work, which takes ``context`` and
    ``output`` later. A dataclass of flags may hold others."""
    hints = get_type_hints(command, include_extras=True)
    hints.pop("return", None)
    later = {name: hints.pop(name) for name in ("context", "output") if name in hints}
    rows = [_parameter("show_help", Help, False)]
    for name, kind in hints.items():
        rows += _rows(name, kind, inspect.signature(command).parameters[name].default)

    @wraps(command)
    def gathered(**given: Any) -> Any:
        if not later:
            return command(**{name: _gather(name, kind, given) for name, kind in hints.items()})

        def run(context: Context, output: Output) -> ExitStatus:
            output.quiet = given.get("quiet", False)
            if given.get("offline") or is_offline(context.environment):
                refuse_network(_files_in(given))
            placed = {name: _at_home(name, value, context.home) for name, value in given.items()}
            flags = {name: _gather(name, kind, placed) for name, kind in hints.items()}
            passed = {"context": context, "output": output}
            status: ExitStatus = command(**flags, **{name: passed[name] for name in later})
            return status

        return run

    gathered.__signature__ = inspect.Signature(rows[1:] + rows[:1])  # type: ignore[attr-defined]
    gathered.__annotations__ = {each.name: each.annotation for each in rows}
    return gathered


def refuse_network(values: Iterable[object]) -> None:
    """For ``--offline``: raises UsageError where one of these, paths or texts that can name one, is
    on another machine."""
    for value in values:
        spelled = [str(getattr(value, "path", value))]  # an adapter has one
        spelled += [spelled[0].removeprefix("@"), *spelled[0].partition("=")[::2]]
        if any(map(is_network, spelled)):
            raise UsageError(
                f"{printable(spelled[0])} is on another machine, and --offline (or HF_HUB_OFFLINE) "
                "is set", hint="copy it to this one, or leave out --offline",
            )  # fmt: skip


# Of the flags whose values are texts, those that can name a file. A question is no path.
_NAMING = (
    "schema", "recipe", "model", "name", "names", "source", "examples", "persona", "save_as",
    "files",
)  # fmt: skip


def _files_in(given: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in given.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            told = isinstance(each, str) and (name in _NAMING or each.startswith("@"))
            if told or isinstance(each, Path) or hasattr(each, "path"):
                yield each


def as_file(word: str) -> Path:
    """The file that a word of the command line names: a path, or an address `file:///…`.
    Raises InputError: it is on the web."""
    if is_web(word):
        problem = f"{printable(word)} is on the web, and gemma-edge fetches nothing but models"
        raise InputError(problem, hint="download it, and name the file")
    return Path(local_path(word))


def _at_home(name: str, value: Any, home: Path) -> Any:
    """The same with the home folder for `~`: a shell leaves that to us in `--image=~/x`."""
    if isinstance(value, list | tuple):
        return type(value)(_at_home(name, each, home) for each in value)
    if isinstance(value, Path):
        return Path(_expanded(str(value), home))
    if isinstance(value, str) and name in _NAMING:
        first, sign, second = value.partition("=") if name == "examples" else (value, "", "")
        return f"{_expanded(first, home)}{sign}{_expanded(second, home)}"
    if isinstance(getattr(value, "path", None), Path):  # an adapter
        return replace(value, path=Path(_expanded(str(value.path), home)))
    return value


def _expanded(text: str, home: Path) -> str:
    if text == "~" or text.startswith(("~/", f"~{os.sep}")):
        return str(home / text[2:])
    return os.path.expanduser(text) if text.startswith("~") and "/" in text else text


def _is_flags(kind: Any) -> TypeGuard[type[_Dataclass]]:
    return isinstance(kind, type) and is_dataclass(kind)


def _rows(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    if not _is_flags(kind):
        yield _parameter(name, kind, default)
        return
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        yield from _rows(each.name, hints[each.name], each.default)


def _gather(name: str, kind: Any, values: dict[str, Any]) -> Any:
    """The value of a parameter or of a field: one that Typer parsed, or an object of several."""
    if not _is_flags(kind):
        value = values[name]
        return tuple(value) if isinstance(value, list) else value
    hints = get_type_hints(kind)
    return kind(
        **{each.name: _gather(each.name, hints[each.name], values) for each in fields(kind)}
    )


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """What Typer reads of a flag or an argument; several values are a list to it."""
    kind, *said = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if get_origin(kind) is tuple:
        kind = GenericAlias(list, get_args(kind)[:1])
        default = list(default) if isinstance(default, tuple) else default
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, said[0]] if said else kind,
    )


# ----------------------------------------------------------------------------
# From words to values. Typer asks Pydantic, which takes longer to import than all the rest.


def parse_plainly(parameters: Iterable[Any]) -> None:
    """Let the words of a command line become values here, with messages in our tone."""
    for each in parameters:
        each.get_runtime_param = partial(_FlagWords, each.type_descriptor)


@dataclass(frozen=True, slots=True)
class _FlagWords:
    """Typer's description of a parameter, which says what its words become."""

    said: Any

    def coerce(self, value: Any, **_more: Any) -> Any:
        """What was given, or the default, which is a value already."""
        if value is None:
            return [] if self.said.is_list else None
        if isinstance(value, (list, tuple)):
            return [self._value(each) for each in value]
        return self._value(value)

    def _value(self, word: Any) -> Any:
        if not isinstance(word, str):
            return word
        info, kind = self.said.parameter_info, self.said.annotation
        if info.parser is not None:
            return info.parser(word)
        kind = get_args(kind)[0] if self.said.is_list else kind
        kind = as_file if kind is Path else kind
        return _number(word, kind, info.min, info.max) if kind in (int, float) else kind(word)


def _number(word: str, kind: Any, least: float | None, most: float | None) -> Any:
    try:
        value = kind(word)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise typer.BadParameter(f"`{word}` is not {what}") from None
    if not (least is None or value >= least) or not (most is None or value <= most):
        limits = [f"at least {least:g}"] if least is not None else []
        limits += [f"at most {most:g}"] if most is not None else []
        raise typer.BadParameter(f"`{word}` has to be {' and '.join(limits)}")
    return value
