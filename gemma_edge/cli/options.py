"""The flags that commands share, each declared once, and the parsers of their values.

A flag is a field ``name: Annotated[T, option(...)] = default`` of a small dataclass. A command
takes such dataclasses as parameters; ``expand`` gives Typer the signature with a parameter a flag,
and the command one object for each dataclass. ``build`` makes a request of the application from
them, by the names of the fields, so that nothing is copied by hand.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
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

from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.cli.completion import completer, model_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import (
    MAX_TOKENS,
    MIN_TOKENS,
    TILES,
    PageNumbers,
    parse_page_numbers,
)
from gemma_edge.errors import ExitStatus
from gemma_edge.planning.plan import ALL_LAYERS, Adapter, KvType
from gemma_edge.units import parse_bytes, parse_tokens

# What parsing a command line gives: the work, not yet begun.
Job = Callable[[Context, Output], ExitStatus]

PASSWORD_VARIABLE = "GEMMA_EDGE_PDF_PASSWORD"
REMEMBER_VARIABLE = "GEMMA_EDGE_REMEMBER"
# Never fewer bits: Gemma 4 suffers (docs/memory.md, "Quantized KV cache").
KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")

# The parts of a help page; a flag without one stands under "Options".
PLACING, EVERYWHERE = "Model and memory", "Everywhere"

# Budgets that Gemma 4 was trained with (its model card).
DETAILS = {"low": 70, "normal": 280, "high": 560, "max": 1120}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(ModelRequest):
    """The request with what the flags say of the store."""

    store: "StoreFlags"


def parse_adapter(text: str) -> Adapter:
    """``FILE`` or ``FILE:STRENGTH``; a name with colons in it (``C:\\a.gguf``) is a name.

    Raises:
        typer.BadParameter: a strength that is no number to multiply with.
    """
    name, _, after = text.rpartition(":")
    try:
        scale = float(after)
    except ValueError:
        return Adapter(Path(text))
    if not name or Path(text).exists():
        return Adapter(Path(text))
    if not math.isfinite(scale):
        raise typer.BadParameter(f"`{after}` is not a strength, like 0.5")
    return Adapter(Path(name), scale)


def _context(text: str) -> int:
    try:
        return parse_tokens(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is not a number of tokens, like 8192 or 8k") from None


def _layers(text: str) -> int:
    if text == "all":
        return ALL_LAYERS
    if not text.isascii() or not text.isdigit():
        raise typer.BadParameter(f"`{text}` is not a number of layers, nor `all`")
    return int(text)


def parse_detail(text: str) -> int:
    """``low``, ``normal``, ``high``, ``max`` or a number of tokens to a budget in tokens."""
    if text in DETAILS:
        return DETAILS[text]
    if text.isascii() and text.isdigit() and MIN_TOKENS <= int(text) <= MAX_TOKENS:
        return int(text)
    raise typer.BadParameter(
        f"`{text}` is none of {', '.join(DETAILS)}, nor a number from {MIN_TOKENS} to {MAX_TOKENS}"
    )


def parse_size(text: str) -> int:
    """``8GiB``, ``16 GB``, ``512MiB`` to bytes; a bare number is in GiB."""
    try:
        return parse_bytes(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is not a size, like 8GiB or 512MiB") from None


def parse_pages(text: str) -> PageNumbers:
    """``3``, ``1-4``, ``2,-1``: the pages that are wanted."""
    try:
        return parse_page_numbers(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` does not name pages, like 3, 1-4 or 2,-1") from None


def parse_tiles(text: str) -> int:
    """In how many pieces a picture is cut."""
    if text in map(str, TILES):
        return int(text)
    raise typer.BadParameter(f"`{text}` is neither 2 (halves) nor 4 (quarters)")


def whole_text(text: str) -> str:
    """Text from a command line or a terminal; bytes that were not UTF-8 there become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


HELP_NAMES = ("--help", "-h")


