"""Small readers for what kernels and tools print. None of them raises, whatever the text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        """The mapping under ``key``."""
        value = self.raw.get(key)
        return Answers(value if isinstance(value, Mapping) else {})

    def parts(self, key: str) -> "tuple[Answers, ...]":
        """The mappings in the list under ``key``."""
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

    def says(self, key: str) -> bool:
        """Whether ``key`` is true."""
        return self.raw.get(key) is True

    def words(self, key: str) -> tuple[str, ...]:
        """The texts in the list under ``key``."""
        value = self.raw.get(key)
        if not isinstance(value, list | tuple):
            return ()
        return tuple(item for item in value if isinstance(item, str))

    def file(self, path: str) -> str:
        """What a file of the recorded machine held, "" where it was not there."""
        return self.part("files").text(path)

    def has(self, path: str) -> bool:
        """Whether a file, folder or device node was there."""
        return path in self.words("present")

    def variable(self, name: str) -> str:
        """A variable of the recorded environment."""
        return self.part("environment").text(name)

    def command(self, name: str) -> "Answers":
        """What a tool answered: its ``status`` (None: it was cut off) and its ``output``."""
        return self.part("commands").part(name)

    @property
    def system(self) -> str:
        """linux, darwin or win32, as ``sys.platform`` says."""
        return self.text("system")
