"""The flags that several commands share, and the parsers of their values."""

import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_edge.cli.completion import model_names
from gemma_edge.cli.flags import EVERYWHERE, option, reading
from gemma_edge.errors import UsageError
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, printable
from gemma_edge.units import parse_bytes, parse_duration, parse_tokens

if TYPE_CHECKING:
    from gemma_edge.app.request import Shard
    from gemma_edge.documents.document import PageNumbers
    from gemma_edge.planning.plan import Adapter, DraftMode, KvType
else:  # their flags have parsers, so Typer need not know them; importing them takes 40 ms
    Adapter = DraftMode = KvType = PageNumbers = Shard = Any

PASSWORD_VARIABLE = "GEMMA_EDGE_PDF_PASSWORD"
REMEMBER_VARIABLE = "GEMMA_EDGE_REMEMBER"
KEEP_VARIABLE = "GEMMA_EDGE_KEEP_ALIVE"
SHARING = "On a cluster"
PLACING = "Model and memory"  # a part of the help page
DRAFTS = ("auto", "mtp", "lookup", "off")
KV_TYPES = ("f16", "q8_0")  # never fewer bits: Gemma 4 suffers (docs/memory.md)
# Budgets in tokens that Gemma 4 was trained with (its model card).
DETAILS = {"low": 70, "normal": 280, "high": 560, "max": 1120}
_LEAST, _MOST = min(DETAILS.values()), max(DETAILS.values())


def parse_adapter(text: str) -> "Adapter":
    """``FILE`` or ``FILE:STRENGTH``; a name with colons in it (``C:\\a.gguf``) is a name.

    Raises:
        typer.BadParameter: a strength that is no number to multiply with.
    """
    from gemma_edge.planning.plan import Adapter  # noqa: PLC0415

    name, _, after = text.rpartition(":")
    try:
        scale = float(after)
    except ValueError:
        return Adapter(Path(text))
    if not name or (not is_network(text) and Path(text).exists()):
        return Adapter(Path(text))
    if not math.isfinite(scale):
        raise typer.BadParameter(f"`{after}` is not a strength, like 0.5")
    return Adapter(Path(name), scale)


def _at_once(text: str) -> int:
    """How many answers; 0 for ``auto``."""
    if text == "auto":
        return 0
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= MOST_AT_ONCE:
        raise ValueError
    return int(text)


MOST_AT_ONCE = 64  # llama.cpp takes 256 (LLAMA_MAX_SEQ)
parse_at_once = reading(_at_once, f"is not `auto`, nor a number from 1 to {MOST_AT_ONCE}")


def _layers(text: str) -> int:
    from gemma_edge.planning.plan import ALL_LAYERS  # noqa: PLC0415

    if text == "all":
        return ALL_LAYERS
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def _detail(text: str) -> int:
    tokens = DETAILS[text] if text in DETAILS else int(text) if text.isascii() else 0
    if not _LEAST <= tokens <= _MOST:
        raise ValueError
    return tokens


def _pages(text: str) -> "PageNumbers":
    from gemma_edge.documents.document import parse_page_numbers  # noqa: PLC0415

    return parse_page_numbers(text)


def _encoding(text: str) -> str:
    from gemma_edge.documents.document import codec_of  # noqa: PLC0415

    if codec_of(text) is None:
        raise ValueError
    return text


def _tiles(text: str) -> int:
    from gemma_edge.documents.document import TILES  # noqa: PLC0415

    return {str(each): each for each in TILES}.get(text) or int("")


parse_keep = reading(parse_duration, "is not a time, like 5m, 1h, 0 or forever")
parse_size = reading(parse_bytes, "is not a size, like 8GiB or 512MiB")
parse_detail = reading(
    _detail, f"is none of {', '.join(DETAILS)}, nor a number from {_LEAST} to {_MOST}"
)
parse_pages = reading(_pages, "does not name pages, like 3, 1-4 or 2,-1")
parse_encoding = reading(_encoding, "is no encoding of text, like cp1250 or shift_jis")
parse_tiles = reading(_tiles, "is neither 2 (halves) nor 4 (quarters)")


_YES_OR_NO = ("", "0", "1", "true", "false", "yes", "no", "on", "off")


def parse_remembered(text: str) -> int | None:
    """The bytes that REMEMBER_VARIABLE gives to documents, where it is a size (``8GiB``).
    Raises UsageError: it is neither that nor a yes or no."""
    if text.strip().lower() in _YES_OR_NO:
        return None
    try:
        return parse_bytes(text)
    except ValueError:
        problem = f"{REMEMBER_VARIABLE} is `{printable(text)}`, which is not a size"
        raise UsageError(problem, hint="1, 0, or a size like 8GiB") from None


