"""How many threads to use, and how fast a placement will answer.

Speed is the bytes that one token reads over what memory delivers, with a few constants for each
kind of memory, corrected by what was measured on this machine (docs/memory.md, "Speed"). It ranks
placements; until it is measured, what a person sees is called an estimate.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from gemma_edge.hardware.machine import Cpu, Device, Hardware
from gemma_edge.planning.memory import layer_places
from gemma_edge.planning.model import Shape, parse_shape
from gemma_edge.planning.plan import RAM, Candidate, Placement, Plan, Speed
from gemma_edge.records import dataclass
from gemma_edge.store.measurements import Measurement
from gemma_edge.trust import parse_toml

# Two threads wait for each other several hundred times a token. The bundled model (3.5 MB) reads
# the example invoice in 0.2 s with one thread, and in a minute with two where another program wants
# the second core.
SMALL_MODEL_BYTES = 32 << 20
# Threads share the work evenly and wait for the slowest. Slow cores do about half of a fast one, so
# all together are faster than the fast ones alone where they outnumber them by far (2 + 8).
OUTNUMBERED = 2.5
THREADS_A_CORE = 2  # more wait for each other so long that a machine seems to hang
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
        most = THREADS_A_CORE * cpu.cores
        if asked > most:
            return Threads(most, most, f"{most} of the {asked} asked for: {cpu.reason}")
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


# The speed of a placement.

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
READS_TIMES = 16.0  # as fast as it writes: then a batch of eight costs about 1.5 single decodes
FILL_TOKENS = 1024  # of the context, whose keys and values are read too
UNKNOWN_GPU_GB = 250.0  # GB/s; a mid-range card
# GB/s of main memory by the processor's name, where a chip's own is not in the table: 8 channels of
# DDR4-3200 (EPYC), 6 of DDR4-2933 (Xeon), 4 of DDR4-3200, 2 of DDR5-5200 (from Zen 4, Core Ultra),
# else 2 of DDR4-3200; the makers' data sheets.
_RAM_GB = (
    (re.compile(r"epyc", re.I), 204.0),
    (re.compile(r"xeon", re.I), 140.0),
    (re.compile(r"threadripper", re.I), 102.0),
    (re.compile(r"ryzen ai|ryzen.{0,60}\b(7\d[0459]\d|[89]\d{3})|core.{0,60} ultra", re.I), 83.0),
)
DEFAULT_RAM_GB = 51.0
_NOISE = re.compile(
    r"\([^()]*\)|\b(?:nvidia|amd|intel|geforce|radeon|graphics|gpu|generation)\b", re.I
)
# Words that make another card of a name; one that the table's name lacks is no match.
_VARIANTS = {
    "ti", "super", "laptop", "xt", "xtx", "gre", "pro", "max", "ultra", "ada", "blackwell",
}  # fmt: skip
_AND = " + "  # between the titles of several devices
_FAST_INSTRUCTIONS = {"avx2", "avx512", "neon", "sve", "vsx", "rvv", "asimd"}


_MEASURED = "measured on this machine with these weights"


def estimate(  # noqa: PLR0913, PLR0917  (what runs, where, and what was measured)
    shape: Shape, placement: Placement, hardware: Hardware, threads: int, weights_key: str,
    speeds: Sequence[Measurement] = (),
) -> Speed:  # fmt: skip
    """The speed of this placement: measured where this machine has run just it, else predicted and
    corrected by the newest measurement of a model of a like size on the same device, of the same
    kind where there is one. Another build is another machine; another driver only has to be
    measured again."""
    blank, reason = describe_run(shape, placement, hardware, threads, weights_key)
    predicted = blank.predicted_tokens_per_second
    speeds = [each for each in speeds if not seems_spilled(each, hardware)]
    for each in reversed(speeds):
        if each.key == blank.key:
            read, reason = each.read_tokens_per_second, _MEASURED
            reason += f", which read {read:,.0f} tokens of a prompt a second" if read else ""
            return Speed(
                tokens_per_second=each.tokens_per_second, measured=True, reason=reason,
                read_tokens_per_second=read,
            )  # fmt: skip
    alike = [each for each in speeds if _device(each) == _device(blank) and _like(each, blank)]
    kind = placement.kind(len(shape.layers))
    same_kind = [each for each in alike if each.placement.partition(":")[0] == kind]
    for each in (same_kind or alike)[-1:]:
        ratio = each.tokens_per_second / each.predicted_tokens_per_second
        text = f"an estimate ({reason}), times {ratio:.2f} as another run was measured here"
        return Speed(tokens_per_second=predicted * ratio, measured=False, reason=text)
    text = f"an estimate until the first load: {reason}"
    return Speed(tokens_per_second=predicted, measured=False, reason=text)


def pays_at_once(plan: Plan, layers: int) -> bool:
    """Whether documents are surely done sooner with several answers in a batch than one after
    another: on a GPU, which decodes as fast as its memory is, and on a processor that was measured
    to read a prompt far faster than it writes. Else a batch of eight costs 4.4 to 5 single decodes,
    and all answers look at the cells of all: 0.9 to 1.2 times as fast (docs/architecture.md)."""
    if plan.kind(layers) == "gpu":
        return True
    speed = plan.speed
    if speed is None or not speed.measured or speed.read_tokens_per_second is None:
        return False
    return speed.read_tokens_per_second >= READS_TIMES * speed.tokens_per_second


def describe_run(
    shape: Shape, placement: Placement, hardware: Hardware, threads: int, weights_key: str
) -> tuple[Measurement, str]:
    """A run as ``predict`` sees it, whose speed is still to be measured, and the arithmetic as a
    sentence. ``weights_key`` is the candidate's."""
    predicted, reason = predict(shape, placement, hardware, threads)
    kind = placement.kind(len(shape.layers))
    numbers = {
        "gpu": "", "experts": f":{placement.cpu_expert_layers}:{threads}",
        "partial": f":{placement.gpu_layers}:{threads}", "cpu": f":{threads}",
    }  # fmt: skip
    used = _used(placement, hardware)
    run = Measurement(
        device=_AND.join(device.title for device in used) or hardware.cpu.name or "CPU",
        backend=used[0].backend if used else "cpu",
        version=" ".join([hardware.build.version, *hardware.build.instructions]),
        driver=_AND.join(filter(None, (device.driver for device in used))),
        weights=weights_key, placement=kind + numbers[kind], moe=shape.has_experts,
        tokens_per_second=predicted, predicted_tokens_per_second=predicted,
    )  # fmt: skip
    return run, reason


