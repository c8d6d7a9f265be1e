"""``gemma-edge plan``: what would run on a machine, where every MiB goes, how fast, and why."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, get_args

from gemma_edge.app.load import best_here, constraints_of, open_planner, tell_others
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.app.stock import Stock, fetch_headers, offer
from gemma_edge.cli.completion import model_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import argument, build, option
from gemma_edge.cli.options import MOST_AT_ONCE, FetchFlags, ModelFlags, ShowFlags, parse_size
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.hardware.imagined import pretend
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.plan import (
    Account,
    Attempt,
    Candidate,
    Ledger,
    MemoryPart,
    NoPlan,
    PartName,
    PlacementKind,
    Plan,
    placement_items,
)
from gemma_edge.planning.planner import NothingFits
from gemma_edge.planning.render import (
    brief_title,
    gpu_layers,
    render_accounts,
    render_details,
    render_devices,
    render_place,
    render_short_place,
    render_speed,
    short_title,
    short_tokens,
)
from gemma_edge.records import dataclass
from gemma_edge.units import GIB, MIB, render_bytes

Candidates = Mapping[str, Candidate]  # by the plan's name
Row = tuple[Candidate, Plan | NoPlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFlags:
    """What the command line asks of a plan. ``vram_bytes``, ``ram_bytes`` and ``devices`` make up
    a machine that is not this one; ``headers`` fetches those that are not here."""

    name: Annotated[
        str | None,
        argument("NAME|PATH", "A model; without one, the best of all.", complete=model_names),
    ] = None
    every: Annotated[
        bool, option("--all", help="Every size and quant: where it would run, how fast.")
    ] = False
    explain: Annotated[
        bool, option("--explain", help="What was tried, why it fell, what was detected.")
    ] = False
    at_once: Annotated[int, option(
        "--at-once", metavar="N", min=1, max=MOST_AT_ONCE,
        help="What so many answers at once take, as in a batch or for a server (default: 1)."
    )] = 1  # fmt: skip
    headers: Annotated[
        bool, option("--headers", help="Fetch headers (15 MB a model) to be exact, not estimate.")
    ] = False
    vram_bytes: Annotated[tuple[int, ...], option(
        "--vram", metavar="SIZE", parser=parse_size,
        help="For a machine whose GPU has so much memory, like 8GiB."
    )] = ()  # fmt: skip
    ram_bytes: Annotated[tuple[int, ...], option(
        "--ram", metavar="SIZE", parser=parse_size, help="For a machine with so much main memory."
    )] = ()  # fmt: skip
    devices: Annotated[tuple[str, ...], option(
        "--device", metavar="TITLE",
        help='For a machine with a "RTX 4060", or that is a "Mac mini M4 16GB"; repeatable.'
    )] = ()  # fmt: skip
    model: ModelFlags
    store: FetchFlags
    show: ShowFlags

    @property
    def pretends(self) -> bool:
        """Whether the plan is for another machine."""
        return bool(self.vram_bytes or self.ram_bytes or self.devices)


def command(asked: PlanFlags, context: Context, output: Output) -> ExitStatus:
    """Say what would run: which model, where every MiB goes, how fast, and why. Loads nothing.

    \b
    gemma-edge plan
    gemma-edge plan 26b --ctx 64k --explain
    gemma-edge plan --all
    gemma-edge plan --vram 8GiB --ram 16GiB --device "RTX 4060"
    """
    show, model = asked.show, _request(asked)
    runtime = open_runtime(asked.store, context, output)
    runtime.begin(engine=False)
    if asked.headers:
        fetch_headers(model, runtime)
    stock = Stock(runtime.store, runtime.note)
    constraints = constraints_of(model, vision=None)
    with open_planner(runtime, _pretend(asked, runtime, output)) as planner:
        candidates, hardware = offer(model, stock, runtime), planner.hardware
        if asked.every:
            results = planner.plan_each(candidates, constraints)
            rows = list(zip(candidates, results, strict=True))
            if show.json:
                output.document(as_rows(rows, hardware))
            else:
                output.table([_row_cells(*row) for row in rows])
                output.note(machine_line(hardware))
            return ExitStatus.OK
        try:
            plan = planner.plan(candidates, constraints)
        except NothingFits as error:
            if show.json:
                output.document(as_failure(error, hardware))
            elif asked.explain:
                show_attempts(error.attempts, output)
            raise
        by_name = {each.name: each for each in candidates}
        if show.json:
            output.document(as_document(plan, by_name, hardware))
            return ExitStatus.OK
        show_plan(plan, by_name, hardware, context.width, output, explain=asked.explain)
        chosen = by_name[plan.name]
        if model.model == AUTO and not chosen.on_disk and not asked.pretends:
            here = best_here(stock, model, constraints, planner)
            if here is not None:
                output.note(
                    f"{brief_title(chosen)} is not on this machine: gemma-edge pull "
                    f"{shlex.quote(chosen.name)}; until then {brief_title(here)} answers"
                )
    return ExitStatus.OK


def _request(asked: PlanFlags) -> ModelRequest:
    if asked.name is not None and asked.model.model != AUTO:
        raise UsageError("the model is there twice", hint="NAME or --model NAME, not both")
    model = replace(asked.model, model=asked.name or asked.model.model)
    return build(ModelRequest, model, at_once=asked.at_once)


def _pretend(asked: PlanFlags, runtime: Runtime, output: Output) -> Hardware | None:
    """The machine that somebody thought up, on the ground of this one. On this one itself others
    may be at work."""
    if not asked.pretends:
        tell_others(runtime)
        return None
    vram, ram = _once("--vram", asked.vram_bytes), _once("--ram", asked.ram_bytes)
    return pretend(vram, ram, ", ".join(asked.devices), runtime.hardware, output.note)


def _once(flag: str, amounts: Sequence[int]) -> int | None:
    """Raises UsageError: there are several."""
    if len(amounts) > 1:
        said = " and ".join(map(render_bytes, amounts))
        hint = 'once; several cards are --device "RTX 3090, RTX 3060"'
        raise UsageError(f"{flag} is there {len(amounts)} times: {said}", hint=hint)
    return next(iter(amounts), None)


PLACES: dict[PlacementKind, str] = {
    "gpu": "GPU", "experts": "experts on CPU", "partial": "partly on CPU", "cpu": "CPU",
}  # fmt: skip


def show_plan(  # noqa: PLR0913  (the plan, and how it is shown)
    plan: Plan, candidates: Candidates, hardware: Hardware, width: int, output: Output,
    *, explain: bool = False,
) -> None:  # fmt: skip
    """The whole page, on stdout; with ``explain`` each number says where it comes from, and what
    was tried and detected follows."""
    candidate = candidates[plan.name]
    output.table([(f"{_title(candidate)} on {render_devices(plan, hardware)}",)])
    output.page("")
    if plan.ledger is not None:
        output.page("\n".join(render_bars(plan.ledger, width)))
        output.page("")
        output.table(render_table(plan.ledger, notes=explain))
        output.table([(f"  {remark}",) for remark in render_remarks(plan.ledger)])
        output.page("")
    output.table([("  " + render_place(plan, candidate) + ", " + render_details(plan),)])
    if plan.speed is not None:
        why = plan.speed.reason  # the arithmetic stands behind a colon, for those who asked
        said = why if explain else why.partition(":")[0]
        output.table([(f"  {render_speed(plan.speed)}, {said}",)])
    output.page("")
    others = tuple(candidates[each.name].title for each in plan.alternatives)
    rows = [("why", reason) for reason in plan.reasons if not reason.startswith(others)]
    rows += [("instead", _alternative(each, candidates)) for each in plan.alternatives]
    output.table(_labelled(rows))
    if explain:
        show_attempts(plan.attempts, output)
        show_machine(hardware, output)
    if not candidate.exact:
        output.note(
            "weights estimated from the catalogue; "
            f"gemma-edge plan {shlex.quote(candidate.name)} --headers reads the header"
        )


def show_attempts(attempts: Sequence[Attempt], output: Output) -> None:
    """What was tried, and why each step fell."""
    output.page("")
    output.table(_labelled([
        ("tried", f"{each.what}: {'taken' if each.taken else 'no'}, {each.reason}")
        for each in attempts
    ]))  # fmt: skip


def show_machine(hardware: Hardware, output: Output) -> None:
    """What was detected, and where each number comes from."""
    output.page("")
    rows = [("CPU", f"{hardware.cpu.name or 'not named'}: {hardware.cpu.reason}"),
            ("RAM", hardware.memory.reason)]  # fmt: skip
    rows += [(device.name or "unused", _device(device)) for device in hardware.devices]
    build = hardware.build
    rows.append(("llama.cpp", f"{build.version}, {', '.join(build.backends)}"))
    for each in hardware.findings:
        rows.append((each.state, f"{each.text} (fix: {each.fix})" if each.fix else each.text))
    output.table(_labelled(rows))


def _row_cells(candidate: Candidate, result: Plan | NoPlan) -> tuple[str, ...]:
    size = f"{'' if candidate.exact else '~'}{render_bytes(candidate.header.file_bytes)}"
    refused = f": {result.reason}" if isinstance(result, NoPlan) else ""
    return candidate.name, size, render_row(candidate, result) + refused


def render_row(candidate: Candidate, result: Plan | NoPlan) -> str:
    """``GPU, 32k, ~60 tok/s``; ``no``."""
    if isinstance(result, NoPlan):
        return "no"
    parts = [PLACES[result.kind(candidate.layers)], short_tokens(result.context_tokens)]
    return ", ".join(filter(None, [*parts, render_speed(result.speed)]))


def machine_line(hardware: Hardware) -> str:
    """``RTX 4060 Laptop, 7.6 GiB free · 14.2 GiB are available``."""
    devices = [f"{each.title}, {each.free_bytes / GIB:.1f} GiB free" for each in hardware.devices]
    return " · ".join([*devices, hardware.memory.reason])


def _title(candidate: Candidate) -> str:
    """``E4B, Q4 QAT (unsloth, 3.9 GiB)``."""
    size = render_bytes(candidate.header.file_bytes)
    if candidate.title.endswith(")"):
        return f"{candidate.title[:-1]}, {size})"
    return f"{candidate.title} ({size})"


def _alternative(plan: Plan, candidates: Candidates) -> str:
    candidate = candidates[plan.name]
    context = f"{short_tokens(plan.context_tokens)} context"
    parts = [render_short_place(plan, candidate), context, render_speed(plan.speed)]
    said = ", ".join(filter(None, parts))
    return f"{short_title(candidate)}: {said} (--model {shlex.quote(candidate.name)})"


def _device(device: Device) -> str:
    free = f"{device.free_bytes / GIB:.1f} of {device.total_bytes / GIB:.1f} GiB free"
    return ", ".join(filter(None, [device.title, free, device.reason]))


def _labelled(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The label once, where several rows have the same."""
    shown, last = [], ""
    for label, text in rows:
        shown.append(("  " + ("" if label == last else label), text))
        last = label
    return shown


