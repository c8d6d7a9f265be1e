"""What a machine is: processor, memory, devices and llama.cpp, read from a recording. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from gemma_edge.records import dataclass
from gemma_edge.units import KIB, render_bytes

# How much memory this process may still take, and why. Pure over a recording. It is the least of
# what the system has left and what each cgroup above us has left; a container or a job on a cluster
# sees the whole machine's memory and is killed at its own limit.


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` and ``total_bytes`` are None where the machine does not say. The total
    is the cgroup's limit where that is smaller than the machine."""

    available_bytes: int | None
    reason: str
    total_bytes: int | None = None


# How many cores this process may really use, and why. A person has physical cores; a process has
# what the affinity mask and the cgroups above it leave. Hyper-threads do not count: two threads on
# one core share the multipliers that llama.cpp keeps busy. All functions are pure over a recording.
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


State = Literal["fine", "warning", "problem"]
UNSEEN = "llama.cpp does not see it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU. ``name`` is ggml's ("CUDA0"), "" where ggml does not see it and so cannot use it;
    ``title`` is for people ("RTX 4060 Laptop"); ``backend`` is cuda, rocm, vulkan, metal, sycl,
    rpc, or "" ; ``integrated``: its memory is main memory. ``display``: a desktop draws with it.
    ``pci_id`` is ``0000:c1:00.0`` in lower case, "" where there is none; ``capability`` is CUDA's,
    "" elsewhere. ``context_bytes`` is what each process takes of ``free_bytes`` before its first
    buffer, 0 where that is taken off already, None where nobody measured it. ``reason`` says where
    the numbers come from, ``trouble`` why it cannot be used where there is more to say than that
    ggml does not see it."""

    name: str
    title: str
    backend: str
    integrated: bool
    total_bytes: int
    free_bytes: int
    pci_id: str = ""
    driver: str = ""
    capability: str = ""
    mig: bool = False
    display: bool = False
    context_bytes: int | None = None
    reason: str = ""
    trouble: str = ""

    @property
    def usable(self) -> bool:
        return bool(self.name)

    @property
    def obstacle(self) -> str:
        """Why it cannot be used, "" where it can."""
        return "" if self.usable else self.trouble or UNSEEN


class Titled(Protocol):
    """A device, or a card."""

    @property
    def title(self) -> str: ...

    @property
    def pci_id(self) -> str: ...


def name_of(one: Titled, every: Iterable[Titled]) -> str:
    """``RTX 3090``; ``RTX 3090 at PCI 0000:04:00.0`` where another one has that title."""
    twins = {each.pci_id for each in every if each.title == one.title}
    return f"{one.title} at PCI {one.pci_id}" if one.pci_id and len(twins) > 1 else one.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The installed llama.cpp: ``version`` of llama-cpp-python, ``backends`` that it was built
    with ("cpu", "cuda"), ``instructions`` it was compiled for (ggml's words: "AVX2"). ``error`` is
    why its libraries cannot be loaded, "" when they can."""

    version: str
    backends: tuple[str, ...] = ("cpu",)
    instructions: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know about the machine, with the fix as a command or a change ("" = none)."""

    state: State
    what: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine. ``devices`` holds what ggml sees first, in ggml's order, then what it does not
    see; ``system`` is linux, darwin or win32, with ``wsl`` for Linux under Windows. ``variables``
    ("NAME=VALUE") are what processes that load llama.cpp are to be given: without them it stops.
    ``apart`` has one for each GPU, or slice, by which a process sees that alone, where there is a
    way to say so.
    ``measured_at`` is when its memory was looked at, in seconds since 1970; 0 where nobody did.
    ``rebuild`` is the command that builds llama.cpp for it, no published build again."""

    system: str
    cpu: Cpu
    memory: Memory
    build: Build
    devices: tuple[Device, ...] = ()
    findings: tuple[Finding, ...] = ()
    wsl: bool = False
    variables: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    measured_at: float = field(default=0.0, compare=False)
    rebuild: str = ""


_NUMBER = re.compile(r"[0-9]{1,18}")  # fits 64 bits; Python's int() refuses thousands of digits
_MOST_PROCESSORS = 1 << 16  # a list of processors names no more than this


def parse_number(text: str) -> int | None:
    """A plain number of ASCII digits, spaces around it allowed; None for anything else."""
    stripped = text.strip()
    return int(stripped) if _NUMBER.fullmatch(stripped) else None


