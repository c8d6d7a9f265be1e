"""``gemma-edge`` alone and ``gemma-edge models``: which models there are, and what runs here."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from gemma_edge import catalog
from gemma_edge.app.load import constraints_of, open_quick_planner
from gemma_edge.app.models import name_of, offered_quants
from gemma_edge.app.request import ModelRequest
from gemma_edge.app.stock import Stock
from gemma_edge.catalog import CatalogFile, Quant, Size
from gemma_edge.cli.completion import model_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import argument
from gemma_edge.cli.options import ShowFlags, StoreFlags
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan import Row, as_verdict, machine_line, render_row
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import DoesNotFit, ExitStatus
from gemma_edge.hardware.findings import say_build
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.plan import Candidate, Constraints, Plan
from gemma_edge.planning.planner import Planner
from gemma_edge.planning.render import render_short_place, render_speed, short_title, short_tokens
from gemma_edge.store.files import list_files
from gemma_edge.units import GIB, render_bytes
from gemma_edge.version import __version__

# ----------------------------------------------------------------------------
# `gemma-edge` alone: this machine, what it would run, and the commands.


Rows = list[tuple[str, ...]]

COMMANDS = (
    ("chat", "talk"),
    ("describe photo.jpg", "look"),
    ("extract bill.pdf", "read into JSON"),
    ("plan", "why, and what else fits"),
    ("models", "which ones there are"),
    ("doctor", "what is wrong here"),
)
_NOISE = re.compile(r"\((?:R|TM|C)\)|\b\w+ Gen\b|\bCPU\b.*|\b\w+-Core\b.*|\bProcessor\b|\bw/.*")


def run_alone(context: Context, output: Output) -> ExitStatus:
    """Nothing is measured and nothing fetched: the page has to be there at once."""
    output.table([(f"gemma-edge {__version__} · Gemma 4 on this machine; nothing leaves it",)])
    output.page("")
    runtime = open_runtime(StoreFlags(), context, output)
    planner = open_quick_planner(runtime)
    output.table(_machine(planner.hardware))
    for finding in planner.hardware.findings:
        if finding.state == "problem":
            output.table([("  ✘", f"{say_build(finding)}; gemma-edge doctor")])
    stock = Stock(runtime.store, runtime.note)
    download = ""
    try:
        rows, download = _plans(stock, planner)
    except DoesNotFit as error:
        rows = [("  no Gemma 4 fits", error.message)]
    output.page("")
    output.table(rows)
    output.page("")
    said = f" ({download})" if download else ""
    output.table([(f"  gemma-edge {name}", f"{text}{said if name == 'chat' else ''}")
                  for name, text in COMMANDS])  # fmt: skip
    output.page("")
    output.page("  gemma-edge COMMAND --help    flags and examples")
    return ExitStatus.OK


def _machine(hardware: Hardware) -> Rows:
    """GPUs, then processor and main memory."""
    rows: Rows = [(f"  {device.title}", _said(device)) for device in hardware.devices]
    cpu, memory = hardware.cpu, hardware.memory
    cores = f"{cpu.fast_cores} fast cores" if cpu.fast_cores else f"{cpu.cores} cores"
    free = _free(memory.available_bytes, memory.total_bytes)
    name = " ".join(_NOISE.sub(" ", cpu.name).split()) or "CPU"
    said = [free, cores if cpu.cores > 1 else "1 core"]
    return [*rows, (f"  {name}", ", ".join(filter(None, said)))]


def _said(device: Device) -> str:
    free = _free(device.free_bytes, device.total_bytes) if device.usable else "not usable"
    driver = f"driver {device.driver}" if device.driver else device.backend
    return f"{free}, {driver}" if driver else free


def _free(free_bytes: int | None, total_bytes: int | None) -> str:
    if free_bytes is None:
        return ""
    if total_bytes is None:
        return f"{free_bytes / GIB:.1f} GiB free"
    return f"{free_bytes / GIB:.1f} of {total_bytes / GIB:.1f} GiB free"


def _plans(stock: Stock, planner: Planner) -> tuple[Rows, str]:
    """What runs, or would, and the next best; and what would have to be fetched for it."""
    constraints = constraints_of(ModelRequest(), vision=None)
    here = stock.on_disk()
    candidates = here or stock.quants(offered_quants(ModelRequest()))
    try:
        plan = planner.plan(candidates, constraints)
    except DoesNotFit:
        if not here:
            raise
        candidates, here = stock.quants(offered_quants(ModelRequest())), []
        plan = planner.plan(candidates, constraints)
    by_name = {each.name: each for each in candidates}
    chosen = by_name[plan.name]
    rows = [_plan_row("  runs" if here else "  would run", plan, chosen)]
    rows += [_plan_row("        or", each, by_name[each.name]) for each in plan.alternatives[:1]]
    missing = 0 if here else chosen.download_bytes or chosen.header.file_bytes
    return rows, f"first time: {render_bytes(missing)} to download" if missing else ""


def _plan_row(label: str, plan: Plan, candidate: Candidate) -> tuple[str, ...]:
    where = f"{render_short_place(plan, candidate)}, {short_tokens(plan.context_tokens)} context"
    return label, short_title(candidate), render_speed(plan.speed), where


# ----------------------------------------------------------------------------
# `gemma-edge models`: the catalogue, with what each would do here.


BILLION = 1_000_000_000
_SIZE_FACTS = (
    "name", "title", "good_for", "licence", "kind", "parameters", "active_parameters", "layers",
    "context_tokens",
)  # fmt: skip
There = frozenset[tuple[str, str]]  # (repo, file) of what is on disk
Fits = Mapping[str, Row]  # whether a quant would run here, by the name that a person types


def command(
    name: Annotated[
        str | None, argument("NAME", "One of them; without it, all.", complete=model_names)
    ] = None,
    *,
    store: StoreFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Show the models that can be fetched: what each is for, its quants, their sizes.

    \b
    gemma-edge models
    gemma-edge models e4b
    """
    runtime = open_runtime(store, context, output)
    runtime.look()
    settings = runtime.store
    stored = (each for each in list_files(settings) if each.where != "incomplete")
    there = frozenset((each.repo, each.file) for each in stored)
    bundled, sizes = _choose(name, output)

    stock = Stock(settings, runtime.note)
    quants = stock.quants((size, quant) for size in sizes for quant in size.quants)
    planner = open_quick_planner(runtime)
    hardware = planner.hardware
    results = planner.plan_each(quants, Constraints())
    fits = {row[0].name: row for row in zip(quants, results, strict=True)}
    if show.json:
        models = [_as_document(size, there, fits) for size in sizes]
        available = hardware.memory.available_bytes
        output.document({"bundled": list(bundled), "available_bytes": available, "models": models})
        return ExitStatus.OK
    for each in bundled:
        files = catalog.resolve(each)
        output.table([(files.title,), (f"  {files.good_for}",)])
        weight = render_bytes(files.model.stat().st_size)
        output.table([(f"  {each}", weight, "part of gemma-edge")])
    tables = [[_row(size, quant, there, fits) for quant in size.quants] for size in sizes]
    for size, rows in zip(sizes, _aligned(tables) if tables else (), strict=True):
        output.table([(_render_size(size),), (f"  {size.good_for}",)])
        output.table(rows)
    if sizes:
        output.note(
            "gemma-edge pull NAME fetches one with its projector; no size: nobody measured it yet"
        )
        output.note("where it runs, context, speed: estimates; gemma-edge plan NAME says more")
        output.note(machine_line(hardware))
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