# A plan's ledger: a bar for each memory, and a table of MiB.

PARTS: tuple[PartName, ...] = get_args(PartName)
BAR_COLUMNS = 40  # at most; a wider one says nothing more
FREE = "·"
# Darkest what is always there, lightest what is only kept free.
SHADES: dict[PartName, str] = {"weights": "█", "KV global": "▓", "KV window": "▓", "margin": "░"}
OTHER_SHADE = "▒"


def render_bars(ledger: Ledger, width: int) -> list[str]:
    """One line an account: ``GPU  ████▓▓▒░··  5.9 of 7.6 GiB``, in ``width`` columns."""
    names = place_names(ledger)
    sums = [render_accounts([account]) for account in ledger.accounts]
    left = max(map(len, names))
    columns = min(BAR_COLUMNS, width - left - max(map(len, sums)) - 7)
    return [
        f"  {name:{left}}  {render_bar(account, columns)}  {said}".rstrip()
        for name, account, said in zip(names, ledger.accounts, sums, strict=True)
    ]


def render_bar(account: Account, columns: int) -> str:
    """Each part as long as it is large; what takes anything has a cell, while there are any."""
    whole = max(account.budget_bytes or 0, account.total_bytes, 1)
    cells, taken = "", 0
    for shade, size_bytes in _shaded(account.parts):
        taken += size_bytes
        upto = max(round(columns * taken / whole), len(cells) + (size_bytes > 0))
        cells += shade * (min(upto, columns) - len(cells))
    return cells + FREE * (columns - len(cells))


