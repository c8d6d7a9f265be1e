"""The flags that commands share, with the parsers of their values."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.documents.picture import MAX_TOKENS, MIN_TOKENS
from gemma_edge.errors import ExitStatus
from gemma_edge.fit.plan import ALL_LAYERS
from gemma_edge.units import parse_tokens

# What parsing a command line gives: the work, not yet begun.
Job = Callable[[Context, Output], ExitStatus]

# Budgets that Gemma 4 was trained with (gemma4.md section 4).
DETAILS = {"low": 70, "normal": 280, "high": 560, "max": 1120}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where model files are kept, and what may be done without asking."""

    offline: bool = False
    models_dir: Path | None = None
    yes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is to be placed; ``None`` leaves it to the plan."""

    model: str = "demo"
    mmproj: Path | None = None
    context_tokens: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    store: StoreOptions = StoreOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """How the result is shown."""

    json: bool = False
    quiet: bool = False


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


class HelpAsked(Exception):
    """``--help`` ends parsing with a page; Typer would write it by itself, past ``Output``."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


def show_help(ctx: typer.Context, wanted: bool) -> None:
    """Stop parsing with the page of the command that was asked about."""
    if wanted:
        raise HelpAsked(ctx.get_help())


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, show_default=False, **more)


Help = Annotated[
    bool, _option("--help", "-h", help="Show this page.", is_eager=True, callback=show_help)
]
Model = Annotated[
    str,
    _option(
        "--model", "-m", metavar="NAME|PATH",
        help="A name of `gemma-edge models`, hf:owner/repo/file.gguf, a GGUF file, or demo.",
    ),
]  # fmt: skip
Mmproj = Annotated[
    Path | None,
    _option("--mmproj", metavar="FILE", help="The projector that lets the model see images."),
]
Ctx = Annotated[
    int | None,
    _option("--ctx", metavar="N", parser=_context, help="Context in tokens, like 8192 or 8k."),
]
GpuLayers = Annotated[
    int | None,
    _option(
        "--gpu-layers", metavar="N|all", parser=_layers, help="Layers on the GPU (default: all)."
    ),
]
Threads = Annotated[
    int | None,
    _option("--threads", metavar="N", min=1, help="CPU threads (default: the physical cores)."),
]
Temperature = Annotated[
    float | None,
    _option("--temperature", metavar="X", min=0.0, help="0 always takes the likeliest word."),
]
TopP = Annotated[
    float | None,
    _option(
        "--top-p", metavar="X", min=0.0, max=1.0, help="Keep the likeliest, this share of all."
    ),
]
TopK = Annotated[
    int | None, _option("--top-k", metavar="N", min=0, help="Keep the N likeliest; 0 keeps all.")
]
MinP = Annotated[
    float | None,
    _option("--min-p", metavar="X", min=0.0, max=1.0, help="Keep this share of the likeliest."),
]
Seed = Annotated[
    int | None, _option("--seed", metavar="N", min=0, help="The same seed, the same answer.")
]
MaxTokens = Annotated[
    int | None,
    _option("--max-tokens", metavar="N", min=1, help="Stop the answer after so many tokens."),
]
Offline = Annotated[bool, _option("--offline", help="Open no connection; or GEMMA_EDGE_OFFLINE=1.")]
ModelsDir = Annotated[
    Path | None,
    _option(
        "--models-dir",
        metavar="DIR",
        help="Keep models as plain files in DIR; or GEMMA_EDGE_MODELS_DIR.",
    ),
]
Yes = Annotated[bool, _option("--yes", "-y", help="Download without asking; or GEMMA_EDGE_YES=1.")]
Json = Annotated[bool, _option("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, _option("--quiet", help="Print nothing but the result and errors.")]
Detail = Annotated[
    int | None,
    _option(
        "--detail",
        metavar="LEVEL",
        parser=parse_detail,
        help=f"How closely to look: {', '.join(DETAILS)}, or {MIN_TOKENS} to {MAX_TOKENS} tokens.",
    ),
]
