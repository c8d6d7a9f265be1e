"""``gemma-edge`` alone: this machine, what it would run, and the commands."""

import re
from collections.abc import Sequence

from gemma_edge.app.load import constraints_of, open_quick_planner
from gemma_edge.app.models import Stock, offered_quants
from gemma_edge.app.request import ModelRequest
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import StoreFlags
from gemma_edge.cli.output import Output
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.errors import DoesNotFit, ExitStatus
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.plan import Candidate, Plan
from gemma_edge.planning.planner import Planner
from gemma_edge.planning.render import render_short_place, render_speed, short_title, short_tokens
from gemma_edge.units import GIB, render_bytes
from gemma_edge.version import __version__

Rows = list[tuple[str, ...]]

COMMANDS = (
    ("chat", "talk"),
    ("describe photo.jpg", "look"),
    ("extract bill.pdf -s total", "read into JSON"),
    ("plan", "why, and what else fits"),
    ("models", "which ones there are"),
    ("doctor", "what is wrong here"),
)
DOWNLOAD_AFTER = "chat"
_NOISE = re.compile(r"\((?:R|TM|C)\)|\b\w+ Gen\b|\bCPU\b.*|\b\w+-Core\b.*|\bProcessor\b|\bw/.*")


def run(context: Context, output: Output) -> ExitStatus:
    """Nothing is measured and nothing fetched: the page has to be there at once."""
    output.table([(f"gemma-edge {__version__} · Gemma 4 on this machine; nothing leaves it",)])
    output.page("")
    runtime = open_runtime(StoreFlags(), context, output)
    planner = open_quick_planner(runtime)
    output.table(_machine(planner.hardware))
    for finding in planner.hardware.findings:
        if finding.state == "problem":
            output.table([("  ✘", f"{finding.text}; gemma-edge doctor")])
    stock = Stock(runtime.store)
    download = ""
    try:
        rows, download = _plans(stock, planner)
    except DoesNotFit as error:
        rows = [("  no Gemma 4 fits", error.message)]
    output.page("")
    output.table(rows)
    output.page("")
    output.table(_commands(download))
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
    rows = [_row("  runs" if here else "  would run", plan, chosen)]
    rows += [_row("        or", each, by_name[each.name]) for each in plan.alternatives[:1]]
    missing = 0 if here else chosen.download_bytes or chosen.header.file_bytes
    return rows, f"first time: {render_bytes(missing)} to download" if missing else ""


def _row(label: str, plan: Plan, candidate: Candidate) -> tuple[str, ...]:
    where = f"{render_short_place(plan, candidate)}, {short_tokens(plan.context_tokens)} context"
    return label, short_title(candidate), render_speed(plan.speed), where


def _commands(download: str) -> Rows:
    def said(name: str, text: str) -> str:
        return f"{text} ({download})" if download and name == DOWNLOAD_AFTER else text

    rows: Sequence[tuple[str, str]] = COMMANDS
    return [(f"  gemma-edge {name}", said(name, text)) for name, text in rows]
