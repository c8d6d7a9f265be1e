"""The best placement of one model: threads, speed, strategies, and what is given up until it fits.
Pure.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

from gemma_edge.errors import DoesNotFit
from gemma_edge.hardware.machine import Cpu, Device, Hardware
from gemma_edge.planning.memory import RAM, adapter_problem, layer_places
from gemma_edge.planning.model import Layer, Shape
from gemma_edge.planning.plan import (
    ALL_LAYERS,
    Attempt,
    Candidate,
    Constraints,
    KvType,
    Ledger,
    Placement,
    Speed,
)
from gemma_edge.store.measurements import Measurement
from gemma_edge.units import render_bytes

# ----------------------------------------------------------------------------
# How many threads decode and how many read prompts, with the reason. Pure.


# Two threads wait for each other several hundred times a token. The bundled model (3.5 MB) reads
# the example invoice in 0.2 s with one thread, and in a minute with two where another program wants
# the second core.
SMALL_MODEL_BYTES = 32 << 20
# Threads share the work evenly and wait for the slowest. Slow cores do about half of a fast one, so
# all together are faster than the fast ones alone where they outnumber them by far (2 + 8).
OUTNUMBERED = 2.5
GPU_THREADS = 4  # more only wait: 4 threads 9.1 tok/s, 7 threads 8.7 (docs/memory.md, "Threads")


@dataclass(frozen=True, slots=True)
class Threads:
    """``decode`` make tokens, ``prefill`` read prompts; both at least 1."""

    decode: int
    prefill: int
    reason: str


def choose_threads(
    cpu: Cpu, model_bytes: int, *, asked: int | None = None, busy_programs: int | None = None,
    all_on_gpu: bool = False,
) -> Threads:  # fmt: skip
    """Cores that are ours and free; llama.cpp's threads wait for the slowest, and one that shares
    its core with another program stops them all. ``busy_programs`` is how many other programs want
    a core, on the whole machine; so half of ours stay at least."""
    if asked is not None:
        return Threads(asked, asked, "as asked")
    if model_bytes < SMALL_MODEL_BYTES and cpu.cores > 1:
        reason = "the model is so small that handing work over takes longer than the work"
        return Threads(1, 1, reason)
    fast, cores, reason = cpu.fast_cores or cpu.cores, cpu.cores, cpu.reason
    if cores > OUTNUMBERED * fast:
        fast = cores
    busy = busy_programs or 0
    if busy and cores > 1:
        cores = max(cores - busy, cores // 2)
        fast = min(fast, cores)
        reason += f", {busy} other program{'s want' if busy > 1 else ' wants'} a core"
    if all_on_gpu and fast > GPU_THREADS:
        return Threads(GPU_THREADS, cores, f"the GPU does the work; {reason}")
    return Threads(fast, cores, reason)


# ----------------------------------------------------------------------------
# One candidate on one machine under one person's constraints: what every step is about.


WANTED_CONTEXT_TOKENS = 32 << 10  # a long document and its answer
FLOOR_CONTEXT_TOKENS = 8 << 10  # a long letter and its answer; less only when asked
MOST_CONTEXT_TOKENS = 128 << 10  # more only when asked: reading it takes minutes
CONTEXT_STEPS = (8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10)
MIN_CONTEXT_TOKENS = 256  # llama.cpp rounds the context up to it (llama-context.cpp, GGML_PAD)
UNKNOWN_CONTEXT_TOKENS = 4096  # a header without `context_length`

Weigh = Callable[[Placement], Ledger]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A placement that fits; ``what`` says it in words, ``notes`` why its parts are as they are."""

    placement: Placement
    ledger: Ledger
    speed: Speed
    threads: Threads
    what: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the ladder of one candidate came to: the best option, or why there is none."""

    best: Option | None
    attempts: tuple[Attempt, ...]
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """``alone``: no other size is offered, so the person chose this one. ``order`` is its place
    among the candidates. ``weigh`` gives the ledger of a placement, and is asked once for each."""

    candidate: Candidate
    shape: Shape
    hardware: Hardware
    constraints: Constraints
    weigh: Weigh
    alone: bool = False
    order: int = 0
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None
    weighed: dict[Placement, Ledger] = field(default_factory=dict, repr=False, compare=False)

    def ledger(self, placement: Placement) -> Ledger:
        """Its memory, part by part."""
        if placement not in self.weighed:
            self.weighed[placement] = self.weigh(placement)
        return self.weighed[placement]

    def wish(self, **changes: object) -> "Case":
        """The same with other constraints; ledgers that are known stay known."""
        return replace(self, constraints=replace(self.constraints, **changes))  # type: ignore[arg-type]

    @property
    def layers(self) -> int:
        """Layers of the model, the output not counted."""
        return len(self.shape.layers)

    @property
    def sees(self) -> bool:
        """Whether a projector is loaded."""
        return self.candidate.projector is not None and self.constraints.vision is not False

    @property
    def per_layer_embeddings(self) -> bool:
        """E2B and E4B: their first layers own the KV cache; a split would read it over the bus."""
        return self.shape.layer_table.size_bytes > 0

    @cached_property
    def trained(self) -> int:
        """Tokens that the model was trained to read."""
        trained = self.shape.trained_context_tokens
        if trained is None or trained < MIN_CONTEXT_TOKENS:  # then the header is wrong
            return UNKNOWN_CONTEXT_TOKENS
        return trained

    @cached_property
    def wanted(self) -> int:
        """The context to begin with."""
        return self.constraints.context_tokens or min(WANTED_CONTEXT_TOKENS, self.trained)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """GPUs that may be used: discrete ones, integrated ones only where there is no other."""
        usable = [device for device in self.hardware.devices if device.usable]
        discrete = tuple(device for device in usable if not device.integrated)
        return discrete or tuple(usable)


def check_context(case: Case) -> None:
    """Refuse a context that cannot be.

    Raises:
        DoesNotFit: the context asked for is smaller than the least or larger than the model's.
    """
    asked, trained = case.constraints.context_tokens, case.shape.trained_context_tokens
    if asked is None:
        return
    if asked < MIN_CONTEXT_TOKENS:
        raise DoesNotFit(
            f"a context of {asked:,} tokens is too small, the least is {MIN_CONTEXT_TOKENS}",
            hint=f"--ctx {MIN_CONTEXT_TOKENS} or more",
        )
    if trained is not None and asked > trained >= MIN_CONTEXT_TOKENS:
        raise DoesNotFit(
            f"a context of {asked:,} tokens was asked for, {case.candidate.title} reads at most "
            f"{trained:,}",
            hint=f"--ctx {trained}",
        )


def short_of_gpu(ledger: Ledger) -> bool:
    """Whether the memory of a device is too small."""
    return any(not account.fits for account in ledger.accounts if account.place != RAM)


def render_shortage(ledger: Ledger, context_tokens: int = 0) -> str:
    """``needs 8.1 GiB at 8k context, 7.6 GiB are free on RTX 4060``, of the first memory that is
    too small; without the context where none is given."""
    at = f" at {render_context(context_tokens)} context" if context_tokens else ""
    for account in ledger.accounts:
        if not account.fits:
            free = render_bytes(max(0, account.budget_bytes or 0))
            place = "in main memory" if account.place == RAM else f"on {account.title}"
            return f"needs {render_bytes(account.total_bytes)}{at}, {free} are free {place}"
    return ""


def render_context(count_tokens: int) -> str:
    """``32k``, or the whole number."""
    return f"{count_tokens >> 10}k" if count_tokens % 1024 == 0 else f"{count_tokens:,}"


# ----------------------------------------------------------------------------
# How fast a placement will answer: bytes that one token reads, over what memory delivers. Two
# constants for each kind of memory (docs/memory.md, "Speed"), corrected by what was measured on
# this machine. It ranks placements; until it is measured, what a person sees is called an estimate.


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["gpu", "experts", "partial", "cpu"]

# Of the bandwidth on paper that decoding reaches: fitted to reports (docs/memory.md, "Speed").
GPU_SHARE, RAM_SHARE = 0.75, 0.6
# Seconds a token beside reading, by backend: RTX 3090 2.7 ms, RX 7900 XT 4.5 ms.
GPU_OVERHEAD = {"cuda": 2.7e-3, "metal": 2.7e-3}
OTHER_OVERHEAD = 4.5e-3
# Handing one layer's experts to the CPU and back: what an RTX 4060 laptop, a GTX 1080 and an
# RTX 2070 needed (published reports) beyond the two terms above, 0.43 to 0.65 ms.
EXPERT_LAYER_OVERHEAD = 0.5e-3
# Seconds a token for each layer on the CPU, where threads meet: SmolLM2 135M, 98 MB, 30 layers,
# 15 ms a token on two Xeon cores, with the line below.
CPU_LAYER_OVERHEAD = 0.15e-3
CORE_BYTES = 5e9  # a second and core, measured: 270M Q4_K_M, 253 MB, 39 tok/s on 2 cores
SLOW_CORE = 0.5  # of a fast one
NO_AVX2_SHARE = 0.25  # 10 tok/s against 45: JamePeng/llama-cpp-python, issue 123
FILL_TOKENS = 1024  # of the context, whose keys and values are read too
UNKNOWN_GPU_GB = 250.0  # GB/s; a mid-range card
# GB/s of main memory by the processor's name, where a chip's own is not in the table: 8 channels of
# DDR4-3200 (EPYC), 6 of DDR4-2933 (Xeon), 4 of DDR4-3200, 2 of DDR5-5200 (from Zen 4, Core Ultra),
# else 2 of DDR4-3200; the makers' data sheets.
_RAM_GB = (
    (re.compile(r"epyc", re.I), 204.0),
    (re.compile(r"xeon", re.I), 140.0),
    (re.compile(r"threadripper", re.I), 102.0),
    (re.compile(r"ryzen ai|ryzen.*\b(7\d[0459]\d|[89]\d{3})|core.* ultra", re.I), 83.0),
)
DEFAULT_RAM_GB = 51.0
_NOISE = re.compile(
    r"\((?:r|tm)\)|\(.*?\)|\b(?:nvidia|amd|intel|geforce|radeon|graphics|gpu|generation)\b", re.I
)
# Words that make another card of a name; one that the table's name lacks is no match.
_VARIANTS = {
    "ti", "super", "laptop", "xt", "xtx", "gre", "pro", "max", "ultra", "ada", "blackwell",
}  # fmt: skip
_FAST_INSTRUCTIONS = {"avx2", "avx512", "neon", "sve", "vsx", "rvv", "asimd"}


def classify(placement: Placement, layers: int) -> Kind:
    """Where a model of so many layers computes."""
    if not placement.devices or placement.gpu_layers == 0:
        return "cpu"
    if gpu_layer_count(placement, layers) <= layers:
        return "partial"
    return "experts" if placement.cpu_expert_layers else "gpu"


def gpu_layer_count(placement: Placement, layers: int) -> int:
    """Layers on the GPU; the output counts as one more (llama-model.cpp, ``load_tensors``)."""
    asked = placement.gpu_layers
    return layers + 1 if asked == ALL_LAYERS else min(asked, layers + 1)


def estimate(case: Case, placement: Placement, threads: int) -> Speed:
    """The speed of this placement: measured where this machine has run just it, else predicted and
    corrected by the newest measurement on the same device, of the same kind where there is one."""
    weights = case.candidate.weights_key
    blank, reason = describe_run(case.shape, placement, case.hardware, threads, weights)
    predicted = blank.predicted_tokens_per_second
    for each in reversed(case.speeds):
        if each.key == blank.key:
            return Speed(
                tokens_per_second=each.tokens_per_second, measured=True,
                reason="measured on this machine with these weights",
            )  # fmt: skip
    alike = [each for each in case.speeds if _device(each) == _device(blank)]
    same_kind = [each for each in alike if _kind(each) == _kind(blank)]
    for each in (same_kind or alike)[-1:]:
        ratio = each.tokens_per_second / each.predicted_tokens_per_second
        text = f"an estimate ({reason}), times {ratio:.2f} as another run was measured here"
        return Speed(tokens_per_second=predicted * ratio, measured=False, reason=text)
    text = f"an estimate until the first load: {reason}"
    return Speed(tokens_per_second=predicted, measured=False, reason=text)


def describe_run(
    shape: Shape, placement: Placement, hardware: Hardware, threads: int, weights: str
) -> tuple[Measurement, str]:
    """A run as ``predict`` sees it, whose speed is still to be measured, and the arithmetic as a
    sentence. ``weights`` is ``Candidate.weights_key``."""
    predicted, reason = predict(shape, placement, hardware, threads)
    kind = classify(placement, len(shape.layers))
    numbers = {
        "gpu": "", "experts": f":{placement.cpu_expert_layers}:{threads}",
        "partial": f":{placement.gpu_layers}:{threads}", "cpu": f":{threads}",
    }  # fmt: skip
    used = _used(placement, hardware)
    run = Measurement(
        device=" + ".join(device.title for device in used) or hardware.cpu.name or "CPU",
        backend=used[0].backend if used else "cpu",
        version=hardware.build.version,
        weights=weights,
        placement=kind + numbers[kind],
        moe=shape.has_experts,
        tokens_per_second=predicted,
        predicted_tokens_per_second=predicted,
    )
    return run, reason


def _device(run: Measurement) -> tuple[str, str, str, bool]:
    """Runs whose estimates are wrong in the same way: the same kernels on the same device."""
    return run.device, run.backend, run.version, run.moe


def _kind(run: Measurement) -> str:
    return run.placement.partition(":")[0]


def predict(
    shape: Shape, placement: Placement, hardware: Hardware, threads: int
) -> tuple[float, str]:
    """Tokens a second, and the arithmetic as a sentence; nothing stored is looked at."""
    counts = read_bytes(shape, placement)
    used = _used(placement, hardware)
    seconds, words = 0.0, []
    for device in used:
        gigabytes, source = gpu_bandwidth(device, hardware)
        count = counts.get(device.name, 0)
        seconds += count / (GPU_SHARE * gigabytes * 1e9)
        words.append(f"{count / 1e9:.1f} GB a token at {gigabytes:.0f} GB/s ({source})")
    if used:
        seconds += GPU_OVERHEAD.get(used[0].backend, OTHER_OVERHEAD)
        seconds += EXPERT_LAYER_OVERHEAD * placement.cpu_expert_layers
    if on_cpu := counts.get(RAM, 0):
        rate = cpu_bytes_per_second(hardware, threads)
        layers = layer_places(len(shape.layers), placement)[:-1].count(RAM)
        seconds += on_cpu / rate + CPU_LAYER_OVERHEAD * layers
        words.append(f"{on_cpu / 1e9:.1f} GB a token at {rate / 1e9:.0f} GB/s from main memory")
    return 1 / max(seconds, 1e-6), ", ".join(words)


def read_bytes(shape: Shape, placement: Placement) -> dict[str, int]:
    """What one token reads of weights, keys and values, by place."""
    places = layer_places(len(shape.layers), placement)
    counts = dict.fromkeys((*places, RAM), 0)
    for index, layer in enumerate(shape.layers):
        dense, experts = _layer_bytes(shape, layer, placement)
        counts[places[index]] += dense
        counts[RAM if index < placement.cpu_expert_layers else places[index]] += experts
    counts[places[-1]] += (shape.token_table if shape.tied else shape.output).size_bytes
    return counts


def _layer_bytes(shape: Shape, layer: Layer, placement: Placement) -> tuple[int, int]:
    """Dense weights with keys and values, and the experts that one token asks."""
    cells = min(FILL_TOKENS, placement.context_tokens)
    if layer.kind == "window":
        cells = min(cells, shape.window_tokens)
    of, used = (shape.header.integer(key) for key in (".expert_count", ".expert_used_count"))
    experts = layer.experts.size_bytes * (used or 1) // (of or used or 1)
    return layer.dense.size_bytes + 2 * cells * (layer.key_values + layer.value_values), experts


def cpu_bytes_per_second(hardware: Hardware, threads: int) -> float:
    """What the cores that we use read: no more than memory delivers, and than they can work on."""
    fast = min(threads, hardware.cpu.fast_cores or threads)
    worth = fast + (threads - fast) * SLOW_CORE
    rate = min(RAM_SHARE * ram_bandwidth(hardware) * 1e9, worth * CORE_BYTES)
    return rate if fast_cpu(hardware) else rate * NO_AVX2_SHARE


def fast_cpu(hardware: Hardware) -> bool:
    """Whether processor and build both have wide instructions; True where nothing is known."""
    for words in (hardware.cpu.instructions, hardware.build.instructions):
        plain = " ".join(words).lower()
        if words and not any(name in plain for name in _FAST_INSTRUCTIONS):
            return False
    return True


def ram_bandwidth(hardware: Hardware) -> float:
    """GB/s of main memory, from the chip's name."""
    for device in hardware.devices:
        if device.integrated and (known := _look_up(device)):
            return known[1]
    known = _find(normalize_title(hardware.cpu.name))  # Apple's chips
    if known:
        return known[1]
    found = (rate for word, rate in _RAM_GB if word.search(hardware.cpu.name))
    return next(found, DEFAULT_RAM_GB)