class HelpAsked(Exception):
    """``--help`` ends parsing with a page; Typer would write it by itself, past ``Output``."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


def show_help(ctx: typer.Context, wanted: bool) -> None:
    """Stop parsing with the page of the command that was asked about."""
    if wanted:
        raise HelpAsked(ctx.get_help())


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


# ----------------------------------------------------------------------------
# The flags of several commands.


Help = Annotated[
    bool,
    option(
        "--help", "-h", help="Show this page.", panel=EVERYWHERE, is_eager=True,
        callback=show_help,
    ),
]  # fmt: skip
MaxTokens = Annotated[
    int | None,
    option("--max-tokens", metavar="N", min=1, help="Stop the answer after so many tokens."),
]
ModelsDir = Annotated[
    Path | None,
    option(
        "--models-dir", metavar="DIR", panel=EVERYWHERE,
        help="Keep models as plain files in DIR; or GEMMA_EDGE_MODELS_DIR.",
    ),
]  # fmt: skip
Trust = Annotated[bool, option("--trust", help="Run the Python file of a --schema file.py:Class.")]
Detail = Annotated[
    int | None,
    option(
        "--detail", metavar="LEVEL", parser=parse_detail,
        help=f"How closely to look: {', '.join(DETAILS)}, or {MIN_TOKENS} to {MAX_TOKENS} tokens.",
    ),
]  # fmt: skip


Password = Annotated[
    str | None,
    option("--password", metavar="TEXT", help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}."),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags:
    """How the result is shown."""

    json: Annotated[bool, option("--json", panel=EVERYWHERE, help="Print JSON for programs.")] = (
        False
    )
    quiet: Annotated[
        bool, option("--quiet", panel=EVERYWHERE, help="Print nothing but the result and errors.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFlags:
    """Where model files are kept, and whether the network may be used."""

    models_dir: ModelsDir = None
    offline: Annotated[
        bool,
        option("--offline", panel=EVERYWHERE, help="Open no connection; or GEMMA_EDGE_OFFLINE=1."),
    ] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFlags(StoreFlags):
    """The same, where what is missing may be downloaded."""

    yes: Annotated[
        bool,
        option(
            "--yes", "-y", panel=EVERYWHERE, help="Download without asking; or GEMMA_EDGE_YES=1."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFlags:
    """Which model, and how it is to be placed: fields of ``ModelRequest``."""

    model: Annotated[
        str,
        option(
            "--model",
            "-m",
            metavar="NAME|PATH",
            panel=PLACING,
            complete=model_names,
            help="A name of `gemma-edge models`, hf:owner/repo/file.gguf, a GGUF file, or demo "
            "(default: the best one for this machine).",
        ),
    ] = AUTO
    mmproj: Annotated[
        Path | None,
        option(
            "--mmproj",
            metavar="FILE",
            panel=PLACING,
            help="The projector that lets the model see images.",
        ),
    ] = None
    quant: Annotated[
        str | None,
        option("--quant", metavar="NAME", panel=PLACING, help="Of this model, like q8 or q4_0."),
    ] = None
    adapters: Annotated[
        tuple[Adapter, ...],
        option(
            "--lora",
            metavar="FILE[:X]",
            parser=parse_adapter,
            panel=PLACING,
            help="Add a LoRA in a GGUF file, X times as strong; repeatable.",
        ),
    ] = ()
    context_tokens: Annotated[
        int | None,
        option(
            "--ctx",
            metavar="N",
            parser=_context,
            panel=PLACING,
            help="Context in tokens, like 8192 or 8k.",
        ),
    ] = None
    kv_type: Annotated[
        KvType | None,
        option(
            "--kv",
            metavar="TYPE",
            choices=KV_TYPES,
            panel=PLACING,
            help="KV cache: f16, or q8_0 (smaller).",
        ),
    ] = None
    gpu_layers: Annotated[
        int | None,
        option(
            "--gpu-layers",
            metavar="N|all",
            parser=_layers,
            panel=PLACING,
            help="Layers on the GPU (default: all that fit).",
        ),
    ] = None
    cpu_expert_layers: Annotated[
        int | None,
        option(
            "--cpu-experts",
            metavar="N",
            min=0,
            panel=PLACING,
            help="Layers whose experts stay in main memory.",
        ),
    ] = None
    require_gpu: Annotated[
        bool, option("--require-gpu", panel=PLACING, help="Rather fail than use the CPU.")
    ] = False
    min_speed: Annotated[
        float | None,
        option(
            "--min-speed",
            metavar="X",
            min=0.0,
            panel=PLACING,
            help="At least so many tokens a second.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        option(
            "--threads", metavar="N", min=1, panel=PLACING,
            help="CPU threads (default: the physical cores).",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags(PlacementFlags):
    """The same, where a person says whether pictures must be possible."""

    vision: Annotated[
        bool | None,
        option(
            "--vision/--no-vision", panel=PLACING,
            help="Room for images, or none (default: as needed).",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFlags:
    """How much chance there is in an answer: fields of ``Sampling``."""

    temperature: Annotated[
        float | None,
        option("--temperature", metavar="X", min=0.0, help="0 always takes the likeliest word."),
    ] = None
    seed: Annotated[
        int | None, option("--seed", metavar="N", min=0, help="The same seed, the same answer.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFlags(SeedFlags):
    """All that says how words are chosen."""

    top_p: Annotated[
        float | None,
        option(
            "--top-p", metavar="X", min=0.0, max=1.0, help="Keep the likeliest, this share of all."
        ),
    ] = None
    top_k: Annotated[
        int | None,
        option("--top-k", metavar="N", min=0, help="Keep the N likeliest; 0 keeps all."),
    ] = None
    min_p: Annotated[
        float | None,
        option("--min-p", metavar="X", min=0.0, max=1.0, help="Keep this share of the likeliest."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """A command whose actions are commands of their own; ``usual`` is the one without a name."""

    help: str
    commands: Mapping[str, Callable[..., Job]]
    usual: str = ""


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
    instead of tuples, and ``--help``. A dataclass of flags may hold others."""
    hints = get_type_hints(command, include_extras=True)
    rows = [_parameter("show_help", Help, False)]
    for name, each in inspect.signature(command).parameters.items():
        rows += _rows(name, hints[name], each.default)

    @wraps(command)
    def gathered(**given: Any) -> Any:
        values = {name: tuple(each) if isinstance(each, list) else each
                  for name, each in given.items()}  # fmt: skip
        return command(**{name: _gather(name, kind, values)
                          for name, kind in hints.items() if name != "return"})  # fmt: skip

    gathered.__signature__ = inspect.Signature(rows[1:] + rows[:1])  # type: ignore[attr-defined]
    gathered.__annotations__ = {each.name: each.annotation for each in rows}
    return gathered


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
        return values[name]
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
        each.get_runtime_param = partial(_Words, each.type_descriptor)


@dataclass(frozen=True, slots=True)
class _Words:
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
