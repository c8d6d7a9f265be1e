"""The questions of ``scripts/prove_gpu.py``: each is a function that answers with a ``Check``."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gemma_edge import catalog
from gemma_edge.documents.images import fit_picture, open_image
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.proof import CPU, MemoryRow, Trial, compare, prove
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Message, Request
from gemma_edge.errors import EngineError, GemmaEdgeError
from gemma_edge.gguf import Header, read_header
from gemma_edge.hardware.detect import run_probe
from gemma_edge.hardware.gpus import SMI
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.dry_run import DryRun, parse_splits, write_skeleton
from gemma_edge.planning.memory import RUNTIME_BYTES, account, closed_form
from gemma_edge.planning.model import Shape, parse_shape, sketch, synthesize
from gemma_edge.planning.plan import ALL_LAYERS, RAM, KvType, Ledger, Placement, Plan
from gemma_edge.planning.speed import predict, read_bytes
from gemma_edge.trust import find_program
from gemma_edge.units import GIB, MIB, render_bytes

ROOT = Path(__file__).resolve().parents[2]
State = Literal["passed", "failed", "not asked"]
NO_CUDA = "no CUDA here"
QUANT = "qat-q4_0"  # Google's files, whose sizes the recipe meets exactly
MOST_OFF = 1 / 3  # of an estimate of speed: enough to rank (docs/memory.md, "Speed")
READS_FASTER = 5  # than it answers, at least (docs/architecture.md, "Constraint")
_SPEED = (512, 512, 512, *(1,) * 64)
_SHORT_SPEED = (32, 32, 32, *(1,) * 4)
_TOOL_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question: what came of it, in words and in numbers."""

    number: int
    question: str
    state: State
    seen: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is proven: a device of this machine, its processor, or ggml's RPC device (``endpoint``),
    which stand in for one. ``short`` takes two to four layers instead of whole models."""

    hardware: Hardware
    device: Device | None
    endpoint: str
    folder: Path
    short: bool
    sizes: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def endpoints(self) -> tuple[str, ...]:
        return (self.endpoint,) if self.endpoint else ()

    @property
    def on_cuda(self) -> bool:
        return self.device is not None and self.device.backend == "cuda"

    @property
    def stands_in(self) -> bool:
        """Whether it is no GPU: then speed and main memory say nothing about one."""
        return self.device is None or bool(self.endpoint)

    @property
    def threads(self) -> int:
        return 1 if self.short else self.hardware.cpu.cores

    def place(self, context_tokens: int, batch_tokens: int = 512, **more: Any) -> Placement:
        """All layers on the device."""
        placement = Placement(
            context_tokens=context_tokens, batch_tokens=batch_tokens,
            variables=self.hardware.variables, **more,
        )  # fmt: skip
        if self.device is None:
            return placement
        return replace(placement, devices=(self.device.name,), gpu_layers=ALL_LAYERS)

    def load(self, plan: Plan) -> Engine:
        """The engine, with this device."""
        plan = replace(plan, variables=self.hardware.variables)
        if self.endpoint:
            return RemoteEngine(plan, program=("fit_server:work", self.endpoint))
        return RemoteEngine(plan)


@dataclass(frozen=True, slots=True)
class Model:
    """A file of zeros in true shapes."""

    name: str
    shape: Shape
    path: Path


def models(site: Site) -> list[Model]:
    """The sizes that were asked for; in the short form two and four layers of two of them."""
    headers = _short_headers() if site.short else _headers(site.sizes)
    found = []
    for name, header in headers.items():
        shape, path = parse_shape(header, exact=site.short), site.folder / f"{name}.gguf"
        write_skeleton(shape, path)
        found.append(Model(name, shape, path))
    return found


def _headers(names: Sequence[str]) -> dict[str, Header]:
    sizes = [size for size in catalog.sizes() if size.name in names]
    quants = [next(each for each in size.quants if each.name == QUANT) for size in sizes]
    return {size.name: synthesize(size, q) for size, q in zip(sizes, quants, strict=True)}


def _short_headers() -> dict[str, Header]:
    small, mixed = catalog.size("e2b"), catalog.size("26b-a4b")
    few = replace(small.dimensions, global_every=2, shared_kv_layers=2)
    experts = replace(mixed.dimensions, global_every=2, experts=8)
    cut = partial(sketch, vocabulary_tokens=4096)
    return {
        "e2b": cut(replace(small, layers=4, dimensions=few)),
        "26b-a4b": cut(replace(mixed, layers=2, dimensions=experts)),
    }


# 1 to 3: what the machine says of itself.

_SMI_QUERY = "--query-gpu=index,pci.bus_id,memory.total,memory.free,compute_cap,compute_mode"


def check_cards(site: Site) -> Check:
    """nvidia-smi's cards against those of the probe, and how long the probe takes."""
    started = time.perf_counter()
    found = run_probe(site.environment)
    seconds = round(time.perf_counter() - started, 2)
    ask = partial(
        Check, number=1, question="nvidia-smi and the probe name the same cards",
        numbers={"probe_seconds": seconds},
    )  # fmt: skip
    if not site.on_cuda:
        return ask(state="not asked", seen=f"{NO_CUDA}; the probe took {seconds:g} s")
    rows = [[cell.strip() for cell in line.split(",")] for line in smi(_SMI_QUERY)]
    cards = {row[1].lower()[-12:]: row for row in rows if len(row) == 6}
    ours = {each.pci_id: each for each in site.hardware.devices if each.backend == "cuda"}
    wrong = [pci for pci, each in ours.items() if not _same_card(each, cards.get(pci[-12:]))]
    crashed = found.get("status") != 0
    state: State = "failed" if wrong or crashed or not cards else "passed"
    seen = f"{len(cards)} by nvidia-smi, {len(ours)} here; {seconds:g} s"
    return ask(state=state, seen=f"{seen}; other numbers for {wrong}" if wrong else seen)


