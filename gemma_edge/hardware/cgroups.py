"""The cgroups above this process: where their files lie, and what they leave us (Linux)."""

from pathlib import PurePosixPath

from gemma_edge.hardware.text import Answers, parse_number

OWN_GROUPS = "/proc/self/cgroup"
_BASE = PurePosixPath("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes a huge number for "no limit"


def parse_cgroups(text: str) -> dict[str, PurePosixPath]:
    """``/proc/self/cgroup`` to controller -> path; version 2 stands under ""."""
    groups = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator:
            for controller in controllers.split(","):
                groups[controller] = PurePosixPath(path)
    return groups


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
    names = [
        (folder, limit, "memory.current")
        for folder in second
        for limit in ("memory.max", "memory.high")
    ]
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
    quotas = []
    for folder in second:
        quota, _, period = answers.file(f"{folder}/cpu.max").strip().partition(" ")
        quotas.append(divide_quota(quota, period))
    for folder in first:
        quota = answers.file(f"{folder}/cpu.cfs_quota_us")
        quotas.append(divide_quota(quota, answers.file(f"{folder}/cpu.cfs_period_us")))
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