def parse_pairs(text: str, separator: str = ":") -> dict[str, str]:
    """Lines of ``key: value``; the first of a key counts."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = line.partition(separator)
        if found:
            pairs.setdefault(key.strip(), value.strip())
    return pairs


def parse_ranges(text: str) -> tuple[int, ...]:
    """The kernel's list of processors: ``0-3,8`` -> (0, 1, 2, 3, 8)."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        low, high = parse_number(first), parse_number(last or first)
        if low is not None and high is not None and low <= high < _MOST_PROCESSORS:
            numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def render_ranges(numbers: Mapping[int, object] | set[int]) -> str:
    """(0, 1, 2, 3, 8) -> ``0-3,8``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def program_of(command: str) -> str:
    """A program's bare name, without its folder and its arguments, which may be private.
    Windows gives a path that may have spaces in it, and no arguments."""
    if "\\" in command:
        return command.rpartition("\\")[2]
    return command.split(" ")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Answers:
    """A recording, or a part of one, read without trust: what is missing or of another type is
    empty. A text may be written as a list of lines, which people read more easily."""

    raw: Mapping[str, Any]

    def part(self, key: str) -> "Answers":
        value = self.raw.get(key)
        return Answers(value if isinstance(value, Mapping) else {})

    def parts(self, key: str) -> "tuple[Answers, ...]":
        value = self.raw.get(key)
        if not isinstance(value, list | tuple):
            return ()
        return tuple(Answers(item) for item in value if isinstance(item, Mapping))

    def text(self, key: str) -> str:
        """Text, or a list of lines joined."""
        value = self.raw.get(key)
        if isinstance(value, list | tuple):
            return "\n".join(str(item) for item in value)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A number that is not negative and fits 64 bits, else 0."""
        value = self.raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            return 0
        return value if 0 <= value < 1 << 63 else 0

    def is_true(self, key: str) -> bool:
        return self.raw.get(key) is True

    def words(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key)
        if not isinstance(value, list | tuple):
            return ()
        return tuple(item for item in value if isinstance(item, str))

    def file(self, path: str) -> str:
        return self.part("files").text(path)

    def has(self, path: str) -> bool:
        return path in self.words("present")

    def variable(self, name: str) -> str:
        return self.part("environment").text(name)

    def command(self, name: str) -> "Answers":
        """What a tool answered: its ``status`` (None: it was cut off) and its ``output``."""
        return self.part("commands").part(name)

    @property
    def system(self) -> str:
        """linux, darwin or win32, as ``sys.platform`` says."""
        return self.text("system")


