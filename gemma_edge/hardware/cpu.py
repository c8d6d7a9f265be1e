"""How many cores this process may really use, and why.

A person has physical cores; a process has what the affinity mask and the cgroups above it leave.
Hyper-threads do not count: two threads on one core share the multipliers that llama.cpp keeps
busy (fit.md 4.6). All functions are pure over a recording.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gemma_edge.hardware.cgroups import parse_quota
from gemma_edge.hardware.text import Answers, parse_number, parse_pairs, parse_ranges

CAPACITIES = "/sys/devices/system/cpu/cpu*/cpu_capacity"  # one line a processor
FEW_THREADS = 4  # up to here llama.cpp takes hardware threads for cores
# Arm cores of one machine differ: a core counts as fast from this share of the largest capacity
# on (a GB10's small cores have 0.7 of it, cpu_capacity in sysfs).
_FAST_SHARE = 0.8

# Windows' IsProcessorFeaturePresent and macOS's sysctl, in /proc/cpuinfo's words.
WINDOWS_FEATURES = {"39": "avx", "40": "avx2", "41": "avx512f", "43": "asimddp"}
MACOS_FEATURES = {
    "hw.optional.avx1_0": "avx", "hw.optional.avx2_0": "avx2", "hw.optional.fma": "fma",
    "hw.optional.f16c": "f16c", "hw.optional.avx512f": "avx512f",
    "hw.optional.arm.FEAT_DotProd": "asimddp", "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_FP16": "asimdhp", "hw.optional.AdvSIMD": "asimd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cpu:
    """Physical cores that we may use, at least 1, and the sentence that says why so many.
    ``fast_cores`` are the performance cores among them (0: all are alike); ``name`` and
    ``instructions`` (/proc/cpuinfo's words) are empty where the machine does not say."""

    cores: int
    reason: str
    fast_cores: int = 0
    name: str = ""
    instructions: tuple[str, ...] = ()


def parse_cpu(answers: Answers) -> Cpu:
    """The processor of a recorded machine."""
    if answers.system == "linux":
        return _parse_linux(answers)
    if answers.system == "darwin":
        return _parse_macos(answers)
    if answers.system == "win32":
        return _parse_windows(answers)
    return decide_unknown(answers.number("processors") or 1)


def decide_linux(
    cores: dict[int, tuple[int, int]],
    allowed: Iterable[int],
    quota: float | None,
    fast: Iterable[int] = (),
) -> Cpu:
    """Physical cores of the allowed processors, cut to the cgroups' quota (in processors).
    ``fast`` are the processors that are performance cores, where they differ."""
    allowed = set(allowed)
    physical = len({cores.get(number, (-1, number)) for number in allowed})
    quick = len({cores.get(number, (-1, number)) for number in allowed & set(fast)})
    quick = 0 if quick >= physical else quick
    words = [_count(physical, "physical core")]
    if quick:
        words.append(f"{quick} of them fast")
    if len(allowed) > physical:
        words.append(f"{len(allowed)} hardware threads")
    if cores and len(allowed) < len(cores):
        words.append(f"affinity allows {len(allowed)} of {len(cores)} processors")
    if quota is not None and quota < physical:
        words.append(f"the cgroup grants {quota:g}")
        physical = max(1, math.floor(quota))
    return Cpu(max(1, physical), ", ".join(words), 0 if quick >= physical else quick)


def decide_unknown(logical: int) -> Cpu:
    """llama.cpp's own guess where nothing better is known (common.cpp,
    ``cpu_get_num_physical_cores``): all up to 4, else half of the hardware threads."""
    cores = logical if logical <= FEW_THREADS else logical // 2
    return Cpu(cores, f"{_count(logical, 'hardware thread')}, taken as {_count(cores, 'core')}")


def parse_cpuinfo(text: str) -> dict[int, tuple[int, int]]:
    """``/proc/cpuinfo`` to processor -> (package, core). Empty where it names no cores (ARM)."""
    cores = {}
    for block in text.split("\n\n"):
        fields = parse_pairs(block)
        numbers = [
            parse_number(fields.get(key, "")) for key in ("processor", "physical id", "core id")
        ]
        processor, package, core = numbers
        if processor is not None and package is not None and core is not None:
            cores[processor] = (package, core)
    return cores


def _parse_linux(answers: Answers) -> Cpu:
    text = answers.file("/proc/cpuinfo")
    allowed = parse_ranges(answers.text("affinity")) or range(answers.number("processors") or 1)
    fields = parse_pairs(text)
    fast = parse_ranges(answers.file("/sys/devices/cpu_core/cpus")) or _capable(answers)
    decided = decide_linux(parse_cpuinfo(text), allowed, parse_quota(answers), fast)
    instructions = tuple((fields.get("flags") or fields.get("Features") or "").split())
    return replace(decided, name=fields.get("model name", ""), instructions=instructions)


def _capable(answers: Answers) -> tuple[int, ...]:
    """Arm: the processors near the largest capacity (line i is processor i)."""
    lines = answers.file(CAPACITIES).splitlines()
    capacities = [parse_number(line) or 0 for line in lines]
    least = _FAST_SHARE * max(capacities, default=0)
    return tuple(i for i, capacity in enumerate(capacities) if capacity and capacity >= least)


def _parse_macos(answers: Answers) -> Cpu:
    found = parse_pairs(answers.command("sysctl").text("output"))
    physical = parse_number(found.get("hw.physicalcpu", "")) or 0
    fast = parse_number(found.get("hw.perflevel0.physicalcpu", "")) or 0
    cpu = decide_unknown(answers.number("processors") or 1)
    if physical:
        fast = fast if fast < physical else 0
        reason = _count(physical, "physical core") + (f", {fast} of them fast" if fast else "")
        cpu = Cpu(physical, reason, fast)
    instructions = tuple(word for key, word in MACOS_FEATURES.items() if found.get(key) == "1")
    return replace(cpu, name=found.get("machdep.cpu.brand_string", ""), instructions=instructions)


def _parse_windows(answers: Answers) -> Cpu:
    windows = answers.part("windows")
    cores = decode_windows_cores(windows.text("cores"))
    logical = answers.number("processors") or 1
    cpu = decide_unknown(logical)
    if cores:
        fast = cores.count(max(cores)) if len(set(cores)) > 1 else 0
        words = [_count(len(cores), "physical core")]
        words += [f"{fast} of them fast"] if fast else []
        words += [f"{logical} hardware threads"] if logical > len(cores) else []
        cpu = Cpu(len(cores), ", ".join(words), fast)
    listed = windows.words("features")
    instructions = tuple(word for key, word in WINDOWS_FEATURES.items() if key in listed)
    return replace(cpu, name=windows.text("processor").strip(), instructions=instructions)


def decode_windows_cores(text: str) -> list[int]:
    """The efficiency class of each core, higher is faster, from the hexadecimal bytes of
    GetLogicalProcessorInformationEx(RelationProcessorCore): records of relationship (4 bytes),
    size (4), flags (1), efficiency class (1), ... (winnt.h)."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return []
    classes, at = [], 0
    while at + 10 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        classes.append(data[at + 9])
        at += max(10, size)
    return classes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