def _same_card(device: Device, row: Sequence[str] | None) -> bool:
    if row is None:
        return False
    total = float(row[2].split()[0]) * MIB  # of a slice its card's
    as_large = device.mig or abs(total - device.total_bytes) < 0.06 * total
    return as_large and row[4] == device.capability


def check_reason(site: Site) -> Check:
    """With a card that is not there CUDA says why it sees none, and we keep it."""
    ask = partial(Check, number=2, question="CUDA's own reason is heard")
    if not site.on_cuda:
        return ask(state="not asked", seen=NO_CUDA)
    found = run_probe({**site.environment, "CUDA_VISIBLE_DEVICES": "9"})
    log = " ".join(found.get("ggml", {}).get("log", ()))
    heard = "CUDA" in log
    return ask(state="passed" if heard else "failed", seen=log[:200] or "not a word")


def check_copies(site: Site, subjects: Sequence[Model]) -> Check:
    """One copy of ggml, or experts and logs go astray."""
    ask = partial(Check, number=3, question="one copy of ggml in a process")
    model = min(subjects, key=lambda each: each.shape.header.file_bytes)
    with Trial(site.endpoints) as trial:
        copies = trial.run(model.path, site.place(1024), (1,)).copies
    if not copies:
        return ask(state="not asked", seen="the system does not say what is mapped")
    return ask(
        state="passed" if copies == 1 else "failed", seen=f"{copies}", numbers={"copies": copies}
    )