def whole_text(text: str) -> str:
    """Text from a command line or a terminal; bytes that were not UTF-8 there become U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # Windows: half a character
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_everywhere = partial(option, panel=EVERYWHERE)
_placing = partial(option, panel=PLACING)


def parse_until(text: str) -> float:
    """``13:45`` (the next one), ``2026-12-01T05:00`` or ``55m``, ``1h30m`` from now, in seconds
    since 1970. Times are those of this machine.

    Raises:
        typer.BadParameter: it is none of them.
    """
    import time  # noqa: PLC0415
    from datetime import date, datetime, timedelta  # noqa: PLC0415
    from datetime import time as clock  # noqa: PLC0415

    words = text.strip().removeprefix("+").lower()
    try:
        if words[:1].isdecimal() and words[-1:] in ("s", "m", "h"):
            return time.time() + parse_duration(words)
        if "-" in words:
            return datetime.fromisoformat(words).timestamp()
        parts = [int(each) for each in words.split(":")]
        hour, minute, second = parts if len(parts) == 3 else (*parts, 0)  # noqa: PLR2004
        then = datetime.combine(date.today(), clock(hour, minute, second))
    except (ValueError, TypeError, OverflowError, OSError):  # the last one: beyond its calendar
        said = f"`{text}` is no time, like 13:45, 55m or 2h"
        raise typer.BadParameter(said) from None
    if then.timestamp() <= time.time():
        then += timedelta(days=1)
    return then.timestamp()


def _shard(text: str) -> "Shard":
    from gemma_edge.app.shards import parse_shard  # noqa: PLC0415

    return parse_shard(text)


_NO_CLUSTER = "is no cluster, like tcp://node:8786, slurm or local:4"


def _cluster(text: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://\S+:\d{1,5}|slurm|pbs|lsf|local:[1-9]\d{0,2}", text):
        raise ValueError
    return text


MaxTokens = Annotated[
    int | None,
    option("--max-tokens", metavar="N", min=1, help="Stop the answer after so many tokens."),
]
ModelsDir = Annotated[Path | None, _everywhere(
    "--models-dir", metavar="DIR",
    help="Keep models as plain files in DIR; or GEMMA_EDGE_MODELS_DIR."
)]  # fmt: skip
Trust = Annotated[bool, option(
    "--trust", help="Run the file of a schema file.py:Class; let a recipe name files anywhere."
)]  # fmt: skip
Detail = Annotated[int | None, option(
    "--detail", metavar="LEVEL", parser=parse_detail,
    help=f"How closely to look: {', '.join(DETAILS)}, or {_LEAST} to {_MOST} tokens."
)]  # fmt: skip
Password = Annotated[
    str | None,
    option("--password", metavar="TEXT", help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}."),
]


RAW_CELLS = "In CSV, what looks like a formula as it is; else a ' stands before it."
RawCells = Annotated[bool, option("--raw-cells", help=RAW_CELLS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFlags:
    """What part of many files is read here, and until when."""

    shard: Annotated[Shard | None, option(
        "--shard", metavar="I/N", parser=reading(_shard, "is no share, like 3/8"), panel=SHARING,
        help="Only this share of the files (default: that of a job array); the last one puts the "
        "rows together."
    )] = None  # fmt: skip
    until: Annotated[float | None, option(
        "--until", metavar="TIME", parser=parse_until, panel=SHARING,
        help="Begin no further file after 13:45, or 55m from now; status 75 if any is left."
    )] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFlags:
    """On which other machines files are read: fields of ``Cluster``."""

    address: Annotated[str | None, option(
        "--cluster", metavar="ADDRESS", parser=reading(_cluster, _NO_CLUSTER), panel=SHARING,
        help="Read the files on the workers of a Dask cluster: its scheduler's address "
        "(tcp://…, tls://…), a job queue (slurm, pbs, lsf), or local:4 for processes here."
    )] = None  # fmt: skip
    workers: Annotated[int | None, option(
        "--workers", metavar="N", min=1, panel=SHARING,
        help="With a job queue: so many jobs, one GPU each (default: 1)."
    )] = None  # fmt: skip
    options: Annotated[tuple[str, ...], option(
        "--worker-option", metavar="TEXT", parser=whole_text, panel=SHARING,
        help="With a job queue: a line for each job, like --gres=gpu:1; repeatable."
    )] = ()  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags:
    """How the result is shown."""

    json: Annotated[bool, _everywhere("--json", help="Print JSON for programs.")] = False
    quiet: Annotated[
        bool, _everywhere("--quiet", help="Print nothing but the result and errors.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFlags:
    """Where model files are kept, and whether the network may be used."""

    models_dir: ModelsDir = None
    offline: Annotated[
        bool, _everywhere("--offline", help="Open no connection; or GEMMA_EDGE_OFFLINE=1.")
    ] = False
    trust_lock: Annotated[bool, _everywhere(
        "--trust-lock", help="Let the gemma-edge.lock of this folder decide what a model is."
    )] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFlags(StoreFlags):
    """The same, where what is missing may be downloaded."""

    yes: Annotated[
        bool, _everywhere("--yes", "-y", help="Download without asking; or GEMMA_EDGE_YES=1.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFlags(FetchFlags):
    """The same, where an engine is loaded, which may stay."""

    keep_alive: Annotated[float | None, _placing(
        "--keep-alive", metavar="TIME", parser=parse_keep,
        help="Leave the model loaded for the next command, for 5m, 1h or forever; 0 ends it "
        f"(default: nothing stays); or {KEEP_VARIABLE}. `gemma-edge ps` shows it."
    )] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFlags:
    """Which model, and how it is to be placed: fields of ``ModelRequest``."""

    model: Annotated[str, _placing(
        "--model", "-m", metavar="NAME|PATH", complete=model_names,
        help="A name of `gemma-edge models`, hf:owner/repo/file.gguf, a GGUF file, or demo "
        "(default: the best one for this machine)."
    )] = "auto"  # fmt: skip
    mmproj: Annotated[
        Path | None,
        _placing("--mmproj", metavar="FILE", help="The projector that lets the model see images."),
    ] = None
    quant: Annotated[
        str | None, _placing("--quant", metavar="NAME", help="Of this model, like q8 or q4_0.")
    ] = None
    adapters: Annotated[tuple[Adapter, ...], _placing(
        "--lora", metavar="FILE[:X]", parser=parse_adapter,
        help="Add a LoRA in a GGUF file, X times as strong; repeatable."
    )] = ()  # fmt: skip
    context_tokens: Annotated[int | None, _placing(
        "--ctx", metavar="N", help="Context in tokens, like 8192 or 8k.",
        parser=reading(parse_tokens, "is not a number of tokens, like 8192 or 8k")
    )] = None  # fmt: skip
    kv_type: Annotated[KvType | None, _placing(
        "--kv", metavar="TYPE", choices=KV_TYPES, help="KV cache: f16, or q8_0 (smaller)."
    )] = None  # fmt: skip
    gpu_layers: Annotated[int | None, _placing(
        "--gpu-layers", metavar="N|all", help="Layers on the GPU (default: all that fit).",
        parser=reading(_layers, "is not a number of layers, nor `all`")
    )] = None  # fmt: skip
    cpu_expert_layers: Annotated[int | None, _placing(
        "--cpu-experts", metavar="N", min=0, help="Layers whose experts stay in main memory."
    )] = None  # fmt: skip
    require_gpu: Annotated[
        bool, _placing("--require-gpu", help="Rather fail than use the CPU.")
    ] = False
    min_speed: Annotated[float | None, _placing(
        "--min-speed", metavar="X", min=0.0, help="At least so many tokens a second."
    )] = None  # fmt: skip
    threads: Annotated[int | None, _placing(
        "--threads", metavar="N", min=1, help="CPU threads (default: the physical cores)."
    )] = None  # fmt: skip
    draft: Annotated[DraftMode, _placing(
        "--draft", choices=DRAFTS, show_default=True,
        help="Verify many tokens at a time: what is copied (lookup, auto), or guessed too (mtp)."
    )] = "auto"  # fmt: skip
    drafter: Annotated[Path | None, _placing(
        "--drafter", metavar="FILE", help="For --draft mtp, in place of the model's own."
    )] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags(PlacementFlags):
    """The same, where a person says whether pictures must be possible."""

    vision: Annotated[
        bool | None,
        _placing("--vision/--no-vision", help="Room for images, or none (default: as needed)."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberFlags:
    """Whether what was read is kept: a field of ``ModelRequest``."""

    remember: Annotated[bool, option(
        "--remember",
        help="Keep on disk what was read of images and documents, so that later questions about "
        f"them are answered at once; or {REMEMBER_VARIABLE}=1, or =8GiB for that much of documents."
    )] = False  # fmt: skip


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

    top_p: Annotated[float | None, option(
        "--top-p", metavar="X", min=0.0, max=1.0, help="Keep the likeliest, this share of all."
    )] = None  # fmt: skip
    top_k: Annotated[
        int | None, option("--top-k", metavar="N", min=0, help="Keep the N likeliest; 0 keeps all.")
    ] = None
    min_p: Annotated[
        float | None,
        option("--min-p", metavar="X", min=0.0, max=1.0, help="Keep this share of the likeliest."),
    ] = None
