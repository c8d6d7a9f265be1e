"""Machines and models that the tests of the search share, and a measure without llama.cpp."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from gemma_edge.catalog import sizes
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.machine import Build, Cpu, Device, Hardware, Memory
from gemma_edge.planning.memory import Compute, Measure, closed_form, pad_cells, window_cells
from gemma_edge.planning.model import Shape, synthesize, synthesize_projector
from gemma_edge.planning.plan import RAM, Candidate, Constraints, Placement, Plan
from gemma_edge.planning.planner import Planner
from gemma_edge.store.measurements import Measurement
from gemma_edge.units import GIB

# KiB of activations a token of the batch, by layers (docs/memory.md, "Compute buffers").
_ACTIVATIONS_KIB = {35: 219, 42: 224, 48: 257, 30: 192, 60: 347}


def cpu_law(shape: Shape, placement: Placement) -> Compute:
    """What docs/memory.md, "Compute buffers", says of the CPU; ``closed_form`` takes its constants
    from it."""
    batch = min(placement.batch_tokens, placement.context_tokens)
    cells = pad_cells(placement.context_tokens) + window_cells(shape, placement)
    activations = 1024 * _ACTIVATIONS_KIB.get(len(shape.layers), 200) * batch
    return Compute(
        compute={RAM: activations + 2 * cells * batch}, output={RAM: 4 * shape.vocabulary_tokens}
    )


def measure(hardware: Hardware) -> Measure:
    """Compute buffers of a machine that nobody has here."""
    return closed_form(cpu_law, hardware)


def plan(  # noqa: PLR0913
    hardware: Hardware,
    offered: Sequence[Candidate],
    constraints: Constraints,
    measure: Measure,
    speeds: Sequence[Measurement] = (),
    *,
    busy_programs: int | None = None,
) -> Plan:
    """By a planner that knows one measure."""
    planner = Planner(
        hardware=hardware, measure=measure, speeds=speeds, busy_programs=busy_programs
    )
    return planner.plan(offered, constraints)


@cache
def candidates(*, all_quants: bool = False) -> tuple[Candidate, ...]:
    """The catalogue as if nothing had been downloaded: the default of every size, or everything."""
    return tuple(
        Candidate(
            name=size.name if quant is size.default else f"{size.name}:{quant.name}",
            title=f"{size.title.removeprefix('Gemma 4 ')} {quant.title}",
            header=synthesize(size, quant),
            projector=synthesize_projector(size, quant),
            exact=False,
            on_disk=False,
            size_name=size.name,
            bits=quant.bits,
            qat=quant.qat,
            image_tokens=size.image_tokens,
        )
        for size in sizes()
        for quant in (size.quants if all_quants else size.quants[:1])
    )


def only(name: str) -> tuple[Candidate, ...]:
    """What ``--model NAME`` offers."""
    return tuple(each for each in candidates(all_quants=True) if each.name == name)


def gpu(  # noqa: PLR0913
    title: str,
    total_gib: float,
    free_gib: float,
    *,
    name: str = "CUDA0",
    backend: str = "cuda",
    integrated: bool = False,
    mig: bool = False,
    display: bool = False,
) -> Device:
    """A GPU; ``name`` is ggml's, "" where it does not see it."""
    return Device(
        name=name, title=title, backend=backend, integrated=integrated,
        total_bytes=int(total_gib * GIB), free_bytes=int(free_gib * GIB), mig=mig, display=display,
    )  # fmt: skip


def machine(  # noqa: PLR0913
    ram_gib: float,
    *devices: Device,
    total_gib: float = 0,
    cpu: Cpu | None = None,
    system: str = "linux",
    instructions: tuple[str, ...] = ("SSE3", "AVX", "AVX2", "FMA"),
    wsl: bool = False,
) -> Hardware:
    """``ram_gib`` is available, of ``total_gib``."""
    return Hardware(
        system=system,
        cpu=cpu or Cpu(6, "6 physical cores"),
        memory=Memory(
            int(ram_gib * GIB), f"{ram_gib} GiB are available", int((total_gib or ram_gib) * GIB)
        ),
        build=Build(version="0.3.36", backends=("cpu",), instructions=instructions),
        devices=devices,
        wsl=wsl,
    )


def _recorded(name: str) -> Hardware:
    text = (_RECORDINGS / f"{name}.json").read_text(encoding="utf-8")
    return parse_recording(json.loads(text))


_RECORDINGS = Path(__file__).resolve().parents[1] / "machines"
_EPYC = Cpu(32, "32 physical cores", name="AMD EPYC 7543 32-Core Processor")

# Those that were recorded, and some that nobody has recorded yet.
MACHINES: dict[str, Hardware] = {
    path.stem: _recorded(path.stem) for path in sorted(_RECORDINGS.glob("*.json"))
} | {
    "imagined: laptop with 8 GB": machine(5.5, total_gib=7.6, cpu=Cpu(4, "4 physical cores")),
    "imagined: desktop with 32 GB": machine(28, total_gib=31),
    "imagined: GTX 1650": machine(
        24, gpu("GTX 1650", 4, 3.6, display=True), total_gib=31, cpu=Cpu(4, "4 physical cores")
    ),
    "imagined: two RTX 3060": machine(
        26, gpu("RTX 3060", 12, 11.6), gpu("RTX 3060", 12, 11.6, name="CUDA1"), total_gib=31
    ),
    "imagined: H100": machine(
        400, gpu("H100 80GB HBM3", 79.6, 79.0), total_gib=500, cpu=_EPYC
    ),
    "imagined: Strix Halo": machine(
        54, gpu("Radeon 8060S", 48, 47, name="Vulkan0", backend="vulkan", integrated=True),
        total_gib=62, cpu=Cpu(16, "16 physical cores", name="AMD RYZEN AI MAX+ 395"),
    ),
}  # fmt: skip