def has_fast_memory(placement: Placement, hardware: Hardware) -> bool:
    """Whether it computes on a GPU whose memory is faster than a processor's: a card, or one of the
    chips that were built for it (Apple, GB10), not graphics beside ordinary main memory."""
    used = _used(placement, hardware)
    return any(not device.integrated or _look_up(device) for device in used)


def gpu_bandwidth(device: Device, hardware: Hardware) -> tuple[float, str]:
    """GB/s of a device's memory, and where the number comes from."""
    known = _look_up(device)
    if known is None:
        if device.integrated or device.backend == "rpc":
            return ram_bandwidth(hardware), "main memory"
        return UNKNOWN_GPU_GB, f"assumed, {device.title} is not in the table"
    name, gigabytes = known
    whole = _table()["whole_gb"].get(name)
    if device.mig and whole:
        share = min(1.0, device.total_bytes / (whole * 1e9))
        return gigabytes * share, f"{share:.0%} of {name}"
    return gigabytes, name


def normalize_title(title: str) -> str:
    """``NVIDIA GeForce RTX 4060 Laptop GPU`` -> ``rtx 4060 laptop``."""
    plain = _NOISE.sub(" ", title.lower()).replace("with max-q design", "laptop")
    return " ".join(re.split(r"[\s_/-]+", plain.replace("mobile", "laptop").strip()))