def render_table(ledger: Ledger, *, notes: bool = False) -> list[tuple[str, ...]]:
    """Rows of a part's name and its MiB in each account; ``~`` marks an estimate. The last rows are
    the sum, what is kept free beside it, and what is free now. With ``notes`` a last column says
    where a number comes from."""
    accounts = ledger.accounts
    found = {part.name for account in accounts for part in account.parts if part.size_bytes}
    rows = [("  MiB", *(f"{name:>7}" for name in place_names(ledger)), "")]
    rows += [_row(name, accounts) for name in PARTS if name in found and name != "margin"]
    rows.append(_sums("in all", [account.taken_bytes for account in accounts]))
    rows.append(_row("margin", accounts))
    rows.append(_sums("free now", [account.budget_bytes for account in accounts]))
    return rows if notes else [row[:-1] for row in rows]


def render_remarks(ledger: Ledger) -> list[str]:
    """What the table cannot say: estimates, and pages of a file, which need not stay."""
    parts = [part for account in ledger.accounts for part in account.parts]
    pages = sum(part.size_bytes for part in parts if part.reclaimable)
    remarks = []
    if pages:
        remarks.append(f"of RAM {_mib(pages)} MiB are pages of a file, read as needed")
    if not all(part.exact for part in parts):
        remarks.append("~ an estimate; --explain says where it comes from")
    return remarks


def place_names(ledger: Ledger) -> list[str]:
    """``GPU`` and ``RAM``; ggml's own names where there are several GPUs."""
    places = [account.place for account in ledger.accounts]
    gpus = [place for place in places if place != "RAM"]
    return ["GPU" if len(gpus) == 1 and place in gpus else place for place in places]


