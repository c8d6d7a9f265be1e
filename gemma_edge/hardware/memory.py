"""How much memory this process may still take, and why.

It is the least of what the system has left and what each cgroup above us has left; a container
or a job on a cluster sees the whole machine's memory and is killed at its own limit.
"""

import ctypes
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.hardware.cgroups import find_cgroups, read_text
from gemma_edge.units import KIB, render_bytes

_NO_LIMIT = 1 << 60  # version 1 writes a huge number for "no limit"


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` and ``total_bytes`` are None where the machine does not say."""

    available_bytes: int | None
    reason: str
    total_bytes: int | None = None


def detect_memory(root: Path = Path("/")) -> Memory:
    """Ask the machine. ``root`` is where ``proc`` and ``sys`` are looked for."""
    system = platform.system()
    if system == "Linux":
        return decide_linux(parse_meminfo(read_text(root / "proc/meminfo")), _cgroups_left(root))
    available = _detect_macos() if system == "Darwin" else _detect_windows()
    if available is None:
        return Memory(None, "the system does not say")
    return Memory(available, f"{render_bytes(available)} are available")


def decide_linux(available: int | None, groups_left: list[int]) -> Memory:
    """The least of the system's available memory and of what the cgroups leave, in bytes."""
    if available is None:
        return Memory(None, "/proc/meminfo does not say")
    tightest = min(groups_left, default=available)
    if tightest < available:
        return Memory(
            max(0, tightest),
            f"the cgroup leaves {render_bytes(max(0, tightest))} of {render_bytes(available)}",
        )
    return Memory(available, f"{render_bytes(available)} are available")


def parse_meminfo(text: str) -> int | None:
    """``MemAvailable`` of ``/proc/meminfo``, in bytes."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == "MemAvailable" and words and words[0].isdigit():
            return int(words[0]) * KIB
    return None


def parse_left(limit: str, used: str, stat: str) -> int | None:
    """What one cgroup has left, in bytes; file cache that it would give back counts as left.
    None where it has no limit."""
    if not limit.isdigit() or not used.isdigit() or int(limit) >= _NO_LIMIT:
        return None
    pairs = (line.split() for line in stat.splitlines())
    numbers = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004
    cached = numbers.get("inactive_file", numbers.get("total_inactive_file", 0))
    return int(limit) - int(used) + cached


def parse_vm_stat(text: str) -> int | None:
    """macOS ``vm_stat``: pages that are free, inactive or speculative, in bytes."""
    _, _, size = text.partition("page size of ")
    page_bytes = size.split(" ", 1)[0]
    if not page_bytes.isdigit():
        return None
    pages = 0
    for line in text.splitlines():
        key, _, value = line.partition(":")
        count = value.strip().rstrip(".")
        if key in ("Pages free", "Pages inactive", "Pages speculative") and count.isdigit():
            pages += int(count)
    return pages * int(page_bytes)


def _cgroups_left(root: Path) -> list[int]:
    second, first = find_cgroups(root, "memory")
    names = [(folder, "memory.max", "memory.current") for folder in second]
    names += [(folder, "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in first]
    left = (
        parse_left(
            read_text(folder / limit).strip(),
            read_text(folder / used).strip(),
            read_text(folder / "memory.stat"),
        )
        for folder, limit, used in names
    )
    return [count for count in left if count is not None]


def _detect_macos() -> int | None:
    try:
        answer = subprocess.run(
            ["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_vm_stat(answer.stdout)


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        *[
            (name, ctypes.c_uint64)
            for name in (
                "total", "available", "total_page", "available_page",
                "total_virtual", "available_virtual", "available_extended",
            )
        ],
    ]  # fmt: skip


def _detect_windows() -> int | None:
    if os.name != "nt":
        return None
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel32 = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