def _look_up(device: Device) -> tuple[str, float] | None:
    memory = f"{round(device.total_bytes / (1 << 30))}gb"  # tells "rtx 3060 8gb" from "rtx 3060"
    return _find(f"{normalize_title(device.title)} {memory}")


@cache
def _find(title: str) -> tuple[str, float] | None:
    """The entry all of whose words are in the title, the longest."""
    words = set(title.split())
    best: tuple[int, str] | None = None
    for name in _table()["gb_per_second"]:
        own = set(name.split())
        if own <= words and not (words - own) & _VARIANTS:
            best = max(best or (0, ""), (len(own), name))
    return (best[1], float(_table()["gb_per_second"][best[1]])) if best else None


@cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("gpus.toml").read_text(encoding="utf-8"))


def _used(placement: Placement, hardware: Hardware) -> list[Device]:
    """The devices that compute, in the placement's order."""
    by_name = {device.name: device for device in hardware.devices if device.usable}
    return [by_name[name] for name in placement.devices if placement.gpu_layers]


# ----------------------------------------------------------------------------
# The ways to place one model: all on one GPU, on several, experts or layers on the CPU, the CPU.
# Each fills in the devices and the layers of a setting as well as they fit, by bisection: memory
# only grows with what is put into it.


Arrange = Callable[[Placement], Placement]


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of placement. ``arrange`` sets layers and devices into a setting as well as they
    fit; ``device`` is where a projector may go, "" for the CPU only."""

    kind: Kind
    what: str
    arrange: Arrange
    device: str = ""


def ways(case: Case) -> Iterator[Way]:
    """What the constraints leave open, the best first. A part of a model is not split off to a GPU
    whose memory is main memory: nothing is gained."""
    pinned, experts = case.constraints.gpu_layers, case.constraints.cpu_expert_layers
    partly = pinned is not None and 0 < pinned <= case.layers
    devices = _one_of_each(case) if pinned != 0 else []
    if not partly and not experts:
        for device in devices:
            where = "" if len(devices) == 1 else f" {device.title}"
            yield Way("gpu", f"all on the GPU{where}", partial(_on_one, device), device.name)
        several = _by_bandwidth(case)
        if devices and len(several) > 1 and not case.per_layer_embeddings:
            arrange = partial(_on_several, case, several)
            yield Way("gpu", f"all on {len(several)} GPUs", arrange, several[0].name)
    if case.shape.has_experts and not partly and experts != 0 and (pinned is None or experts):
        for device in (each for each in devices if experts or not each.integrated):
            arrange = partial(_experts, case, device)
            yield Way("experts", "with experts on the CPU", arrange, device.name)
    open_to_parts = case.alone and pinned is None and experts is None and _splits(case)
    if devices and (partly or (open_to_parts and not devices[0].integrated)):
        arrange = partial(_part, case, devices[0])
        yield Way("partial", "with some layers on the GPU", arrange, devices[0].name)
    if pinned in (None, 0) and experts is None and not case.constraints.require_gpu:
        yield Way("cpu", "on the CPU", lambda setting: replace(setting, projector_device=""))


def _on_one(device: Device, setting: Placement) -> Placement:
    return replace(setting, devices=(device.name,), gpu_layers=ALL_LAYERS)


def _experts(case: Case, device: Device, setting: Placement) -> Placement:
    """All that is dense on the GPU, and the fewest layers of experts on the CPU."""
    pinned = case.constraints.cpu_expert_layers

    def with_experts(count: int) -> Placement:
        return replace(_on_one(device, setting), cpu_expert_layers=count)

    if pinned:
        return with_experts(pinned)
    fewest = _least(lambda count: not short_of_gpu(case.ledger(with_experts(count))), case.layers)
    return with_experts(fewest)


def _part(case: Case, device: Device, setting: Placement) -> Placement:
    """As many layers on the GPU as fit, from the last; at least one."""
    pinned = case.constraints.gpu_layers

    experts = case.constraints.cpu_expert_layers or 0

    def with_layers(count: int) -> Placement:
        return replace(setting, devices=(device.name,), gpu_layers=count, cpu_expert_layers=experts)

    if pinned is not None:
        return with_layers(pinned)
    left_out = _least(
        lambda count: not short_of_gpu(case.ledger(with_layers(case.layers + 1 - count))),
        case.layers,
    )
    return with_layers(case.layers + 1 - left_out)


def _on_several(case: Case, devices: list[Device], setting: Placement) -> Placement:
    """Each device filled in turn, the fastest first; the last takes what remains."""
    total, split = case.layers + 1, list[int]()
    names = tuple(device.name for device in devices)

    def divide(shares: list[int]) -> Placement:
        shares = [*shares, total - sum(shares)]
        used = names[: len(shares)]
        return replace(setting, devices=used, gpu_layers=ALL_LAYERS, split=tuple(shares))

    def last_fits(placement: Placement) -> bool:
        return case.ledger(placement).account(placement.devices[-1]).fits

    for index in range(len(devices) - 1):
        most = total - sum(split) - 1
        if most < 1:
            break

        def fits(left_out: int, index: int = index, most: int = most) -> bool:
            ledger = case.ledger(divide([*split, most + 1 - left_out]))
            return ledger.account(names[index]).fits

        split.append(most + 1 - _least(fits, most))
        if last_fits(divide(split)):
            break
    return divide(split)


def _least(fits: Callable[[int], bool], most: int) -> int:
    """The least number from 1 to ``most`` that fits; ``most`` where none does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _splits(case: Case) -> bool:
    """Whether a part of its layers may stay on the CPU: never E models, whose first layers own the
    KV cache, nor a mixture of experts, whose experts move instead."""
    return not case.per_layer_embeddings and not case.shape.has_experts