def _shaded(parts: Sequence[MemoryPart]) -> list[tuple[str, int]]:
    """Bytes by shade, the darkest first, the margin last."""
    sizes = {shade: 0 for shade in ("█", "▓", OTHER_SHADE, "░")}
    for part in parts:
        sizes[SHADES.get(part.name, OTHER_SHADE)] += part.size_bytes
    return list(sizes.items())


def _row(name: PartName, accounts: Sequence[Account]) -> tuple[str, ...]:
    cells: list[str] = []
    notes: dict[str, None] = {}
    for account in accounts:
        parts = [part for part in account.parts if part.name == name and part.size_bytes]
        size = sum(part.size_bytes for part in parts)
        sign = "" if all(part.exact for part in parts) else "~"
        cells.append(f"{sign + _mib(size) if parts else '':>7}")
        for part in parts:
            notes |= dict.fromkeys(filter(None, [part.note]))
    return (f"  {name}", *cells, "; ".join(notes))


def _sums(title: str, sizes: Sequence[int | None]) -> tuple[str, ...]:
    return (f"  {title}", *(f"{'?' if size is None else _mib(size):>7}" for size in sizes), "")


def _mib(size_bytes: int) -> str:
    """Rounded up: what is there takes something."""
    return f"{-(-size_bytes // MIB):,}"


# A plan as JSON: every number in bytes, tokens or tokens a second, under names that stay.


def as_document(plan: Plan, candidates: Candidates, hardware: Hardware) -> dict[str, Any]:
    """The plan with all that is known about it."""
    return {
        "fits": True,
        **_plan(plan, candidates[plan.name]),
        "reasons": list(plan.reasons),
        "rungs": [asdict(attempt) for attempt in plan.attempts],
        "fallbacks": [dict(placement_items(each)) for each in plan.fallbacks],
        "alternatives": [_plan(each, candidates[each.name]) for each in plan.alternatives],
        "hardware": as_hardware(hardware),
    }


def as_failure(error: NothingFits, hardware: Hardware) -> dict[str, Any]:
    """Why nothing fits."""
    return {
        "fits": False,
        "message": error.message,
        "hint": error.hint,
        "rungs": [asdict(attempt) for attempt in error.attempts],
        "hardware": as_hardware(hardware),
    }


def as_rows(rows: Sequence[Row], hardware: Hardware) -> dict[str, Any]:
    """Each candidate by itself."""
    documents = []
    for candidate, result in rows:
        verdict = as_verdict(candidate, result)
        own = _plan(result, candidate) if isinstance(result, Plan) else _model(candidate)
        documents.append({"class": verdict["class"], "reason": verdict["reason"], **own})
    return {"rows": documents, "hardware": as_hardware(hardware)}


def as_verdict(candidate: Candidate, result: Plan | NoPlan) -> dict[str, Any]:
    """Whether it would run: in which class of placement, with what context, how fast, and why."""
    if isinstance(result, NoPlan):
        return {"class": "no", "context_tokens": None, "tokens_per_second": None,
                "reason": result.reason}  # fmt: skip
    return {
        "class": result.kind(candidate.layers),
        "context_tokens": result.context_tokens,
        "tokens_per_second": result.speed.tokens_per_second if result.speed else None,
        "reason": result.reasons[0],
    }


def as_hardware(hardware: Hardware) -> dict[str, Any]:
    """The machine; ``usable`` says whether llama.cpp computes on a device."""
    document = asdict(hardware)
    for device, row in zip(hardware.devices, document["devices"], strict=True):
        row["usable"] = device.usable
    return document


def _plan(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    return {
        **_model(candidate),
        "file": _path(plan.model, candidate),
        "projector": _path(plan.projector, candidate) if plan.projector else None,
        "drafter": _path(plan.drafter, candidate) if plan.drafter else None,
        "adapters": [{"file": str(each.path), "scale": each.scale} for each in plan.adapters],
        "placement": {
            **dict(placement_items(plan)),
            "layers": candidate.layers,
            "layers_on_gpu": gpu_layers(plan, candidate),
            "threads": plan.threads,
            "prefill_threads": plan.prefill_threads,
        },
        "ledger": [
            {**asdict(each), "total_bytes": each.total_bytes, "fits": each.fits}
            for each in plan.ledger.accounts
        ]
        if plan.ledger
        else None,
        "speed": asdict(plan.speed) if plan.speed else None,
    }


def _model(candidate: Candidate) -> dict[str, Any]:
    return {
        "model": candidate.name,
        "title": candidate.title,
        "size": candidate.size_name or None,
        "weights_bytes": candidate.header.file_bytes,
        "exact": candidate.exact,
        "on_disk": candidate.on_disk,
        "download_bytes": candidate.download_bytes,
    }


def _path(path: Path, candidate: Candidate) -> str | None:
    return str(path) if candidate.on_disk else None
