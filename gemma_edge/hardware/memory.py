"""How much memory this process may still take, and why. Pure over a recording.

It is the least of what the system has left and what each cgroup above us has left; a container
or a job on a cluster sees the whole machine's memory and is killed at its own limit.
"""

from dataclasses import dataclass

from gemma_edge.hardware.cgroups import parse_limits
from gemma_edge.hardware.text import Answers, parse_number, parse_pairs
from gemma_edge.units import KIB, render_bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` and ``total_bytes`` are None where the machine does not say. The total
    is the cgroup's limit where that is smaller than the machine."""

    available_bytes: int | None
    reason: str
    total_bytes: int | None = None


def parse_memory(answers: Answers) -> Memory:
    """The main memory of a recorded machine."""
    if answers.system == "linux":
        text = answers.file("/proc/meminfo")
        left, limit = parse_limits(answers)
        space = answers.number("address_space_bytes") or None
        return decide_linux(
            parse_meminfo(text, "MemAvailable"), parse_meminfo(text, "MemTotal"), left, limit, space
        )
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
