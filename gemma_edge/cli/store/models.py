"""``gemma-edge models``: which models there are, in which quants, and what is on this machine."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile, Quant, Size
from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.cli.store.targets import name_of
from gemma_edge.errors import ExitStatus
from gemma_edge.store import list_files
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from gemma_edge.cli.plan.fitting import Fits

BILLION = 1_000_000_000
There = frozenset[tuple[str, str]]  # (repo, file) of what is on disk


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them; without it, all.")
    ] = None,
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Show the models that can be fetched: what each is for, its quants, their sizes.

    \b
    gemma-edge models
    gemma-edge models e4b
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    return partial(run, name, kept, ShowOptions(json=json, quiet=quiet))


def run(
    name: str | None, kept: StoreOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """From the catalogue and the disk alone."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    stored = (each for each in list_files(settings) if each.where != "incomplete")
    there = frozenset((each.repo, each.file) for each in stored)
    bundled, sizes = _choose(name, output)
    from gemma_edge.cli.plan.fitting import find_fits  # noqa: PLC0415  (40 ms that only this needs)

    pairs = [(size, quant) for size in sizes for quant in size.quants]
    fits = find_fits(pairs, settings, context)
    if show.json:
        models = [_as_document(size, there, fits) for size in sizes]
        available = fits.available_bytes
        output.document({"bundled": list(bundled), "available_bytes": available, "models": models})
        return ExitStatus.OK
    for each in bundled:
        files = catalog.resolve(each)
        output.table([(files.title,), (f"  {files.good_for}",)])
        weight = render_bytes(files.model.stat().st_size)
        output.table([(f"  {each}", weight, "part of gemma-edge")])
    tables = [[_row(size, quant, there, fits) for quant in size.quants] for size in sizes]
    for size, rows in zip(sizes, _aligned(tables), strict=True):
        output.table([(_render_size(size),), (f"  {size.good_for}",)])
        output.table(rows)
    if sizes:
        output.note(
            "gemma-edge pull NAME fetches one with its projector; no size: nobody measured it yet"
        )
        output.note("where it runs, context, speed: estimates; gemma-edge plan NAME says more")
        output.note(fits.machine)
    return ExitStatus.OK


def _choose(name: str | None, output: Output) -> tuple[tuple[str, ...], tuple[Size, ...]]:
    """The bundled models and the sizes that are meant."""
    bundled = tuple(each for each in catalog.names() if catalog.kind_of(each) == "bundled")
    if name is None:
        return bundled, catalog.sizes()
    if name in bundled:
        return (name,), ()
    found = catalog.wanted(name)
    if found.note:
        output.note(found.note)
    return (), (found.size,)


def _aligned(tables: list[list[list[str]]]) -> list[list[list[str]]]:
    """Columns that stand under each other from one table to the next."""
    every = [row for rows in tables for row in rows]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    widths[-1] = 0  # may be folded
    return [
        [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        for rows in tables
    ]


def _row(size: Size, quant: Quant, there: There, fits: "Fits") -> list[str]:
    weight = quant.model.size_bytes
    state = "on disk" if _is_there(quant.model, there) else ""
    if state and quant.projector is not None and not _is_there(quant.projector, there):
        state = "on disk, without projector"
    name = name_of(size, quant)
    said = ", ".join(filter(None, [fits.words(name), state]))
    return [f"  {name}", quant.title, render_bytes(weight) if weight else "", said]  # fmt: skip


def _render_size(size: Size) -> str:
    """``Gemma 4 E4B · 7.5B parameters, 4.5B active · 131,072 tokens of context``."""
    parameters = f"{size.parameters / BILLION:.1f}B parameters"
    if size.active_parameters != size.parameters:
        parameters += f", {size.active_parameters / BILLION:.1f}B active"
    return f"{size.title} · {parameters} · {size.context_tokens:,} tokens of context"


def _is_there(file: CatalogFile, there: There) -> bool:
    return (file.repo, file.filename) in there


def _as_document(size: Size, there: There, fits: "Fits") -> dict[str, Any]:
    return {
        "name": size.name,
        "title": size.title,
        "good_for": size.good_for,
        "licence": size.licence,
        "kind": size.kind,
        "parameters": size.parameters,
        "active_parameters": size.active_parameters,
        "layers": size.layers,
        "context_tokens": size.context_tokens,
        "modalities": list(size.modalities),
        "quants": [
            {
                "name": name_of(size, quant),
                "title": quant.title,
                "source": quant.source,
                "qat": quant.qat,
                "bits": quant.bits,
                "default": quant is size.default,
                "quality": _quality(quant),
                "fits": fits.document(name_of(size, quant)),
                "model": _file(quant.model, there),
                "projector": _file(quant.projector, there),
                "drafter": _file(quant.drafter, there),
            }
            for quant in size.quants
        ],
    }


def _quality(quant: Quant) -> dict[str, Any] | None:
    figure = quant.quality
    if figure is None:
        return None
    return {"measure": figure.measure, "value": figure.value, "source": figure.source}


def _file(file: CatalogFile | None, there: There) -> dict[str, Any] | None:
    if file is None:
        return None
    return {
        "name": f"hf:{file.name}",
        "revision": file.revision,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "on_disk": _is_there(file, there),
    }