def _by_bandwidth(case: Case) -> list[Device]:
    """The fastest first, then the emptiest; of one backend, which is the first's."""

    def rank(device: Device) -> tuple[float, int]:
        return gpu_bandwidth(device, case.hardware)[0], device.free_bytes

    ordered = sorted(case.devices, key=rank, reverse=True)
    return [device for device in ordered if device.backend == ordered[0].backend]


def _one_of_each(case: Case) -> list[Device]:
    """Of cards with the same title only the emptiest."""
    best: dict[str, Device] = {}
    for device in _by_bandwidth(case):
        best.setdefault(device.title, device)
    return list(best.values())


# ----------------------------------------------------------------------------
# The ladder of one candidate: what is given up, in which order, until it fits. Every
# way to place it is tried from the wanted context downwards. In each step the first setting that
# fits is taken, and settings are tried from the one that gives up least: so more memory never
# gives less.


BATCHES = (512, 256, 128)  # llama.cpp's own n_ubatch, and less
EXPERT_BATCH = 1024  # experts are copied to the GPU once a batch: large ones pay
BATCH_STEP_TOKENS = 128
# A KV cache of so many bytes a token is worth making smaller; of the sizes only 31B's
# (docs/memory.md, "Quantized KV cache").
HEAVY_CACHE_BYTES = 48 << 10


