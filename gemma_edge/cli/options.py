"""The flags that commands share, with the parsers of their values."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import MAX_TOKENS, MIN_TOKENS
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
class StoreOptions:
    """Where model files are kept, and what may be done without asking."""

    offline: bool = False
    models_dir: Path | None = None
    yes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(ModelRequest):
    """The request with what the flags say of the store."""

    store: StoreOptions = StoreOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """How the result is shown."""

    json: bool = False
    quiet: bool = False


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


def _kv_type(text: str) -> KvType:
    for kind in KV_TYPES:
        if text == kind:
            return kind
    raise typer.BadParameter(f"`{text}` is none of {', '.join(KV_TYPES)}")


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


def _placing(*names: str, **more: Any) -> Any:
    return _option(*names, rich_help_panel=PLACING, **more)


def _everywhere(*names: str, **more: Any) -> Any:
    return _option(*names, rich_help_panel=EVERYWHERE, **more)


Help = Annotated[
    bool, _everywhere("--help", "-h", help="Show this page.", is_eager=True, callback=show_help)
]
Model = Annotated[
    str,
    _placing(
        "--model", "-m", metavar="NAME|PATH",
        help="A name of `gemma-edge models`, hf:owner/repo/file.gguf, a GGUF file, or demo "
        "(default: the best one for this machine).",
    ),
]  # fmt: skip
Mmproj = Annotated[
    Path | None,
    _placing("--mmproj", metavar="FILE", help="The projector that lets the model see images."),
]
QuantName = Annotated[
    str | None, _placing("--quant", metavar="NAME", help="Of this model, like q8 or q4_0.")
]
Lora = Annotated[
    list[Adapter] | None,
    _placing(
        "--lora", metavar="FILE[:X]", parser=parse_adapter,
        help="Add a LoRA in a GGUF file, X times as strong; repeatable.",
    ),
]  # fmt: skip
Vision = Annotated[
    bool | None,
    _placing("--vision/--no-vision", help="Room for images, or none (default: as needed)."),
]
Ctx = Annotated[
    int | None,
    _placing("--ctx", metavar="N", parser=_context, help="Context in tokens, like 8192 or 8k."),
]
Kv = Annotated[
    KvType | None,
    _placing("--kv", metavar="TYPE", parser=_kv_type, help="KV cache: f16, or q8_0 (smaller)."),
]
GpuLayers = Annotated[
    int | None,
    _placing(
        "--gpu-layers", metavar="N|all", parser=_layers,
        help="Layers on the GPU (default: all that fit).",
    ),
]  # fmt: skip
CpuExperts = Annotated[
    int | None,
    _placing("--cpu-experts", metavar="N", min=0, help="Layers whose experts stay in main memory."),
]
RequireGpu = Annotated[bool, _placing("--require-gpu", help="Rather fail than use the CPU.")]
MinSpeed = Annotated[
    float | None,
    _placing("--min-speed", metavar="X", min=0.0, help="At least so many tokens a second."),
]
Threads = Annotated[
    int | None,
    _placing("--threads", metavar="N", min=1, help="CPU threads (default: the physical cores)."),
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
Offline = Annotated[
    bool, _everywhere("--offline", help="Open no connection; or GEMMA_EDGE_OFFLINE=1.")
]
ModelsDir = Annotated[
    Path | None,
    _everywhere(
        "--models-dir",
        metavar="DIR",
        help="Keep models as plain files in DIR; or GEMMA_EDGE_MODELS_DIR.",
    ),
]
Yes = Annotated[
    bool, _everywhere("--yes", "-y", help="Download without asking; or GEMMA_EDGE_YES=1.")
]
Trust = Annotated[bool, _option("--trust", help="Run the Python file of a --schema file.py:Class.")]
Json = Annotated[bool, _everywhere("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, _everywhere("--quiet", help="Print nothing but the result and errors.")]
Detail = Annotated[
    int | None,
    _option(
        "--detail",
        metavar="LEVEL",
        parser=parse_detail,
        help=f"How closely to look: {', '.join(DETAILS)}, or {MIN_TOKENS} to {MAX_TOKENS} tokens.",
    ),
]


def model_options(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    model: Model = AUTO,
    mmproj: Mmproj = None,
    quant: QuantName = None,
    lora: Lora = None,
    vision: Vision = None,
    ctx: Ctx = None,
    kv: Kv = None,
    gpu_layers: GpuLayers = None,
    cpu_experts: CpuExperts = None,
    require_gpu: RequireGpu = False,
    min_speed: MinSpeed = None,
    threads: Threads = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
    yes: Yes = False,
) -> ModelOptions:
    """The flags of every command that loads or places a model."""
    return ModelOptions(
        model=model, mmproj=mmproj, quant=quant, adapters=tuple(lora or ()), vision=vision,
        context_tokens=ctx, kv_type=kv, gpu_layers=gpu_layers, cpu_expert_layers=cpu_experts,
        require_gpu=require_gpu, min_speed=min_speed, threads=threads,
        store=StoreOptions(offline=offline, models_dir=models_dir, yes=yes),
    )  # fmt: skip


def takes_model(command: Callable[..., Job]) -> Callable[..., Job]:
    """Gives a command the flags of ``model_options``, which come as its argument ``placed``. A flag
    of the command's own takes the place of a shared one of that name."""
    own = inspect.signature(command).parameters
    given_to_all = inspect.signature(model_options).parameters
    shared = {name: each for name, each in given_to_all.items() if name not in own}

    @wraps(command)
    def gathered(**given: Any) -> Job:
        placed = model_options(**{name: given.pop(name) for name in shared})
        return command(**given, placed=placed)

    rows: list[inspect.Parameter] = []
    for name, each in own.items():
        rows += shared.values() if name == "placed" else [each]
    gathered.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]
    gathered.__annotations__ = {each.name: each.annotation for each in rows}
    return gathered
