"""The golden table: machine x model x constraints. ``python -m tests.planning.golden`` writes it
again; read the difference like a table before it is committed."""

from collections.abc import Iterator
from pathlib import Path

from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.plan import ALL_LAYERS, Candidate, Constraints, Plan
from gemma_edge.planning.planner import NothingFits, Planner
from gemma_edge.planning.render import short_tokens
from gemma_edge.units import GIB
from tests.planning.table import MACHINES, candidates, measure, only, plan

PATH = Path(__file__).with_name("golden.txt")

# (what is typed, what it offers, what it pins)
CONSTRAINTS: list[tuple[str, str, Constraints]] = [
    ("--min-speed 12", "", Constraints(min_speed=12)),
    ("--ctx 128k", "", Constraints(context_tokens=131072)),
    ("--no-vision", "", Constraints(vision=False)),
    ("--detail max", "", Constraints(image_tokens=1120, vision=True)),
    ("--require-gpu", "", Constraints(require_gpu=True)),
    ("-m 26b-a4b", "26b-a4b", Constraints()),
    ("-m 26b-a4b --cpu-experts 30", "26b-a4b", Constraints(cpu_expert_layers=30)),
    ("-m 31b", "31b", Constraints()),
    ("-m 31b --kv q8_0", "31b", Constraints(kv_type="q8_0")),
    ("-m 31b --gpu-layers all", "31b", Constraints(gpu_layers=ALL_LAYERS)),
    ("-m 12b --ctx 256k", "12b", Constraints(context_tokens=262144)),
    ("-m 12b --gpu-layers 20", "12b", Constraints(gpu_layers=20)),
    ("-m e4b --gpu-layers 0", "e4b", Constraints(gpu_layers=0)),
]
PINNED_ON = ("imagined: desktop with 32 GB", "rtx-4060-laptop-igpu", "rtx-4090-headless", "m2-16gb")
ALL_ON = "rtx-3060"


def render() -> str:
    """The whole file."""
    return "\n".join([
        "What is chosen on each machine, and why. Then what flags make of four of them, and what",
        "becomes of every size and quant on one. `python -m tests.planning.golden` writes it.",
        "", *_chosen(), *_pinned(), *_every_quant(),
    ]) + "\n"  # fmt: skip


def _chosen() -> Iterator[str]:
    for name, hardware in MACHINES.items():
        yield _headline(name, hardware)
        decided = _decide(hardware, candidates(), Constraints())
        yield f"  {_line(decided)}"
        if isinstance(decided, Plan):
            yield from (f"       {reason}" for reason in decided.reasons if _is_told(reason))
            yield from (f"    or {_line(other)}" for other in decided.alternatives)
            taken = {decided.name, *(other.name for other in decided.alternatives)}
            titles = {each.title for each in candidates() if each.name not in taken}
            for attempt in decided.attempts:
                if attempt.what in titles:
                    yield f"    no {attempt.what}: {attempt.reason}"
        yield ""


def _is_told(reason: str) -> bool:
    """Not what the line before says already."""
    return not (reason.startswith(("context", "all on", "on the")) or "thread" in reason)


def _pinned() -> Iterator[str]:
    for name in PINNED_ON:
        yield f"{_headline(name, MACHINES[name])}, with flags"
        for typed, model, constraints in CONSTRAINTS:
            offered = only(model) if model else candidates()
            yield f"  {typed:<28} {_line(_decide(MACHINES[name], offered, constraints))}"
        yield ""


def _every_quant() -> Iterator[str]:
    hardware = MACHINES[ALL_ON]
    yield f"{_headline(ALL_ON, hardware)}, --all"
    offered = candidates(all_quants=True)
    planner = Planner(hardware=hardware, measure=measure(hardware))
    for candidate, result in zip(offered, planner.plan_each(offered, Constraints()), strict=True):
        fits = isinstance(result, Plan)
        kind = result.kind(candidate.layers) if fits else "no"
        reason = result.reasons[0] if fits else result.reason
        yield f"  {candidate.name:<24} {kind:<9} {reason}"


def _headline(name: str, hardware: Hardware) -> str:
    memory = hardware.memory
    words = [
        f"{each.title} {each.free_bytes / GIB:.1f} of {each.total_bytes / GIB:.1f} GiB"
        for each in hardware.devices
        if each.usable
    ]
    words.append(f"RAM {(memory.available_bytes or 0) / GIB:.1f}")
    words[-1] += f" of {(memory.total_bytes or 0) / GIB:.1f} GiB"
    return f"{name}: {', '.join(words)}, {hardware.cpu.cores} cores"


def _decide(
    hardware: Hardware, offered: tuple[Candidate, ...], constraints: Constraints
) -> Plan | NothingFits:
    try:
        return plan(hardware, offered, constraints, measure(hardware))
    except NothingFits as error:
        return error


def _line(decided: Plan | NothingFits) -> str:
    if isinstance(decided, NothingFits):
        return f"no: {decided.message} [{decided.hint}]"
    assert decided.speed
    assert decided.ledger
    where = ["CPU"]
    if decided.devices:
        layers = "all" if decided.gpu_layers == ALL_LAYERS else str(decided.gpu_layers)
        where = ["+".join(decided.devices), layers]
    where += [f"split {'/'.join(map(str, decided.split))}"] * bool(decided.split)
    where += [f"experts {decided.cpu_expert_layers}"] * bool(decided.cpu_expert_layers)
    seen = f"images {decided.image_tokens} {decided.projector_device or 'CPU'}"
    odd = [
        decided.kv_type if decided.kv_type != "f16" else "", "lazy" if decided.lazy else "",
        "" if decided.repack else "no repack", "" if decided.load_mode == "mmap" else "no mmap",
    ]  # fmt: skip
    memory = ", ".join(
        f"{each.place} {each.total_bytes / GIB:.1f}" for each in decided.ledger.accounts
    )
    return (
        f"{decided.name:<10} {' '.join(where):<24} {short_tokens(decided.context_tokens):>4} "
        f"ub {decided.batch_tokens:<4} {seen if decided.image_tokens else 'no images':<18} "
        f"{decided.threads}/{decided.prefill_threads} threads  "
        f"~{decided.speed.tokens_per_second:.1f} tok/s  [{memory} GiB]"
        f"{''.join(' ' + word for word in odd if word)}"
    )


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8", newline="\n")
