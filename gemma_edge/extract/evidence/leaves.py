"""The leaves of the data as records, and the way that records take down the pages. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_edge.extract.evidence.forms import Candidate
from gemma_edge.extract.evidence.labels import Names
from gemma_edge.extract.paths import ValuePath

Shape = tuple[str | None, ...]  # a path with None for each place in a list
WEAK_CHARS = 2  # a value of so few characters is printed anywhere


@dataclass
class Leaf:
    """A value with the places where it may stand, and the one that was chosen."""

    path: ValuePath
    value: Any
    candidates: Sequence[Candidate]
    chosen: Candidate | None = None
    names: Names = field(init=False)  # its keys, without the places in lists

    def __post_init__(self) -> None:
        self.names = tuple(part for part in self.path if isinstance(part, str))

    @property
    def starts(self) -> list[int]:
        """Where its candidates begin, ascending."""
        return [candidate.span.start for candidate in self.candidates]


@dataclass
class Record:
    """The leaves of one element of a list; ``below`` is where the lists in it begin. Of ``many``
    in one list only the first stand near the heads of their columns, so these say nothing;
    ``guide`` is the leaf that tells such a record from the others best."""

    path: ValuePath
    leaves: list[Leaf] = field(default_factory=list)
    below: int | None = None
    centre: int | None = None
    many: bool = False
    guide: Leaf | None = None


def cheapest_way(
    steps: Sequence[Sequence[tuple[int, float]]], between: Callable[[int, int], float]
) -> list[int]:
    """One place of each step, so that the costs of the places and of the ways ``between`` them
    are the least in sum (Viterbi)."""
    if not steps:
        return []
    sums = [cost for _, cost in steps[0]]
    ways: list[list[int]] = []
    for before, here in zip(steps, steps[1:], strict=False):
        way, totals = [], []
        for place, cost in here:
            total, best = min(
                (sums[at] + between(other, place), at) for at, (other, _) in enumerate(before)
            )
            way.append(best)
            totals.append(total + cost)
        ways.append(way)
        sums = totals
    at = min(range(len(sums)), key=sums.__getitem__)
    found = [steps[-1][at][0]]
    for way, step in zip(reversed(ways), reversed(steps[:-1]), strict=True):
        at = way[at]
        found.append(step[at][0])
    return found[::-1]


def record_path(path: ValuePath, objects: frozenset[ValuePath]) -> ValuePath:
    """The element of a list that a leaf is a part of; of a list of plain values at the top, the
    value itself; else the whole document, ``()``."""
    ends = [at + 1 for at, part in enumerate(path) if isinstance(part, int)]
    for end in reversed(ends):
        if path[:end] in objects:
            return path[:end]
    return path[: ends[-1]] if ends else ()


def shape_of(path: ValuePath) -> Shape:
    """The list, or the list in lists, that an element belongs to."""
    return tuple(None if isinstance(part, int) else part for part in path)


def depth_of(path: ValuePath) -> int:
    """How many lists lie around it."""
    return sum(isinstance(part, int) for part in path)


def is_weak(value: Any) -> bool:
    """Whether a value is so short that it is printed anywhere."""
    return isinstance(value, bool) or strength(str(value)) <= WEAK_CHARS


def strength(text: str) -> int:
    """Characters; one of a script that writes whole words with them counts twice."""
    return sum(1 + (char >= "\u2e80") for char in text if not char.isspace())