OWN_GROUPS = "/proc/self/cgroup"
_BASE = PurePosixPath("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes a huge number for "no limit"


def parse_cgroups(text: str) -> dict[str, PurePosixPath]:
    """``/proc/self/cgroup`` to controller -> path; version 2 stands under ""."""
    parts = [line.split(":", 2) for line in text.splitlines() if line.count(":") > 1]
    return {name: PurePosixPath(path) for _, names, path in parts for name in names.split(",")}


def iter_files(own: str) -> list[str]:
    """The files that a recording needs, for the text of ``/proc/self/cgroup``."""
    second, memory = find_folders(own, "memory")
    _, cpu = find_folders(own, "cpu")
    names = {
        "v2": ("memory.max", "memory.high", "memory.current", "memory.stat", "cpu.max"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
        "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
    }
    folders = (("v2", second), ("memory", memory), ("cpu", cpu))
    return [
        f"{folder}/{name}" for kind, found in folders for folder in found for name in names[kind]
    ]


def find_folders(own: str, controller: str) -> tuple[list[str], list[str]]:
    """The folders of our group and of those above it: of version 2, and of version 1 for one
    ``controller``. Limits hold at every step."""
    groups = parse_cgroups(own)
    return _ancestors(_BASE, groups.get("")), _ancestors(_BASE / controller, groups.get(controller))


def parse_limits(answers: Answers) -> tuple[int | None, int | None]:
    """The least that any group above us leaves, and the least limit, both in bytes; None where no
    group has a limit."""
    second, first = find_folders(answers.file(OWN_GROUPS), "memory")
    names = [(folder, "memory.max", "memory.current") for folder in second]
    names += [(folder, "memory.high", "memory.current") for folder in second]
    names += [(folder, "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in first]
    left, limits = [], []
    for folder, limit, used in names:
        text = answers.file(f"{folder}/{limit}")
        stat = answers.file(f"{folder}/memory.stat")
        remains = parse_left(text, answers.file(f"{folder}/{used}"), stat)
        if remains is not None:
            left.append(max(0, remains))
            limits.append(parse_number(text) or 0)
    return min(left, default=None), min(limits, default=None)


def parse_left(limit: str, used: str, stat: str) -> int | None:
    """What one cgroup has left, in bytes; file cache that it would give back counts as left.
    None where it has no limit."""
    most, taken = parse_number(limit), parse_number(used)
    if most is None or taken is None or most >= _NO_LIMIT:
        return None
    numbers = dict(line.split(maxsplit=1) for line in stat.splitlines() if " " in line.strip())
    cached = numbers.get("inactive_file", numbers.get("total_inactive_file", ""))
    return most - taken + (parse_number(cached) or 0)


def parse_quota(answers: Answers) -> float | None:
    """The smallest processor quota of our cgroup and of all above it, in processors."""
    second, first = find_folders(answers.file(OWN_GROUPS), "cpu")
    pairs = [answers.file(f"{folder}/cpu.max").strip().partition(" ")[::2] for folder in second]
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    pairs += [(answers.file(f"{f}/{names[0]}"), answers.file(f"{f}/{names[1]}")) for f in first]
    quotas = [divide_quota(quota, period) for quota, period in pairs]
    return min((quota for quota in quotas if quota is not None), default=None)


def divide_quota(quota: str, period: str) -> float | None:
    """Processors granted, ``None`` for no limit ("max" in version 2, -1 in version 1)."""
    time, per = parse_number(quota), parse_number(period)
    return None if time is None or not per else time / per


def _ancestors(base: PurePosixPath, group: PurePosixPath | None) -> list[str]:
    """The cgroup's folder and those above it; a container sees its own group as the root."""
    if group is None:
        return []
    inner = PurePosixPath(*[part for part in group.parts if part not in ("/", "..")])
    return [str(base / inner), *[str(base / parent) for parent in inner.parents]]


def parse_memory(answers: Answers) -> Memory:
    if answers.system == "linux":
        text = answers.file("/proc/meminfo")
        space = answers.number("address_space_bytes") or None
        total = parse_meminfo(text, "MemTotal")
        return decide_linux(parse_meminfo(text), total, *parse_limits(answers), space)
    if answers.system == "darwin":
        found = parse_pairs(answers.command("sysctl").text("output"))
        available = parse_vm_stat(answers.command("vm_stat").text("output"))
        total = parse_number(found.get("hw.memsize", ""))
    else:
        status = answers.part("windows").part("memory")
        available, total = status.number("available") or None, status.number("total") or None
    if available is None:
        return Memory(None, "the system does not say", total)
    return Memory(available, f"{render_bytes(available)} are available", total)


def decide_linux(
    available: int | None,
    total: int | None,
    group_left: int | None = None,
    group_limit: int | None = None,
    address_space: int | None = None,
) -> Memory:
    """The least of the system's available memory, of what the cgroups leave, and of the limit on
    the address space (``ulimit -v``), in bytes."""
    if available is None:
        return Memory(None, "/proc/meminfo does not say", total)
    if total is not None and group_limit is not None:
        total = min(total, group_limit)
    left, reason = available, f"{render_bytes(available)} are available"
    if group_left is not None and group_left < left:
        left = group_left
        reason = f"the cgroup leaves {render_bytes(left)} of {render_bytes(available)}"
    if address_space is not None and address_space < left:
        left = address_space
        reason = f"`ulimit -v` allows {render_bytes(left)} of {render_bytes(available)}"
    return Memory(left, reason, total)


def parse_meminfo(text: str, key: str = "MemAvailable") -> int | None:
    """One entry of ``/proc/meminfo``, in bytes (or a plain count, for the huge pages)."""
    value, _, unit = parse_pairs(text).get(key, "").partition(" ")
    number = parse_number(value)
    return number if number is None else number * (KIB if unit.strip() == "kB" else 1)


def parse_vm_stat(text: str) -> int | None:
    """macOS ``vm_stat``: pages that are free, inactive or speculative, in bytes."""
    _, _, size = text.partition("page size of ")
    page_bytes = parse_number(size.split(" ", 1)[0])
    if page_bytes is None:
        return None
    pairs = parse_pairs(text)
    names = ("Pages free", "Pages inactive", "Pages speculative")
    pages = [parse_number(pairs.get(name, "").rstrip(".")) or 0 for name in names]
    return sum(pages) * page_bytes


def parse_cpu(answers: Answers) -> Cpu:
    parsers = {"linux": _parse_linux, "darwin": _parse_macos, "win32": _parse_windows}
    if parse := parsers.get(answers.system):
        return parse(answers)
    return decide_unknown(answers.number("processors") or 1)


def decide_linux_cpu(
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
        fields, keys = parse_pairs(block), ("processor", "physical id", "core id")
        processor, package, core = (parse_number(fields.get(key, "")) for key in keys)
        if processor is not None and package is not None and core is not None:
            cores[processor] = (package, core)
    return cores


def _parse_linux(answers: Answers) -> Cpu:
    text = answers.file("/proc/cpuinfo")
    allowed = parse_ranges(answers.text("affinity")) or range(answers.number("processors") or 1)
    fields = parse_pairs(text)
    fast = parse_ranges(answers.file("/sys/devices/cpu_core/cpus")) or _capable(answers)
    decided = decide_linux_cpu(parse_cpuinfo(text), allowed, parse_quota(answers), fast)
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