# 4 and 5: memory, and the speed beside it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One real load: the ledger by llama.cpp's dry run, and by the formula (``law``), against what
    was allocated. Speeds are in tokens a second, 0 where they were not measured; ``gpu_bytes`` is
    what one token reads on the device. ``trouble`` is why there is none of it."""

    name: str
    layers: int
    placement: Placement
    rows: tuple[MemoryRow, ...]
    law: tuple[MemoryRow, ...]
    splits: int
    prefill: float
    decode: float
    predicted: float
    gpu_bytes: int
    trouble: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        kept = ("context_tokens", "batch_tokens", "kv_type", "cpu_expert_layers")
        return {**asdict(self), "placement": {key: getattr(self.placement, key) for key in kept}}


def load_each(site: Site, subjects: Sequence[Model]) -> Iterator[Loaded]:
    """Each model that fits, with both KV types; speed with the first."""
    context = 4096 if site.short else 32_768
    kinds: tuple[KvType, ...] = ("f16", "q8_0")
    for model in subjects:
        for kv_type in kinds:
            placement = site.place(context, kv_type=kv_type)
            chunks = _SHORT_SPEED if site.short else _SPEED
            found = _load(site, model, placement, chunks if kv_type == "f16" else chunks[:1])
            if found is not None:
                yield found


def load_experts(site: Site, subjects: Sequence[Model]) -> Loaded | None:
    """26B-A4B with all experts in main memory and large batches; None where that does not fit."""
    model = next((each for each in subjects if each.shape.has_experts), None)
    if model is None:
        return None
    context = 4096 if site.short else 32_768
    placement = site.place(context, 1024, cpu_expert_layers=len(model.shape.layers))
    chunks = _SHORT_SPEED if site.short else (1024, 1024, 1024, *(1,) * 32)
    return _load(site, model, placement, chunks)


def _load(site: Site, model: Model, placement: Placement, chunks: Sequence[int]) -> Loaded | None:
    try:
        return _load_and_time(site, model, placement, chunks)
    except EngineError as error:
        return Loaded(
            name=model.name, layers=len(model.shape.layers), placement=placement, rows=(), law=(),
            splits=0, prefill=0.0, decode=0.0, predicted=0.0, gpu_bytes=0, trouble=error.message,
        )  # fmt: skip


def _load_and_time(
    site: Site, model: Model, placement: Placement, chunks: Sequence[int]
) -> Loaded | None:
    with DryRun(site.endpoints) as dry:
        ledger = account(model.shape, None, placement, site.hardware, dry.measure)
        law = account(
            model.shape, None, placement, site.hardware, closed_form(dry.measure, site.hardware)
        )
    if not _fits(site, ledger):
        return None
    with Trial(site.endpoints) as trial:
        run = trial.run(model.path, placement, chunks, threads=site.threads)
    timed = list(zip(chunks, run.seconds[1:], strict=True))[1:]  # the first one warms it up
    reading = [each for each in timed if each[0] > 1]
    singles = [seconds for tokens, seconds in timed if tokens == 1]
    read = sum(tokens for tokens, _ in reading) / sum(s for _, s in reading) if reading else 0.0
    estimate, _ = predict(model.shape, placement, site.hardware, site.threads)
    counts = read_bytes(model.shape, placement)
    return Loaded(
        name=model.name, layers=len(model.shape.layers), placement=placement,
        rows=tuple(compare(ledger, run.allocated)), law=tuple(compare(law, run.allocated)),
        splits=parse_splits(run.lines), prefill=read,
        decode=len(singles) / sum(singles) if singles else 0.0,
        predicted=estimate if singles else 0.0,
        gpu_bytes=sum(count for place, count in counts.items() if place != RAM),
    )  # fmt: skip


def _fits(site: Site, ledger: Ledger) -> bool:
    """A device that stands in has main memory, once more."""
    available = site.hardware.memory.available_bytes or 0
    if site.stands_in:
        return sum(each.taken_bytes for each in ledger.accounts) < available / 2
    ram = ledger.account(RAM)
    return ledger.fits_devices and ram.taken_bytes < available


def check_memory(number: int, question: str, loads: Sequence[Loaded]) -> Check:
    """What was planned against what llama.cpp took."""
    ask = partial(Check, number=number, question=question)
    numbers: dict[str, Any] = {"loads": [load.plain() for load in loads]}
    if not loads:
        return ask(state="not asked", seen="no such model fits here")
    if trouble := [f"{load.name}: {load.trouble}" for load in loads if load.trouble]:
        return ask(state="failed", seen="; ".join(trouble), numbers=numbers)
    each = [(row, load) for load in loads for row in load.rows]
    row, load = max(each, key=lambda pair: pair[0].off)
    share = row.off / row.allocated if row.allocated else 1.0
    seen = (
        f"{len(loads)} loads, {len(each)} numbers; worst difference {row.off / MIB:.2f} MiB, "
        f"{share:.2%} ({row.part} on {row.place} of {load.name}, {load.placement.kv_type})"
    )
    numbers |= {"worst_bytes": row.off, "worst_share": share}
    state: State = "passed" if all(row.fits for row, _ in each) else "failed"
    return ask(state=state, seen=seen, numbers=numbers)


# 6 and 7: where experts lie, and a start with an empty cache.


def check_pinned(site: Site, subjects: Sequence[Model]) -> Check:
    """Without a mapped file experts lie in pinned memory, which the card reads by itself."""
    ask = partial(Check, number=6, question="experts in main memory are pinned (CUDA_Host)")
    if not site.on_cuda:
        return ask(state="not asked", seen=NO_CUDA)
    model = next((each for each in subjects if each.shape.has_experts), None)
    if model is None:
        return ask(state="not asked", seen="26b-a4b was not asked for")
    needed = sum(layer.experts.size_bytes for layer in model.shape.layers)
    if needed > (site.hardware.memory.available_bytes or 0) * 0.8:
        return ask(state="not asked", seen=f"they take {render_bytes(needed)} of main memory")
    placement = site.place(4096, cpu_expert_layers=len(model.shape.layers), load_mode="none")
    with Trial(site.endpoints) as trial:
        run = trial.run(model.path, placement, (1,), threads=site.threads)
    pinned = [line.strip() for line in run.lines if "CUDA_Host model buffer size" in line]
    lines = pinned or [line.strip() for line in run.lines if "model buffer size" in line]
    return ask(state="passed" if pinned else "failed", seen="; ".join(lines)[:300])


def check_first_start(site: Site) -> Check:
    """A driver that has compiled nothing yet: doctor must wait for it."""
    ask = partial(Check, number=7, question="doctor with an empty CUDA_CACHE_PATH")
    if not site.on_cuda:
        return ask(state="not asked", seen=NO_CUDA)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gemma_edge", "doctor", "--offline"],
            env={**site.environment, "CUDA_CACHE_PATH": folder}, cwd=ROOT,
            capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
        seconds = round(time.perf_counter() - started, 1)
    lines = [line for line in done.stdout.splitlines() if "GPU decode" in line]
    state: State = "passed" if done.returncode == 0 and lines else "failed"
    seen = f"{seconds:g} s; {' '.join(' '.join(lines).split()) or done.stderr[-200:]}"
    return ask(state=state, seen=seen, numbers={"seconds": seconds})


# 8: the same answers.

_WORDS = Request(messages=(Message("user", "Hello!"),), max_tokens=32, sampling=GREEDY)


def check_answers(site: Site) -> Check:
    """Gemma 4's shapes, a text and a picture, on the device and on the processor."""
    ask = partial(Check, number=8, question="text and picture as the processor has them")
    if site.device is None:
        return ask(state="not asked", seen="there is only the processor")
    name = site.device.name
    proofs = list(
        prove(
            (name,), endpoints=site.endpoints, threads=site.threads,
            variables=site.hardware.variables,
        )
    )  # fmt: skip
    wrong = [proof.why for proof in proofs if not proof.sound]
    words = [_answers(site, device) for device in (CPU, name)]
    if words[0] != words[1]:
        wrong.append(f"{words[1]} instead of {words[0]}")
    off = proofs[-1].difference
    seen = "; ".join(wrong) or f"off by {off:.2g}; {' / '.join(words[1])}"
    numbers = {"difference": off, "splits": proofs[-1].splits}
    return ask(state="failed" if wrong else "passed", seen=seen, numbers=numbers)


