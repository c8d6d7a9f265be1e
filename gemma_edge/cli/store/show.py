"""``gemma-edge show``: what a model file says about itself, on this machine or on the hub."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_edge import catalog, gguf
from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.fetching import fetch, find_missing, read_remote
from gemma_edge.cli.store.stored import select
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.cli.store.targets import find_target
from gemma_edge.errors import ExitStatus
from gemma_edge.gguf import Header, Skipped, Value
from gemma_edge.store import Locks, StoreSettings, list_files
from gemma_edge.units import render_bytes

TEMPLATE_KEY = "tokenizer.chat_template"
MAX_SHOWN = 72  # characters of one value; --json has all of it


@dataclass(frozen=True, slots=True)
class Shown:
    """A header, where the file is (a path, or a name of the hub), and its hash where known."""

    header: Header
    where: str
    sha256: str | None


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="A model, a file, or hf:owner/repo/file.gguf."),
    ],
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Show what a model file says about itself. Of a file on the hub only the header is fetched.

    \b
    gemma-edge show e4b
    gemma-edge show model.gguf --json
    gemma-edge show hf:owner/repo/file.gguf
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    return partial(run, name, kept, ShowOptions(json=json, quiet=quiet))


def run(
    name: str, kept: StoreOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Metadata, tensors by type, hash."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    shown = _find(name, settings, context, output)
    if show.json:
        output.document(_as_document(shown))
        return ExitStatus.OK
    header = shown.header
    output.table(_facts(shown))
    output.data("tensors")
    output.table([(f"  {kind}", str(count), render_bytes(size)) for kind, count, size in
                  tensors_by_type(header)] or [("  none",)])  # fmt: skip
    output.data("metadata")
    output.table(
        [(f"  {_one_line(key)}", render_value(value)) for key, value in header.metadata.items()]
        or [("  none",)]
    )
    return ExitStatus.OK


def tensors_by_type(header: Header) -> list[tuple[str, int, int]]:
    """(type, how many tensors, their bytes), the largest first."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        counts[tensor.type] += 1
        sizes[tensor.type] += tensor.size_bytes
    return [(kind, counts[kind], size) for kind, size in sizes.most_common()]


def render_value(value: Value) -> str:
    """On one line, and no longer than a person reads."""
    if isinstance(value, Skipped):
        return f"{value.count:,} values"
    if isinstance(value, tuple):
        return _shortened(_one_line(", ".join(map(str, value))), f"{len(value):,} values")
    if isinstance(value, float):
        return f"{value:.7g}"  # it is of 32 bits in every file seen
    return _shortened(_one_line(str(value)), f"{len(str(value)):,} characters")


def _find(name: str, settings: StoreSettings, context: Context, output: Output) -> Shown:
    kind = catalog.kind_of(name)
    if kind == "bundled":
        return _local(catalog.resolve(name).model, settings)
    path, stored = Path(name).expanduser(), list_files(settings)
    if not path.exists() and any(name in (each.file, each.name) for each in stored):
        return _local(select([name], stored, settings)[0].path, settings)
    if kind == "path":
        return _local(path, settings)
    target = find_target(name, settings)
    if target.note:
        output.note(target.note)
    if not find_missing([target.model], settings, context, output):
        return _local(fetch([target.model], settings, context, output)[0], settings)
    header, upstream = read_remote(target.model, settings, context, output)
    return Shown(header, f"{target.model.name}@{upstream.commit}", upstream.sha256)


def _local(path: Path, settings: StoreSettings) -> Shown:
    header = gguf.read_header(path)
    absolute = path.absolute()
    for stored in list_files(settings):
        if stored.path == absolute:
            entry = Locks(settings).all().get((stored.repo, stored.file))
            locked = entry.sha256 if entry and stored.commit in ("", entry.revision) else None
            return Shown(header, str(absolute), locked or stored.sha256)
    return Shown(header, str(absolute), None)


def _facts(shown: Shown) -> list[tuple[str, str]]:
    header = shown.header
    template = header.metadata.get(TEMPLATE_KEY)
    context, layers = header.integer(".context_length"), header.integer(".block_count")
    rows = [
        ("file", shown.where),
        ("size", f"{render_bytes(header.file_bytes)} ({header.file_bytes:,} bytes)"),
        ("sha256", shown.sha256 or "not known"),
        ("architecture", _one_line(header.architecture) or "not said"),
        ("context", f"{context:,} tokens" if context is not None else ""),
        ("layers", str(layers) if layers is not None else ""),
        ("chat template", f"{len(template):,} characters" if isinstance(template, str) else "none"),
    ]
    return [row for row in rows if row[1]]


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _shortened(text: str, extent: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 20]}… ({extent})"


def _as_document(shown: Shown) -> dict[str, Any]:
    header = shown.header
    return {
        "file": shown.where,
        "size_bytes": header.file_bytes,
        "sha256": shown.sha256,
        "architecture": header.architecture,
        "template": isinstance(header.metadata.get(TEMPLATE_KEY), str),
        "tensors": [
            {"type": kind, "count": count, "size_bytes": size}
            for kind, count, size in tensors_by_type(header)
        ],
        "metadata": {key: _as_json(value) for key, value in header.metadata.items()},
    }


def _as_json(value: Value) -> Any:
    """JSON knows no infinity; a list that was stepped over is told by its length."""
    if isinstance(value, Skipped):
        return {"count": value.count}
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
