"""The page of a plan: the ledger first, then why it is so, then what else is possible."""

import shlex
from collections.abc import Mapping, Sequence

from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.ledger_page import render_bars, render_remarks, render_table
from gemma_edge.cli.plan.words import (
    render_details,
    render_devices,
    render_place,
    render_short_place,
    render_speed,
    short_title,
    short_tokens,
)
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.plan import Plan, Rung, Speed
from gemma_edge.fit.planning import PlacementClass, Row
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.units import GIB, render_bytes

Candidates = Mapping[str, Candidate]  # by the plan's name

PLACES: dict[PlacementClass, str] = {
    "gpu": "GPU", "experts": "experts on CPU", "partial": "partly on CPU", "cpu": "CPU", "no": "no",
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
        output.table([("  " + _speed(plan.speed, render_speed(plan), explain),)])
    output.page("")
    others = tuple(candidates[each.name].title for each in plan.alternatives)
    rows = [("why", reason) for reason in plan.reasons if not reason.startswith(others)]
    rows += [("instead", _alternative(each, candidates)) for each in plan.alternatives]
    output.table(_labelled(rows))
    if explain:
        show_rungs(plan.rungs, output)
        show_machine(hardware, output)
    if not candidate.exact:
        output.note(
            "weights estimated from the catalogue; "
            f"gemma-edge plan {shlex.quote(candidate.name)} --headers reads the header"
        )


def show_rungs(rungs: Sequence[Rung], output: Output) -> None:
    """What was tried, and why each step fell."""
    rows = [(f"{rung.what}: {'taken' if rung.taken else 'no'}, {rung.reason}") for rung in rungs]
    output.page("")
    output.table(_labelled([("tried", row) for row in rows]))


def show_machine(hardware: Hardware, output: Output) -> None:
    """What was detected, and where each number comes from."""
    output.page("")
    rows = [("CPU", f"{hardware.cpu.name or 'not named'}: {hardware.cpu.reason}"),
            ("RAM", hardware.memory.reason)]  # fmt: skip
    rows += [(device.name or "unused", _device(device)) for device in hardware.devices]
    build = hardware.build
    rows.append(("llama.cpp", f"{build.version}, {', '.join(build.backends)}"))
    rows += [(finding.state, _finding(finding.text, finding.fix)) for finding in hardware.findings]
    output.table(_labelled(rows))


def show_matrix(rows: Sequence[Row], hardware: Hardware, output: Output) -> None:
    """Every candidate by itself."""
    output.table([_matrix_row(row) for row in rows])
    output.note(machine_line(hardware))


def _matrix_row(row: Row) -> tuple[str, ...]:
    size = f"{'' if row.candidate.exact else '~'}{render_bytes(row.candidate.header.file_bytes)}"
    said = render_row(row) if row.plan else f"no: {row.reason}"
    return row.candidate.name, size, said


def render_row(row: Row) -> str:
    """``GPU, 32k, ~60 tok/s``; ``no``."""
    if row.plan is None:
        return "no"
    context = short_tokens(row.plan.context_tokens)
    return ", ".join(filter(None, [PLACES[row.placement], context, render_speed(row.plan)]))


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
    parts = [
        render_short_place(plan, candidate),
        f"{short_tokens(plan.context_tokens)} context",
        render_speed(plan),
    ]
    said = ", ".join(filter(None, parts))
    return f"{short_title(candidate)}: {said} (--model {shlex.quote(candidate.name)})"


def _speed(speed: Speed, rate: str, explain: bool) -> str:
    """The arithmetic stands behind a colon, for those who asked."""
    return f"{rate}, {speed.reason if explain else speed.reason.partition(':')[0]}"


def _device(device: Device) -> str:
    free = f"{device.free_bytes / GIB:.1f} of {device.total_bytes / GIB:.1f} GiB free"
    return ", ".join(filter(None, [device.title, free, device.reason]))


def _finding(text: str, fix: str) -> str:
    return f"{text} (fix: {fix})" if fix else text


def _labelled(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The label once, where several rows have the same."""
    shown, last = [], ""
    for label, text in rows:
        shown.append(("  " + ("" if label == last else label), text))
        last = label
    return shown