@dataclass(frozen=True, slots=True)
class Climbed:
    """What one way came to: the first setting that fits, what was tried before it, and what was
    short at last where there is none."""

    option: Option | None
    attempts: tuple[Attempt, ...]
    refusal: str = ""


def climb(case: Case, way: Way) -> Climbed:
    """From the wanted context downwards."""
    attempts: list[Attempt] = []
    refusal = ""
    for kv_type, context in _levels(case, way):
        title = f"{way.what}, {render_context(context)} context"
        title += f", {kv_type} KV" if kv_type != "f16" else ""
        settings = list(_settings(case, way, context, kv_type))
        least = _settle(case, way.arrange(settings[-1]))[1]
        if short_of_gpu(least):
            given_up = _describe(settings[-1], settings[0])
            reason = render_shortage(least) + (f", with {given_up}" if given_up else "")
            attempts.append(Attempt(what=title, taken=False, reason=reason))
            refusal = f"{way.what} it {render_shortage(least, context)}"
            continue
        for setting in settings:
            placement, ledger = _settle(case, way.arrange(setting))
            if ledger.fits:
                return Climbed(_option(case, way, placement, ledger), tuple(attempts))
            given_up = _describe(setting, settings[0])
            what = f"{title}, {given_up}" if given_up else title
            attempts.append(Attempt(what=what, taken=False, reason=render_shortage(ledger)))
            refusal = f"{way.what} it {render_shortage(ledger, context)}"
    return Climbed(None, tuple(attempts), refusal)


