"""The cgroups above this process: who they are and where their files lie (Linux)."""

from pathlib import Path, PurePosixPath


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


def find_cgroups(root: Path, controller: str) -> tuple[list[Path], list[Path]]:
    """The folders of our group and of those above it: of version 2, and of version 1 for one
    ``controller``. Limits hold at every step. ``root`` is where ``proc`` and ``sys`` lie."""
    groups = parse_cgroups(read_text(root / "proc/self/cgroup"))
    base = root / "sys/fs/cgroup"
    second = _ancestors(base, groups.get(""))
    return second, _ancestors(base / controller, groups.get(controller))


def _ancestors(base: Path, group: PurePosixPath | None) -> list[Path]:
    """The cgroup's folder and those above it; a container sees its own group as the root."""
    if group is None:
        return []
    inner = PurePosixPath(*[part for part in group.parts if part not in ("/", "..")])
    return [base / inner, *[base / parent for parent in inner.parents]]


def read_text(path: Path) -> str:
    """A small text of the kernel, "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