def _answers(site: Site, device: str) -> list[str]:
    files = catalog.resolve("demo")
    on_gpu = device != CPU
    plan = Plan(
        model=files.model, projector=files.projector, context_tokens=1024, batch_tokens=256,
        threads=1, devices=(device,) if on_gpu else (), gpu_layers=ALL_LAYERS if on_gpu else 0,
        projector_device=device if on_gpu else "",
    )  # fmt: skip
    shown = fit_picture(open_image(ROOT / "examples/shapes.png"), "shapes.png", files.image_tokens)
    look = replace(_WORDS, messages=(Message("user", "Describe this image.", (shown,)),))
    try:
        with closing(site.load(plan)) as engine:
            return [
                "".join(e.text for e in engine.generate(asked) if isinstance(e, Chunk))
                for asked in (_WORDS, look)
            ]
    except GemmaEdgeError as error:
        return [error.message]


# 9 and 10: a card that is nearly full, and what a context takes.

_LEFT = GIB  # on the card that another process holds


def check_full(site: Site, subjects: Sequence[Model]) -> Check:
    """Another process holds all but 1 GiB, after the plan was made: the load goes down the
    fallbacks, in words."""
    ask = partial(Check, number=9, question="a full card: the fallbacks are tried, in words")
    device = site.device
    if device is None or not site.on_cuda:
        return ask(state="not asked", seen=NO_CUDA)
    if site.hardware.system == "win32" or site.hardware.wsl:
        return ask(state="not asked", seen="Windows moves to main memory what does not fit")
    path = catalog.resolve("demo").model
    large = 4 * _LEFT // _cell_bytes(parse_shape(read_header(path))) // 256 * 256
    plan = Plan(
        model=path, context_tokens=large, batch_tokens=128, threads=1, devices=(device.name,),
        gpu_layers=ALL_LAYERS,
    )  # fmt: skip
    small = replace(plan, context_tokens=2048)
    plan = replace(plan, fallbacks=(small, replace(small, devices=(), gpu_layers=0)))
    holder = min(subjects, key=lambda each: each.shape.header.file_bytes)
    weights = holder.shape.token_table.size_bytes + sum(
        x.dense.size_bytes + x.experts.size_bytes for x in holder.shape.layers
    )
    mask = 2 * 64  # bytes a token of its context for batches of 32
    left = device.free_bytes - weights - _LEFT
    held = site.place(max(4096, left // (_cell_bytes(holder.shape) + mask)), 32)
    with Trial(site.endpoints) as trial:
        try:
            trial.run(holder.path, held, (1,), threads=1)
            with closing(site.load(plan)) as engine:
                notes, chosen = engine.info.notes, engine.info.plan
        except GemmaEdgeError as error:
            return ask(state="failed", seen=error.message)
    down = chosen is not None and chosen.context_tokens < large
    seen = "; ".join(notes) or "it was loaded as planned"
    return ask(state="passed" if down and notes else "failed", seen=seen)


def _cell_bytes(shape: Shape) -> int:
    """Keys and values of one token of the context, in 16 bits."""
    own = (each for each in shape.layers if each.kind == "global")
    return max(1, sum(2 * (each.key_values + each.value_values) for each in own))


def check_context(site: Site, subjects: Sequence[Model]) -> Check:
    """What a process takes on the card beside llama.cpp's buffers, by nvidia-smi."""
    ask = partial(Check, number=10, question="what a context takes beside the buffers")
    if not site.on_cuda or site.device is None:
        return ask(state="not asked", seen=NO_CUDA)
    model = min(subjects, key=lambda each: each.shape.header.file_bytes)
    with Trial(site.endpoints) as trial:
        run = trial.run(model.path, site.place(4096), (512, 1), threads=1)
        rows = [line.split(",") for line in smi("--query-compute-apps=pid,used_memory")]
        used = next((row[1] for row in rows if row[0].strip() == str(trial.pid)), "")
    number = used.strip().split(" ")[0]
    if not number.isdigit():
        return ask(state="not asked", seen="nvidia-smi does not say what a process uses here")
    buffers = sum(row.size_bytes for row in run.allocated if row.place == site.device.name)
    beside = int(number) * MIB - buffers
    known = site.device.context_bytes
    planned = RUNTIME_BYTES["cuda"] if known is None else known
    fits = abs(beside - planned) <= 64 * MIB
    seen = f"{render_bytes(beside)}, planned {render_bytes(planned)}"
    return ask(
        state="passed" if fits else "failed", seen=seen,
        numbers={"context_bytes": beside, "planned_bytes": planned},
    )  # fmt: skip


# 11: speed.


def check_speed(site: Site, loads: Sequence[Loaded]) -> Check:
    """Answers and reading against the estimate."""
    ask = partial(Check, number=11, question="as fast as was estimated")
    timed = [load for load in loads if load.decode]
    numbers = {
        f"{load.name}{' experts' if load.placement.cpu_expert_layers else ''}": {
            "decode": load.decode, "predicted": load.predicted, "prefill": load.prefill,
        }
        for load in timed
    }  # fmt: skip
    words = "; ".join(
        f"{name} answers {each['decode']:,.1f} tok/s, {each['predicted']:,.1f} estimated, reads "
        f"{each['prefill']:,.0f}"
        for name, each in numbers.items()
    )
    if site.stands_in or not timed:
        return ask(state="not asked", seen=f"no GPU here; {words}", numbers=numbers)
    wrong = [
        name for name, each in numbers.items()
        if abs(each["decode"] / each["predicted"] - 1) > MOST_OFF
        or each["prefill"] < READS_FASTER * each["decode"]
    ]  # fmt: skip
    return ask(state="failed" if wrong else "passed", seen=words, numbers=numbers)


def smi(query: str) -> list[str]:
    """Lines of nvidia-smi, none where it does not answer."""
    program = find_program(SMI, os.environ) or "/usr/lib/wsl/lib/nvidia-smi"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader"], capture_output=True, text=True,
            timeout=_TOOL_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