def _option(case: Case, way: Way, placement: Placement, ledger: Ledger) -> Option:
    """Spend what is left, then say how fast it is."""
    placement, ledger, notes = _polish(case, way, placement, ledger)
    return make_option(case, placement, ledger, notes)


def make_option(
    case: Case, placement: Placement, ledger: Ledger, notes: tuple[str, ...] = ()
) -> Option:
    """A placement with its speed and its threads."""
    choose = partial(
        choose_threads,
        case.hardware.cpu,
        case.candidate.header.file_bytes,
        asked=case.constraints.threads,
        all_on_gpu=classify(placement, case.layers) == "gpu",
    )
    threads = choose(busy_programs=case.busy_programs)
    # What runs beside us now must not decide which model a person downloads.
    speed = estimate(case, placement, choose().decode)
    what = render_kind(case, placement)
    return Option(
        placement=placement, ledger=ledger, speed=speed, threads=threads, what=what, notes=notes
    )


def render_kind(case: Case, placement: Placement) -> str:
    """``24 of 30 expert layers on the CPU``."""
    kind = classify(placement, case.layers)
    if kind == "experts":
        return f"{placement.cpu_expert_layers} of {case.layers} expert layers on the CPU"
    if kind == "partial":
        return f"{placement.gpu_layers} of {case.layers} layers on the GPU"
    if kind == "cpu":
        return "on the CPU"
    many = len(placement.devices)
    return "all on the GPU" if many == 1 else f"all on {many} GPUs"


def _levels(case: Case, way: Way) -> Iterator[tuple[KvType, int]]:
    """KV types and contexts in the order in which they are given up."""
    lower = [step for step in reversed(CONTEXT_STEPS) if FLOOR_CONTEXT_TOKENS <= step < case.wanted]
    contexts = [case.wanted] if case.constraints.context_tokens else [case.wanted, *lower]
    first = case.constraints.kv_type or "f16"
    yield from ((first, context) for context in contexts)
    if case.constraints.kv_type is None and way.kind == "gpu" and heavy_cache(case):
        yield "q8_0", contexts[-1]


def heavy_cache(case: Case) -> bool:
    """Whether a quantized KV cache gains anything worth its loss."""
    own = (layer for layer in case.shape.layers if layer.kind == "global")
    return sum(2 * (layer.key_values + layer.value_values) for layer in own) >= HEAVY_CACHE_BYTES