def describe_measurement(
    plan: Plan, candidate: Candidate, hardware: Hardware, tokens_per_second: float,
    read_tokens_per_second: float | None = None,
) -> Measurement:  # fmt: skip
    """What ``store.record_measurement`` keeps of a run of this plan."""
    shape = parse_shape(candidate.header, exact=candidate.exact)
    run, _ = describe_run(shape, plan, hardware, plan.threads, candidate.weights_key)
    return replace(
        run, tokens_per_second=tokens_per_second, read_tokens_per_second=read_tokens_per_second
    )


# Of the prediction. What Windows moved to main memory is read 5 to 30 times slower (docs/memory.md,
# "Margins"); reports without it lie within a third of the prediction.
SPILLED_SHARE = 0.3


def seems_spilled(run: Measurement, hardware: Hardware) -> bool:
    """Whether video memory was probably moved to main memory in this run, which Windows does, WSL
    with it, without an error. Such a run says nothing about the next one."""
    if not (hardware.system == "win32" or hardware.wsl):
        return False
    cards = {each.title for each in hardware.devices if each.usable and not each.integrated}
    slow = run.tokens_per_second < SPILLED_SHARE * run.predicted_tokens_per_second
    return slow and not cards.isdisjoint(run.device.split(_AND))


def render_spill(run: Measurement) -> str:
    """That it was slow, what may be why, and the way out."""
    fast, slow = run.predicted_tokens_per_second, run.tokens_per_second
    return (
        f"{slow:.1f} tok/s, about {fast:.0f} were expected: did video memory spill into main "
        "memory? (Task Manager: shared GPU memory.) The speed is not kept; close what else uses "
        "the GPU, or --ctx with a smaller number"
    )


def _device(run: Measurement) -> tuple[str, str, str, bool]:
    """Runs whose estimates are wrong in the same way: the same kernels on the same device."""
    return run.device, run.backend, run.version, run.moe


LIKE_TIMES = 4  # E4B and 12B, 12B and 31B; not the bundled model and any of these


def _like(run: Measurement, other: Measurement) -> bool:
    """Whether about as much is read for a token, by which the speeds of one device differ: what a
    small model loses by the way says nothing about a large one."""
    one, two = run.predicted_tokens_per_second, other.predicted_tokens_per_second
    return max(one, two) <= LIKE_TIMES * min(one, two)


def predict(
    shape: Shape, placement: Placement, hardware: Hardware, threads: int
) -> tuple[float, str]:
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
    places = layer_places(len(shape.layers), placement)
    counts = dict.fromkeys((*places, RAM), 0)
    cells = min(FILL_TOKENS, placement.context_tokens)
    in_window = min(cells, shape.window_tokens)
    of, used = (shape.header.integer(key) for key in (".expert_count", ".expert_used_count"))
    for index, layer in enumerate(shape.layers):
        read = 2 * (in_window if layer.kind == "window" else cells)
        counts[places[index]] += layer.dense.size_bytes
        counts[places[index]] += read * (layer.key_values + layer.value_values)
        experts = layer.experts.size_bytes * (used or 1) // (of or used or 1)  # that a token asks
        counts[RAM if index < placement.cpu_expert_layers else places[index]] += experts
    counts[places[-1]] += (shape.token_table if shape.tied else shape.output).size_bytes
    return counts


def cpu_bytes_per_second(hardware: Hardware, threads: int) -> float:
    """What the cores that we use read: no more than memory delivers, and than they can work on.
    A second thread on a core adds nothing."""
    threads = min(threads, hardware.cpu.cores)
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
    known = [_look_up(device) for device in hardware.devices if device.integrated]
    known.append(_find(normalize_title(hardware.cpu.name)))  # Apple's chips
    for _, rate in filter(None, known):
        return rate
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
    return parse_toml(Path(__file__).with_name("gpus.toml").read_text(encoding="utf-8"))


def _used(placement: Placement, hardware: Hardware) -> list[Device]:
    by_name = {device.name: device for device in hardware.devices if device.usable}
    return [by_name[name] for name in placement.devices if placement.gpu_layers]