def _row(size: Size, quant: Quant, there: There, fits: Fits) -> list[str]:
    weight = quant.model.size_bytes
    state = "on disk" if _is_there(quant.model, there) else ""
    if state and quant.projector is not None and not _is_there(quant.projector, there):
        state = "on disk, without projector"
    if state and quant.drafter is not None and _is_there(quant.drafter, there):
        state += ", with drafter"
    name = name_of(size, quant)
    runs = render_row(*fits[name]) if name in fits else "damaged"
    said = ", ".join(filter(None, [runs, state]))
    return [f"  {name}", quant.title, render_bytes(weight) if weight else "", said]  # fmt: skip


def _render_size(size: Size) -> str:
    """``Gemma 4 E4B · 7.5B parameters, 4.5B active · 131,072 tokens of context``."""
    parameters = f"{size.parameters / BILLION:.1f}B parameters"
    if size.active_parameters != size.parameters:
        parameters += f", {size.active_parameters / BILLION:.1f}B active"
    return f"{size.title} · {parameters} · {size.context_tokens:,} tokens of context"


def _is_there(file: CatalogFile, there: There) -> bool:
    return (file.repo, file.filename) in there


def _as_document(size: Size, there: There, fits: Fits) -> dict[str, Any]:
    return {
        **{name: getattr(size, name) for name in _SIZE_FACTS},
        "modalities": list(size.modalities),
        "quants": [
            {
                "name": name_of(size, quant),
                **{name: getattr(quant, name) for name in ("title", "source", "qat", "bits")},
                "default": quant is size.default,
                "quality": asdict(quant.quality) if quant.quality else None,
                "fits": as_verdict(*fits[name]) if (name := name_of(size, quant)) in fits else None,
                "model": _file(quant.model, there),
                "projector": _file(quant.projector, there),
                "drafter": _file(quant.drafter, there),
            }
            for quant in size.quants
        ],
    }


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