def _settings(case: Case, way: Way, context: int, kv_type: KvType) -> Iterator[Placement]:
    """Batch, images and projector, from what gives up least to what gives up most."""
    budget = (case.constraints.image_tokens or case.candidate.image_tokens) if case.sees else 0
    whole = max(BATCHES[0], -(-budget // BATCH_STEP_TOKENS) * BATCH_STEP_TOKENS)
    projectors = _projector_places(case, way)
    for batch in (whole, *(each for each in BATCHES if each < whole)):
        images = budget
        if budget > batch and not case.shape.causal_images:  # a picture must be one batch
            if case.constraints.image_tokens:
                continue
            images = batch
        for projector in projectors:
            yield Placement(
                context_tokens=context, batch_tokens=min(batch, context), kv_type=kv_type,
                projector_device=projector, image_tokens=images,
                load_mode="none" if _copies_anyway(case, way) else "mmap",
            )  # fmt: skip


def _projector_places(case: Case, way: Way) -> tuple[str, ...]:
    if not case.sees or not way.device:
        return ("",)
    if way.kind == "gpu" or case.constraints.vision:
        return (way.device, "")
    return ("",)  # beside experts or layers it costs speed; it comes back where there is room


def _copies_anyway(case: Case, way: Way) -> bool:
    """Where mapping the file makes pages that nobody needs: CUDA on Windows,
    a part of the layers on Metal, a GPU that shares main memory and has no Metal."""
    device = next((each for each in case.devices if each.name == way.device), None)
    if device is None:
        return False
    if device.backend == "metal":
        return way.kind == "partial"
    return device.integrated or (case.hardware.system == "win32" and device.backend == "cuda")


def _settle(case: Case, placement: Placement) -> tuple[Placement, Ledger]:
    """Where only main memory is short: read rows of the embeddings as they are needed, and keep no
    faster copy of the weights."""
    ledger = case.ledger(placement)
    if ledger.fits or short_of_gpu(ledger):
        return placement, ledger
    for relief in _reliefs(case, placement):
        relieved = case.ledger(relief)
        if relieved.fits:
            return relief, relieved
        placement, ledger = relief, relieved
    return placement, ledger


def _reliefs(case: Case, placement: Placement) -> Iterator[Placement]:
    if case.per_layer_embeddings and placement.load_mode == "mmap":
        placement = replace(placement, lazy=True)
        yield placement
    if classify(placement, case.layers) != "gpu" and placement.repack:
        yield replace(placement, repack=False)


def _polish(
    case: Case, way: Way, placement: Placement, ledger: Ledger
) -> tuple[Placement, Ledger, tuple[str, ...]]:
    """What is left over goes to larger batches, pinned memory, the projector, and context."""
    notes = []
    for better, note in _improvements(case, way, placement):
        improved = better(placement)
        fresh = case.ledger(improved)
        if improved != placement and fresh.fits:
            placement, ledger = improved, fresh
            notes.append(note)
    if way.kind in ("gpu", "experts") and case.constraints.context_tokens is None:
        for context in _larger(case, placement):
            grown = replace(placement, context_tokens=context)
            if len(placement.devices) > 1:
                grown = way.arrange(grown)
            fresh = case.ledger(grown)
            if fresh.fits:
                return grown, fresh, tuple(notes)
    return placement, ledger, tuple(notes)


def _improvements(
    case: Case, way: Way, placement: Placement
) -> Iterator[tuple[Callable[[Placement], Placement], str]]:
    if way.kind != "experts":
        return
    batch = min(max(EXPERT_BATCH, placement.batch_tokens), placement.context_tokens)
    yield (
        lambda now: replace(now, batch_tokens=batch),
        f"batches of {batch:,} tokens: experts are copied to the GPU once a batch",
    )
    yield (
        lambda now: replace(now, load_mode="none"),
        "the experts are read into pinned memory, which the GPU copies faster",
    )
    if case.sees:
        yield (
            lambda now: replace(now, projector_device=way.device),
            "room is left for the projector",
        )


def _larger(case: Case, placement: Placement) -> list[int]:
    """Contexts to spend what is left on, the largest first. None with quantized KV: that was taken
    because memory is short."""
    if placement.kv_type != "f16" and case.constraints.kv_type is None:
        return []
    most = min(MOST_CONTEXT_TOKENS, case.trained)
    steps = {*CONTEXT_STEPS, case.trained}
    if placement.context_tokens < case.wanted:
        return []
    return sorted((step for step in steps if case.wanted < step <= most), reverse=True)


def _describe(setting: Placement, full: Placement) -> str:
    """What a setting gives up against the fullest one, in words."""
    words = []
    if setting.projector_device != full.projector_device:
        words.append("the projector on the CPU")
    if setting.batch_tokens != full.batch_tokens:
        words.append(f"batches of {setting.batch_tokens}")
    if setting.image_tokens != full.image_tokens:
        words.append(f"images of {setting.image_tokens} tokens")
    return ", ".join(words)


# ----------------------------------------------------------------------------
# Among ways and among models: which plan is the best one, and the sentence that says why.
# Tiers come first: A answers at reading speed with room for documents, B is usable, C is the
# rest. Within A and B the better model wins, within C the faster one.


Tier = Literal["A", "B", "C"]

FLUENT_SPEED = 25.0  # tokens a second; faster than anyone reads along
USABLE_SPEED = 6.0  # about as fast as one reads
MIXED_SHARE = 0.8  # of an estimate: published reports lie up to a fifth below it

UNSEEN = "llama.cpp does not see it; gemma-edge doctor says why"
_KINDS: tuple[Kind, ...] = ("cpu", "partial", "experts", "gpu")  # the better last

Rank = tuple[float, ...]


def tier(case: Case, option: Option) -> Tier:
    """A person who names a least speed says what is fast enough: then A and B ask for it. What
    computes beside ordinary main memory is never A: it reads documents so slowly that only the
    answer's quality is left to choose by."""
    speed, context = _safe_speed(case, option), option.placement.context_tokens
    asked = case.constraints.min_speed
    fluent = speed >= (asked or FLUENT_SPEED)
    fluent &= bool(asked) or has_fast_memory(option.placement, case.hardware)
    if fluent and context >= min(WANTED_CONTEXT_TOKENS, case.wanted):
        return "A"
    usable = speed >= (asked or USABLE_SPEED)
    return "B" if usable and context >= min(FLOOR_CONTEXT_TOKENS, case.wanted) else "C"


def _placement_kind(case: Case, option: Option) -> Kind:
    return classify(option.placement, case.layers)


def _safe_speed(case: Case, option: Option) -> float:
    """What to count on. Nobody knows the main memory's speed, nor what handing over costs, before
    a placement that uses both memories was measured."""
    sure = option.speed.measured or _placement_kind(case, option) in ("gpu", "cpu")
    return option.speed.tokens_per_second * (1.0 if sure else MIXED_SHARE)


def rank(case: Case, option: Option) -> Rank:
    """Larger is better; options of one model and of several are compared by the same rule."""
    placement, speed = option.placement, option.speed.tokens_per_second
    kind = _KINDS.index(_placement_kind(case, option))
    cache = float(placement.kv_type != "q8_0")
    context = min(placement.context_tokens, WANTED_CONTEXT_TOKENS)
    rest = (*case.candidate.quality, kind, cache, context, -case.order)
    grade = tier(case, option)
    if grade == "C":
        return (0, not case.candidate.few_bits, speed, *rest)
    return ("BA".index(grade) + 1, *rest, speed)


def search(case: Case) -> Outcome:
    """The best option of one candidate, and everything that was tried.

    Raises:
        DoesNotFit: a pinned context that this model cannot have.
    """
    if refusal := _refuse(case):
        attempt = Attempt(what=case.candidate.title, taken=False, reason=refusal)
        return Outcome(best=None, attempts=(attempt,), refusal=refusal)
    tried: list[Attempt | Option] = []
    refusals: list[str] = []
    for way in ways(case):
        climbed = climb(case, way)
        tried += climbed.attempts
        if climbed.option is None:
            refusals.append(climbed.refusal)
            continue
        tried.append(climbed.option)
        if tier(case, climbed.option) == "A":  # what comes after is slower and no better
            break
    found = [each for each in tried if isinstance(each, Option)]
    least = case.constraints.min_speed or 0
    fast = [option for option in found if option.speed.tokens_per_second >= least]
    best = max(fast, key=lambda option: rank(case, option)) if fast else None
    attempts = tuple(each if isinstance(each, Attempt) else _attempt(each, best) for each in tried)
    return Outcome(
        best=best, attempts=attempts, refusal="" if best else _why_not(case, found, refusals)
    )


def _attempt(option: Option, best: Option | None) -> Attempt:
    return Attempt(
        what=_title(option), taken=option is best, reason=f"fits, {render_speed(option.speed)}"
    )


def _title(option: Option) -> str:
    placement = option.placement
    words = [option.what, f"{render_context(placement.context_tokens)} context"]
    if placement.kv_type != "f16":
        words.append(f"{placement.kv_type} KV")
    return ", ".join(words)


def render_speed(speed: Speed) -> str:
    """``~20 tok/s``; no tilde where it was measured."""
    digits = 0 if speed.tokens_per_second >= 10 else 1  # noqa: PLR2004
    return f"{'' if speed.measured else '~'}{speed.tokens_per_second:.{digits}f} tok/s"


def render_option(option: Option) -> str:
    """``24 of 30 expert layers on the CPU, 32k context, ~20 tok/s``."""
    return f"{_title(option)}, {render_speed(option.speed)}"


def _refuse(case: Case) -> str:  # noqa: PLR0911  (one return a pin)
    """Pins that no placement of this model can keep, "" where there are none."""
    check_context(case)
    constraints, title = case.constraints, case.candidate.title
    if problem := next(filter(None, _adapter_problems(case)), ""):
        return problem
    if constraints.vision and case.candidate.projector is None:
        return f"{title} has no projector and sees no images"
    if constraints.cpu_expert_layers and not case.shape.has_experts:
        return f"{title} is no mixture of experts, there are none to keep on the CPU"
    if (constraints.cpu_expert_layers or 0) > case.layers:
        return f"{title} has {case.layers} layers, not {constraints.cpu_expert_layers}"
    needs_gpu = (
        constraints.require_gpu
        or constraints.gpu_layers not in (None, 0)
        or constraints.cpu_expert_layers
    )
    if needs_gpu and not case.devices:
        return _no_gpu(case)
    if constraints.require_gpu and constraints.gpu_layers == 0:
        return "a GPU was required, and 0 layers on it"
    return ""


def _adapter_problems(case: Case) -> Iterator[str]:
    candidate = case.candidate
    for each in case.constraints.adapters:
        yield adapter_problem(candidate.header, each.header, exact=candidate.exact)


def _no_gpu(case: Case) -> str:
    for device in case.hardware.devices:
        if not device.integrated:
            return f"{device.title} cannot be used: {UNSEEN}"
    return "this machine has no GPU that llama.cpp sees"


def _why_not(case: Case, found: Sequence[Option], refusals: Sequence[str]) -> str:
    """What was short in every way, or the fastest where a speed was asked for."""
    if found:
        best = max(found, key=lambda option: option.speed.tokens_per_second)
        return f"{render_option(best)}; {case.constraints.min_speed:g} tok/s were asked for"
    return "; ".join(dict.fromkeys(refusals)) or "these flags leave no way to place it"
