"""How many cores this process may really use, and why.

A person has physical cores; a process has what the affinity mask and the cgroups above it leave.
``detect_cpu`` asks the machine, the ``parse_`` functions are pure over text. Hyper-threads do not
count: two threads on one core share the multipliers that llama.cpp keeps busy (fit.md 4.6).
"""

import math
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.hardware.cgroups import find_cgroups, read_text

FEW_THREADS = 4  # up to here llama.cpp takes hardware threads for cores


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


def detect_cpu(root: Path = Path("/")) -> Cpu:
    """Ask the machine. ``root`` is where ``proc`` and ``sys`` are looked for."""
    logical = os.cpu_count() or 1
    system = platform.system()
    if system == "Linux":
        return _detect_linux(root, logical)
    if system == "Darwin":
        return _detect_macos(logical)
    return decide_unknown(logical)


def decide_linux(
    cores: dict[int, tuple[int, int]], allowed: Iterable[int], quota: float | None
) -> Cpu:
    """Physical cores of the allowed processors, cut to the cgroups' quota (in processors)."""
    allowed = set(allowed)
    physical = len({cores.get(number, (-1, number)) for number in allowed})
    words = [_count(physical, "physical core")]
    if len(allowed) > physical:
        words.append(f"{len(allowed)} hardware threads")
    if cores and len(allowed) < len(cores):
        words.append(f"affinity allows {len(allowed)} of {len(cores)} processors")
    if quota is not None and quota < physical:
        words.append(f"the cgroup grants {quota:g}")
        physical = max(1, math.floor(quota))
    return Cpu(max(1, physical), ", ".join(words))


def decide_unknown(logical: int) -> Cpu:
    """llama.cpp's own guess where nothing better is known (common.cpp,
    ``cpu_get_num_physical_cores``): all up to 4, else half of the hardware threads."""
    cores = logical if logical <= FEW_THREADS else logical // 2
    return Cpu(cores, f"{_count(logical, 'hardware thread')}, taken as {_count(cores, 'core')}")


def parse_cpuinfo(text: str) -> dict[int, tuple[int, int]]:
    """``/proc/cpuinfo`` to processor -> (package, core). Empty where it names no cores (ARM)."""
    cores = {}
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        numbers = [fields.get(key, "") for key in ("processor", "physical id", "core id")]
        if all(number.isdigit() for number in numbers):
            processor, package, core = map(int, numbers)
            cores[processor] = (package, core)
    return cores


def parse_quota(quota: str, period: str) -> float | None:
    """Processors granted, ``None`` for no limit ("max" in version 2, -1 in version 1)."""
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def parse_sysctl(text: str) -> dict[str, int]:
    """``sysctl`` lines of ``key: number``."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): int(value) for key, value in pairs if value.strip().isdigit()}


def _detect_linux(root: Path, logical: int) -> Cpu:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(logical))
    cores = parse_cpuinfo(read_text(root / "proc/cpuinfo"))
    return decide_linux(cores, allowed, _detect_quota(root))


def _detect_quota(root: Path) -> float | None:
    """The smallest quota of our cgroup and of all above it, in both versions."""
    second, first = find_cgroups(root, "cpu")
    quotas = []
    for folder in second:
        quota, _, period = read_text(folder / "cpu.max").strip().partition(" ")
        quotas.append(parse_quota(quota, period))
    for folder in first:
        quota = read_text(folder / "cpu.cfs_quota_us").strip()
        quotas.append(parse_quota(quota, read_text(folder / "cpu.cfs_period_us").strip()))
    return min((quota for quota in quotas if quota is not None), default=None)


def _detect_macos(logical: int) -> Cpu:
    keys = ["hw.perflevel0.physicalcpu", "hw.physicalcpu"]
    try:
        answer = subprocess.run(  # the second key exists everywhere, the first on Apple silicon
            ["/usr/sbin/sysctl", *keys], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return decide_unknown(logical)
    found = parse_sysctl(answer.stdout)
    if keys[0] in found:
        return Cpu(found[keys[0]], _count(found[keys[0]], "performance core"))
    if keys[1] in found:
        return Cpu(found[keys[1]], _count(found[keys[1]], "physical core"))
    return decide_unknown(logical)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
